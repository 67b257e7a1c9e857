//! What it costs to fire a trigger in a child process: an empty fire over rows of six columns.
//!
//! The child is this program, or one in Python: `MKTS_BENCH_PYTHON` names an interpreter that has
//! `plugins/python` installed. `MKTS_BENCH_FIRES` is how many fires a percentile is taken from.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use model::{
    BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Timeframe, Zone,
};
use plugin_host::process::Program;
use plugin_sdk::{
    AnyTrigger, Batch, CloseReason, Event, FireCtx, FireError, FireInfo, HostCalls, Init, Kind,
    Level, Manifest, Plugin, PluginError, Query, Trigger,
};

struct Empty;

impl Plugin for Empty {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest::new("empty", "1.0.0");
    fn new(_config: Self::Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Trigger for Empty {
    fn fire(&mut self, _ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        std::hint::black_box(batch.rows.times());
        Ok(())
    }
}

struct Host;

impl HostCalls for Host {
    fn info(&self) -> FireInfo {
        info()
    }
    fn write(&mut self, _: &BucketKey, _: RowKind, _: ColumnBatch) -> Result<(), PluginError> {
        Ok(())
    }
    fn query(&mut self, _: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        Ok(None)
    }
    fn set_timer(&mut self, _: &[u8], _: i64, _: &[u8]) -> Result<(), PluginError> {
        Ok(())
    }
    fn cancel_timer(&mut self, _: &[u8]) {}
    fn publish(&mut self, _: &str, _: Bytes) {}
    fn log(&mut self, _: Level, _: &str) {}
}

fn info() -> FireInfo {
    FireInfo {
        first_lsn: 1,
        last_lsn: 2,
        attempt: 1,
        is_replay: false,
        now: 0,
        deadline: 60_000_000_000,
    }
}

fn bars(count: usize) -> ColumnBatch {
    let names = ["Open", "High", "Low", "Close", "Volume", "Trades"];
    let columns = names.map(|name| ColumnDef::new(name, ColumnType::F64));
    let schema = Schema::new(columns.into()).unwrap();
    let times = Column::from_values((0..count as i64).collect::<Vec<_>>());
    let values = names.map(|_| Column::from_values(vec![1.5_f64; count]));
    ColumnBatch::new(schema, times, values.into()).unwrap()
}

fn child() -> Box<dyn AnyTrigger> {
    let mut program = match std::env::var_os("MKTS_BENCH_PYTHON") {
        None => Program::new(std::env::current_exe().unwrap()),
        Some(python) => {
            let mut program = Program::new(python);
            program.args = ["-m", "mkts.plugin", "empty.py:Empty"]
                .map(Into::into)
                .into();
            program.folder = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/plugins").into());
            program
        }
    };
    program.description = Some(Empty::MANIFEST.describe(Kind::Trigger));
    let module = plugin_host::process::module(program).unwrap();
    let zone = Zone::utc();
    let mut init = Init::new("bench", 1, &zone);
    module.trigger(&serde_json::Value::Null, &mut init).unwrap()
}

fn main() {
    if std::env::var_os("MKTS_PLUGIN_SOCKET").is_some() {
        plugin_sdk::serve::trigger::<Empty>();
        return;
    }
    let started = Instant::now();
    let mut trigger = child();
    println!("start to running: {:?}", started.elapsed());
    println!("memory of the idle child: {}", memory());
    let key = BucketKey::parse("AAPL/1Min/OHLCV").unwrap();
    let timeframe = Timeframe::parse("1Min").unwrap();
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    for (name, rows) in [("1 row", 1), ("100 rows", 100), ("64 KiB", 1170)] {
        let rows = bars(rows);
        let event = || {
            Event::Write(Batch {
                key: &key,
                kind: RowKind::Bar,
                timeframe,
                rows: &rows,
            })
        };
        let mut fire = || {
            trigger
                .fire(&mut FireCtx::new(&mut Host), &event())
                .unwrap()
        };
        percentiles(name, &mut fire);
        let mut group = criterion.benchmark_group("process");
        group.bench_function(format!("fire {name}"), |bench| bench.iter(&mut fire));
        group.throughput(Throughput::Elements(1000));
        group.bench_function(format!("1000 fires ahead, {name}"), |bench| {
            bench.iter(|| {
                trigger.ahead(&mut (0..1000).map(|_| (info(), event())));
                for _ in 0..1000 {
                    trigger
                        .fire(&mut FireCtx::new(&mut Host), &event())
                        .unwrap();
                }
            });
        });
        group.finish();
    }
    trigger.close(CloseReason::Stop);
    criterion.final_summary();
}

/// Resident memory of the only child.
fn memory() -> String {
    let children = std::fs::read_dir("/proc/self/task").unwrap();
    let children = children
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let pid = children.flat_map(|pids| {
        pids.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let Some(pid) = pid.last() else {
        return "unknown".into();
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.unwrap_or("unknown")
        .trim_start_matches("VmRSS:")
        .trim()
        .to_owned()
}

fn percentiles(name: &str, fire: &mut dyn FnMut()) {
    let fires = std::env::var("MKTS_BENCH_FIRES").ok();
    let fires = fires.and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut times: Vec<Duration> = (0..fires)
        .map(|_| {
            let began = Instant::now();
            fire();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name}: p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}
