//! Rows in packed pages come back to the bit, whole and in parts, also after a restart.

use disk::sim::{Rng, SimDisk};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use super::{commit, key, open, rows};
use crate::{Engine, Limit, Scan};

const ROWS: usize = 10_000;
const TICKS: &str = "A/1Sec/TICK";

/// Prices in cents and sizes as a feed has them, and among them values that no decimal is.
fn ticks() -> ColumnBatch {
    let mut rng = Rng::new(7);
    let mut time = 1_583_159_400_000_000_000_i64;
    let mut cents = 16_765_i64;
    let odd = [
        f64::NAN,
        -0.0,
        f64::INFINITY,
        1.0e-300,
        f64::from_bits(0x7ff8_0000_dead_beef),
    ];
    let (mut times, mut prices, mut bids, mut sizes, mut flags, mut tapes) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for row in 0..ROWS {
        time += (rng.below(4000) * 1_000_000) as i64;
        cents += rng.below(9) as i64 - 4;
        let price = cents as f64 / 100.0;
        times.push(time);
        prices.push(if row % 97 == 0 {
            odd[row % odd.len()]
        } else {
            price
        });
        bids.push(if row % 501 == 0 {
            f32::from_bits(0x7fc0_1234)
        } else {
            price as f32
        });
        sizes.push(if row % 1000 == 999 {
            i64::MIN
        } else {
            100 * rng.below(50) as i64
        });
        flags.push(rng.below(3) as u8);
        let mut tape = [0_u32; 16];
        tape[0] = u32::from(b'A') + rng.below(20) as u32;
        if row % 700 == 0 {
            // No text: beyond the code points, and a zero within.
            tape[15] = u32::MAX - row as u32;
        }
        tapes.push(tape);
    }
    let columns = vec![
        Column::from_values(prices),
        Column::from_values(bids),
        Column::from_values(sizes),
        Column::from_values(flags),
        Column::from_values(tapes),
    ];
    let types = [
        ColumnType::F64,
        ColumnType::F32,
        ColumnType::I64,
        ColumnType::U8,
        ColumnType::Str16,
    ];
    let defs = ["Price", "Bid", "Size", "Flag", "Tape"]
        .into_iter()
        .zip(types);
    let schema = Schema::new(defs.map(|(name, ty)| ColumnDef::new(name, ty)).collect()).unwrap();
    ColumnBatch::new(schema, Column::from_values(times), columns).unwrap()
}

fn read(engine: &Engine, scan: &Scan) -> ColumnBatch {
    let id = engine.bucket(&key(TICKS)).unwrap().id;
    engine.snapshot(&[id]).scan(0, scan).unwrap()
}

/// Bytes, not values: a NaN differs from itself.
fn assert_same(found: &ColumnBatch, wanted: &ColumnBatch, what: &str) {
    assert_eq!(found.times(), wanted.times(), "{what}");
    for (column, (a, b)) in found.columns().iter().zip(wanted.columns()).enumerate() {
        assert!(a.bytes() == b.bytes(), "{what}: column {column} differs");
    }
}

fn check(engine: &Engine, all: &ColumnBatch, what: &str) {
    assert_same(&read(engine, &Scan::all()), all, what);
    let mut rng = Rng::new(11);
    for _ in 0..200 {
        let (a, b) = (
            rng.below(ROWS as u64) as usize,
            rng.below(ROWS as u64) as usize,
        );
        let (from, to) = (all.times()[a.min(b)], all.times()[a.max(b)]);
        let start = all.times().partition_point(|time| *time < from);
        let end = all.times().partition_point(|time| *time <= to);
        let count = rng.below(6000) as usize;
        let (limit, rows) = match rng.below(3) {
            0 => (None, start..end),
            1 => (Some(Limit::First(count)), start..end.min(start + count)),
            _ => (
                Some(Limit::Last(count)),
                start.max(end.saturating_sub(count))..end,
            ),
        };
        let scan = Scan {
            from,
            to,
            columns: None,
            limit,
        };
        assert_same(
            &read(engine, &scan),
            &all.slice(rows),
            &format!("{what}: {scan:?}"),
        );
    }
}

#[test]
fn packed_pages_give_every_bit_back() {
    let disk = SimDisk::new(1);
    let all = ticks();
    let engine = open(&disk);
    // In pieces that fit a frame of these tests.
    for start in (0..ROWS).step_by(500) {
        let part = all.slice(start..start + 500);
        let ticket = engine
            .write(commit(vec![rows(TICKS, RowKind::Tick, part)]))
            .unwrap();
        ticket.wait().unwrap();
    }
    check(&engine, &all, "in the tail");
    engine.checkpoint().unwrap();
    let status = engine.status();
    assert!(
        status.segment_bytes < (all.bytes() / 4) as u64,
        "{} bytes are not packed: the test does not test",
        status.segment_bytes
    );
    check(&engine, &all, "in a segment");
    engine.close().unwrap();
    let engine = open(&disk.restart());
    check(&engine, &all, "after a restart");
}
