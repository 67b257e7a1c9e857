//! Queries of the engine in this process: snapshot, scan, and a look at every value, so that no
//! lazily mapped page goes unread.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use benches::{YEAR_ROWS, commit, minutes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{BucketId, Condition, Engine, Limit, NoHook, Options, Scan, Values};
use model::{BucketKey, Column, ColumnBatch};

/// Sixteen sums side by side: in a single one each addition waits for the one before, which takes
/// as long as reading the values did.
fn touch(rows: &ColumnBatch) -> f32 {
    let mut sums = [0.0; 16];
    for values in rows.columns().iter().filter_map(|c| c.values::<f32>()) {
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += value;
            }
        }
        sums[0] += rest.iter().sum::<f32>();
    }
    sums.iter().sum()
}

fn scan(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let opened = Engine::open(directory.path(), Options::default(), Arc::new(NoHook));
    let (engine, _) = opened.expect("an empty store opens");
    let key = |text: String| BucketKey::parse(&text).expect("a key");
    let year = minutes::<f32>(YEAR_ROWS);
    let few = year.slice(0..10);
    let mut rows = vec![(key("YEAR/1Min/OHLCV".into()), year)];
    rows.extend((0..1000).map(|i| (key(format!("S{i}/1Min/OHLCV")), few.clone())));
    let id = |text: String| -> BucketId { engine.bucket(&key(text)).expect("written").id };
    let ticket = engine.write(commit(rows)).expect("the rows fit");
    ticket.wait_visible().expect("durable");

    let ids: Vec<BucketId> = (0..1000).map(|i| id(format!("S{i}/1Min/OHLCV"))).collect();
    let year = [id("YEAR/1Min/OHLCV".into())];
    let last_1000 = Scan {
        limit: Some(Limit::Last(1000)),
        ..Scan::all()
    };
    for place in ["tail", "segment"] {
        if place == "segment" {
            engine.checkpoint().expect("written");
        }
        let mut group = criterion.benchmark_group(place);
        for (name, rows, scan) in [
            ("last_1000", 1000, &last_1000),
            ("year", YEAR_ROWS, &Scan::all()),
        ] {
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(name, |b| {
                b.iter(|| {
                    let found = engine.snapshot(&year).scan(0, scan).expect("read");
                    assert_eq!(found.rows(), rows);
                    touch(&found)
                });
            });
        }
        group.throughput(Throughput::Elements(1000));
        group.bench_function("last_row_of_1000_buckets", |b| {
            b.iter(|| {
                let snapshot = engine.snapshot(&ids);
                for index in 0..ids.len() {
                    black_box(snapshot.last(index).expect("read").expect("a row"));
                }
            });
        });
        group.bench_function("last_rows_of_1000_buckets", |b| {
            b.iter(|| {
                let found = engine.last_rows(&ids).expect("read");
                assert_eq!(found[0].rows.rows(), ids.len());
                found
            });
        });
        group.finish();
    }
    engine.close().expect("closed");
}

/// Ten years of one bucket beside a copy of the same columns, and many buckets at once.
fn large(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let opened = Engine::open(directory.path(), Options::default(), Arc::new(NoHook));
    let (engine, _) = opened.expect("an empty store opens");
    let key = |text: &str| BucketKey::parse(text).expect("a key");
    let decade = minutes::<f32>(10 * YEAR_ROWS);
    let day = decade.slice(0..390);
    let buckets = |count: usize, group: &str| -> Vec<BucketKey> {
        let key = |i| key(&format!("S{i}/1Min/{group}"));
        (0..count).map(key).collect()
    };
    let (days, lasts) = (buckets(500, "DAY"), buckets(20_000, "LAST"));
    let load = |rows: Vec<(BucketKey, ColumnBatch)>| {
        engine.ingest(commit(rows).rows).expect("the rows fit");
    };
    load(vec![(key("DECADE/1Min/OHLCV"), decade.clone())]);
    load(days.iter().map(|key| (key.clone(), day.clone())).collect());
    let row = day.slice(0..1);
    load(lasts.iter().map(|key| (key.clone(), row.clone())).collect());
    let ids = |keys: &[BucketKey]| -> Vec<BucketId> {
        let id = |key| engine.bucket(key).expect("written").id;
        keys.iter().map(id).collect()
    };

    let mut group = criterion.benchmark_group("large");
    let id = ids(&[key("DECADE/1Min/OHLCV")]);
    group.throughput(Throughput::Elements(decade.rows() as u64));
    group.bench_function("ten_years", |b| {
        b.iter(|| {
            let found = engine.snapshot(&id).scan(0, &Scan::all()).expect("read");
            assert_eq!(found.rows(), decade.rows());
            found
        });
    });
    group.bench_function("ten_years_copied", |b| {
        let columns = std::iter::once(decade.time_column()).chain(decade.columns());
        let columns: Vec<_> = columns.map(model::Column::bytes).collect();
        b.iter(|| columns.iter().map(|c| c.to_vec()).collect::<Vec<_>>());
    });
    group.throughput(Throughput::Elements(500 * 390));
    let days = ids(&days);
    let close = Scan {
        columns: Some(vec![3]),
        ..Scan::all()
    };
    group.bench_function("one_column_of_500_days", |b| {
        b.iter(|| {
            let snapshot = engine.snapshot(&days);
            let sum = |index| touch(&snapshot.scan(index, &close).expect("read"));
            (0..days.len()).map(sum).sum::<f32>()
        });
    });
    let lasts = ids(&lasts);
    for count in [500, 20_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("last_rows_of_{count}"), |b| {
            b.iter(|| {
                let found = engine.last_rows(&lasts[..count]).expect("read");
                assert_eq!(found[0].rows.rows(), count);
                found
            });
        });
    }
    group.finish();
    engine.close().expect("closed");
}

/// Ten years of a price that rises, and the rows above what it had at the end of 19 parts of 20: with
/// zone maps and without. Both compare each row that they read.
fn zones(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let opened = Engine::open(directory.path(), Options::default(), Arc::new(NoHook));
    let (engine, _) = opened.expect("an empty store opens");
    let plain = minutes::<f32>(10 * YEAR_ROWS);
    let rows = plain.rows();
    let close = plain.columns()[3].values::<f32>().expect("prices");
    let level = |row: usize| row as f32 * 1e-3;
    let rising = close
        .iter()
        .enumerate()
        .map(|(row, price)| price + level(row));
    let mut columns = plain.columns().to_vec();
    columns[3] = Column::from_values(rising.collect::<Vec<f32>>());
    let rising = ColumnBatch::new(plain.schema().clone(), plain.time_column().clone(), columns);
    let key = BucketKey::parse("RISES/1Min/OHLCV").expect("a key");
    let loaded = vec![(key.clone(), rising.expect("columns of one length"))];
    engine.ingest(commit(loaded).rows).expect("the rows fit");
    let id = [engine.bucket(&key).expect("written").id];
    let limit = 180.0 + level(rows / 20 * 19);
    let above = |found: &ColumnBatch| {
        let close = found.columns()[3].values::<f32>().expect("prices");
        close.iter().filter(|price| **price > limit).count()
    };
    let condition = Condition {
        column: 3,
        values: Values::floats(&[(Some(f64::from(limit)), None)]),
    };
    let all = engine.snapshot(&id).scan(0, &Scan::all()).expect("read");
    let wanted = above(&all);
    assert!(0 < wanted && wanted < rows / 10);

    let mut group = criterion.benchmark_group("zones");
    group.throughput(Throughput::Elements(rows as u64));
    group.bench_function("a_twentieth_without", |b| {
        b.iter(|| {
            let found = engine.snapshot(&id).scan(0, &Scan::all()).expect("read");
            assert_eq!(above(&found), wanted);
        });
    });
    group.bench_function("a_twentieth", |b| {
        b.iter(|| {
            let snapshot = engine.snapshot(&id);
            let zones = snapshot.zones(0, i64::MIN, i64::MAX, std::slice::from_ref(&condition));
            let found = zones.expect("read").spans.into_iter().map(|(from, to)| {
                let scan = Scan {
                    from,
                    to,
                    ..Scan::all()
                };
                above(&snapshot.scan(0, &scan).expect("read"))
            });
            assert_eq!(found.sum::<usize>(), wanted);
        });
    });
    group.finish();
    engine.close().expect("closed");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = scan, large, zones
}
criterion_main!(benches);
