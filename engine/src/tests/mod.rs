//! Tests of the whole store, most of them on the simulated disk.

mod backup;
mod backup_sweep;
mod behave;
mod change;
mod check;
mod crash;
mod damage;
mod follow;
mod fuzz;
mod ingest;
mod last;
mod merge;
mod model_change;
mod model_scan;
mod packed;
mod restart;
mod zones;

use std::sync::Arc;

use disk::{Disk, ManualClock, SimDisk};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use crate::{Commit, Engine, Error, NoHook, Options, Origin, Recovery, Rows, Scan};

const MINUTE: i64 = 60_000_000_000;

fn schema() -> Schema {
    Schema::new(vec![
        ColumnDef::new("Close", ColumnType::F64),
        ColumnDef::new("Volume", ColumnType::I32),
        ColumnDef::new("Flag", ColumnType::U8),
    ])
    .unwrap()
}

fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

/// Rows whose values all follow from `value` and the position.
fn batch(times: &[i64], value: i32) -> ColumnBatch {
    let values = (0..times.len() as i32).map(|i| value.wrapping_add(i));
    let values: Vec<i32> = values.collect();
    let close: Vec<f64> = values.iter().map(|v| f64::from(*v) / 4.0).collect();
    let flags: Vec<u8> = values.iter().map(|v| *v as u8).collect();
    let columns = vec![
        Column::from_values(close),
        Column::from_values(values),
        Column::from_values(flags),
    ];
    ColumnBatch::new(schema(), Column::from_values(times.to_vec()), columns).unwrap()
}

fn rows(name: &str, kind: RowKind, batch: ColumnBatch) -> Rows {
    Rows {
        key: key(name),
        batch,
        create: Some(kind),
    }
}

fn commit(rows: Vec<Rows>) -> Commit {
    Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows,
        section: None,
    }
}

fn write(engine: &Engine, name: &str, kind: RowKind, batch: ColumnBatch) -> Result<(), Error> {
    let ticket = engine.write(commit(vec![rows(name, kind, batch)]))?;
    ticket.wait().map(|_| ())
}

/// Small files, so that opening is quick; no checkpoint and no merge but those asked for, and no
/// thread of the log that would change the order of disk calls from run to run.
fn options() -> Options {
    Options {
        prepare_ahead: false,
        wal_segment_bytes: 512 << 10,
        frame_bytes_max: 256 << 10,
        merge: false,
        checkpoint_before_serving: true,
        ..Options::default()
    }
}

fn try_open(disk: &SimDisk) -> Result<(Engine, Recovery), Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::new(ManualClock::new(0));
    Engine::open_on(disk, clock, options(), Arc::new(NoHook))
}

fn open(disk: &SimDisk) -> Engine {
    try_open(disk).unwrap().0
}

fn scan(engine: &Engine, name: &str, scan: &Scan) -> Result<ColumnBatch, Error> {
    let Some(info) = engine.bucket(&key(name)) else {
        return Ok(ColumnBatch::empty(schema()));
    };
    engine.snapshot(&[info.id]).scan(0, scan)
}

/// (time, value) of all rows.
fn all(engine: &Engine, name: &str) -> Vec<(i64, i32)> {
    pairs(&scan(engine, name, &Scan::all()).unwrap())
}

fn pairs(batch: &ColumnBatch) -> Vec<(i64, i32)> {
    let volume = batch.column("Volume").unwrap().values::<i32>().unwrap();
    let pairs = batch.times().iter().copied().zip(volume.iter().copied());
    pairs.collect()
}
