//! `mkts` with one more plugin: a trigger that keeps state, logs, fails and blabs as its config says.
//! For tests of what an operator sees and does.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_sdk::{
    BuiltIn, Delivery, Event, FireCtx, FireError, Health, Init, Level, Manifest, Plugin,
    PluginError, Trigger,
};
use serde_json::Value;

fn main() -> ExitCode {
    server::cli::main(vec![
        ondiskagg::BUILT_IN,
        BuiltIn::trigger::<Probe>(),
        BuiltIn::trigger::<Other>(),
    ])
}

/// Counts rows in state and in a bucket.
struct Probe {
    /// Rows of symbols that begin with `BAD` fail while this file is there.
    fails_while: Option<PathBuf>,
    token: String,
}

impl Plugin for Probe {
    type Config = Value;
    const MANIFEST: Manifest = Manifest {
        about: "shows what it is told",
        delivery: Delivery::Exact,
        accepts_gap: true,
        secrets: &["token", "auth.pin"],
        metrics: &["rows-seen"],
        ..Manifest::new("probe", "1.2.3")
    };

    fn new(config: Value, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let text = |name: &str| config[name].as_str().map(str::to_owned);
        let token = text("token").unwrap_or_default();
        if text("refuses_while").is_some_and(|file| PathBuf::from(file).exists()) {
            return Err(format!("the token {token} is not taken").into());
        }
        Ok(Self {
            fails_while: text("fails_while").map(PathBuf::from),
            token,
        })
    }
}

impl Trigger for Probe {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let (key, rows) = (batch.key.as_str(), batch.rows.rows());
        let fails = self.fails_while.as_ref().is_some_and(|file| file.exists());
        if key.starts_with("BAD") && fails {
            return Err(FireError::Retry(format!("{key} with {}", self.token)));
        }
        ctx.log(
            Level::Info,
            &format!("{rows} rows of {key}, token {}", self.token),
        );
        ctx.count("rows-seen", rows as f64 / 4.0);
        ctx.count("unnamed", 1.0);
        if key.starts_with("SICK") {
            ctx.health(Health::Degraded, &format!("{key} with {}", self.token));
        }
        let count = i64::try_from(rows).unwrap_or(i64::MAX);
        let sum = ctx.state().incr("rows", count)?;
        ctx.state().put("last", key)?;
        ctx.state()
            .put_as("packed", &serde_json::json!({ "sum": sum }))?;
        ctx.state().put([0xff, b'/', b':'], [0xff, 0xfe])?;
        ctx.state().put("token", &self.token)?;
        let schema = Schema::new(vec![ColumnDef::new("Rows", ColumnType::I64)]);
        let schema = schema.expect("one column with a legal name");
        let times = Column::from_values(vec![0_i64]);
        let rows = ColumnBatch::new(schema, times, vec![Column::from_values(vec![sum])]);
        let target = BucketKey::parse("COUNT/1Sec/ROWS").expect("a legal key");
        ctx.write(&target, RowKind::Bar, rows.expect("one row"))?;
        Ok(())
    }
}

/// Nothing but a module of another name.
struct Other;

impl Plugin for Other {
    type Config = Value;
    const MANIFEST: Manifest = Manifest::new("other", "0.1.0");

    fn new(_config: Value, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Trigger for Other {
    fn fire(&mut self, _ctx: &mut FireCtx<'_>, _event: &Event<'_>) -> Result<(), FireError> {
        Ok(())
    }
}
