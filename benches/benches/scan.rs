//! Queries of the engine in this process: snapshot, scan, and a look at every value of one column,
//! so that no lazily mapped page goes unread.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use benches::{YEAR_ROWS, commit, minutes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{BucketId, Engine, Limit, NoHook, Options, Scan};
use model::{BucketKey, ColumnBatch};

fn touch(rows: &ColumnBatch) -> f32 {
    rows.columns()
        .iter()
        .filter_map(|c| c.values::<f32>())
        .map(|v| v.iter().sum::<f32>())
        .sum()
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
        group.finish();
    }
    engine.close().expect("closed");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = scan
}
criterion_main!(benches);
