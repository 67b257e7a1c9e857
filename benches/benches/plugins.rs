//! What one fire costs before the plugin does anything: linked in, and in a shared library.
//!
//! The trigger does nothing with bars of six columns; what is left is the way to it and back. Behind
//! the C border a plugin of the Rust SDK copies the rows once, as its batches may outlive the call; a
//! plugin in C reads them where they lie.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods)] // the library's source is no file of a store

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use counter::Counter;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use model::{
    BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Timeframe, Zone,
};
use plugin_host::native::{self, Cache};
use plugin_sdk::{
    AnyTrigger, Batch, BuiltIn, Event, FireCtx, FireInfo, HostCalls, Init, Level, Module,
    PluginError, Query,
};

/// A host whose calls do nothing.
struct Nothing;

impl HostCalls for Nothing {
    fn info(&self) -> FireInfo {
        FireInfo {
            first_lsn: 1,
            last_lsn: 1,
            attempt: 1,
            is_replay: false,
            now: 0,
            deadline: 0,
        }
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

/// Bars of six columns.
fn bars(rows: usize) -> ColumnBatch {
    let prices = ["Open", "High", "Low", "Close", "VWAP"];
    let mut defs: Vec<ColumnDef> = prices
        .iter()
        .map(|name| ColumnDef::new(*name, ColumnType::F32))
        .collect();
    defs.push(ColumnDef::new("Volume", ColumnType::I64));
    let mut columns = vec![Column::from_values(vec![1.5_f32; rows]); prices.len()];
    columns.push(Column::from_values(vec![7_i64; rows]));
    let times = (0..rows as i64).map(|row| row * 60_000_000_000).collect();
    let schema = Schema::new(defs).expect("the names differ");
    ColumnBatch::new(schema, Column::from_values(times), columns).expect("one length")
}

fn object(module: &dyn Module, config: &serde_json::Value) -> Box<dyn AnyTrigger> {
    let zone = Zone::utc();
    let made = module.trigger(config, &mut Init::new("bench", 1, &zone));
    made.expect("the config is right")
}

fn load(file: &Path) -> Arc<dyn Module> {
    let cache = Cache::in_store(env!("CARGO_TARGET_TMPDIR"));
    native::load(file, &cache).unwrap_or_else(|error| panic!("{error}"))
}

/// The library of the sample, built with this program.
fn sample() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a file");
    let file = format!(
        "{}counter{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    program.with_file_name(file)
}

/// A trigger in C that does nothing; `None` without a compiler.
fn in_c() -> Option<PathBuf> {
    let json = r#"{"name":"idle","version":"1.0.0","kind":"trigger","abi":[1,0],"entry":"mkts_plugin_v1_idle"}"#;
    let crc = crc32fast::hash(json.as_bytes());
    let source = format!(
        "#include \"mkts_plugin.h\"\nMKTS_MANIFEST({json:?}, {crc:#x});\n{}",
        include_str!("plugins/idle.c")
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (code, file) = (folder.join("idle.c"), folder.join("idle.so"));
    std::fs::write(&code, source).expect("the folder is ours");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/abi/include");
    let built = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-I"])
        .args([&include, Path::new("-o"), &file, &code])
        .status();
    built.is_ok_and(|status| status.success()).then_some(file)
}

fn fires(criterion: &mut Criterion) {
    let config = serde_json::json!({ "idle": true });
    let built_in = BuiltIn::trigger::<Counter>().module();
    let mut paths = vec![
        ("builtin", object(&*built_in, &config)),
        ("native_rust", object(&*load(&sample()), &config)),
    ];
    if let Some(file) = in_c() {
        paths.push(("native_c", object(&*load(&file), &serde_json::Value::Null)));
    }
    let key = BucketKey::parse("AAPL/1Min/OHLCV").expect("a key");
    let timeframe = Timeframe::parse("1Min").expect("a timeframe");
    let mut group = criterion.benchmark_group("plugins/fire");
    for (name, object) in &mut paths {
        for rows in [1, 10, 100] {
            let batch = bars(rows);
            let event = Event::Write(Batch {
                key: &key,
                kind: RowKind::Bar,
                timeframe,
                rows: &batch,
            });
            group.bench_function(BenchmarkId::new(*name, rows), |b| {
                b.iter(|| {
                    let mut host = Nothing;
                    object.fire(&mut FireCtx::new(&mut host), &event)
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = fires
}
criterion_main!(benches);
