//! Followers: whole commits, in order, from memory or from the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::{ManualClock, SimDisk};
use model::RowKind;

use super::{MINUTE, batch, commit, key, open, options, pairs, rows, write};
use crate::{
    BucketId, BucketInfo, Change, CommitReader, Engine, Error, Interest, Lsn, NoHook, Options,
    Origin,
};

pub(super) fn drain(reader: &mut CommitReader) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(commit) = reader.next_commit().unwrap() {
        assert!(commit.lsn < commit.end);
        assert_eq!(reader.position(), commit.end);
        for change in commit.changes {
            seen.push(match change {
                Change::Rows(info, batch) => format!("{} {:?}", info.key, pairs(&batch)),
                Change::Defined(info) => format!("+{}", info.key),
                Change::Dropped(info) => format!("-{}", info.key),
                Change::Deleted { bucket, from, to } => format!("{} -{from}..={to}", bucket.key),
                Change::Altered { before, after } => {
                    format!("{} {:?} -> {:?}", after.key, before.schema, after.schema)
                }
            });
        }
        seen.push(format!("hops {}", commit.hops));
    }
    seen
}

#[test]
fn a_follower_sees_every_change_once_and_in_order() {
    let engine = open(&SimDisk::new(1));
    let mut live = engine.follow(Lsn(0)).unwrap();
    write(&engine, "A/1Min/X", RowKind::Bar, batch(&[MINUTE, 0], 5)).unwrap();
    let mut two = commit(vec![
        rows("A/1Min/X", RowKind::Bar, batch(&[MINUTE], 9)),
        rows("B/1Min/X", RowKind::Tick, batch(&[3], 7)),
    ]);
    two.hops = 2;
    two.section = Some(Bytes::from_static(b"opaque"));
    engine.write(two).unwrap().wait().unwrap();
    let expected = [
        "+A/1Min/X".to_owned(),
        "hops 0".to_owned(),
        format!("A/1Min/X [(0, 6), ({MINUTE}, 5)]"),
        "hops 0".to_owned(),
        "+B/1Min/X".to_owned(),
        "hops 0".to_owned(),
        format!("A/1Min/X [({MINUTE}, 9)]"),
        "B/1Min/X [(3, 7)]".to_owned(),
        "hops 2".to_owned(),
    ];
    assert_eq!(drain(&mut live), expected);
    engine.drop_buckets(&[key("A/1Min/X")]).unwrap();
    assert_eq!(drain(&mut live), ["-A/1Min/X", "hops 0"]);
    let seen = drain(&mut engine.follow(Lsn(0)).unwrap());
    let rows_of_dropped = seen.iter().any(|line| line.starts_with("A/"));
    assert!(!rows_of_dropped, "{seen:?}");
}

/// Wants one bucket, and nothing of one writer; counts what it is asked to look up.
struct Picky {
    key: &'static str,
    not_by: Origin,
    looked_up: usize,
}

impl Interest for Picky {
    fn origin(&mut self, origin: Origin) -> bool {
        origin != self.not_by
    }
    fn bucket(&mut self, _: BucketId, info: impl FnOnce() -> Option<Arc<BucketInfo>>) -> bool {
        self.looked_up += 1;
        info().is_some_and(|info| info.key.as_str() == self.key)
    }
}

#[test]
fn a_follower_is_given_only_what_it_wants() {
    let engine = open(&SimDisk::new(1));
    let origin = engine.origin("one").unwrap();
    let two = || {
        commit(vec![
            rows("A/1Min/X", RowKind::Bar, batch(&[0], 1)),
            rows("B/1Min/X", RowKind::Bar, batch(&[0], 2)),
        ])
    };
    engine.write(two()).unwrap().wait().unwrap();
    let mut two = two();
    two.origin = origin;
    two.section = Some(Bytes::from_static(b"opaque"));
    engine.write(two).unwrap().wait().unwrap();
    engine.drop_buckets(&[key("A/1Min/X")]).unwrap();
    let mut seen = Vec::new();
    for not_by in [Origin(0), origin, Origin(77)] {
        let mut interest = Picky {
            key: "B/1Min/X",
            not_by,
            looked_up: 0,
        };
        let mut reader = engine.follow(Lsn(0)).unwrap();
        let (mut rows, mut drops) = (0, 0);
        while let Some(commit) = reader.next_commit_for(&mut interest).unwrap() {
            assert_eq!(reader.position(), commit.end);
            for change in commit.changes {
                match change {
                    Change::Rows(info, _) if info.key.as_str() == "B/1Min/X" => rows += 1,
                    Change::Dropped(_) => drops += 1,
                    Change::Defined(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        seen.push((rows, drops, interest.looked_up));
    }
    assert_eq!(seen, [(1, 0, 2), (1, 1, 2), (2, 1, 4)]);
}

/// The log says it, also when no catalog knows the bucket any more.
#[test]
fn a_drop_has_its_name_after_a_restart() {
    for is_clean in [true, false] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        for name in ["A/1Min/X", "B/1Min/X", "C/1Min/X"] {
            write(&engine, name, RowKind::Bar, batch(&[0], 5)).unwrap();
        }
        engine
            .drop_buckets(&[key("C/1Min/X"), key("A/1Min/X")])
            .unwrap();
        if is_clean {
            engine.close().unwrap();
        }
        drop(engine);
        let engine = open(&disk.reopen());
        assert_eq!(engine.buckets().len(), 1);
        let seen = drain(&mut engine.follow(Lsn(0)).unwrap());
        let mut dropped = seen.iter().filter(|line| line.starts_with('-'));
        assert_eq!(dropped.next().unwrap(), "-A/1Min/X");
        assert_eq!(dropped.next().unwrap(), "-C/1Min/X");
        assert_eq!(dropped.next(), None);
        // The name is free, the number is not given again.
        write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 5)).unwrap();
        assert_eq!(engine.bucket(&key("A/1Min/X")).unwrap().id.0, 4);
    }
}

#[test]
fn of_many_who_drop_a_bucket_one_does() {
    let engine = open(&SimDisk::new(1));
    for _ in 0..20 {
        write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 5)).unwrap();
        let mut reader = engine.follow(engine.marks().visible).unwrap();
        let dropped: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| engine.drop_buckets(&[key("A/1Min/X")]).is_ok()))
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended.filter(|is_ok| *is_ok).count()
        });
        assert_eq!(dropped, 1);
        assert_eq!(drain(&mut reader), ["-A/1Min/X", "hops 0"]);
    }
}

/// With no memory for frames all of them come from the log.
#[test]
fn the_log_tells_what_memory_has_forgotten() {
    let options = Options {
        follow_bytes: 0,
        ..options()
    };
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(0)));
    let (engine, _) = Engine::open_on(Arc::new(disk), clock, options, Arc::new(NoHook)).unwrap();
    let mut reader = engine.follow(Lsn(0)).unwrap();
    for value in 0..50 {
        write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], value)).unwrap();
        let seen = drain(&mut reader);
        assert!(
            seen.contains(&format!("A/1Min/X [(0, {value})]")),
            "{seen:?}"
        );
    }
}

#[test]
fn a_released_position_is_named() {
    let engine = open(&SimDisk::new(1));
    let times: Vec<i64> = (0..10_000).map(|i| i * MINUTE).collect();
    let mut late = engine.follow(Lsn(0)).unwrap();
    for value in 0..20 {
        write(&engine, "A/1Min/X", RowKind::Bar, batch(&times, value)).unwrap();
    }
    engine.checkpoint().unwrap();
    let error = engine.follow(Lsn(0)).unwrap_err();
    assert!(
        matches!(error, Error::Released { wanted: Lsn(0), .. }),
        "{error}"
    );
    // Who began before reads on as long as memory has the frames.
    assert_eq!(drain(&mut late).len(), 2 + 20 * 2);
}

#[test]
fn a_waiting_follower_is_woken_by_a_commit_by_hand_and_by_close() {
    let engine = open(&SimDisk::new(1));
    let hour = Duration::from_secs(3600);
    let wait = |engine: &Engine| {
        let (past, engine) = (engine.marks().visible, engine.clone());
        std::thread::spawn(move || engine.wait_visible(past, hour) > past)
    };
    let waiter = wait(&engine);
    write(&engine, "A/1Min/X", RowKind::Bar, batch(&[0], 1)).unwrap();
    assert!(waiter.join().unwrap());
    let waiter = wait(&engine);
    while !waiter.is_finished() {
        engine.wake_followers();
        std::thread::yield_now();
    }
    assert!(!waiter.join().unwrap());
    let waiter = wait(&engine);
    engine.close().unwrap();
    waiter.join().unwrap();
    let past = engine.marks().visible;
    assert_eq!(engine.wait_visible(past, hour), past);
}
