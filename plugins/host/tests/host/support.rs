//! A store on a simulated disk, and a trigger that does what a test tells it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::sim::SimDisk;
use disk::{Clock, ManualClock};
use engine::{Commit, Engine, Options, Origin, Rows, Scan};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Zone};
use plugin_host::{Entry, Host, InstanceStatus, Modules, Publisher, RestartOptions, State};
use plugin_sdk::{
    BgWorker, BuiltIn, CloseReason, Delivery, Event, FireCtx, FireError, Init, Manifest, More,
    Plugin, PluginError, Progress, Source, SourceOut, StateScope, Trigger, WorkerCtx,
};

pub(crate) type Act = dyn Fn(&mut FireCtx<'_>, &Event<'_>) -> Result<(), FireError> + Send + Sync;

static ACTS: LazyLock<Mutex<HashMap<usize, Arc<Act>>>> = LazyLock::new(Mutex::default);
static CLOSED: Mutex<Vec<(usize, CloseReason)>> = Mutex::new(Vec::new());
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// A trigger whose fires run a closure of the test; `GAPS`: whether it accepts gaps.
pub(crate) struct Probe<const GAPS: bool>(Arc<Act>, usize);

#[derive(serde::Deserialize)]
pub(crate) struct Config {
    act: usize,
}

impl<const GAPS: bool> Plugin for Probe<GAPS> {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        accepts_gap: GAPS,
        ..Manifest::new(if GAPS { "gapprobe" } else { "probe" }, "1.2.3")
    };
    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let acts = ACTS.lock().unwrap();
        let act = acts.get(&config.act).ok_or("no such act")?;
        Ok(Self(Arc::clone(act), config.act))
    }
    fn close(&mut self, why: CloseReason) {
        CLOSED.lock().unwrap().push((self.1, why));
    }
}

impl<const GAPS: bool> Trigger for Probe<GAPS> {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        (self.0)(ctx, event)
    }
}

pub(crate) type Work = dyn Fn(&mut WorkerCtx<'_>) -> Result<(), PluginError> + Send + Sync;

static WORKS: LazyLock<Mutex<HashMap<usize, Arc<Work>>>> = LazyLock::new(Mutex::default);

/// A worker that runs a closure of the test.
pub(crate) struct Labour(Arc<Work>, usize);

impl Plugin for Labour {
    type Config = Config;
    const MANIFEST: Manifest = Manifest::new("labour", "1.0.0");
    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let works = WORKS.lock().unwrap();
        let work = works.get(&config.act).ok_or("no such work")?;
        Ok(Self(Arc::clone(work), config.act))
    }
    fn close(&mut self, why: CloseReason) {
        CLOSED.lock().unwrap().push((self.1, why));
    }
}

impl BgWorker for Labour {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        (self.0)(ctx)
    }
}

/// An entry of a worker that runs `work`.
pub(crate) fn labour<F>(name: &str, work: F) -> Entry
where
    F: Fn(&mut WorkerCtx<'_>) -> Result<(), PluginError> + Send + Sync + 'static,
{
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    WORKS.lock().unwrap().insert(number, Arc::new(work));
    Entry {
        name: Some(name.into()),
        config: serde_json::json!({ "act": number }),
        place: format!("mkts.yml:{number}"),
        ..Entry::bgworker("labour.so")
    }
}

/// Answers `next_batch` from the place where the feed was opened.
pub(crate) type Fetch =
    dyn Fn(&mut Feed, &mut SourceOut<'_>, Instant) -> Result<More, PluginError> + Send + Sync;

static FETCHES: LazyLock<Mutex<HashMap<usize, Arc<Fetch>>>> = LazyLock::new(Mutex::default);

/// A source that counts: its token is the next number.
pub(crate) struct Feed {
    fetch: Option<Arc<Fetch>>,
    number: usize,
    pub(crate) params: String,
    pub(crate) next: i64,
}

impl Plugin for Feed {
    type Config = Config;
    const MANIFEST: Manifest = Manifest::new("feed", "1.0.0");
    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let fetches = FETCHES.lock().unwrap();
        let fetch = fetches.get(&config.act).ok_or("no such feed")?;
        Ok(Self {
            fetch: Some(Arc::clone(fetch)),
            number: config.act,
            params: String::new(),
            next: -1,
        })
    }
    fn close(&mut self, why: CloseReason) {
        CLOSED.lock().unwrap().push((self.number, why));
    }
}

impl Source for Feed {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        self.params = params.into();
        let token = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
        self.next = resume.map_or(0, token);
        Ok(())
    }
    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        let fetch = self.fetch.take().unwrap();
        let result = fetch(self, out, deadline);
        self.fetch = Some(fetch);
        result
    }
    fn progress(&mut self) -> Option<Progress> {
        Some(Progress {
            share: self.next as f64 / 100.0,
            text: format!("at {}", self.next),
        })
    }
}

impl Feed {
    /// Appends the next `count` ticks and says where they end.
    pub(crate) fn bring(&mut self, out: &mut SourceOut<'_>, count: i64) -> Result<(), PluginError> {
        let times: Vec<i64> = (self.next..self.next + count).collect();
        out.append(&key("FEED/1Min/T"), RowKind::Tick, ticks(&times))?;
        self.next += count;
        out.set_resume(&self.next.to_le_bytes())
    }
}

/// An entry of a source that answers with `fetch`.
pub(crate) fn feed<F>(name: &str, fetch: F) -> Entry
where
    F: Fn(&mut Feed, &mut SourceOut<'_>, Instant) -> Result<More, PluginError>
        + Send
        + Sync
        + 'static,
{
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    FETCHES.lock().unwrap().insert(number, Arc::new(fetch));
    Entry {
        name: Some(name.into()),
        config: serde_json::json!({ "act": number }),
        place: format!("mkts.yml:{number}"),
        ..Entry::source("feed.so")
    }
}

/// Restarts without pauses worth the name.
pub(crate) fn quick() -> RestartOptions {
    RestartOptions {
        pause_min: Duration::from_micros(1),
        pause_max: Duration::from_micros(1),
        ..RestartOptions::default()
    }
}

/// What keepers found in their state when they were made: counter `n`.
static FOUND: Mutex<Vec<(usize, i64)>> = Mutex::new(Vec::new());

/// A trigger whose state has version `V`, and one namespace per bucket if `KEYED`.
pub(crate) struct Keeper<const V: u32, const KEYED: bool>(Arc<Act>);

impl<const V: u32, const KEYED: bool> Plugin for Keeper<V, KEYED> {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        state_version: V,
        state_scope: if KEYED {
            StateScope::Key
        } else {
            StateScope::Instance
        },
        ..Manifest::new(
            match (V, KEYED) {
                (1, false) => "keeper1",
                (2, false) => "keeper2",
                (1, true) => "keyed1",
                _ => "keyed2",
            },
            "1.0.0",
        )
    };
    fn new(config: Config, init: &mut Init<'_>) -> Result<Self, PluginError> {
        if let Ok(found) = init.state.counter("n") {
            FOUND.lock().unwrap().push((config.act, found));
        }
        let acts = ACTS.lock().unwrap();
        Ok(Self(Arc::clone(acts.get(&config.act).ok_or("no act")?)))
    }
    /// Counter `n` becomes bytes `m`.
    fn migrate(from: u32, state: &mut plugin_sdk::State<'_>) -> Result<(), PluginError> {
        if state.get("refuse")?.is_some() {
            return Err(PluginError::from("this state is refused"));
        }
        let count = state.counter("n")?;
        state.delete("n")?;
        state.put("m", format!("{count} of version {from}"))
    }
}

impl<const V: u32, const KEYED: bool> Trigger for Keeper<V, KEYED> {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        (self.0)(ctx, event)
    }
}

/// What the objects of an entry's keeper found, in order; the one of the check has no state.
pub(crate) fn found(entry: &Entry) -> Vec<i64> {
    let act = entry.config["act"].as_u64().unwrap() as usize;
    let all = FOUND.lock().unwrap();
    let own = all.iter().filter(|(of, _)| *of == act);
    own.map(|(_, found)| *found).collect()
}

/// [`probe`] with another module.
pub(crate) fn keeper<F>(module: &str, name: &str, on: &str, act: F) -> Entry
where
    F: Fn(&mut FireCtx<'_>, &Event<'_>) -> Result<(), FireError> + Send + Sync + 'static,
{
    Entry {
        module: module.into(),
        ..probe(name, on, act)
    }
}

pub(crate) fn builtins() -> Vec<BuiltIn> {
    vec![
        BuiltIn::trigger::<crate::writes::Bound>(),
        BuiltIn::bgworker::<crate::writes::BoundWorker>(),
        BuiltIn::trigger::<Keeper<1, false>>(),
        BuiltIn::trigger::<Keeper<2, false>>(),
        BuiltIn::trigger::<Keeper<1, true>>(),
        BuiltIn::trigger::<Keeper<2, true>>(),
        BuiltIn::bgworker::<Labour>(),
        BuiltIn::source::<Feed>(),
        BuiltIn::trigger::<Probe<false>>(),
        BuiltIn::trigger::<Probe<true>>(),
    ]
}

/// An entry of a probe that runs `act`.
pub(crate) fn probe<F>(name: &str, on: &str, act: F) -> Entry
where
    F: Fn(&mut FireCtx<'_>, &Event<'_>) -> Result<(), FireError> + Send + Sync + 'static,
{
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    ACTS.lock().unwrap().insert(number, Arc::new(act));
    Entry {
        name: Some(name.into()),
        on: vec![on.into()],
        config: serde_json::json!({ "act": number }),
        place: format!("mkts.yml:{number}"),
        ..Entry::trigger("probe.so")
    }
}

/// How often objects of an entry's probe ended for this reason.
pub(crate) fn closed(entry: &Entry, why: CloseReason) -> usize {
    let act = entry.config["act"].as_u64().unwrap() as usize;
    let closed = CLOSED.lock().unwrap();
    closed.iter().filter(|end| **end == (act, why)).count()
}

/// How often objects of an entry ended with the server or their work; the one that the check of the
/// config makes is not counted.
pub(crate) fn ended(entry: &Entry) -> usize {
    closed(entry, CloseReason::Stop) - 1
}

#[derive(Default)]
pub(crate) struct Messages(pub(crate) Mutex<Vec<(String, String, Bytes)>>);

impl Publisher for Messages {
    fn publish(&self, instance: &str, stream: &str, payload: Bytes) {
        let message = (instance.to_owned(), stream.to_owned(), payload);
        self.0.lock().unwrap().push(message);
    }
}

/// A running store.
pub(crate) struct Store {
    pub(crate) engine: Engine,
    pub(crate) host: Host,
    pub(crate) messages: Arc<Messages>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn try_open(
    disk: &SimDisk,
    entries: Vec<Entry>,
    options: Options,
) -> Result<Store, String> {
    try_open_with(disk, builtins(), entries, options)
}

pub(crate) fn try_open_with(
    disk: &SimDisk,
    modules: impl Into<Modules>,
    entries: Vec<Entry>,
    options: Options,
) -> Result<Store, String> {
    let clock = Arc::new(ManualClock::new(1_600_000_000_000_000_000));
    let messages = Arc::new(Messages::default());
    let publisher = Arc::clone(&messages) as Arc<dyn Publisher>;
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let host = Host::with_clock(
        entries,
        modules,
        Zone::utc(),
        publisher,
        Arc::clone(&shared),
    )
    .map_err(|e| e.to_string())?;
    let (engine, _) = Engine::open_on(Arc::new(disk.clone()), shared, options, host.hook())
        .map_err(|e| e.to_string())?;
    host.set_restart(quick());
    host.start(engine.clone()).map_err(|e| e.to_string())?;
    Ok(Store {
        engine,
        host,
        messages,
        clock,
    })
}

pub(crate) fn open(disk: &SimDisk, entries: Vec<Entry>) -> Store {
    try_open(disk, entries, options()).unwrap()
}

/// Small segments: a simulated disk zeroes them at each open.
pub(crate) fn options() -> Options {
    Options {
        wal_segment_bytes: 1 << 20,
        frame_bytes_max: 512 << 10,
        checkpoint_before_serving: true,
        ..Options::default()
    }
}

impl Store {
    pub(crate) fn write(&self, key: &str, times: &[i64]) {
        self.try_write(key, times).unwrap();
    }

    pub(crate) fn try_write(&self, key: &str, times: &[i64]) -> Result<(), engine::Error> {
        let commit = Commit {
            origin: Origin::CLIENT,
            hops: 0,
            rows: vec![Rows {
                key: self::key(key),
                batch: ticks(times),
                create: Some(RowKind::Tick),
            }],
            section: None,
        };
        self.engine.write(commit)?.wait().map(|_| ())
    }

    /// Waits until every trigger has done what there is to do.
    pub(crate) fn drain(&self) {
        assert!(
            self.host.drain(Duration::from_secs(60)),
            "{:#?}",
            self.host.status()
        );
    }

    /// Times stored in a bucket, in order.
    pub(crate) fn times(&self, key: &str) -> Vec<i64> {
        let Some(bucket) = self.engine.bucket(&self::key(key)) else {
            return Vec::new();
        };
        let snapshot = self.engine.snapshot(&[bucket.id]);
        snapshot.scan(0, &Scan::all()).unwrap().times().to_vec()
    }

    pub(crate) fn status(&self, id: &str) -> InstanceStatus {
        let all = self.host.status();
        all.into_iter().find(|one| one.id == id).unwrap()
    }

    /// Waits until an instance is in a state.
    pub(crate) fn until(&self, id: &str, state: State) -> InstanceStatus {
        self.until_it(id, |status| status.state == state)
    }

    pub(crate) fn until_it(
        &self,
        id: &str,
        is: impl Fn(&InstanceStatus) -> bool,
    ) -> InstanceStatus {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status(id);
            if is(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{status:#?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn close(self) {
        self.host.stop();
        self.engine.close().unwrap();
    }
}

pub(crate) fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

pub(crate) fn ticks(times: &[i64]) -> ColumnBatch {
    let schema = Schema::new(vec![ColumnDef::new("Price", ColumnType::F64)]).unwrap();
    let prices: Vec<f64> = times.iter().map(|t| *t as f64).collect();
    let columns = vec![Column::from_values(prices)];
    ColumnBatch::new(schema, Column::from_values(times.to_vec()), columns).unwrap()
}

/// Copies the rows of a write event to another bucket: every fire leaves a row to count.
pub(crate) fn copy_to(
    target: &'static str,
) -> impl Fn(&mut FireCtx<'_>, &Event<'_>) -> Result<(), FireError> + Send + Sync {
    move |ctx, event| {
        if let Event::Write(batch) = event {
            ctx.write(&key(target), RowKind::Tick, batch.rows.clone())?;
        }
        Ok(())
    }
}
