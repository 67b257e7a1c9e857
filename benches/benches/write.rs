//! Writes into the engine in this process, each waited for until it is durable and visible.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use benches::{commit, minutes, minutes_after};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{Engine, NoHook, Options};
use model::BucketKey;

fn write(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let opened = Engine::open(directory.path(), Options::default(), Arc::new(NoHook));
    let (engine, _) = opened.expect("an empty store opens");
    let key = |text: &str| BucketKey::parse(text).expect("a key");
    let write = |rows| {
        let ticket = engine.write(commit(rows)).expect("the rows fit");
        ticket.wait_visible().expect("durable")
    };
    let mut group = criterion.benchmark_group("write");

    // Times go on, so that rows are new rows.
    let one = minutes::<f32>(1);
    let mut step = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("1_row", |b| {
        b.iter(|| {
            step += 1;
            write(vec![(key("ONE/1Min/OHLCV"), minutes_after(&one, step))])
        });
    });

    let keys: Vec<BucketKey> = (0..1000)
        .map(|i| key(&format!("S{i}/1Min/OHLCV")))
        .collect();
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000_buckets_1_row", |b| {
        b.iter(|| {
            step += 1;
            let rows = minutes_after(&one, step);
            write(keys.iter().map(|key| (key.clone(), rows.clone())).collect())
        });
    });

    let many = minutes::<f32>(100_000);
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("100k_rows", |b| {
        b.iter(|| {
            step += 600_000;
            write(vec![(
                key("MANY/1Min/OHLCV"),
                minutes_after(&many, step % 60_000_000),
            )])
        });
    });
    group.finish();
    engine.close().expect("closed");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = write
}
criterion_main!(benches);
