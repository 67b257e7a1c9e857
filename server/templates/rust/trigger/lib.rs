//! Counts the bars of each bucket that close above a limit.
//!
//! `AAPL/1Min/OHLCV` leads to rows of `AAPL/1Min/ABOVE` with the count so far.
#![forbid(unsafe_code)]

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_sdk::{
    Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger,
};
use serde::Deserialize;

plugin_sdk::export_plugin!({{Type}}: trigger);

/// What stands under `config:` in mkts.yml. Errors name the key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Closes above this are counted.
    above: f64,
}

#[derive(Debug)]
pub struct {{Type}} {
    config: Config,
}

impl Plugin for {{Type}} {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        about: "counts bars that close above a limit",
        // Rows, state and the place in the log happen together, once.
        delivery: Delivery::Exact,
        ..Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"))
    };

    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        if !config.above.is_finite() {
            return Err("above: use a finite number".into());
        }
        Ok(Self { config })
    }
}

impl Trigger for {{Type}} {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let key = batch.key;
        let Some(close) = batch.rows.column("Close") else {
            return Err(FireError::Skip(format!("{key} has no column Close")));
        };
        let hits = count_above(close, self.config.above);
        let (Some(last), true) = (batch.rows.times().iter().max(), hits > 0) else {
            return Ok(());
        };
        // The object may be made anew between two events: what must last belongs into the state.
        let count = ctx.state().incr(key.as_str(), hits)?;
        let target = BucketKey::new(key.symbol(), key.timeframe(), "ABOVE")
            .map_err(|error| FireError::Fatal(error.to_string()))?;
        ctx.write(&target, RowKind::Bar, row(*last, count)?)?;
        Ok(())
    }
}

/// How many values are above the limit; a column without numbers has none.
fn count_above(column: &Column, limit: f64) -> i64 {
    let Ok(column) = column.cast(ColumnType::F64) else {
        return 0;
    };
    let values = column.values::<f64>().unwrap_or(&[]);
    values.iter().filter(|value| **value > limit).count() as i64
}

fn row(time: i64, count: i64) -> Result<ColumnBatch, FireError> {
    let fatal = |error: &dyn std::fmt::Display| FireError::Fatal(error.to_string());
    let schema = Schema::new(vec![ColumnDef::new("Count", ColumnType::I64)]);
    let schema = schema.map_err(|error| fatal(&error))?;
    let (times, counts) = (vec![time], vec![count]);
    ColumnBatch::new(
        schema,
        Column::from_values(times),
        vec![Column::from_values(counts)],
    )
    .map_err(|error| fatal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_above_counts() {
        let column = Column::from_values(vec![1.0_f32, 2.0, 2.5, f32::NAN]);
        assert_eq!(count_above(&column, 2.0), 1);
        assert_eq!(count_above(&Column::from_values(vec![3_i64, 1]), 2.0), 1);
    }
}
