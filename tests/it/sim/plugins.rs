//! The instances of the simulation, one of each delivery and more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ::model::{BucketKey, RowKind};
use plugin_host::{Entry, OnOverflow, Start};
use plugin_sdk::{
    BuiltIn, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, StateScope,
    Trigger,
};

pub(super) const DESTINATIONS: [&str; 3] = ["5Min", "1H", "1D"];

pub(super) fn builtins() -> Vec<BuiltIn> {
    vec![
        ondiskagg::BUILT_IN,
        BuiltIn::trigger::<Copier>(),
        BuiltIn::trigger::<Counter>(),
        BuiltIn::trigger::<Watcher>(),
    ]
}

/// Where an instance that came late copies to.
pub(super) fn late_group(number: u64) -> String {
    format!("LATE{number}")
}

/// Every instance, with so many that begin at the oldest row.
pub(super) fn entries(late: u64) -> Vec<Entry> {
    let entry = |module: &str, name: &str, on: &str, config| Entry {
        name: Some(name.into()),
        on: vec![on.into()],
        config,
        ..Entry::trigger(module)
    };
    let ticks = "*/1Sec/TICK";
    let copier = |name: &str, group: &str| {
        let config = serde_json::json!({ "group": group });
        Entry {
            on_overflow: Some(OnOverflow::Hold),
            ..entry("copier", name, ticks, config)
        }
    };
    let mut all = vec![
        Entry {
            // So little that a checkpoint finds it behind again and again.
            wal_hold: 1 << 10,
            ..entry(
                "ondiskagg.so",
                "aggregates",
                "*/1Min/OHLCV",
                serde_json::json!({ "destinations": DESTINATIONS }),
            )
        },
        copier("exact", "COPY"),
        Entry {
            delivery: Some(Delivery::Durable),
            ..copier("durable", "DURABLE")
        },
        entry("watcher", "volatile", ticks, serde_json::Value::Null),
        Entry {
            parallelism: 2,
            ..entry("counter", "counter", ticks, serde_json::Value::Null)
        },
    ];
    for number in 0..late {
        let mut entry = copier(&format!("late{number}"), &late_group(number));
        entry.start = Start::Earliest;
        entry.window.rows = 7;
        all.push(entry);
    }
    all
}

/// Counts every tick in state, and deletes what it kept at every second event.
struct Counter;

impl Plugin for Counter {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        state_scope: StateScope::Key,
        ..Manifest::new("counter", "1.0.0")
    };

    fn new(_config: serde_json::Value, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Trigger for Counter {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let mut state = ctx.state();
        state.incr("n", batch.rows.rows() as i64)?;
        if state.incr("events", 1)? % 2 == 1 {
            state.put("flag", "")?;
        } else {
            state.delete("flag")?;
        }
        Ok(())
    }
}

/// Repeats every tick once: any fire that is lost or repeated shows.
struct Copier(String);

impl Plugin for Copier {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        accepts_gap: false,
        ..Manifest::new("copier", "1.0.0")
    };

    fn new(config: serde_json::Value, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let group = config["group"].as_str().ok_or("no group")?;
        Ok(Self(group.to_owned()))
    }
}

impl Trigger for Copier {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let target = BucketKey::new(batch.key.symbol(), "1Sec", &self.0).expect("a fixed group");
        ctx.write(&target, RowKind::Tick, batch.rows.clone())?;
        Ok(())
    }
}

/// Sees every commit of a bucket at most once in a run, in their order.
#[derive(Default)]
struct Watcher(BTreeMap<String, u64>);

/// Commits seen, and those seen twice or out of order.
pub(super) static WATCHED: AtomicU64 = AtomicU64::new(0);
pub(super) static SEEN_TWICE: AtomicU64 = AtomicU64::new(0);

impl Plugin for Watcher {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Volatile,
        ..Manifest::new("watcher", "1.0.0")
    };

    fn new(_config: serde_json::Value, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self::default())
    }
}

impl Trigger for Watcher {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let info = ctx.info();
        let last = self.0.insert(batch.key.to_string(), info.last_lsn);
        WATCHED.fetch_add(1, Relaxed);
        if last.is_some_and(|last| last >= info.first_lsn) {
            SEEN_TWICE.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}
