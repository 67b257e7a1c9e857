//! Host and engine on a simulated disk, around one module. [`crate::Harness`] is the same for people,
//! the conformance cases work on this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::{Clock, ManualClock, SimDisk};
use engine::{Commit, DeleteRange, Engine, Options, Origin, Rows, Scan};
use model::{BucketKey, ColumnBatch, TIME_MAX, Zone};
use parking_lot::Mutex;
use plugin_host::{
    Entry, EntryKind, Host, InstanceStatus, Join, Modules, Publisher, RestartOptions, Search, State,
};
use plugin_sdk::{Kind, Module, StateValue};

use crate::crash::{Point, cut};
use crate::logs;
use crate::table::{Feed, lines};
use crate::watch::{Control, Fault, Fire, Watched};

/// Where the clock stands at the start: 2020-09-13 12:26:40 UTC.
pub const START: i64 = 1_600_000_000_000_000_000;

/// How long the plugin may take for what is fed to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its stream.
    pub stream: String,
    /// Its payload.
    pub payload: Bytes,
    /// Changing calls of the disk when it went out.
    calls: u64,
}

struct Messages {
    sent: Mutex<Vec<Message>>,
    control: Arc<Control>,
}

impl Publisher for Messages {
    fn publish(&self, _instance: &str, stream: &str, payload: Bytes) {
        self.sent.lock().push(Message {
            stream: stream.into(),
            payload,
            calls: self.control.call_count(),
        });
    }
}

struct Running {
    engine: Engine,
    host: Host,
}

/// One module on a store of its own.
pub(crate) struct Bench {
    module: Arc<dyn Module>,
    pub(crate) entry: Entry,
    pub(crate) id: String,
    control: Arc<Control>,
    clock: Arc<ManualClock>,
    messages: Arc<Messages>,
    disk: SimDisk,
    running: Option<Running>,
    armed: Option<Point>,
}

/// Small segments: a simulated disk zeroes them at each open. Calls of the disk come in one order.
fn options() -> Options {
    Options {
        wal_segment_bytes: 1 << 20,
        frame_bytes_max: 512 << 10,
        checkpoint_before_serving: true,
        prepare_ahead: false,
        merge: false,
        ..Options::default()
    }
}

impl Bench {
    pub(crate) fn new(module: Arc<dyn Module>, config: serde_json::Value) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let description = module.description().clone();
        let kind = match description.kind {
            Kind::Trigger => EntryKind::Trigger,
            Kind::BgWorker => EntryKind::BgWorker,
            Kind::Source => EntryKind::Source,
        };
        let name = &description.name;
        let id = format!("{name}-{:04}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut entry = match kind {
            EntryKind::Trigger => Entry::trigger(name),
            EntryKind::BgWorker => Entry::bgworker(name),
            EntryKind::Source => Entry::source(name),
        };
        entry.name = Some(id.clone());
        entry.config = config;
        entry.place = "the harness".into();
        if kind == EntryKind::Trigger {
            // An event is one commit however windows are cut, and two attempts are enough to see.
            entry.window.join = Some(Join::Commit);
            entry.max_attempts = Some(2);
        }
        logs::keep();
        let control = Arc::new(Control::default());
        Self {
            module,
            entry,
            id,
            clock: Arc::new(ManualClock::new(START)),
            messages: Arc::new(Messages {
                sent: Mutex::default(),
                control: Arc::clone(&control),
            }),
            control,
            disk: SimDisk::new(1),
            running: None,
            armed: None,
        }
    }

    /// As another one that wrote the disk.
    pub(crate) fn named(mut self, id: &str) -> Self {
        self.entry.name = Some(id.into());
        self.id = id.into();
        self
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn is_trigger(&self) -> bool {
        self.entry.kind == EntryKind::Trigger
    }

    /// Starts store and plugin, unless they run.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        if self.running.is_some() {
            return Ok(());
        }
        let watched = Watched {
            inner: Arc::clone(&self.module),
            control: Arc::clone(&self.control),
        };
        let modules = Modules::new(&[], Search::default()).with(Arc::new(watched));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let publisher = Arc::clone(&self.messages) as Arc<dyn Publisher>;
        *self.control.disk.lock() = Some(self.disk.clone());
        let entries = vec![self.entry.clone()];
        let host = Host::with_clock(entries, modules, Zone::utc(), publisher, Arc::clone(&clock));
        let host = host.map_err(|error| error.to_string())?;
        host.set_restart(RestartOptions {
            pause_min: Duration::from_millis(1),
            pause_max: Duration::from_millis(10),
            ..RestartOptions::default()
        });
        let disk = Arc::new(self.disk.clone());
        let (engine, _) = Engine::open_on(disk, clock, options(), host.hook())
            .map_err(|error| format!("the store does not open: {error}"))?;
        let started = host.start(engine.clone());
        self.running = Some(Running { engine, host });
        started.map_err(|error| error.to_string())?;
        let status = self.status()?;
        match status.state {
            State::Failed | State::Missing | State::Disabled => {
                self.stop();
                Err(format!(
                    "it does not run: {}: {}",
                    status.state, status.reason
                ))
            }
            _ => Ok(()),
        }
    }

    fn running(&mut self) -> Result<&Running, String> {
        self.start()?;
        self.running
            .as_ref()
            .ok_or_else(|| "it does not run".into())
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.host.stop();
        }
    }

    /// An orderly stop and another start.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.close()?;
        self.start()?;
        self.settle()
    }

    /// As [`Bench::restart`], with another module in the place of this one.
    pub(crate) fn replace(&mut self, module: Arc<dyn Module>) -> Result<(), String> {
        self.close()?;
        self.entry.module.clone_from(&module.description().name);
        self.module = module;
        self.start()?;
        self.settle()
    }

    fn close(&mut self) -> Result<(), String> {
        let running = self.running()?;
        running.host.stop();
        let closed = running.engine.close();
        self.running = None;
        closed.map_err(|error| format!("the store does not close: {error}"))?;
        self.disk = self.disk.reopen();
        Ok(())
    }

    /// As [`Bench::restart`], of a worker or source that ends by itself.
    pub(crate) fn restart_ended(&mut self, time: Duration) -> Result<(), String> {
        self.stop();
        self.disk = self.disk.reopen_with(&[]);
        self.until_ended(time)
    }

    /// The power goes; what was not synced is gone.
    pub(crate) fn power_cut(&mut self) -> Result<(), String> {
        self.start()?;
        self.stop();
        self.reopen(self.disk.reopen_with(&[]))
    }

    fn reopen(&mut self, disk: SimDisk) -> Result<(), String> {
        self.stop();
        self.disk = disk;
        for message in self.messages.sent.lock().iter_mut() {
            message.calls = 0;
        }
        self.start()?;
        match self.is_trigger() {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Writes rows as a client does, and waits until the plugin has done with them.
    pub(crate) fn feed(&mut self, feed: &Feed) -> Result<(), String> {
        self.start()?;
        match self.armed.take() {
            Some(point) => self.crash_during(point, |engine| write(engine, feed)),
            None => {
                write(&self.running()?.engine, feed)?;
                self.settle()
            }
        }
    }

    /// Waits until the plugin has done all there is to do.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let settled = self.running()?.host.settle(PATIENCE);
        let status = self.status()?;
        match status.state {
            State::Failed | State::Disabled | State::Stopped if self.is_trigger() => Err(format!(
                "the instance is {}: {}",
                status.state, status.reason
            )),
            _ if settled => Ok(()),
            state => Err(format!(
                "the plugin is not done within {PATIENCE:?}: {state}: {}",
                status.reason
            )),
        }
    }

    /// Waits until a worker or source has ended.
    pub(crate) fn until_ended(&mut self, time: Duration) -> Result<(), String> {
        self.start()?;
        let end = Instant::now() + time;
        loop {
            let status = self.status()?;
            match status.state {
                State::Stopped => return Ok(()),
                State::Failed => return Err(format!("it failed: {}", status.reason)),
                state if Instant::now() >= end => {
                    return Err(format!("it has not ended within {time:?}: it is {state}"));
                }
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    pub(crate) fn crash_at(&mut self, point: Point) {
        self.armed = Some(point);
    }

    fn crash_during(
        &mut self,
        point: Point,
        act: impl FnOnce(&Engine) -> Result<(), String>,
    ) -> Result<(), String> {
        let fired = self.control.fires.lock().len();
        let (base, disks) = self.recorded(|bench| {
            act(&bench.running()?.engine)?;
            bench.settle()?;
            if point == Point::PluginFiles {
                let done = bench.running()?.engine.checkpoint();
                done.map_err(|error| format!("the checkpoint: {error}"))?;
            }
            Ok(())
        })?;
        let calls = self.disk.calls().split_off(base as usize);
        let index = {
            let fires = self.control.fires.lock();
            point.find(&calls, &fires[fired..], base)?
        };
        self.cut_at(&disks, base, index, point.keeps_messages())
    }

    /// Does something while the disk keeps what it was; the number of calls before, and the disks.
    pub(crate) fn recorded(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(u64, Vec<SimDisk>), String> {
        let base = self.disk.call_count();
        self.disk.record();
        let done = act(self);
        self.stop();
        let disks = self.disk.recorded();
        done.map(|()| (base, disks))
    }

    /// Goes on from the disk before the call at `index`.
    pub(crate) fn cut_at(
        &mut self,
        disks: &[SimDisk],
        base: u64,
        index: usize,
        keeps_messages: bool,
    ) -> Result<(), String> {
        let limit = base + index as u64;
        let is_sent = |message: &mut Message| {
            message.calls <= base
                || message.calls < limit
                || (keeps_messages && message.calls == limit)
        };
        self.messages.sent.lock().retain_mut(is_sent);
        let disk = cut(disks, index).ok_or("the disk has no such moment")?;
        self.reopen(disk)
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.control.faults.lock().push_back(fault);
    }

    /// Lets time pass; timers that are due fire.
    pub(crate) fn advance(&mut self, time: Duration) -> Result<(), String> {
        self.start()?;
        self.clock.advance(time);
        self.settle()
    }

    /// Tells the plugin that rows of this range may have changed.
    pub(crate) fn gap(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), String> {
        if !self.module.description().accepts_gap {
            return Err("its manifest does not say accepts_gap".into());
        }
        *self.control.gap.lock() = Some((from, to));
        // What is delivered for a range that was deleted, with the range of the test in its place.
        self.delete(key, TIME_MAX, TIME_MAX)
    }

    pub(crate) fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), String> {
        let key = key.clone();
        let deleted = self
            .running()?
            .engine
            .delete(&[DeleteRange { key, from, to }]);
        deleted.map_err(|error| error.to_string())?;
        self.settle()
    }

    pub(crate) fn drop_bucket(&mut self, key: &BucketKey) -> Result<(), String> {
        let dropped = self
            .running()?
            .engine
            .drop_buckets(std::slice::from_ref(key));
        dropped.map_err(|error| error.to_string())?;
        self.settle()
    }

    pub(crate) fn rows(&mut self, key: &BucketKey) -> Result<Option<ColumnBatch>, String> {
        let engine = &self.running()?.engine;
        let Some(bucket) = engine.bucket(key) else {
            return Ok(None);
        };
        let rows = engine.snapshot(&[bucket.id]).scan(0, &Scan::all());
        rows.map(Some).map_err(|error| format!("{key}: {error}"))
    }

    pub(crate) fn keys(&mut self) -> Result<Vec<BucketKey>, String> {
        let buckets = self.running()?.engine.buckets();
        let mut keys: Vec<BucketKey> = buckets.iter().map(|bucket| bucket.key.clone()).collect();
        keys.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(keys)
    }

    /// State as `(namespace, key, value)`, without the host's own keys.
    pub(crate) fn state(&mut self) -> Result<Vec<(String, Bytes, StateValue)>, String> {
        let id = self.id.clone();
        let host = &self.running()?.host;
        // An instance that has stored nothing has none.
        let namespaces = host.state_namespaces(&id).unwrap_or_default();
        let mut all = Vec::new();
        for namespace in namespaces {
            let found = host.state_scan(&id, &namespace, b"", usize::MAX);
            let found = found.map_err(|error| error.to_string())?;
            let own = found.into_iter().filter(|(key, _)| !key.starts_with(b"__"));
            all.extend(own.map(|(key, value)| (namespace.clone(), key, value)));
        }
        Ok(all)
    }

    pub(crate) fn letters(&mut self) -> Result<Vec<plugin_host::DeadLetter>, String> {
        let id = self.id.clone();
        let host = &self.running()?.host;
        host.dead_letters(&id).map_err(|error| error.to_string())
    }

    pub(crate) fn status(&mut self) -> Result<InstanceStatus, String> {
        let id = self.id.clone();
        let running = self.running.as_ref().ok_or("it does not run")?;
        let mut all = running.host.status().into_iter();
        all.find(|one| one.id == id)
            .ok_or_else(|| "the host does not know the instance".into())
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.sent.lock().clone()
    }

    pub(crate) fn fires(&self) -> Vec<Fire> {
        self.control.fires.lock().clone()
    }

    pub(crate) fn host(&mut self) -> Result<Host, String> {
        Ok(self.running()?.host.clone())
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_ns()
    }

    /// All that can be seen of what the plugin did, one line each: rows of all buckets, state, pending
    /// timers, dead letters, messages.
    pub(crate) fn effects(&mut self) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        for key in self.keys()? {
            let rows = self.rows(&key)?;
            let rows = rows.iter().flat_map(lines);
            out.extend(rows.map(|line| format!("row {key} {line}")));
        }
        for (namespace, key, value) in self.state()? {
            let key = printable(&key);
            out.push(match value {
                StateValue::Counter(count) => format!("state {namespace} {key} = {count}"),
                StateValue::Bytes(bytes) => {
                    format!("state {namespace} {key} = {}", printable(&bytes))
                }
            });
        }
        if self.is_trigger() {
            out.push(format!("timers pending: {}", self.status()?.timers));
            for letter in self.letters()? {
                let key = letter.key.as_ref().map_or("", BucketKey::as_str);
                out.push(format!(
                    "dead letter {} {key}: {}",
                    letter.event, letter.message
                ));
            }
        }
        for message in self.messages() {
            let payload = printable(&message.payload);
            out.push(format!("message {} {payload}", message.stream));
        }
        // The name of the instance is the harness's, not the plugin's.
        let id = self.id.clone();
        out.iter_mut()
            .for_each(|line| *line = line.replace(&id, "<instance>"));
        Ok(out)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write(engine: &Engine, feed: &Feed) -> Result<(), String> {
    let commit = Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: vec![Rows {
            key: feed.key.clone(),
            batch: feed.rows.clone(),
            create: Some(feed.kind),
        }],
        section: None,
    };
    let written = engine.write(commit).and_then(engine::Ticket::wait);
    written
        .map(drop)
        .map_err(|error| format!("{}: {error}", feed.key))
}

/// Text as it is, other bytes escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
