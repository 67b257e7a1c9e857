//! T19: another version of a plugin takes the place of the one that runs, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use disk::sim::SimDisk;
use plugin_host::{Entry, Error, Modules, Search, State};
use plugin_sdk::{
    AnySource, AnyTrigger, AnyWorker, CloseReason, ConfigError, Delivery, Description, Event, Init,
    Module, PluginError, StateValue,
};
use serde_json::Value;

use crate::support::{
    Store, builtins, closed, copy_to, keeper, labour, options, probe, try_open_with,
};

/// A module of which a newer version appears.
struct Versions {
    all: Vec<(Description, Arc<dyn Module>)>,
    newest: AtomicUsize,
}

impl Versions {
    /// Built-in modules as the versions 1.0.0, 2.0.0, ... of one.
    fn of(name: &str, modules: &[&str]) -> Arc<Self> {
        let builtins = builtins();
        let versions = modules.iter().enumerate().map(|(at, module)| {
            let mut found = builtins.iter().map(plugin_sdk::BuiltIn::module);
            let found = found.find(|m| m.description().name == *module).unwrap();
            let description = Description {
                name: name.into(),
                version: format!("{}.0.0", at + 1),
                ..found.description().clone()
            };
            (description, found)
        });
        Arc::new(Self {
            all: versions.collect(),
            newest: AtomicUsize::new(0),
        })
    }

    fn newest(&self) -> &(Description, Arc<dyn Module>) {
        &self.all[self.newest.load(SeqCst)]
    }

    fn appears(&self, version: usize) {
        self.newest.store(version - 1, SeqCst);
    }

    fn open(self: &Arc<Self>, disk: &SimDisk, entries: Vec<Entry>) -> Store {
        let module = Arc::clone(self) as Arc<dyn Module>;
        let modules = Modules::new(&builtins(), Search::default()).with(module);
        try_open_with(disk, modules, entries, options()).unwrap()
    }
}

impl Module for Versions {
    fn description(&self) -> &Description {
        &self.newest().0
    }

    fn check(&self, config: &Value) -> Result<(), ConfigError> {
        self.newest().1.check(config)
    }

    fn migrate(&self, from: u32, state: &mut plugin_sdk::State<'_>) -> Result<(), PluginError> {
        self.newest().1.migrate(from, state)
    }

    fn trigger(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyTrigger>, PluginError> {
        self.newest().1.trigger(config, init)
    }

    fn worker(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyWorker>, PluginError> {
        self.newest().1.worker(config, init)
    }

    fn source(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnySource>, PluginError> {
        self.newest().1.source(config, init)
    }
}

/// Writers go on all the time; every row has its effect once, in order.
#[test]
fn a_reload_under_load_loses_and_doubles_nothing() {
    for delivery in [Delivery::Exact, Delivery::Durable, Delivery::Volatile] {
        let versions = Versions::of("plugin", &["probe", "gapprobe"]);
        let entry = Entry {
            module: "plugin".into(),
            delivery: Some(delivery),
            ..probe("one", "A/**", copy_to("OUT/1Min/T"))
        };
        let disk = SimDisk::new(1);
        let store = versions.open(&disk, vec![entry.clone()]);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|n| store.write("A/1Min/T", &[n])));
            for turn in 0..10 {
                versions.appears(1 + (turn + 1) % 2);
                let reloaded = store.host.reload("one").unwrap();
                assert_ne!(reloaded.before, reloaded.after);
                assert_eq!(store.status("one").version, reloaded.after);
            }
        });
        store.drain();
        // Rows of a volatile instance are visible when they are.
        store.until_it("one", |_| store.times("OUT/1Min/T").len() >= 200);
        assert_eq!(store.times("OUT/1Min/T"), (0..200).collect::<Vec<_>>());
        assert_eq!(store.status("one").state, State::Running);
        assert_eq!(closed(&entry, CloseReason::Reload), 10);
        store.close();
    }
}

/// The state is brought forward in one commit with nothing in between.
#[test]
fn a_reload_migrates_and_a_crash_finds_either_version() {
    let versions = Versions::of("plugin", &["keeper1", "keeper2"]);
    let entry = keeper("plugin", "one", "A/**", |ctx, event| {
        if let Event::Write(batch) = event {
            ctx.state().incr("n", batch.rows.rows() as i64)?;
        }
        Ok(())
    });
    let run = |disk: &SimDisk, calls: Option<u64>| {
        versions.appears(1);
        if let Some(calls) = calls {
            disk.crash_after(calls);
        }
        let modules = Modules::new(&builtins(), Search::default()).with(Arc::clone(&versions) as _);
        let Ok(store) = try_open_with(disk, modules, vec![entry.clone()], options()) else {
            return;
        };
        for n in 0..4 {
            let _ = store.try_write("A/1Min/T", &[n]);
        }
        store.host.drain(std::time::Duration::from_secs(20));
        versions.appears(2);
        let _ = store.host.reload("one");
        let _ = store.engine.checkpoint();
        let _ = store.try_write("A/1Min/T", &[4]);
        store.host.drain(std::time::Duration::from_secs(20));
        store.host.stop();
    };
    let whole = SimDisk::new(2);
    run(&whole, None);
    for calls in 0..whole.call_count() {
        let disk = SimDisk::new(calls);
        run(&disk, Some(calls));
        let disk = disk.reopen();
        versions.appears(2);
        let store = versions.open(&disk, vec![entry.clone()]);
        store.drain();
        assert_eq!(store.status("one").state, State::Running, "{calls}");
        let get = |key: &[u8]| store.host.state_get("one", "", key).unwrap();
        let counted = match get(b"n") {
            Some(StateValue::Counter(count)) => count,
            _ => 0,
        };
        let before = match get(b"m") {
            Some(StateValue::Bytes(text)) => {
                let text = String::from_utf8(text.to_vec()).unwrap();
                let (count, version) = text.split_once(" of version ").unwrap();
                assert_eq!(version, "1");
                count.parse::<i64>().unwrap()
            }
            _ => 0,
        };
        let rows = store.times("A/1Min/T").len() as i64;
        assert_eq!(counted + before, rows, "crash after {calls} calls");
        store.close();
    }
}

/// Whatever is wrong with the new version, the old one goes on as if nobody had asked.
#[test]
fn a_reload_that_fails_keeps_the_old_version() {
    let versions = Versions::of("plugin", &["keeper1", "keeper2", "labour", "probe"]);
    let entry = keeper("plugin", "one", "A/**", |ctx, event| {
        if let Event::Write(batch) = event {
            ctx.state().incr("n", batch.rows.rows() as i64)?;
        }
        ctx.state().put("refuse", b"")?;
        Ok(())
    });
    let store = versions.open(&SimDisk::new(3), vec![entry.clone()]);
    store.write("A/1Min/T", &[1]);
    store.drain();
    // Its migration refuses; it is of another kind.
    for (version, why) in [
        (2, "this state is refused"),
        (3, "is a bgworker, move the entry"),
    ] {
        versions.appears(version);
        let error = store.host.reload("one").unwrap_err();
        assert!(matches!(error, Error::Instance { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        let status = store.status("one");
        assert_eq!((status.state, &*status.version), (State::Running, "1.0.0"));
        // This module says of itself what its newest version does.
        versions.appears(1);
        store.write("A/1Min/T", &[2]);
        store.drain();
    }
    let count = store.host.state_get("one", "", b"n").unwrap();
    assert_eq!(count, Some(StateValue::Counter(3)));
    assert_eq!(closed(&entry, CloseReason::Reload), 0);
    store.close();
}

/// A window that never ends does not keep the version away that mends it.
#[test]
fn a_reload_mends_a_window_that_fails_for_ever() {
    let versions = Versions::of("plugin", &["probe", "gapprobe"]);
    let is_new = Arc::clone(&versions);
    let copy = copy_to("OUT/1Min/T");
    let entry = Entry {
        module: "plugin".into(),
        max_attempts: Some(0),
        ..probe("one", "A/**", move |ctx, event| {
            if is_new.newest.load(SeqCst) == 0 {
                return Err(plugin_sdk::FireError::RetryAfter {
                    text: "broken".into(),
                    after: std::time::Duration::from_secs(3600),
                });
            }
            copy(ctx, event)
        })
    };
    let store = versions.open(&SimDisk::new(4), vec![entry]);
    store.write("A/1Min/T", &[1]);
    store.until("one", State::Backoff);
    versions.appears(2);
    store.host.reload("one").unwrap();
    store.drain();
    assert_eq!(store.times("OUT/1Min/T"), [1]);
    assert_eq!(store.status("one").version, "2.0.0");
    store.close();
}

/// What does not run is looked at again: it starts, or stays as an operator left it.
#[test]
fn a_reload_of_what_does_not_run() {
    let versions = Versions::of("plugin", &["labour", "labour"]);
    let worker = Entry {
        module: "plugin".into(),
        ..labour("worker", |ctx| {
            while ctx.sleep(std::time::Duration::from_secs(3600)) {}
            Ok(())
        })
    };
    let store = versions.open(&SimDisk::new(5), vec![worker]);
    versions.appears(2);
    assert_eq!(store.host.reload("worker").unwrap().after, "2.0.0");
    assert_eq!(store.status("worker").state, State::Running);
    store.host.pause("worker").unwrap();
    versions.appears(1);
    store.host.reload("worker").unwrap();
    let status = store.status("worker");
    assert_eq!((status.state, &*status.version), (State::Paused, "1.0.0"));
    store.host.disable("worker").unwrap();
    store.host.reload("worker").unwrap();
    assert_eq!(store.status("worker").state, State::Disabled);
    store.close();
}
