//! Writes a row every now and then, and remembers how many there were.
#![forbid(unsafe_code)]

use std::time::Duration;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_sdk::{BgWorker, Init, Manifest, Plugin, PluginError, WorkerCtx};
use serde::Deserialize;

plugin_sdk::export_plugin!({{Type}}: bgworker);

/// What stands under `config:` in mkts.yml. Errors name the key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bucket of the rows.
    into: String,
    /// Pause between two rows (ms).
    every_ms: u64,
    /// Rows to write; without it there is no end.
    count: Option<i64>,
}

#[derive(Debug)]
pub struct {{Type}} {
    config: Config,
    into: BucketKey,
}

impl Plugin for {{Type}} {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        about: "writes a row every now and then",
        ..Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"))
    };

    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let into = BucketKey::parse(&config.into);
        let into = into.map_err(|error| PluginError::from(format!("into: {error}")))?;
        Ok(Self { config, into })
    }
}

impl BgWorker for {{Type}} {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        let mut beat = ctx.call().state().counter("beats")?;
        while !ctx.is_cancelled() && self.config.count.is_none_or(|count| beat < count) {
            let mut call = ctx.call();
            beat = call.state().incr("beats", 1)?;
            call.write(&self.into, RowKind::Tick, row(beat)?)?;
            // Row and state become visible together.
            ctx.commit()?;
            if !ctx.sleep(Duration::from_millis(self.config.every_ms)) {
                break;
            }
        }
        Ok(())
    }
}

/// Row of a beat: its time is its number in seconds, so that tests can compare.
fn row(beat: i64) -> Result<ColumnBatch, PluginError> {
    let schema = Schema::new(vec![ColumnDef::new("Beat", ColumnType::I64)]);
    let schema = schema.map_err(|error| error.to_string())?;
    let times = Column::from_values(vec![beat * 1_000_000_000]);
    let rows = ColumnBatch::new(schema, times, vec![Column::from_values(vec![beat])]);
    rows.map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_number() {
        let row = row(3).unwrap();
        assert_eq!(row.times(), [3_000_000_000]);
        assert_eq!(row.column("Beat").and_then(|c| c.values::<i64>()), Some(&[3][..]));
    }
}
