//! A trigger that counts the rows of each bucket and writes the count.
//!
//! It shows what a fire can do: state, rows, timers, messages, queries. `panic_in` makes it fail
//! where a test wants it to.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_sdk::{
    CloseReason, Delivery, Event, FireCtx, FireError, Init, Level, Manifest, Plugin, PluginError,
    Query, State, Trigger,
};
use serde::Deserialize;

plugin_sdk::export_plugin!(Counter: trigger);

/// Where to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// When made.
    New,
    /// In a fire.
    Fire,
    /// When closed.
    Close,
    /// In `migrate`, which has no config: state of version 66 makes it.
    Migrate,
}

/// What stands under `config:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bucket of the counts.
    #[serde(default = "target")]
    target: String,
    /// A message is published so long after a row (ns); 0 for never.
    #[serde(default)]
    remind_after: i64,
    /// Does nothing: what remains is the cost of a fire.
    #[serde(default)]
    idle: bool,
    /// Fails where a test wants it to.
    panic_in: Option<Place>,
}

fn target() -> String {
    "COUNT/1Sec/ROWS".into()
}

/// The trigger.
#[derive(Debug)]
pub struct Counter {
    config: Config,
    target: BucketKey,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let column = ColumnDef::new("Rows", ColumnType::I64);
    Schema::new(vec![column]).expect("one column with a legal name")
});

impl Plugin for Counter {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        about: "counts rows",
        delivery: Delivery::Exact,
        accepts_gap: true,
        state_version: 2,
        metrics: &["rows"],
        ..Manifest::new("counter", "1.0.0")
    };

    fn new(config: Config, init: &mut Init<'_>) -> Result<Self, PluginError> {
        assert!(config.panic_in != Some(Place::New), "told to, in new");
        let target = BucketKey::parse(&config.target)
            .map_err(|error| PluginError::from(format!("target: {error}")))?;
        if init.instance == "nobody" {
            return Err(format!("epoch {} in {}", init.epoch, init.zone.name()).into());
        }
        Ok(Self { config, target })
    }

    fn migrate(from: u32, state: &mut State<'_>) -> Result<(), PluginError> {
        assert!(from != 66, "told to, in migrate");
        // Version 1 had its count as bytes.
        if let Some(old) = state.get("rows")? {
            let count = old.as_ref().try_into().map(i64::from_le_bytes);
            let count = count.map_err(|_| PluginError::from("\"rows\" has not 8 bytes"))?;
            state.delete("rows")?;
            state.incr("rows", count)?;
        }
        Ok(())
    }

    fn close(&mut self, _why: CloseReason) {
        assert!(
            self.config.panic_in != Some(Place::Close),
            "told to, in close"
        );
    }
}

impl Trigger for Counter {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        assert!(
            self.config.panic_in != Some(Place::Fire),
            "told to, in fire"
        );
        if self.config.idle {
            return Ok(());
        }
        match event {
            Event::Write(batch) => self.count(ctx, batch.rows.times()),
            Event::Gap { key, from, to } => {
                let query = Query {
                    key,
                    from: *from,
                    to: *to,
                    columns: None,
                    limit: None,
                };
                match ctx.query(&query)? {
                    Some(rows) => self.count(ctx, rows.times()),
                    None => Ok(()),
                }
            }
            Event::Deleted(key) => {
                ctx.log(Level::Info, &format!("{key} is gone"));
                Ok(())
            }
            Event::Timer { key, payload, .. } => {
                let stream = String::from_utf8_lossy(key);
                ctx.publish(&stream, payload.to_vec().into());
                Ok(())
            }
        }
    }
}

impl Counter {
    fn count(&self, ctx: &mut FireCtx<'_>, times: &[i64]) -> Result<(), FireError> {
        let Some(last) = times.iter().max() else {
            return Err(FireError::Skip("no rows".into()));
        };
        let count = times.len() as i64;
        let sum = ctx.state().incr("rows", count)?;
        ctx.count("rows", count as f64);
        if self.config.remind_after > 0 {
            let due = ctx.info().now + self.config.remind_after;
            ctx.set_timer(b"remind", due, &sum.to_le_bytes())?;
        }
        let rows = Column::from_values(vec![sum]);
        let times = Column::from_values(vec![*last]);
        let rows = ColumnBatch::new(SCHEMA.clone(), times, vec![rows])
            .map_err(|error| FireError::Fatal(error.to_string()))?;
        ctx.write(&self.target, RowKind::Bar, rows)?;
        Ok(())
    }
}
