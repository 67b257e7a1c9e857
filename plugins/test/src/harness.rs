//! [`Harness`]: a plugin on a store of its own, and what a test does to it.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plugin_host::Entry;
use plugin_sdk::{BgWorker, BuiltIn, ConfigError, Module, SharedTrigger, Source, Trigger, parse};
use serde_json::Value;

use crate::bench::Bench;
use crate::crash::Point;
use crate::form::Form;
use crate::table::{Feed, Table, parse_key};
use crate::watch::Fault;

/// A plugin that was made from a file, not from a type.
#[derive(Debug)]
pub struct Loaded;

/// A plugin on a store of its own: host and engine on a simulated disk and clock.
///
/// The plugin starts with the first call that needs it, as an entry with every default; what is fed is
/// fired before the call returns. An event is one commit's rows of one bucket, and is tried twice.
/// Nothing is shared with other harnesses.
///
/// ```
/// use counter::Counter;
/// use plugin_test::{Harness, Table, json};
///
/// let mut counter = Harness::<Counter>::new(json!({"target": "COUNT/1Sec/ROWS"}));
/// counter.feed("AAPL/1Min/OHLCV", Table::seconds([60, 120]).column("Close", [1.0, 2.0]));
/// counter.fire_twice().feed("AAPL/1Min/OHLCV", Table::seconds([180]).column("Close", [3.0]));
///
/// counter.assert_counter("rows", 3);
/// counter.assert_rows(
///     "COUNT/1Sec/ROWS",
///     Table::seconds([120, 180]).column("Rows", [2_i64, 3]),
/// );
/// ```
///
/// Every method panics with what was wanted and what was found when something is not as it must be.
pub struct Harness<T = Loaded> {
    pub(crate) bench: Bench,
    plugin: PhantomData<fn() -> T>,
}

impl<T: Trigger> Harness<T> {
    /// A trigger, with this `config:`.
    pub fn new(config: Value) -> Self {
        Self::of_line(&BuiltIn::trigger::<T>(), config)
    }

    /// Whether a config is accepted, as `mkts check-config` asks it.
    ///
    /// # Errors
    /// With the path of the key: what a test compares.
    pub fn check(config: &Value) -> Result<(), ConfigError> {
        parse::<T>(config)?;
        BuiltIn::trigger::<T>().module().check(config)
    }
}

impl<T: SharedTrigger> Harness<T> {
    /// A trigger whose object is shared, with this `config:`.
    pub fn shared(config: Value) -> Self {
        Self::of_line(&BuiltIn::shared_trigger::<T>(), config)
    }
}

impl<T: BgWorker> Harness<T> {
    /// A background worker, with this `config:`.
    pub fn bgworker(config: Value) -> Self {
        Self::of_line(&BuiltIn::bgworker::<T>(), config)
    }
}

impl<T: Source> Harness<T> {
    /// A source, with these `params:` and `config:`.
    pub fn source(params: &str, config: Value) -> Self {
        let mut source = Self::of_line(&BuiltIn::source::<T>(), config);
        source.bench.entry.params = params.into();
        source
    }
}

impl Harness<Loaded> {
    /// A plugin in a library or a program, whatever language it is written in.
    #[track_caller]
    pub fn open(form: &Form, config: Value) -> Self {
        match form.module() {
            Ok(module) => Self::of(module, config),
            Err(why) => panic!("{why}"),
        }
    }
}

impl<T> Harness<T> {
    fn of_line(line: &BuiltIn, config: Value) -> Self {
        Self::of(line.module(), config)
    }

    /// Any module.
    pub fn of(module: Arc<dyn Module>, config: Value) -> Self {
        Self {
            bench: Bench::new(module, config),
            plugin: PhantomData,
        }
    }

    #[track_caller]
    pub(crate) fn must<V>(&mut self, what: &str, done: Result<V, String>) -> V {
        match done {
            Ok(value) => value,
            Err(why) => self.fail(&format!("{what}: {why}")),
        }
    }

    /// Ends the test, with what the log says.
    #[track_caller]
    pub(crate) fn fail(&self, why: &str) -> ! {
        let name = self.bench.id.split('-').next().unwrap_or_default();
        let lines = crate::logs::of(&self.bench.id);
        let last = lines.iter().rev().take(10).rev();
        let log: String = last
            .map(|line| format!("\n  log {}: {}", line.level, line.text))
            .collect();
        panic!("{name}: {why}{log}");
    }

    /// Changes the entry of mkts.yml, before the plugin starts.
    ///
    /// # Panics
    /// If it runs already.
    #[track_caller]
    pub fn entry(&mut self, change: impl FnOnce(&mut Entry)) -> &mut Self {
        assert!(
            !self.bench.is_running(),
            "the entry is changed before anything is fed"
        );
        change(&mut self.bench.entry);
        self
    }

    /// `on:` of the entry; without it the trigger fires on every bucket.
    #[track_caller]
    pub fn on(&mut self, pattern: &str) -> &mut Self {
        self.entry(|entry| entry.on = vec![pattern.into()])
    }

    /// Starts the plugin, which the first feed does by itself; a test of a refused config uses
    /// [`Harness::try_start`].
    #[track_caller]
    pub fn start(&mut self) -> &mut Self {
        let done = self.bench.start();
        self.must("start", done);
        self
    }

    /// Starts the plugin.
    ///
    /// # Errors
    /// Why it does not run.
    pub fn try_start(&mut self) -> Result<(), String> {
        self.bench.start()
    }

    /// Writes rows as one commit of a client, and waits until the plugin has done with them.
    #[track_caller]
    pub fn feed(&mut self, key: &str, rows: Table) -> &mut Self {
        self.feed_all([Feed::new(key, &rows)])
    }

    /// As [`Harness::feed`], commit after commit.
    #[track_caller]
    pub fn feed_all(&mut self, feeds: impl IntoIterator<Item = Feed>) -> &mut Self {
        for feed in feeds {
            let done = self.bench.feed(&feed);
            self.must(&format!("feed {}", feed.key), done);
        }
        self
    }

    /// Feeds a file: a recording of `mkts plugin record`, or a CSV file that is named after its bucket
    /// (`AAPL_1Min_OHLCV.csv`, also `.csv.gz`), 100 rows a commit.
    #[track_caller]
    pub fn replay(&mut self, file: impl AsRef<Path>) -> &mut Self {
        let steps = crate::replay::read(file.as_ref());
        let steps = self.must("replay", steps);
        for step in steps {
            let done = step.apply(&mut self.bench);
            self.must("replay", done);
        }
        self
    }

    /// The next feed fires twice: the server dies after the fire, before its effects are durable.
    pub fn fire_twice(&mut self) -> &mut Self {
        self.crash_at(Point::CommitWritten)
    }

    /// The server dies here during the next feed, and is started again. Nothing that was not synced
    /// survives.
    pub fn crash_at(&mut self, point: Point) -> &mut Self {
        self.bench.crash_at(point);
        self
    }

    /// The power goes now; the server is started again.
    #[track_caller]
    pub fn power_cut(&mut self) -> &mut Self {
        let done = self.bench.power_cut();
        self.must("power cut", done);
        self
    }

    /// An orderly stop, and another start. Everything the plugin keeps in its fields is gone.
    #[track_caller]
    pub fn restart(&mut self) -> &mut Self {
        let done = self.bench.restart();
        self.must("restart", done);
        self
    }

    /// The server stops in order, and another plugin starts with the state and the place of this one:
    /// a newer version, or one in another language.
    #[track_caller]
    pub fn replace(&mut self, form: &Form) -> &mut Self {
        let module = form.module();
        let module = self.must("replace", module);
        let done = self.bench.replace(module);
        self.must("replace", done);
        self
    }

    /// The next fire takes too long: it is told to end ([`plugin_sdk::FireCtx::is_cancelled`]), what
    /// it did is dropped, and the event fires again.
    pub fn timeout_next(&mut self) -> &mut Self {
        self.bench.fault(Fault::Timeout);
        self
    }

    /// What the next fire does is dropped, and the event fires again, up to `max_attempts` (2).
    pub fn fail_next(&mut self, why: &str) -> &mut Self {
        self.bench.fault(Fault::Fail(why.into()));
        self
    }

    /// As [`Harness::fail_next`]; the object is gone, too.
    pub fn panic_next(&mut self) -> &mut Self {
        self.bench.fault(Fault::Panic);
        self
    }

    /// Every call of the next fire that changes something fails with `LIMIT`.
    pub fn limit_next(&mut self) -> &mut Self {
        self.bench.fault(Fault::Limit);
        self
    }

    /// Tells the plugin that rows of this range (ns, inclusive) may have changed.
    #[track_caller]
    pub fn gap(&mut self, key: &str, from: i64, to: i64) -> &mut Self {
        let key = parse_key(key);
        let key = self.must("gap", key);
        let done = self.bench.gap(&key, from, to);
        self.must("gap", done);
        self
    }

    /// Deletes rows of a range (ns, inclusive), as `mkts delete` does.
    #[track_caller]
    pub fn delete(&mut self, key: &str, from: i64, to: i64) -> &mut Self {
        let key = parse_key(key);
        let key = self.must("delete", key);
        let done = self.bench.delete(&key, from, to);
        self.must("delete", done);
        self
    }

    /// Drops a bucket.
    #[track_caller]
    pub fn drop_bucket(&mut self, key: &str) -> &mut Self {
        let key = parse_key(key);
        let key = self.must("drop_bucket", key);
        let done = self.bench.drop_bucket(&key);
        self.must("drop_bucket", done);
        self
    }

    /// Lets time pass on the clock of the server (at the start 2020-09-13 12:26:40 UTC); timers that
    /// are due fire.
    #[track_caller]
    pub fn advance(&mut self, time: Duration) -> &mut Self {
        let done = self.bench.advance(time);
        self.must("advance", done);
        self
    }

    /// Waits until a worker or source has ended by itself.
    #[track_caller]
    pub fn until_ended(&mut self) -> &mut Self {
        let done = self.bench.until_ended(Duration::from_secs(30));
        self.must("until_ended", done);
        self
    }

    /// Waits until a bucket has so many rows: what a worker or source without an end is tested with.
    #[track_caller]
    pub fn until_rows(&mut self, key: &str, rows: usize) -> &mut Self {
        let bucket = parse_key(key);
        let bucket = self.must("until_rows", bucket);
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.bench.rows(&bucket);
            let found = self
                .must("until_rows", found)
                .map_or(0, |found| found.rows());
            if found >= rows {
                return self;
            }
            if std::time::Instant::now() >= end {
                self.fail(&format!("{key} has {found} rows, {rows} are wanted"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl<T> std::fmt::Debug for Harness<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Harness({})", self.bench.id)
    }
}
