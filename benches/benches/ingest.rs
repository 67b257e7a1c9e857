//! Bulk loads past the log into one segment, synced. `rows/s` of the design are these.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use benches::{YEAR_ROWS, minutes, open_quiet, quotes, taped_trades, trades};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{Engine, Rows};
use model::{BucketKey, ColumnBatch, RowKind};

/// Loads the rows into buckets that are new each time.
fn load(
    engine: &Engine,
    buckets: usize,
    kind: RowKind,
    batch: &ColumnBatch,
    number: u64,
) -> Duration {
    let rows = (0..buckets).map(|bucket| Rows {
        key: BucketKey::parse(&format!("B{bucket}N{number}{kind:?}/1Min/BENCH")).expect("a key"),
        batch: batch.clone(),
        create: Some(kind),
    });
    let rows = rows.collect();
    let began = Instant::now();
    engine.ingest(rows).expect("loaded");
    began.elapsed()
}

fn ingest(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let engine = open_quiet(directory.path());
    let mut group = criterion.benchmark_group("ingest");
    let ten = minutes::<f64>(10 * YEAR_ROWS);
    let year = ten.slice(0..YEAR_ROWS);
    let day = ten.slice(0..390);
    let few = ten.slice(0..8);
    let ticks = trades(1_000_000);
    let taped = taped_trades(1_000_000);
    let quotes = quotes();
    let mut number = 0;
    for (name, buckets, kind, batch) in [
        ("ten_years", 1, RowKind::Bar, &ten),
        ("year_of_10", 10, RowKind::Bar, &year),
        ("day_of_1000", 1000, RowKind::Bar, &day),
        ("8_rows_of_20000", 20_000, RowKind::Bar, &few),
        ("trades", 1, RowKind::Tick, &ticks),
        ("trades_with_text", 1, RowKind::Tick, &taped),
        ("quotes", 1, RowKind::Tick, &quotes),
    ] {
        group.throughput(Throughput::Elements((buckets * batch.rows()) as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let each = (0..times).map(|_| {
                    number += 1;
                    load(&engine, buckets, kind, batch, number)
                });
                each.sum()
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
    targets = ingest
}
criterion_main!(benches);
