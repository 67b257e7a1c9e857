//! One store through writes, crashes and recoveries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::model::{BucketKey, Zone};
use bytes::Bytes;
use disk::SystemClock;
use disk::sim::SimDisk;
use engine::{Commit, DeleteRange, Engine, Options, Origin, Scan};
use plugin_host::{Host, Publisher};
use plugin_sdk::StateValue;
use tests::rng::Rng;

use super::model::{Op, Rows, State, bars_of, ticks_of};
use super::plugins::{self, DESTINATIONS};

const MINUTE: i64 = 60_000_000_000;
const START: i64 = 1_577_836_800_000_000_000 - 40 * MINUTE; // shortly before a new year
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
    /// Instances that came when there were rows already.
    late: u64,
    /// Ranges delivered so far.
    pub(super) gaps: u64,
    /// What the disk did last when it crashed, and how often.
    pub(super) ends: BTreeMap<String, u64>,
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let running = Some(open(&disk, 0).expect("an empty disk opens"));
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
            late: 0,
            gaps: 0,
            ends: BTreeMap::new(),
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
            if self.disk.crashed() {
                self.crashes += 1;
                self.note_end();
            }
            self.restart(kind);
        }
    }

    /// One operation; false if the store takes no more.
    fn step(&mut self) -> bool {
        let (engine, _) = self.running.as_ref().expect("a life runs between crashes");
        let engine = engine.clone();
        match self.rng.below(12) {
            0 => engine.checkpoint().is_ok(),
            4 => self.delete(&engine),
            1..=3 => self.write_pipelined(&engine, 4),
            _ => self.write_pipelined(&engine, 1),
        }
    }

    /// From the next start on there is one more instance, which fires all that is stored.
    pub(super) fn add_late(&mut self) {
        self.late += 1;
    }

    /// Bars are deleted, whose aggregates must follow.
    fn delete(&mut self, engine: &Engine) -> bool {
        let key = key(SYMBOLS[self.rng.below(3) as usize], "1Min", "OHLCV");
        let from = self.clock - self.rng.below(300) as i64 * MINUTE;
        let to = from + self.rng.below(200) as i64 * MINUTE;
        if engine.bucket(&key).is_none() {
            return true;
        }
        let range = DeleteRange {
            key: key.clone(),
            from,
            to,
        };
        let op = Op {
            rows: Vec::new(),
            deleted: Some((key, from, to)),
        };
        let is_done = engine.delete(&[range]).is_ok();
        if is_done {
            self.acknowledged.apply(&op);
        } else {
            self.in_doubt.push(op);
        }
        is_done
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
            deleted: None,
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
        self.running =
            Some(open(&self.disk, self.late).unwrap_or_else(|e| panic!("seed {}: {e}", self.seed)));
    }

    /// Crashes what runs, then the recovery after it, then recovers.
    pub(super) fn crash_during_recovery(&mut self, calls: u64, kind: Crash) {
        self.disk.crash();
        self.drop_running();
        self.disk = after(&self.disk, kind);
        self.disk.crash_after(calls);
        if let Ok((engine, host)) = open(&self.disk, self.late) {
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
        self.running = Some(open(&self.disk, self.late).expect("opens again"));
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
            let gaps = host.status().iter().map(|one| one.gaps).sum::<u64>();
            self.gaps += gaps;
            host.stop();
            // The disk is gone: closing fails, and must end the threads all the same.
            let _ = engine.close();
        }
    }

    /// Compares the rows and settles what was in doubt, while the triggers are still at work.
    pub(super) fn look(&mut self, context: &str) {
        let found = self.read();
        self.settle(&found, context);
    }

    /// Compares everything, settles what was in doubt, opens once more and compares again.
    pub(super) fn check(&mut self, context: &str) {
        let found = self.read();
        self.settle(&found, context);
        self.check_triggers(context);
        self.disk.crash();
        self.drop_running();
        self.disk = self.disk.restart();
        self.running =
            Some(open(&self.disk, self.late).unwrap_or_else(|e| panic!("{context}: {e}")));
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
        // One whose rows are all deleted has no aggregates either.
        for symbol in SYMBOLS {
            let base = &key(symbol, "1Min", "OHLCV");
            for destination in DESTINATIONS {
                let key = key(symbol, destination, "OHLCV");
                let found = self.scan(&key).map(|b| bars_of(&b)).unwrap_or_default();
                let expected = self.acknowledged.aggregates(base, destination);
                assert_eq!(
                    found, expected,
                    "{context}: {key} is not the roll-up of {base}"
                );
            }
        }
        for (source, ticks) in &self.acknowledged.ticks {
            let copied = |group: &str| {
                let key = key(source.symbol(), "1Sec", group);
                let batch = self.scan(&key);
                sorted(&batch.map(|b| ticks_of(&b)).unwrap_or_default())
            };
            let expected = sorted(ticks);
            let late = (0..self.late).map(plugins::late_group);
            for group in late.chain(["COPY".to_owned()]) {
                assert_eq!(
                    copied(&group),
                    expected,
                    "{context}: {source} was not copied once to {group}"
                );
            }
            // At least once.
            let (mut durable, mut expected) = (copied("DURABLE"), expected);
            durable.dedup();
            expected.dedup();
            assert_eq!(durable, expected, "{context}: {source} was not copied");
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

    fn note_end(&mut self) {
        if let Some(call) = self.disk.calls().last() {
            *self.ends.entry(crate::random::place(call)).or_default() += 1;
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

fn open(disk: &SimDisk, late: u64) -> Result<(Engine, Host), engine::Error> {
    let host = Host::new(
        plugins::entries(late),
        plugins::builtins(),
        Zone::utc(),
        Arc::new(Nobody),
    )
    .expect("entries are right");
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
