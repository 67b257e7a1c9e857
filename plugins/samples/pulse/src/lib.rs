//! A background worker that writes a row, makes it visible and sleeps, again and again.
#![forbid(unsafe_code)]

use std::sync::LazyLock;
use std::time::Duration;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_sdk::{BgWorker, Init, Manifest, Plugin, PluginError, WorkerCtx};
use serde::Deserialize;

plugin_sdk::export_plugin!(Pulse: bgworker);

/// What stands under `config:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bucket of the rows.
    target: String,
    /// Pause between two rows (ms).
    every_ms: u64,
    /// Rows to write; 0 for no end.
    #[serde(default)]
    count: u64,
    /// Time of the first row (ns since 1970), a second between rows; else each has the time when it is
    /// written.
    #[serde(default)]
    from: Option<i64>,
    /// A test wants it to fail in its run.
    #[serde(default)]
    panics: bool,
}

/// The worker.
#[derive(Debug)]
pub struct Pulse {
    config: Config,
    target: BucketKey,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let column = ColumnDef::new("Beat", ColumnType::U64);
    Schema::new(vec![column]).expect("one column with a legal name")
});

impl Plugin for Pulse {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        about: "writes a row now and then",
        ..Manifest::new("pulse", "1.0.0")
    };

    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let target = BucketKey::parse(&config.target)
            .map_err(|error| PluginError::from(format!("target: {error}")))?;
        Ok(Self { config, target })
    }
}

impl BgWorker for Pulse {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        assert!(!self.config.panics, "told to, in run");
        let mut beat = ctx.call().state().counter("beat")?;
        while !ctx.is_cancelled() && (self.config.count == 0 || beat < self.config.count as i64) {
            let mut call = ctx.call();
            beat = call.state().incr("beat", 1)?;
            let time = match self.config.from {
                Some(from) => from + (beat - 1) * 1_000_000_000,
                None => call.info().now,
            };
            let times = Column::from_values(vec![time]);
            let beats = Column::from_values(vec![beat as u64]);
            let rows = ColumnBatch::new(SCHEMA.clone(), times, vec![beats])
                .map_err(|error| PluginError::from(error.to_string()))?;
            call.write(&self.target, RowKind::Tick, rows)?;
            ctx.commit()?;
            if !ctx.sleep(Duration::from_millis(self.config.every_ms)) {
                break;
            }
        }
        Ok(())
    }
}
