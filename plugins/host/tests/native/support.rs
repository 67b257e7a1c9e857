//! Libraries to load, and events to fire.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use model::{
    BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Timeframe, Zone,
};
use plugin_host::native::{self, Cache};
use plugin_sdk::{AnyTrigger, Batch, Event, FireCtx, FireError, Init, Module};
use serde_json::Value;

use crate::fake::Fake;

/// Folder of this program's test files.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("native");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    });
    &FOLDER
}

/// The library of a Rust sample, built with this program.
pub(crate) fn library(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let file = format!(
        "{}{name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    program.parent().unwrap().join(file)
}

pub(crate) fn cache() -> Cache {
    Cache::in_store(folder())
}

pub(crate) fn load(file: &Path) -> Arc<dyn Module> {
    native::load(file, &cache()).unwrap_or_else(|error| panic!("{error}"))
}

/// The manifest of a C plugin, as its source needs it.
pub(crate) fn manifest(json: &str) -> String {
    format!(
        "MKTS_MANIFEST({json:?}, {:#010x});\n",
        crc32fast::hash(json.as_bytes())
    )
}

/// Compiles `source` as `NAME.so`; `None`, with a loud line, if there is no compiler.
pub(crate) fn cc(name: &str, source: &str) -> Option<PathBuf> {
    let code = folder().join(format!("{name}.c"));
    let file = folder().join(format!("{name}.so"));
    std::fs::write(&code, source).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/include");
    let built = Command::new("cc")
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-pthread",
            "-I",
        ])
        .args([&include, Path::new("-o"), &file, &code])
        .output();
    match built {
        Ok(built) => {
            let errors = String::from_utf8_lossy(&built.stderr);
            assert!(built.status.success(), "{errors}");
            Some(file)
        }
        Err(error) => {
            eprintln!("SKIPPED: no C compiler \"cc\": {error}");
            None
        }
    }
}

pub(crate) fn key() -> &'static BucketKey {
    static KEY: LazyLock<BucketKey> =
        LazyLock::new(|| BucketKey::parse("AAPL/1Min/OHLCV").unwrap());
    &KEY
}

/// Bars whose columns have all kinds of widths.
pub(crate) fn bars(rows: usize) -> ColumnBatch {
    let schema = Schema::new(vec![
        ColumnDef::new("Close", ColumnType::F32),
        ColumnDef::new("Volume", ColumnType::I64),
        ColumnDef::new("Flag", ColumnType::U8),
    ])
    .unwrap();
    let columns = vec![
        Column::from_values((0..rows).map(|i| i as f32 + 0.5).collect()),
        Column::from_values((0..rows as i64).collect()),
        Column::from_values((0..rows).map(|i| i as u8).collect()),
    ];
    let times = Column::from_values((0..rows as i64).map(|i| i * 60_000_000_000).collect());
    ColumnBatch::new(schema, times, columns).unwrap()
}

pub(crate) fn write(rows: &ColumnBatch) -> Event<'_> {
    Event::Write(Batch {
        key: key(),
        kind: RowKind::Bar,
        timeframe: Timeframe::parse("1Min").unwrap(),
        rows,
    })
}

pub(crate) fn trigger(module: &dyn Module, config: Value) -> Box<dyn AnyTrigger> {
    let zone = Zone::utc();
    let made = module.trigger(&config, &mut Init::new("test", 1, &zone));
    made.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn fire(
    trigger: &mut dyn AnyTrigger,
    fake: &mut Fake,
    event: &Event<'_>,
) -> Result<(), FireError> {
    trigger.fire(&mut FireCtx::new(fake), event)
}
