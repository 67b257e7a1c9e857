//! Whole-store tests.

use std::sync::Arc;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use crate::{Commit, Engine, Limit, NoHook, Options, Origin, Rows, Scan};

fn schema() -> Schema {
    Schema::new(vec![
        ColumnDef::new("Close", ColumnType::F64),
        ColumnDef::new("Volume", ColumnType::I32),
    ])
    .unwrap()
}

const MINUTE: i64 = 60_000_000_000;

fn batch(times: &[i64], volume: i32) -> ColumnBatch {
    let close = times.iter().map(|t| *t as f64).collect::<Vec<_>>();
    let volumes = vec![volume; times.len()];
    let columns = vec![Column::from_values(close), Column::from_values(volumes)];
    ColumnBatch::new(schema(), Column::from_values(times.to_vec()), columns).unwrap()
}

fn commit(key: &BucketKey, batch: ColumnBatch) -> Commit {
    Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: vec![Rows {
            key: key.clone(),
            batch,
            create: Some(RowKind::Bar),
        }],
        section: None,
    }
}

#[test]
fn written_bars_are_read_back_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let key = BucketKey::parse("AAPL/1Min/OHLCV").unwrap();
    let times: Vec<i64> = (0..5000).map(|i| i * MINUTE + 17).collect();
    let floored: Vec<i64> = (0..5000).map(|i| i * MINUTE).collect();
    let open = || Engine::open(dir.path(), Options::default(), Arc::new(NoHook)).unwrap();
    let check = |engine: &Engine| {
        let info = engine.bucket(&key).unwrap();
        let snapshot = engine.snapshot(&[info.id]);
        let all = snapshot.scan(0, &Scan::all()).unwrap();
        assert_eq!(all.times(), floored);
        let limit = Some(Limit::Last(10));
        let last = snapshot
            .scan(
                0,
                &Scan {
                    limit,
                    ..Scan::all()
                },
            )
            .unwrap();
        assert_eq!(last.times(), &floored[4990..]);
        let last = snapshot.last(0).unwrap().unwrap();
        assert_eq!(last.times(), &floored[4999..]);
    };
    {
        let (engine, _) = open();
        engine
            .write(commit(&key, batch(&times[..3000], 1)))
            .unwrap()
            .wait()
            .unwrap();
        engine
            .write(commit(&key, batch(&times[3000..], 1)))
            .unwrap()
            .wait()
            .unwrap();
        check(&engine);
        let mut reader = engine.follow(crate::Lsn(0)).unwrap();
        let mut rows = 0;
        while let Some(followed) = reader.next_commit().unwrap() {
            for change in followed.changes {
                if let crate::Change::Rows(_, batch) = change {
                    rows += batch.rows();
                }
            }
        }
        assert_eq!(rows, 5000);
    }
    let (engine, _) = open();
    check(&engine);
    engine.close().unwrap();
    let (engine, recovery) = open();
    check(&engine);
    assert_eq!(recovery.frames, 0);
    assert_eq!(recovery.segments, 1);
}
