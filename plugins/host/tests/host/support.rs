//! A store on a simulated disk, and a trigger that does what a test tells it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use disk::sim::SimDisk;
use disk::{Clock, ManualClock};
use engine::{Commit, Engine, Options, Origin, Rows, Scan};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Zone};
use plugin_host::{Entry, Host, Publisher};
use plugin_sdk::{
    BuiltIn, CloseReason, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError,
    Trigger,
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

pub(crate) fn builtins() -> Vec<BuiltIn> {
    vec![
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
    let clock = Arc::new(ManualClock::new(1_600_000_000_000_000_000));
    let messages = Arc::new(Messages::default());
    let publisher = Arc::clone(&messages) as Arc<dyn Publisher>;
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let host = Host::with_clock(
        entries,
        builtins(),
        Zone::utc(),
        publisher,
        Arc::clone(&shared),
    )
    .map_err(|e| e.to_string())?;
    let (engine, _) = Engine::open_on(Arc::new(disk.clone()), shared, options, host.hook())
        .map_err(|e| e.to_string())?;
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
