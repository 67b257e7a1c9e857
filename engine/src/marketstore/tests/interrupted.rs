//! Imports that are stopped between any two steps, and go on.

use std::sync::Arc;

use disk::{OsDisk, SystemClock};
use model::Schema;

use super::maker::{BID_ASK, DAY, MINUTE, floats, tick};
use super::*;
use crate::marketstore::import::Import;
use crate::marketstore::{Imported, Progress};
use crate::{Engine, Error, NoHook, Options, Rows, Scan};

/// Bars over two years, ticks, a daily bucket and one without rows.
fn source() -> Maker {
    let maker = Maker::new();
    for year in [2019, 2020] {
        let file = maker.year("A/1Min/B", year, MINUTE, false, BID_ASK);
        for index in (1..2000).step_by(3) {
            file.bar(index, &floats(&[index as f32, year as f32]));
        }
    }
    let file = maker.year("B/1Min/T", 2020, MINUTE, true, BID_ASK);
    for index in 1..200 {
        let rows: Vec<u8> = (0..9).flat_map(|n| tick(n as f32, n / 2)).collect();
        file.ticks(index, &rows, true);
    }
    maker
        .year("C/1D/D", 2020, DAY, false, BID_ASK)
        .bar(0, &floats(&[1.0, 2.0]));
    maker.year("D/1Min/E", 2020, MINUTE, false, BID_ASK);
    maker
}

const ROWS: u64 = 2 * 667 + 199 * 9 + 1;

fn open(dir: &std::path::Path) -> (Engine, Arc<OsDisk>) {
    let disk = Arc::new(OsDisk::open(dir).unwrap());
    let clock = Arc::new(SystemClock::new());
    let opened = Engine::open_on(disk.clone(), clock, Options::default(), Arc::new(NoHook));
    (opened.unwrap().0, disk)
}

/// Imports with small loads; stops at a step.
fn import(dir: &std::path::Path, maker: &Maker, stop_at: usize) -> Result<Imported, Error> {
    let (engine, disk) = open(dir);
    let tree = Tree::open(maker.root(), utc()).unwrap();
    let mut steps = 0;
    let mut import = Import::new(&engine, &tree, &*disk, 9000)?;
    import.run(&|_| true, &mut |_: Progress<'_>| {
        steps += 1;
        match steps > stop_at {
            true => Err(Error::Invalid("stopped".into())),
            false => Ok(()),
        }
    })
}

fn stored(dir: &std::path::Path, maker: &Maker) -> Vec<(String, ColumnBatch)> {
    let (engine, _) = open(dir);
    let tree = Tree::open(maker.root(), utc()).unwrap();
    let buckets = engine.buckets();
    let mut found = Vec::new();
    for (info, bucket) in buckets.iter().zip(tree.buckets()) {
        assert_eq!(info.key, bucket.key);
        let rows = engine.snapshot(&[info.id]).scan(0, &Scan::all()).unwrap();
        let mut read = tree.read(bucket).collect::<Vec<_>>();
        assert!(read.len() <= 1);
        if let Some(read) = read.pop() {
            assert_eq!(rows.times(), read.times());
            assert_eq!(rows.columns(), read.columns());
        } else {
            assert!(rows.is_empty());
        }
        found.push((info.key.to_string(), rows));
    }
    found
}

#[test]
fn an_import_stopped_at_any_step_goes_on_to_the_same_rows() {
    let maker = source();
    let whole = tempfile::tempdir().unwrap();
    let imported = import(whole.path(), &maker, usize::MAX).unwrap();
    assert_eq!(
        (imported.buckets, imported.rows, imported.resumed),
        (4, ROWS, 0)
    );
    assert_eq!(imported.repaired.first_january, 1);
    assert_eq!(imported.faults, []);
    let wanted = stored(whole.path(), &maker);
    let mut stopped = 0;
    for step in 0.. {
        let dir = tempfile::tempdir().unwrap();
        if import(dir.path(), &maker, step).is_ok() {
            break;
        }
        stopped += 1;
        // And once more, two steps later.
        let _ = import(dir.path(), &maker, 2);
        let imported = import(dir.path(), &maker, usize::MAX).unwrap();
        assert_eq!(
            (imported.buckets, imported.rows),
            (4, ROWS),
            "stopped at {step}"
        );
        assert!(stored(dir.path(), &maker) == wanted, "stopped at {step}");
    }
    assert!(stopped >= 8, "{stopped} steps");
}

#[test]
fn a_second_run_only_compares() {
    let maker = source();
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), &maker, usize::MAX).unwrap();
    let again = import(dir.path(), &maker, usize::MAX).unwrap();
    assert_eq!((again.resumed, again.rows), (4, ROWS));
    // A bucket that was destroyed in between is imported anew.
    let (engine, _) = open(dir.path());
    engine.drop_buckets(&[key("B/1Min/T")]).unwrap();
    engine.close().unwrap();
    drop(engine);
    let again = import(dir.path(), &maker, usize::MAX).unwrap();
    assert_eq!((again.resumed, again.rows), (3, ROWS));
}

fn add(dir: &std::path::Path, bucket: &str, times: Vec<i64>) {
    let (engine, _) = open(dir);
    let def = |name: &str| model::ColumnDef::new(name, model::ColumnType::F32);
    let schema = Schema::new(vec![def("Bid"), def("Ask")]).unwrap();
    let column = || model::Column::from_values(vec![0.5_f32; times.len()]);
    let (a, b) = (column(), column());
    let batch = ColumnBatch::new(schema, model::Column::from_values(times), vec![a, b]).unwrap();
    let rows = Rows {
        key: key(bucket),
        batch,
        create: Some(RowKind::Bar),
    };
    engine.ingest(vec![rows]).unwrap();
    engine.close().unwrap();
}

#[test]
fn buckets_and_rows_of_others_are_refused() {
    let maker = source();
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), "B/1Min/T", vec![0]);
    let error = import(dir.path(), &maker, usize::MAX)
        .unwrap_err()
        .to_string();
    assert!(error.contains("B/1Min/T existed before"), "{error}");
    // Rows that somebody wrote into an unfinished bucket are not taken for the import's.
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), &maker, 2).unwrap_err();
    add(dir.path(), "A/1Min/B", vec![0]);
    let error = import(dir.path(), &maker, usize::MAX)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not the first ones of this import"),
        "{error}"
    );
    // Nor are rows written after it: the sums differ.
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), &maker, usize::MAX).unwrap();
    add(dir.path(), "A/1Min/B", vec![0]);
    let error = import(dir.path(), &maker, usize::MAX)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("A/1Min/B holds 1335 rows that differ"),
        "{error}"
    );
}

#[test]
fn another_source_waits_for_the_first_to_be_finished() {
    let (first, second) = (source(), Maker::new());
    second
        .year("Z/1Min/B", 2020, MINUTE, false, BID_ASK)
        .bar(1, &floats(&[1.0, 2.0]));
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), &first, 3).unwrap_err();
    let error = import(dir.path(), &second, usize::MAX)
        .unwrap_err()
        .to_string();
    assert!(error.contains("is unfinished"), "{error}");
    import(dir.path(), &first, usize::MAX).unwrap();
    assert_eq!(import(dir.path(), &second, usize::MAX).unwrap().rows, 1);
}

#[test]
fn a_store_of_another_zone_is_refused() {
    let maker = source();
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = open(dir.path());
    let tree = Tree::open(maker.root(), zone("Asia/Tokyo")).unwrap();
    let error = crate::marketstore::import(&engine, &tree, &|_| true, &mut |_| Ok(()));
    assert!(error.unwrap_err().to_string().contains("Asia/Tokyo"));
}
