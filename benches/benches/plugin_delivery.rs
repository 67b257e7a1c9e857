//! What triggers cost between the log and `fire`: per event, per window, per section that does not
//! match, per row of a backlog, and for the writer beside one that hangs.
//!
//! The disk is in memory but where it says otherwise, so a sync takes no time and what is left is our
//! own. Each line is printed with its unit; `cargo bench -p benches --bench plugin_delivery`.
#![allow(missing_docs)]
#![allow(clippy::print_stdout)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use benches::{commit, minutes, minutes_after};
use bytes::Bytes;
use disk::{Disk, OsDisk, SimDisk, SystemClock};
use engine::{Engine, Options};
use model::{BucketKey, ColumnBatch, Zone};
use plugin_host::{Entry, Host, Publisher};
use plugin_sdk::{
    BuiltIn, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger,
};

/// When fires began, for those who ask.
static BEGAN: Mutex<Vec<Instant>> = Mutex::new(Vec::new());
static NOTES: AtomicBool = AtomicBool::new(false);
static HANGS: AtomicBool = AtomicBool::new(false);

/// Does nothing, but for notes.
struct Idle;

impl Plugin for Idle {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        ..Manifest::new("idle", "1.0.0")
    };
    fn new(_: Self::Config, _: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Trigger for Idle {
    fn fire(&mut self, _: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        if NOTES.load(Relaxed) {
            note();
        }
        if let Event::Write(batch) = event {
            std::hint::black_box(batch.rows.times());
        }
        while HANGS.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn note() {
    BEGAN.lock().expect("no panic").push(Instant::now());
}

struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _: &str, _: &str, _: Bytes) {}
}

struct Store {
    host: Host,
    engine: Engine,
}

impl Store {
    fn open(disk: Arc<dyn Disk>, entries: Vec<Entry>) -> Self {
        let builtins = vec![BuiltIn::trigger::<Idle>()];
        let host = Host::new(entries, builtins, Zone::utc(), Arc::new(Nobody));
        let host = host.expect("the entries are right");
        let clock = Arc::new(SystemClock::new());
        let opened = Engine::open_on(disk, clock, Options::default(), host.hook());
        let (engine, _) = opened.expect("the store opens");
        host.start(engine.clone()).expect("the triggers start");
        Self { host, engine }
    }

    fn in_memory(entries: Vec<Entry>) -> Self {
        Self::open(Arc::new(SimDisk::new(1)), entries)
    }

    fn write(&self, rows: Vec<(BucketKey, ColumnBatch)>) {
        let ticket = self.engine.write(commit(rows)).expect("the rows fit");
        ticket.wait_visible().expect("durable");
    }

    fn drain(&self) {
        assert!(self.host.drain(Duration::from_secs(120)), "all fires");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.host.stop();
        self.engine.close().expect("closed");
    }
}

fn named(name: &str, delivery: Delivery) -> Entry {
    Entry {
        name: Some(name.into()),
        delivery: Some(delivery),
        ..Entry::trigger("idle")
    }
}

fn keys(count: usize) -> Vec<BucketKey> {
    let key = |n| BucketKey::parse(&format!("S{n}/1Min/OHLCV")).expect("a key");
    (0..count).map(key).collect()
}

fn rounds(most: usize) -> usize {
    let asked = std::env::var("MKTS_BENCH_ROUNDS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(most)
}

fn at(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn line(name: &str, value: impl std::fmt::Display) {
    println!("{name:<58} {value}");
}

/// From the beginning of one fire to that of the next, in a window of so many buckets with a row each.
fn fire_to_fire(buckets: usize) {
    let store = Store::in_memory(vec![named("one", Delivery::Exact)]);
    let keys = keys(buckets);
    let row = minutes::<f32>(1);
    let mut gaps = Vec::new();
    for step in 0..(rounds(20) * 10_000 / buckets) as i64 {
        let rows = minutes_after(&row, step);
        store.write(keys.iter().map(|k| (k.clone(), rows.clone())).collect());
        store.drain();
        NOTES.store(step > 0, Relaxed);
        let began = std::mem::take(&mut *BEGAN.lock().expect("no panic"));
        gaps.extend(began.windows(2).map(|pair| pair[1] - pair[0]));
    }
    NOTES.store(false, Relaxed);
    if gaps.is_empty() {
        return;
    }
    let name = format!("built-in, fire to fire, {buckets} buckets");
    let (half, most) = (at(&mut gaps, 0.5), at(&mut gaps, 0.99));
    line(&name, format!("p50 {half:?}, p99 {most:?}"));
}

fn per_fire() {
    (0..100_000).for_each(|_| note());
    let began = std::mem::take(&mut *BEGAN.lock().expect("no panic"));
    let mut gaps: Vec<_> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let half = at(&mut gaps, 0.5);
    line(
        "the note of a fire, which is in the next lines",
        format!("{half:?}"),
    );
    fire_to_fire(500);
    fire_to_fire(10_000);
}

/// CPU of the whole process outside the kernel, which wakes threads: of that, this machine's sleeping
/// processors make more than all the rest.
fn user_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(") ").next().expect("a name in brackets");
    let ticks: u64 = fields
        .split(' ')
        .nth(11)
        .and_then(|n| n.parse().ok())
        .expect("utime");
    Duration::from_millis(ticks * 10)
}

/// CPU of all threads that live; those of a store live as long as it does.
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = threads.flatten().map(|thread| {
        // A thread that ended meanwhile has no file any more.
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let first = stat.split(' ').next().unwrap_or_default();
        first.parse().unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

/// CPU of one write with one trigger of a delivery beside it: all, and outside the kernel.
fn cpu_per_window(delivery: Option<Delivery>) -> (f64, f64) {
    let entries = delivery.map(|delivery| named("one", delivery));
    let store = Store::in_memory(entries.into_iter().collect());
    let key = keys(1).remove(0);
    let row = minutes::<f32>(1);
    let count = rounds(20) * 2500;
    let (all, user) = (cpu(), user_cpu());
    for step in 0..count as i64 {
        store.write(vec![(key.clone(), minutes_after(&row, step))]);
        store.drain();
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    (each(cpu() - all), each(user_cpu() - user))
}

fn plugin_commit() {
    let show = |name: &str, (all, user): (f64, f64)| {
        line(
            name,
            format!("{all:.1} us, {user:.1} of them outside the kernel"),
        );
    };
    let durable = cpu_per_window(Some(Delivery::Durable));
    let exact = cpu_per_window(Some(Delivery::Exact));
    show("CPU of a write, no trigger", cpu_per_window(None));
    show("CPU of a write and its fire, durable", durable);
    show("CPU of a write, its fire and its plugin commit", exact);
    show(
        "CPU of a plugin commit",
        (exact.0 - durable.0, exact.1 - durable.1),
    );
}

/// Sections that fifty instances look at and none wants.
fn matching() {
    let cost = |instances: usize| {
        let entries = (0..instances).map(|n| Entry {
            on: vec![format!("X{n}*/1Min/OHLCV")],
            ..named(&format!("i{n}"), Delivery::Durable)
        });
        let store = Store::in_memory(entries.collect());
        let keys = keys(100_000);
        let row = minutes::<f32>(1);
        let write = |step| {
            let rows = minutes_after(&row, step);
            let begun = cpu();
            for chunk in keys.chunks(10_000) {
                store.write(chunk.iter().map(|k| (k.clone(), rows.clone())).collect());
            }
            store.drain();
            cpu() - begun
        };
        write(0);
        let mut times: Vec<Duration> = (1..=rounds(5) as i64).map(write).collect();
        at(&mut times, 0.5).as_secs_f64() * 1e9 / keys.len() as f64
    };
    let (none, fifty) = (cost(0), cost(50));
    line(
        "CPU of a section, no instance, 100 000 buckets",
        format!("{none:.0} ns"),
    );
    line(
        "CPU of a section, 50 instances that do not match",
        format!("{fifty:.0} ns"),
    );
    line("  per instance", format!("{:.1} ns", (fifty - none) / 50.0));
}

/// A backlog on a real disk that an exact instance works off: most of it is in the log alone.
fn catch_up() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let disk = OsDisk::open(directory.path()).expect("a directory");
    let store = Store::open(Arc::new(disk), vec![named("late", Delivery::Exact)]);
    HANGS.store(true, Relaxed);
    let keys = keys(100);
    let rows = minutes::<f32>(100);
    let mut written = 0;
    for step in 0..rounds(20) as i64 * 20 {
        let rows = minutes_after(&rows, step * 100);
        written += rows.rows() * keys.len();
        store.write(keys.iter().map(|k| (k.clone(), rows.clone())).collect());
    }
    let begun = Instant::now();
    HANGS.store(false, Relaxed);
    store.drain();
    let rate = written as f64 / begun.elapsed().as_secs_f64() / 1e6;
    line(
        "catch-up, exact, 100 buckets x 100 rows a commit",
        format!("{rate:.1} M rows/s"),
    );
}

/// A writer on a real disk, with no trigger and with one that hangs, by turns.
fn stuck() {
    let run = |with: bool| {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let entries = with.then(|| named("stuck", Delivery::Exact));
        let disk = OsDisk::open(directory.path()).expect("a directory");
        let store = Store::open(Arc::new(disk), entries.into_iter().collect());
        let keys = keys(100);
        let rows = minutes::<f32>(10);
        HANGS.store(true, Relaxed);
        let begun = Instant::now();
        let count = 2000;
        let mut last = None;
        for step in 0..count {
            let rows = minutes_after(&rows, step * 10);
            let all = keys.iter().map(|k| (k.clone(), rows.clone())).collect();
            last = Some(store.engine.write(commit(all)).expect("the rows fit"));
        }
        last.expect("some were written")
            .wait_visible()
            .expect("durable");
        let took = begun.elapsed();
        HANGS.store(false, Relaxed);
        count as f64 * 1000.0 / took.as_secs_f64() / 1e6
    };
    let mut ratios: Vec<f64> = Vec::new();
    let mut speeds = Vec::new();
    run(false);
    for _ in 0..rounds(7) {
        // There and back: the disk is not the same after a run.
        let [without, with, with_again, without_again] = [false, true, true, false].map(run);
        ratios.push((with + with_again) / (without + without_again));
        speeds.push(without);
    }
    ratios.sort_by(f64::total_cmp);
    speeds.sort_by(f64::total_cmp);
    line(
        "writer, no trigger",
        format!("{:.2} M rows/s", speeds[speeds.len() / 2]),
    );
    line(
        "writer beside a stuck trigger",
        format!("{:.3} of that", ratios[ratios.len() / 2]),
    );
}

fn main() {
    // As in the server: what is counted costs time.
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let recorder = recorder.expect("the first of this process");
    std::thread::spawn(move || {
        loop {
            recorder.run_upkeep();
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let parts: [(&str, fn()); 5] = [
        ("fire", per_fire),
        ("commit", plugin_commit),
        ("matching", matching),
        ("catch_up", catch_up),
        ("stuck", stuck),
    ];
    for (name, part) in parts {
        if only.as_deref().is_none_or(|only| name.contains(only)) {
            part();
        }
    }
}
