//! From a commit to the fire of a trigger that does nothing. `write_to_fire` has the sync in it.
//! `ack_to_fire` begins when the writer is told that its row is durable and visible; both are woken
//! by the same event, a fire that comes first counts as 0. Percentiles are printed at the end.
#![allow(missing_docs)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use benches::{commit, minutes, minutes_after};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use engine::{Engine, Options};
use model::{BucketKey, Zone};
use plugin_host::{Entry, Host, Publisher};
use plugin_sdk::{
    BuiltIn, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger,
};

/// An instance is made by the host: this is how it finds its bench.
static FIRED: Mutex<Option<Sender<Instant>>> = Mutex::new(None);

struct Clap(Sender<Instant>);

impl Plugin for Clap {
    type Config = serde_json::Value;
    const MANIFEST: Manifest = Manifest::new("clap", "1.0.0");

    fn new(_: serde_json::Value, _: &mut Init<'_>) -> Result<Self, PluginError> {
        let fired = FIRED.lock().expect("no thread panicked").clone();
        fired.map(Self).ok_or_else(|| "nobody listens".into())
    }
}

impl Trigger for Clap {
    fn fire(&mut self, _: &mut FireCtx<'_>, _: &Event<'_>) -> Result<(), FireError> {
        let now = Instant::now();
        self.0
            .send(now)
            .map_err(|_| FireError::Fatal("nobody listens".into()))
    }
}

struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _: &str, _: &str, _: Bytes) {}
}

/// One row after the other: (write to fire, acknowledged to fire).
fn fires(
    engine: &Engine,
    fired: &Receiver<Instant>,
    step: &mut i64,
    count: u64,
) -> Vec<(Duration, Duration)> {
    let key = BucketKey::parse("A/1Min/OHLCV").expect("a key");
    let row = minutes::<f32>(1);
    let one = |_| {
        *step += 1;
        let commit = commit(vec![(key.clone(), minutes_after(&row, *step))]);
        let begin = Instant::now();
        let ticket = engine.write(commit).expect("the row fits");
        ticket.wait_visible().expect("durable");
        let acknowledged = Instant::now();
        let fire = fired.recv().expect("the trigger runs");
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

fn dispatch(criterion: &mut Criterion) {
    let (fire, fired) = channel();
    *FIRED.lock().expect("no thread panicked") = Some(fire);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let builtins = vec![BuiltIn::trigger::<Clap>()];
    let host = Host::new(
        vec![Entry::trigger("clap")],
        builtins,
        Zone::utc(),
        Arc::new(Nobody),
    );
    let host = host.expect("the entry is right");
    let opened = Engine::open(directory.path(), Options::default(), host.hook());
    let (engine, _) = opened.expect("an empty store opens");
    host.start(engine.clone()).expect("the trigger starts");

    let mut step = 0;
    let mut all = Vec::new();
    let mut group = criterion.benchmark_group("dispatch");
    group.bench_function("write_to_fire", |b| {
        b.iter_custom(|count| {
            let times = fires(&engine, &fired, &mut step, count);
            let sum = times.iter().map(|(whole, _)| *whole).sum();
            all.extend(times);
            sum
        });
    });
    group.finish();
    percentiles(
        "write_to_fire",
        all.iter().map(|(whole, _)| *whole).collect(),
    );
    percentiles("ack_to_fire", all.iter().map(|(_, after)| *after).collect());
    host.stop();
    engine.close().expect("closed");
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
