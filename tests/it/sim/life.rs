//! One store through writes, crashes and recoveries.

use std::sync::Arc;
use std::time::Duration;

use ::model::{BucketKey, RowKind, Zone};
use bytes::Bytes;
use disk::SystemClock;
use disk::sim::SimDisk;
use engine::{Commit, Engine, Options, Origin, Scan};
use plugin_host::{Entry, Host, Publisher};
use plugin_sdk::{
    BuiltIn, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, StateScope,
    StateValue, Trigger,
};
use tests::rng::Rng;

use super::model::{Op, Rows, State, bars_of, ticks_of};

const MINUTE: i64 = 60_000_000_000;
const START: i64 = 1_577_836_800_000_000_000 - 40 * MINUTE; // shortly before a new year
const DESTINATIONS: [&str; 3] = ["5Min", "1H", "1D"];
const SYMBOLS: [&str; 3] = ["SPY", "AAPL", "BRK.B"];

/// What ends a life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Crash {
    /// What was not synced is lost in part, sector by sector.
    Power,
    /// The process dies; the page cache lives on.
    Process,
}

pub(super) struct Life {
    seed: u64,
    rng: Rng,
    disk: SimDisk,
    running: Option<(Engine, Host)>,
    /// Acknowledged, in order.
    acknowledged: State,
    /// Queued and not acknowledged, in order: a prefix of these may survive.
    in_doubt: Vec<Op>,
    clock: i64,
    pub(super) crashes: u64,
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let running = Some(open(&disk).expect("an empty disk opens"));
        let (acknowledged, in_doubt) = (State::default(), Vec::new());
        let rng = Rng::new(seed);
        Self {
            seed,
            rng,
            disk,
            running,
            acknowledged,
            in_doubt,
            clock: START,
            crashes: 0,
        }
    }

    /// Up to `count` operations; with a crash, until it happens, and then opens what is left.
    pub(super) fn run(&mut self, count: u64, crash: Option<(u64, Crash)>) {
        if let Some((after, _)) = crash {
            self.disk.crash_after(after);
        }
        for _ in 0..count {
            if !self.step() {
                break;
            }
        }
        if let Some((_, kind)) = crash {
            self.crashes += u64::from(self.disk.crashed());
            self.restart(kind);
        }
    }

    /// One operation; false if the store takes no more.
    fn step(&mut self) -> bool {
        let (engine, _) = self.running.as_ref().expect("a life runs between crashes");
        let engine = engine.clone();
        match self.rng.below(12) {
            0 => engine.checkpoint().is_ok(),
            1..=3 => self.write_pipelined(&engine, 4),
            _ => self.write_pipelined(&engine, 1),
        }
    }

    /// Queues some commits before it waits for the first.
    fn write_pipelined(&mut self, engine: &Engine, count: usize) -> bool {
        let ops: Vec<Op> = (0..count).map(|_| self.draw()).collect();
        let tickets: Vec<_> = ops
            .iter()
            .map(|op| (op, engine.write(commit(op))))
            .collect();
        let mut refused = false;
        for (op, ticket) in tickets {
            match ticket {
                Ok(ticket) => {
                    // An earlier commit in doubt means that a later one is, too.
                    if ticket.wait().is_ok() && self.in_doubt.is_empty() {
                        self.acknowledged.apply(op);
                    } else {
                        self.in_doubt.push(op.clone());
                    }
                }
                // Refused before it was queued; what defined its buckets may have been written.
                Err(_) => refused = true,
            }
        }
        self.in_doubt.is_empty() && !refused
    }

    fn draw(&mut self) -> Op {
        let buckets = if self.rng.below(4) == 0 { 3 } else { 1 };
        let first = self.rng.below(3) as usize;
        let rows = (0..buckets).map(|i| {
            let symbol = SYMBOLS[(first + i) % 3];
            if self.rng.below(3) == 0 {
                self.draw_ticks(symbol)
            } else {
                self.draw_bars(symbol)
            }
        });
        Op {
            rows: rows.collect(),
        }
    }

    fn draw_bars(&mut self, symbol: &str) -> (BucketKey, Rows) {
        let count = 1 + self.rng.below(20);
        let late = self.rng.below(4) == 0;
        let mut bars: Vec<(i64, [f64; 5])> = Vec::new();
        for _ in 0..count {
            let back = if late { self.rng.below(200) as i64 } else { 0 };
            self.clock += if late { 0 } else { MINUTE };
            // Whole numbers: sums are exact in any order.
            let price = 100.0 + self.rng.below(50) as f64;
            let bar = [
                price,
                price + 2.0,
                price - 1.0,
                price + 1.0,
                10.0 + back as f64,
            ];
            bars.push((self.clock - back * MINUTE, bar));
        }
        (key(symbol, "1Min", "OHLCV"), Rows::Bars(bars))
    }

    fn draw_ticks(&mut self, symbol: &str) -> (BucketKey, Rows) {
        let count = 1 + self.rng.below(10);
        let tick = |rng: &mut Rng| {
            (
                START + rng.below(1_000_000_000) as i64,
                rng.below(99) as f64,
            )
        };
        (
            key(symbol, "1Sec", "TICK"),
            Rows::Ticks((0..count).map(|_| tick(&mut self.rng)).collect()),
        )
    }

    /// Ends the running store and opens what the crash left.
    pub(super) fn restart(&mut self, kind: Crash) {
        self.disk.crash();
        self.drop_running();
        self.disk = after(&self.disk, kind);
        self.running = Some(open(&self.disk).unwrap_or_else(|e| panic!("seed {}: {e}", self.seed)));
    }

    /// Crashes what runs, then the recovery after it, then recovers.
    pub(super) fn crash_during_recovery(&mut self, calls: u64, kind: Crash) {
        self.disk.crash();
        self.drop_running();
        self.disk = after(&self.disk, kind);
        self.disk.crash_after(calls);
        if let Ok((engine, host)) = open(&self.disk) {
            self.running = Some((engine, host));
        }
        self.restart(kind);
    }

    pub(super) fn stop_cleanly(&mut self) {
        let (engine, host) = self.running.take().expect("a life runs between crashes");
        assert!(
            host.drain(Duration::from_secs(60)),
            "seed {}: triggers drain",
            self.seed
        );
        host.stop();
        engine.close().expect("a clean stop");
        self.disk = self.disk.restart();
        self.running = Some(open(&self.disk).expect("opens again"));
    }

    pub(super) fn fail_a_sync_after(&mut self, count: u64) {
        self.disk.fail_sync_after(count);
    }

    pub(super) fn poisoned(&self) -> bool {
        let (engine, _) = self.running.as_ref().expect("a life runs between crashes");
        engine.status().poisoned.is_some()
    }

    fn drop_running(&mut self) {
        if let Some((engine, host)) = self.running.take() {
            host.stop();
            // The disk is gone: closing fails, and must end the threads all the same.
            let _ = engine.close();
        }
    }

    /// Compares everything, settles what was in doubt, opens once more and compares again.
    pub(super) fn check(&mut self, context: &str) {
        let found = self.read();
        self.settle(&found, context);
        self.check_triggers(context);
        self.disk.crash();
        self.drop_running();
        self.disk = self.disk.restart();
        self.running = Some(open(&self.disk).unwrap_or_else(|e| panic!("{context}: {e}")));
        assert_eq!(
            self.read(),
            self.acknowledged,
            "{context}: the second recovery changed rows"
        );
        self.check_triggers(&format!("{context}, opened again"));
    }

    /// The state must be the acknowledged one and a prefix of the commits in doubt.
    fn settle(&mut self, found: &State, context: &str) {
        let mut state = self.acknowledged.clone();
        let mut fits = *found == state;
        for op in std::mem::take(&mut self.in_doubt) {
            if fits {
                break;
            }
            state.apply(&op);
            fits = *found == state;
        }
        if !fits {
            panic!(
                "{context}: rows lost, doubled or invented\n{}",
                first_difference(found, &self.acknowledged)
            );
        }
        self.acknowledged = state;
    }

    fn check_triggers(&self, context: &str) {
        let (_, host) = self.running.as_ref().expect("a life runs between crashes");
        assert!(
            host.drain(Duration::from_secs(60)),
            "{context}: {:?}",
            host.status()
        );
        for base in self.acknowledged.bars.keys() {
            for destination in DESTINATIONS {
                let key = key(base.symbol(), destination, "OHLCV");
                let found = self.scan(&key).map(|b| bars_of(&b)).unwrap_or_default();
                let expected = self.acknowledged.aggregates(base, destination);
                assert_eq!(
                    found, expected,
                    "{context}: {key} is not the roll-up of {base}"
                );
            }
        }
        for (source, ticks) in &self.acknowledged.ticks {
            let copied = self
                .scan(&copy_of(source))
                .map(|b| ticks_of(&b))
                .unwrap_or_default();
            assert_eq!(
                sorted(&copied),
                sorted(ticks),
                "{context}: {source} was not copied once"
            );
            let kept = |name: &[u8]| {
                let value = host.state_get("counter", source.as_str(), name);
                value.unwrap_or_else(|e| panic!("{context}: {e}"))
            };
            assert_eq!(
                kept(b"n"),
                Some(StateValue::Counter(ticks.len() as i64)),
                "{context}: {source} was not counted once"
            );
            // Made and deleted with every event: there after an odd number of them.
            let is_odd = kept(b"events")
                .is_some_and(|value| matches!(value, StateValue::Counter(n) if n % 2 == 1));
            assert_eq!(
                kept(b"flag").is_some(),
                is_odd,
                "{context}: {source} has parts of two events"
            );
        }
    }

    fn read(&self) -> State {
        let (engine, _) = self.running.as_ref().expect("a life runs between crashes");
        let mut state = State::default();
        for bucket in engine.buckets().iter() {
            let key = &bucket.key;
            let Some(batch) = self.scan(key).filter(|b| !b.is_empty()) else {
                continue;
            };
            match key.timeframe() {
                "1Min" => drop(state.bars.insert(key.clone(), bars_of(&batch))),
                "1Sec" if key.attribute_group() == "TICK" => {
                    state.ticks.insert(key.clone(), ticks_of(&batch));
                }
                _ => {}
            }
        }
        state
    }

    fn scan(&self, key: &BucketKey) -> Option<::model::ColumnBatch> {
        let (engine, _) = self.running.as_ref().expect("a life runs between crashes");
        let bucket = engine.bucket(key)?;
        let snapshot = engine.snapshot(&[bucket.id]);
        Some(snapshot.scan(0, &Scan::all()).expect("rows are readable"))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.disk.crash();
        self.drop_running();
    }
}

fn after(disk: &SimDisk, kind: Crash) -> SimDisk {
    match kind {
        Crash::Power => disk.reopen(),
        Crash::Process => disk.restart(),
    }
}

fn open(disk: &SimDisk) -> Result<(Engine, Host), engine::Error> {
    let entry = |module: &str, on: &str, config| Entry {
        on: vec![on.into()],
        config,
        ..Entry::trigger(module)
    };
    let entries = vec![
        entry(
            "ondiskagg.so",
            "*/1Min/OHLCV",
            serde_json::json!({ "destinations": DESTINATIONS }),
        ),
        entry("copier", "*/1Sec/TICK", serde_json::Value::Null),
        Entry {
            name: Some("counter".into()),
            parallelism: 2,
            ..entry("counter", "*/1Sec/TICK", serde_json::Value::Null)
        },
    ];
    let builtins = vec![
        ondiskagg::BUILT_IN,
        BuiltIn::trigger::<Copier>(),
        BuiltIn::trigger::<Counter>(),
    ];
    let host =
        Host::new(entries, builtins, Zone::utc(), Arc::new(Nobody)).expect("entries are right");
    let options = Options {
        tail_bytes_max: 64 << 10,
        wal_segment_bytes: 256 << 10,
        follow_bytes: 64 << 10,
        ..Options::default()
    };
    let disk = Arc::new(disk.clone());
    let (engine, _) = Engine::open_on(disk, Arc::new(SystemClock::new()), options, host.hook())?;
    match host.start(engine.clone()) {
        Ok(()) => Ok((engine, host)),
        Err(plugin_host::Error::Engine(error)) => Err(error),
        Err(error) => panic!("the host starts: {error}"),
    }
}

fn commit(op: &Op) -> Commit {
    let rows = op.rows.iter().map(|(key, rows)| engine::Rows {
        key: key.clone(),
        batch: rows.batch(),
        create: Some(rows.kind()),
    });
    Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: rows.collect(),
        section: None,
    }
}

fn key(symbol: &str, timeframe: &str, group: &str) -> BucketKey {
    BucketKey::new(symbol, timeframe, group).expect("a fixed key")
}

fn copy_of(source: &BucketKey) -> BucketKey {
    key(source.symbol(), "1Sec", "COPY")
}

fn sorted(ticks: &[(i64, f64)]) -> Vec<(i64, u64)> {
    let mut all: Vec<_> = ticks
        .iter()
        .map(|(time, price)| (*time, price.to_bits()))
        .collect();
    all.sort_unstable();
    all
}

fn first_difference(found: &State, acknowledged: &State) -> String {
    for (key, bars) in &acknowledged.bars {
        let there = found.bars.get(key);
        if let Some((time, bar)) = bars
            .iter()
            .find(|(t, b)| there.and_then(|m| m.get(t)) != Some(b))
        {
            return format!(
                "{key} at {time}: acknowledged {bar:?}, found {:?}",
                there.and_then(|m| m.get(time))
            );
        }
    }
    let count = |s: &State| {
        s.ticks
            .iter()
            .map(|(k, t)| (k.to_string(), t.len()))
            .collect::<Vec<_>>()
    };
    format!(
        "ticks acknowledged {:?}, found {:?}",
        count(acknowledged),
        count(found)
    )
}

struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _instance: &str, _stream: &str, _payload: Bytes) {}
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
struct Copier;

impl Plugin for Copier {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        accepts_gap: false,
        ..Manifest::new("copier", "1.0.0")
    };

    fn new(_config: serde_json::Value, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Trigger for Copier {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let Event::Write(batch) = event else {
            return Ok(());
        };
        ctx.write(&copy_of(batch.key), RowKind::Tick, batch.rows.clone())?;
        Ok(())
    }
}
