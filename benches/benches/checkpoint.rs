//! From tails into a segment, synced: a million rows in one bucket, and in a thousand; three rows
//! in each of 20 000 buckets.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use benches::{commit, minutes, minutes_after, open_quiet};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::Engine;
use model::{BucketKey, ColumnBatch};

const ROWS: usize = 1_000_000;

/// Writes the rows to each bucket, later each time, and checkpoints: the time of that alone.
fn checkpoint_of(engine: &Engine, buckets: usize, batch: &ColumnBatch, number: i64) -> Duration {
    let later = minutes_after(batch, number * 10_000_000);
    let keys = (0..buckets).map(|bucket| format!("B{bucket}/1Min/OF{buckets}"));
    let keys: Vec<BucketKey> = keys
        .map(|key| BucketKey::parse(&key).expect("a key"))
        .collect();
    for start in (0..later.rows()).step_by(100_000) {
        let piece = later.slice(start..later.rows().min(start + 100_000));
        for some in keys.chunks(100_000 / piece.rows()) {
            let rows = some.iter().map(|key| (key.clone(), piece.clone()));
            let ticket = engine.write(commit(rows.collect())).expect("the rows fit");
            ticket.wait_visible().expect("durable");
        }
    }
    let began = Instant::now();
    engine.checkpoint().expect("written");
    began.elapsed()
}

fn checkpoint(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let engine = open_quiet(directory.path());
    let mut group = criterion.benchmark_group("checkpoint");
    let rows = minutes::<f64>(ROWS);
    let mut number = 0;
    for (name, buckets, rows_each) in [
        ("1M_rows_of_1", 1, ROWS),
        ("1M_rows_of_1000", 1000, ROWS / 1000),
        ("3_rows_of_20000", 20_000, 3),
    ] {
        let each = rows.slice(0..rows_each);
        group.throughput(Throughput::Elements((buckets * rows_each) as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let took = (0..times).map(|_| {
                    number += 1;
                    checkpoint_of(&engine, buckets, &each, number)
                });
                took.sum()
            });
        });
    }
    group.finish();
    engine.close().expect("closed");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = checkpoint
}
criterion_main!(benches);
