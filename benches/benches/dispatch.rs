//! From a commit to the fire of a trigger that does nothing; percentiles are printed at the end.
//!
//! `write_to_fire` begins with the write of one row: check, log, sync, tail, dispatch, fire. On a
//! disk in memory, where a sync takes no time, it bounds the way from durable to fire from above; on
//! the real one it has the sync in it. `ack_to_fire` begins when the writer is told that its row is
//! durable and visible; both are woken by the same event, a fire that comes first counts as 0.
#![allow(missing_docs)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use benches::{commit, minutes, minutes_after};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use disk::{Disk, OsDisk, SimDisk, SystemClock};
use engine::{Engine, Options};
use model::{BucketKey, Zone};
use plugin_host::{Entry, Host, Publisher};
use plugin_sdk::{
    BuiltIn, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger,
};

/// An instance is made by the host: this is how it finds its bench.
static FIRED: Mutex<Option<Sender<Fired>>> = Mutex::new(None);

/// When a fire began and the time of its row.
type Fired = (Instant, i64);

struct Clap(Sender<Fired>);

impl Plugin for Clap {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest::new("clap", "1.0.0");

    fn new(_: serde_json::Value, _: &mut Init<'_>) -> Result<Self, PluginError> {
        let fired = FIRED.lock().expect("no thread panicked").clone();
        fired.map(Self).ok_or_else(|| "nobody listens".into())
    }
}

impl Trigger for Clap {
    fn fire(&mut self, _: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let now = Instant::now();
        let Event::Write(batch) = event else {
            return Ok(());
        };
        let fired = (now, batch.rows.times()[0]);
        let sent = self.0.send(fired);
        sent.map_err(|_| FireError::Fatal("nobody listens".into()))
    }
}

struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _: &str, _: &str, _: Bytes) {}
}

/// One row after the other: (write to fire, acknowledged to fire).
fn fires(
    engine: &Engine,
    fired: &Receiver<Fired>,
    step: &mut i64,
    count: u64,
) -> Vec<(Duration, Duration)> {
    let key = BucketKey::parse("A/1Min/OHLCV").expect("a key");
    let row = minutes::<f32>(1);
    let one = |_| {
        *step += 1;
        let row = minutes_after(&row, *step);
        let time = row.times()[0];
        let commit = commit(vec![(key.clone(), row)]);
        let begin = Instant::now();
        let ticket = engine.write(commit).expect("the row fits");
        ticket.wait_visible().expect("durable");
        let acknowledged = Instant::now();
        let (fire, of) = fired.recv().expect("the trigger runs");
        assert_eq!(of, time, "each row is fired by itself");
        (
            fire.saturating_duration_since(begin),
            fire.saturating_duration_since(acknowledged),
        )
    };
    (0..count).map(one).collect()
}

fn percentiles(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "dispatch/{name}: p50 {:?} p99 {:?} of {} fires",
        at(50),
        at(99),
        times.len()
    );
}

/// Measures on one disk.
fn on(criterion: &mut Criterion, name: &str, disk: Arc<dyn Disk>) {
    let (fire, fired) = channel();
    *FIRED.lock().expect("no thread panicked") = Some(fire);
    let builtins = vec![BuiltIn::trigger::<Clap>()];
    let entries = vec![Entry::trigger("clap")];
    let host = Host::new(entries, builtins, Zone::utc(), Arc::new(Nobody));
    let host = host.expect("the entry is right");
    let clock = Arc::new(SystemClock::new());
    let opened = Engine::open_on(disk, clock, Options::default(), host.hook());
    let (engine, _) = opened.expect("an empty store opens");
    host.start(engine.clone()).expect("the trigger starts");

    let mut step = 0;
    let mut all = Vec::new();
    let mut group = criterion.benchmark_group("dispatch");
    group.bench_function(format!("write_to_fire/{name}"), |b| {
        b.iter_custom(|count| {
            let times = fires(&engine, &fired, &mut step, count);
            let sum = times.iter().map(|(whole, _)| *whole).sum();
            all.extend(times);
            sum
        });
    });
    group.finish();
    if !all.is_empty() {
        let whole = all.iter().map(|(whole, _)| *whole);
        percentiles(&format!("write_to_fire/{name}"), whole.collect());
        let after = all.iter().map(|(_, after)| *after);
        percentiles(&format!("ack_to_fire/{name}"), after.collect());
    }
    host.stop();
    engine.close().expect("closed");
}

fn dispatch(criterion: &mut Criterion) {
    on(criterion, "memory", Arc::new(SimDisk::new(1)));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let disk = OsDisk::open(directory.path()).expect("the directory is new");
    on(criterion, "disk", Arc::new(disk));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = dispatch
}
criterion_main!(benches);
