//! Opening a store: after a crash with rows in the log only, and with large segments.
//!
//! Rows are bars of 48 bytes in commits of 10 000. `1GiB_log` needs `MKTS_BENCH_LARGE=1`: it copies
//! a gigabyte for every sample. `10G_rows` opens 20 000 buckets of 500 000 rows each in ten segments,
//! whose page tables are real and whose pages are shared; making it takes some 700 MB of disk.
#![allow(missing_docs)]
// Stores are copied as files, past `disk`, on purpose.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::time::{Duration, Instant};

use benches::{commit, minutes, minutes_after, open_quiet};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{Engine, bench};
use model::BucketKey;

const COMMIT_ROWS: usize = 10_000;
const BUCKETS: usize = 20_000;
const SEGMENTS: i64 = 10;

/// A store whose rows are in the log, as after a crash: it is dropped, not closed.
fn write_log(directory: &Path, rows: usize) {
    let engine = open_quiet(directory);
    let batch = minutes::<f64>(COMMIT_ROWS);
    let mut last = None;
    for number in 0..rows / COMMIT_ROWS {
        // Some buckets in turn, a week after the other.
        let key = BucketKey::parse(&format!("B{}/1Min/OHLCV", number % 16)).expect("a key");
        let rows = minutes_after(&batch, (number / 16) as i64 * 100_000);
        last = Some(
            engine
                .write(commit(vec![(key, rows)]))
                .expect("the rows fit"),
        );
    }
    if let Some(ticket) = last {
        ticket.wait_visible().expect("durable");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => {
                std::fs::copy(entry.path(), &target).expect("copied");
                // As a crash leaves the log: synced. Else the opening pays for the copy.
                let file = std::fs::File::open(&target).expect("a file");
                file.sync_all().expect("synced");
            }
        }
    }
}

/// Opens a copy, because opening empties the log.
fn open_copy(template: &Path, rows: usize) -> Duration {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    copy(template, directory.path());
    let began = Instant::now();
    let (engine, recovery) = benches::open(directory.path());
    let took = began.elapsed();
    assert_eq!(recovery.rows, rows as u64);
    engine.close().expect("closed");
    took
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    let large = std::env::var_os("MKTS_BENCH_LARGE").is_some();
    for (name, rows, wanted) in [
        ("1M_rows", 1_000_000, true),
        ("1GiB_log", 22_300_000, large),
    ] {
        if !wanted {
            continue;
        }
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        write_log(directory.path(), rows);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|times| (0..times).map(|_| open_copy(directory.path(), rows)).sum());
        });
    }
    group.finish();
}

/// Twenty thousand buckets of half a million rows.
fn fill(engine: &Engine) {
    let batch = minutes::<f64>(50_000);
    let keys: Vec<BucketKey> = (0..BUCKETS)
        .map(|bucket| BucketKey::parse(&format!("B{bucket}/1Min/OHLCV")).expect("a key"))
        .collect();
    for some in keys.chunks(1000) {
        let rows = some.iter().map(|key| (key.clone(), batch.slice(0..1)));
        let ticket = engine.write(commit(rows.collect())).expect("the rows fit");
        ticket.wait_visible().expect("durable");
    }
    for segment in 0..SEGMENTS {
        let later = minutes_after(&batch, (segment + 1) * 200_000);
        bench::fill(engine, &keys, &later).expect("filled");
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let engine = open_quiet(directory.path());
    fill(&engine);
    engine.close().expect("closed");
    group.bench_function("10G_rows", |b| {
        b.iter_custom(|times| {
            let each = (0..times).map(|_| {
                let began = Instant::now();
                let engine = open_quiet(directory.path());
                let took = began.elapsed();
                assert_eq!(engine.buckets().len(), BUCKETS);
                engine.close().expect("closed");
                took
            });
            each.sum()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(2));
    targets = replay, open
}
criterion_main!(benches);
