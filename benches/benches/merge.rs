//! Eight segments into one: `follow` copies pages, because each segment is later than the one
//! before; `overlap` has to decode and encode, because all have the same minutes.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use benches::{YEAR_ROWS, minutes, minutes_after, open_quiet};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{Engine, Rows};
use model::{BucketKey, ColumnBatch, RowKind};

const SEGMENTS: i64 = 8;
const BUCKETS: usize = 10;

/// Loads the segments, `step` minutes apart, and merges them: the time of that alone.
fn merge_of(batch: &ColumnBatch, step: i64) -> Duration {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let engine: Engine = open_quiet(directory.path());
    for segment in 0..SEGMENTS {
        let later = minutes_after(batch, segment * step);
        let rows = (0..BUCKETS).map(|bucket| Rows {
            key: BucketKey::parse(&format!("B{bucket}/1Min/OHLCV")).expect("a key"),
            batch: later.clone(),
            create: Some(RowKind::Bar),
        });
        engine.ingest(rows.collect()).expect("loaded");
    }
    let began = Instant::now();
    engine.compact().expect("merged");
    let took = began.elapsed();
    engine.close().expect("closed");
    took
}

fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    let year = minutes::<f64>(YEAR_ROWS);
    let rows = SEGMENTS as u64 * (BUCKETS * YEAR_ROWS) as u64;
    for (name, step) in [("follow", 600_000), ("overlap", 0)] {
        group.throughput(Throughput::Elements(rows));
        group.bench_function(name, |b| {
            b.iter_custom(|times| (0..times).map(|_| merge_of(&year, step)).sum());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(2));
    targets = merge
}
criterion_main!(benches);
