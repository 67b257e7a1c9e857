//! What a caller meets: checks, limits, visibility, open and close.
#![allow(clippy::disallowed_methods)] // Makes files of other programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use disk::{Disk, ManualClock, SimDisk};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, TIME_MAX};

use super::{MINUTE, all, batch, commit, key, open, options, rows, schema, write};
use crate::{
    BucketId, CheckpointHook, Commit, Engine, Error, Limit, Lsn, NoHook, Options, Origin, Scan,
    SyncMode,
};

#[test]
fn written_bars_are_read_back_from_real_files_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let name = "AAPL/1Min/OHLCV";
    let times: Vec<i64> = (0..5000).map(|i| i * MINUTE + 17).collect();
    let floored: Vec<i64> = (0..5000).map(|i| i * MINUTE).collect();
    let open = || Engine::open(dir.path(), Options::default(), Arc::new(NoHook)).unwrap();
    let check = |engine: &Engine| {
        let id = engine.bucket(&key(name)).unwrap().id;
        let snapshot = engine.snapshot(&[id]);
        assert_eq!(snapshot.scan(0, &Scan::all()).unwrap().times(), floored);
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
        write(&engine, name, RowKind::Bar, batch(&times[..3000], 1)).unwrap();
        write(&engine, name, RowKind::Bar, batch(&times[3000..], 1)).unwrap();
        check(&engine);
    }
    let (engine, recovery) = open();
    assert_eq!(recovery.rows, 5000);
    check(&engine);
    engine.close().unwrap();
    let (engine, recovery) = open();
    assert_eq!((recovery.frames, recovery.segments), (0, 1));
    check(&engine);
    let error = Engine::open(dir.path(), Options::default(), Arc::new(NoHook)).unwrap_err();
    assert!(matches!(error, Error::Locked(_)), "{error}");
}

#[test]
fn a_directory_of_somebody_else_is_refused_untouched() {
    for (file, hint) in [
        ("category_name", "MarketStore"),
        ("WALFile.1700000000000000000.walfile", "MarketStore"),
        ("letters.txt", "letters.txt"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), "x").unwrap();
        let error = Engine::open(dir.path(), Options::default(), Arc::new(NoHook)).unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "{file}");
    }
}

#[test]
fn a_lost_manifest_is_not_taken_for_an_empty_store() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 1)).unwrap();
    drop(engine);
    disk.unlink("MANIFEST").unwrap();
    let error = super::try_open(&disk).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

fn columns(columns: Vec<(&str, Column)>) -> ColumnBatch {
    let rows = columns[0].1.len() as i64;
    let defs = columns
        .iter()
        .map(|(name, c)| ColumnDef::new(*name, c.ty()));
    let schema = Schema::new(defs.collect()).unwrap();
    let times = Column::from_values((0..rows).map(|i| i * MINUTE).collect());
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    ColumnBatch::new(schema, times, columns).unwrap()
}

#[test]
fn columns_are_matched_by_name_and_cast() {
    let engine = open(&SimDisk::new(1));
    write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 1)).unwrap();
    let other_order = columns(vec![
        ("Flag", Column::from_values(vec![7_i64])),
        ("Volume", Column::from_values(vec![41.9_f32])),
        ("Close", Column::from_values(vec![3_i32])),
    ]);
    write(&engine, "A/1Min/X", RowKind::Bar, other_order).unwrap();
    let found = super::scan(&engine, "A/1Min/X", &Scan::all()).unwrap();
    assert_eq!(found.schema(), &schema());
    assert_eq!(
        found.column("Close").unwrap().values::<f64>(),
        Some(&[3.0][..])
    );
    assert_eq!(
        found.column("Volume").unwrap().values::<i32>(),
        Some(&[41][..])
    );
    assert_eq!(found.column("Flag").unwrap().values::<u8>(), Some(&[7][..]));

    let close = || ("Close", Column::from_values(vec![1.0_f64]));
    let volume = || ("Volume", Column::from_values(vec![1_i32]));
    let text = Column::from_values(vec![[0_u32; 16]]);
    for bad in [
        columns(vec![close(), volume()]),
        columns(vec![close(), volume(), ("Flags", volume().1)]),
        columns(vec![
            close(),
            volume(),
            ("Flag", volume().1),
            ("More", volume().1),
        ]),
        columns(vec![close(), volume(), ("Flag", text)]),
    ] {
        let error = write(&engine, "A/1Min/X", RowKind::Bar, bad).unwrap_err();
        assert!(matches!(error, Error::SchemaMismatch { .. }), "{error}");
    }
    assert_eq!(all(&engine, "A/1Min/X"), [(0, 41)]);
}

#[test]
fn a_refused_commit_leaves_nothing_behind() {
    let engine = open(&SimDisk::new(1));
    write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 1)).unwrap();
    let before = engine.marks();
    let good = || rows("NEW/1Min/X", RowKind::Bar, batch(&[0], 1));
    let mut missing = rows("NO/1Min/X", RowKind::Bar, batch(&[0], 1));
    missing.create = None;
    let wrong = columns(vec![("Other", Column::from_values(vec![1_i32]))]);
    let huge: Vec<i64> = (0..40_000).map(|i| i * MINUTE).collect();
    for bad in [
        missing,
        rows("NEW/1Minute/X", RowKind::Bar, batch(&[0], 1)),
        rows("A/1Min/X", RowKind::Bar, batch(&[TIME_MAX + 1], 1)),
        rows("A/1Min/X", RowKind::Bar, batch(&[i64::MIN], 1)),
        rows("A/1Min/X", RowKind::Bar, wrong),
        rows("A/1Min/X", RowKind::Bar, batch(&huge, 1)),
    ] {
        assert!(engine.write(commit(vec![good(), bad])).is_err());
    }
    let error = write(&engine, "A/1Min/X", RowKind::Bar, batch(&huge, 1)).unwrap_err();
    assert!(error.to_string().contains("frame_bytes_max"), "{error}");
    assert_eq!(engine.bucket(&key("NEW/1Min/X")).map(|b| b.id), None);
    assert_eq!(engine.marks().appended, before.appended);

    // No rows, no change: not even the bucket.
    write(&engine, "NEW/1Min/X", RowKind::Bar, batch(&[], 1)).unwrap();
    assert!(engine.bucket(&key("NEW/1Min/X")).is_none());
    assert_eq!(engine.marks().appended, before.appended);
}

#[test]
fn clients_that_create_one_bucket_at_once_get_one_definition() {
    let engine = open(&SimDisk::new(1));
    for round in 0..20 {
        let name = format!("S{round}/1Sec/TICK");
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (engine, name) = (&engine, &name);
                scope.spawn(move || {
                    write(engine, name, RowKind::Tick, batch(&[client], client as i32)).unwrap();
                });
            }
        });
        assert_eq!(all(&engine, &name), [(0, 0), (1, 1), (2, 2), (3, 3)]);
    }
    let buckets = engine.buckets();
    assert_eq!(buckets.len(), 20);
    assert!(buckets.is_sorted_by(|a, b| a.key < b.key));
    assert!(Arc::ptr_eq(&buckets, &engine.buckets()));
}

#[test]
fn buckets_are_created_dropped_and_never_numbered_twice() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let name = key("A/1D/X");
    let made = engine.create_bucket(&name, RowKind::Bar, schema()).unwrap();
    let again = engine.create_bucket(&name, RowKind::Bar, schema());
    assert!(matches!(again, Err(Error::Exists(_))));
    assert_eq!(engine.bucket_by_id(made.id).unwrap().key, name);
    write(&engine, "A/1D/X", RowKind::Bar, batch(&[0], 1)).unwrap();
    engine.checkpoint().unwrap();
    write(&engine, "A/1D/X", RowKind::Bar, batch(&[MINUTE], 2)).unwrap();
    let missing = engine.drop_buckets(&[name.clone(), key("B/1D/X")]);
    assert!(matches!(missing, Err(Error::NotFound(_))));
    assert_eq!(all(&engine, "A/1D/X").len(), 1, "all or none");
    let view = engine.snapshot(&[made.id]);
    engine.drop_buckets(std::slice::from_ref(&name)).unwrap();
    assert!(engine.bucket(&name).is_none());
    assert!(engine.snapshot(&[made.id]).buckets().is_empty());
    assert_eq!(
        view.scan(0, &Scan::all()).unwrap().rows(),
        1,
        "an old view keeps its rows"
    );
    drop(engine);
    let engine = open(&disk.reopen());
    assert!(engine.bucket(&name).is_none());
    let new = engine.create_bucket(&name, RowKind::Bar, schema()).unwrap();
    assert!(new.id > made.id);
    assert_eq!(all(&engine, "A/1D/X"), []);
    assert!(engine.snapshot(&[BucketId(99)]).buckets().is_empty());
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let engine = open(&SimDisk::new(1));
    write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0, MINUTE], 1)).unwrap();
    let id = engine.bucket(&key("A/1Min/X")).unwrap().id;
    let view = engine.snapshot(&[id]);
    let before = super::pairs(&view.scan(0, &Scan::all()).unwrap());
    for value in 0..5 {
        let late = [MINUTE, -MINUTE, 9 * MINUTE];
        write(&engine, "A/1Min/X", RowKind::Bar, batch(&late, value)).unwrap();
        assert_eq!(super::pairs(&view.scan(0, &Scan::all()).unwrap()), before);
        assert_eq!(super::pairs(&view.last(0).unwrap().unwrap()), before[1..]);
        engine.checkpoint().unwrap();
        assert_eq!(super::pairs(&view.scan(0, &Scan::all()).unwrap()), before);
    }
    let new = all(&engine, "A/1Min/X");
    assert_eq!(new, [(-MINUTE, 5), (0, 1), (MINUTE, 4), (9 * MINUTE, 6)]);
}

#[test]
fn a_scan_refuses_columns_that_do_not_exist() {
    let engine = open(&SimDisk::new(1));
    write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 1)).unwrap();
    for columns in [vec![3], vec![0, 0], vec![]] {
        let columns = Some(columns);
        let scan = Scan {
            columns,
            ..Scan::all()
        };
        let error = super::scan(&engine, "A/1Min/X", &scan).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

fn open_with(disk: &SimDisk, options: Options, hook: Arc<dyn CheckpointHook>) -> Engine {
    let clock = Arc::new(ManualClock::new(0));
    let opened = Engine::open_on(Arc::new(disk.clone()), clock, options, hook);
    opened.unwrap().0
}

#[test]
fn an_interval_acknowledges_at_once_and_close_syncs() {
    let disk = SimDisk::new(1);
    let options = Options {
        sync: SyncMode::Interval(Duration::from_secs(3600)),
        ..options()
    };
    let engine = open_with(&disk, options, Arc::new(NoHook));
    for value in 0..5 {
        // The second write meets a definition that still waits for its sync.
        write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], value)).unwrap();
    }
    engine.close().unwrap();
    assert_eq!(all(&engine, "A/1Min/X"), [(0, 4)]);
    let error = write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 9)).unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    assert_eq!(all(&open(&disk.reopen()), "A/1Min/X"), [(0, 4)]);
}

#[test]
fn tails_and_a_long_log_start_checkpoints_by_themselves() {
    let options = Options {
        tail_bytes_max: 100_000,
        wal_bytes_max: 400_000,
        ..options()
    };
    let disk = SimDisk::new(1);
    let engine = open_with(&disk, options, Arc::new(NoHook));
    let times: Vec<i64> = (0..3000).map(|i| i * MINUTE).collect();
    for value in 0..40 {
        write(&engine, "A/1Min/X", RowKind::Bar, batch(&times, value)).unwrap();
        let marks = engine.marks();
        assert!(marks.checkpoint <= marks.visible && marks.visible <= marks.durable);
        assert!(marks.durable <= marks.appended);
        // Writers waited: the log never grew far over its limit.
        assert!(marks.visible.0 - marks.checkpoint.0 < 400_000 + 70_000);
    }
    assert!(engine.status().checkpoints > 3, "{:?}", engine.status());
    assert_eq!(all(&engine, "A/1Min/X").len(), 3000);
    assert_eq!(all(&engine, "A/1Min/X")[7], (7 * MINUTE, 39 + 7));
}

/// Refuses until told otherwise, and keeps the log from its answer on.
#[derive(Debug, Default)]
struct Hook {
    keep: AtomicU64,
    replayed: AtomicU64,
}

impl CheckpointHook for Hook {
    fn opened(&self, _disk: &Arc<dyn Disk>) -> Result<(), Error> {
        Ok(())
    }
    fn replayed(&self, _lsn: Lsn, origin: Origin, section: &[u8]) {
        assert_eq!((origin, section), (Origin(3), &b"state"[..]));
        self.replayed.fetch_add(1, Ordering::Relaxed);
    }
    fn checkpoint(&self, upto: Lsn) -> Result<Lsn, Error> {
        match self.keep.load(Ordering::Relaxed) {
            u64::MAX => Err(Error::Invalid("not now".into())),
            keep => Ok(upto.min(Lsn(keep))),
        }
    }
}

#[test]
fn a_hook_can_abandon_a_checkpoint_hold_the_log_and_hears_of_its_commits() {
    let disk = SimDisk::new(1);
    let hook = Arc::new(Hook::default());
    let engine = open_with(&disk, options(), hook.clone());
    let plugin_commit = Commit {
        origin: Origin(3),
        section: Some(Bytes::from_static(b"state")),
        ..commit(vec![rows("A/1Min/X", RowKind::Bar, batch(&[0], 1))])
    };
    engine.write(plugin_commit).unwrap().wait().unwrap();
    let only_state = Commit {
        origin: Origin(3),
        section: Some(Bytes::from_static(b"state")),
        ..commit(Vec::new())
    };
    engine.write(only_state).unwrap().wait().unwrap();
    hook.keep.store(u64::MAX, Ordering::Relaxed);
    assert!(engine.checkpoint().is_err());
    assert_eq!(engine.marks().checkpoint, Lsn(0));
    assert_eq!(all(&engine, "A/1Min/X"), [(0, 1)]);
    hook.keep.store(0, Ordering::Relaxed);
    drop(engine);

    let hook = Arc::new(Hook::default());
    let engine = open_with(&disk.reopen(), options(), hook.clone());
    assert_eq!(hook.replayed.load(Ordering::Relaxed), 2);
    assert_eq!(all(&engine, "A/1Min/X"), [(0, 1)]);
    // The hook answered 0: everything can still be followed.
    let mut reader = engine.follow(Lsn(0)).unwrap();
    let mut commits = 0;
    while reader.next_commit().unwrap().is_some() {
        commits += 1;
    }
    assert_eq!(commits, 3);
}

#[test]
fn origins_keep_their_numbers() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let one = engine.origin("one").unwrap();
    assert_eq!(engine.origin("one").unwrap(), one);
    let two = engine.origin("two").unwrap();
    assert_ne!(one, two);
    drop(engine);
    let engine = open(&disk.reopen());
    assert_eq!(engine.origin("two").unwrap(), two);
    assert_eq!(engine.origin_name(one).as_deref(), Some("one"));
    assert_eq!(engine.origin_name(Origin::CLIENT), None);
}

#[test]
fn every_type_survives_tail_and_segment() {
    let engine = open(&SimDisk::new(1));
    let bytes: Vec<u8> = (0..=255).cycle().take(64 * 5).collect();
    let typed = ColumnType::ALL.map(|ty| {
        let data = Bytes::from(bytes[..5 * ty.size()].to_vec());
        (ty.name(), Column::new(ty, data).unwrap())
    });
    let batch = columns(typed.to_vec());
    write(&engine, "A/1Min/X", RowKind::Bar, batch.clone()).unwrap();
    let check = || assert!(super::scan(&engine, "A/1Min/X", &Scan::all()).unwrap() == batch);
    let id = engine.bucket(&key("A/1Min/X")).unwrap().id;
    let last = || engine.snapshot(&[id]).last(0).unwrap().unwrap();
    check();
    assert!(last() == batch.slice(4..5));
    engine.checkpoint().unwrap();
    check();
    assert!(last() == batch.slice(4..5));
}

/// Writers, readers and checkpoints at once: a reader sees whole commits, and never goes back.
#[test]
fn readers_see_whole_commits_while_everything_moves() {
    const ROUNDS: i32 = 400;
    let engine = open(&SimDisk::new(1));
    let names = ["A/1Min/X", "B/1Min/X"];
    let both = |value: i32| {
        // The time moves on now and then, so that there are running, new and late bars.
        let time = i64::from(value / 7) * MINUTE;
        let times = [time, time / 2 / MINUTE * MINUTE];
        let pair = names.map(|name| rows(name, RowKind::Bar, batch(&times, value)));
        engine.write(commit(pair.into())).unwrap().wait().unwrap();
    };
    both(0);
    let ids = names.map(|name| engine.bucket(&key(name)).unwrap().id);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..ROUNDS).for_each(both);
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                engine.checkpoint().unwrap();
            }
        });
        let mut before = Vec::new();
        while !done.load(Ordering::Acquire) {
            let view = engine.snapshot(&ids);
            let [a, b] = [0, 1].map(|i| super::pairs(&view.scan(i, &Scan::all()).unwrap()));
            assert_eq!(a, b);
            let last = super::pairs(&view.last(0).unwrap().unwrap());
            assert_eq!(last, a[a.len() - 1..]);
            let older: Vec<_> = a.iter().take(before.len()).map(|row| row.0).collect();
            assert_eq!(older, before);
            before = a.iter().map(|row| row.0).collect();
        }
    });
    assert_eq!(all(&engine, names[0]).len(), (ROUNDS as usize - 1) / 7 + 1);
}

#[test]
fn one_commit_cannot_make_a_bucket_of_two_kinds() {
    let engine = open(&SimDisk::new(1));
    let both = [RowKind::Bar, RowKind::Tick].map(|kind| rows("A/1Min/X", kind, batch(&[0], 1)));
    let refused = engine.write(commit(both.into())).map(|_| ());
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert!(engine.buckets().is_empty());
}
