//! Backups: a copy opens and has what was visible, whatever goes on meanwhile.

use std::sync::Arc;

use disk::{Disk, ManualClock, SimDisk};
use model::RowKind;

use super::{MINUTE, all, batch, key, open, options, try_open, write};
use crate::{CheckpointHook, Engine, Error, Lsn, NoHook, Options, Origin, backup};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

type State = [Vec<(i64, i32)>; 2];

fn state(engine: &Engine) -> State {
    [all(engine, BARS), all(engine, TICKS)]
}

/// Two segments and a tail.
fn fill(engine: &Engine) -> Result<(), Error> {
    write(engine, BARS, RowKind::Bar, batch(&[0, MINUTE], 10))?;
    write(engine, TICKS, RowKind::Tick, batch(&[5, 5, 7], 20))?;
    engine.checkpoint()?;
    write(engine, BARS, RowKind::Bar, batch(&[MINUTE], 30))?;
    engine.checkpoint()?;
    write(engine, TICKS, RowKind::Tick, batch(&[6], 40))
}

#[test]
fn a_copy_opens_with_what_was_visible() {
    let engine = open(&SimDisk::new(1));
    fill(&engine).unwrap();
    let expected = state(&engine);
    let target = SimDisk::new(2);
    let made = backup::run_on(&engine, &target, "target").unwrap();
    assert_eq!(made.visible, engine.marks().visible);
    assert_eq!(made.copied_bytes, target.used_bytes());
    // Three segments, catalog, MANIFEST.
    assert_eq!((made.files, made.linked_bytes), (5, 0));
    write(&engine, TICKS, RowKind::Tick, batch(&[9], 50)).unwrap();
    engine.compact().unwrap();
    // A power cut right after: all of it is durable.
    let copy = open(&target.reopen());
    assert_eq!(state(&copy), expected);
    write(&copy, TICKS, RowKind::Tick, batch(&[9], 60)).unwrap();
    assert_eq!(all(&engine, TICKS).last(), Some(&(9, 50)));
    assert_eq!(all(&copy, TICKS).last(), Some(&(9, 60)));
}

#[test]
fn a_directory_that_is_not_empty_is_refused_and_left_alone() {
    let engine = open(&SimDisk::new(1));
    let target = SimDisk::new(2);
    drop(target.create("mine").unwrap());
    let refused = backup::run_on(&engine, &target, "the target").unwrap_err();
    assert!(
        refused.to_string().contains("the target is not empty"),
        "{refused}"
    );
    assert!(refused.to_string().contains("mine"), "{refused}");
    assert_eq!(target.list("").unwrap(), ["mine"]);
}

#[test]
fn on_one_file_system_segments_are_linked() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("store");
    let target = dir.path().join("copies/first");
    let (engine, _) = Engine::open(&source, options(), Arc::new(NoHook)).unwrap();
    fill(&engine).unwrap();
    let expected = state(&engine);
    let made = engine.backup(&target).unwrap();
    assert_eq!(made.linked_bytes, engine.status().segment_bytes);
    engine.compact().unwrap();
    engine.drop_buckets(&[key(BARS)]).unwrap();
    engine.compact().unwrap();
    let again = engine.backup(&target);
    assert!(matches!(again, Err(Error::Invalid(_))), "{again:?}");
    engine.close().unwrap();
    let (copy, _) = Engine::open(&target, options(), Arc::new(NoHook)).unwrap();
    assert_eq!(state(&copy), expected);
    copy.close().unwrap();
}

/// A plugin that is behind: the log from its position on is needed.
struct Behind(Lsn);

impl CheckpointHook for Behind {
    fn opened(&self, disk: &Arc<dyn Disk>) -> Result<(), Error> {
        disk.create_dir_all("plugins/deep")?;
        for path in ["plugins/state", "plugins/deep/state"] {
            if !disk.exists(path)? {
                disk::publish(&**disk, path, |file| file.write_at(0, b"cursor"))?;
            }
        }
        Ok(())
    }
    fn replayed(&self, _lsn: Lsn, _origin: Origin, _section: &[u8]) {}
    fn checkpoint(&self, _upto: Lsn) -> Result<Lsn, Error> {
        Ok(self.0)
    }
}

#[test]
fn the_log_that_a_plugin_needs_comes_along() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(ManualClock::new(0));
    let small = Options {
        wal_segment_bytes: 16 << 10,
        frame_bytes_max: 4 << 10,
        ..options()
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let hook = Arc::new(Behind(Lsn(0)));
    let (engine, _) = Engine::open_on(shared, clock.clone(), small.clone(), hook).unwrap();
    for value in 0..500 {
        let times = [value; 40];
        write(&engine, TICKS, RowKind::Tick, batch(&times, value as i32)).unwrap();
    }
    let lsns = |engine: &Engine| {
        let mut reader = engine.follow(Lsn(0)).unwrap();
        let mut lsns = Vec::new();
        while let Some(commit) = reader.next_commit().unwrap() {
            lsns.push(commit.lsn);
        }
        lsns
    };
    let expected = lsns(&engine);
    assert!(disk.list("wal").unwrap().len() > 3);
    let target = SimDisk::new(2);
    let made = backup::run_on(&engine, &target, "target").unwrap();
    write(&engine, TICKS, RowKind::Tick, batch(&[900], 900)).unwrap();
    assert_eq!(&target.read_all("plugins/state").unwrap()[..], b"cursor");
    assert_eq!(
        &target.read_all("plugins/deep/state").unwrap()[..],
        b"cursor"
    );
    let target = target.reopen();
    let hook = Arc::new(Behind(Lsn(0)));
    let (copy, recovery) = Engine::open_on(Arc::new(target), clock, small, hook).unwrap();
    assert_eq!((recovery.frames, recovery.cut_bytes), (0, 0));
    assert!(recovery.quarantined.is_empty(), "{recovery:?}");
    assert_eq!(copy.marks().visible, made.visible);
    assert_eq!(all(&copy, TICKS).len(), 500 * 40);
    assert_eq!(lsns(&copy), expected);
    write(&copy, TICKS, RowKind::Tick, batch(&[900], 900)).unwrap();
    assert_eq!(lsns(&copy).len(), expected.len() + 1);
}

#[test]
fn a_crash_or_failure_at_any_call_leaves_no_half_store() {
    let engine = open(&SimDisk::new(1));
    fill(&engine).unwrap();
    let expected = state(&engine);
    let calls = {
        let target = SimDisk::new(0);
        backup::run_on(&engine, &target, "target").unwrap();
        target.call_count()
    };
    assert!(calls > 20, "{calls}");
    for at in 0..calls {
        let target = SimDisk::new(at);
        target.crash_after(at);
        assert!(backup::run_on(&engine, &target, "target").is_err());
        let target = target.reopen();
        match target.exists("MANIFEST").unwrap() {
            true => assert_eq!(state(&open(&target)), expected, "crash at {at}"),
            // Nothing there, or files without a MANIFEST, which are no store.
            false if target.list("segments").is_ok_and(|files| !files.is_empty()) => {
                drop(try_open(&target));
            }
            false => {}
        }
        for kind in [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull] {
            let target = SimDisk::new(at);
            target.fail_after(at, kind);
            assert!(backup::run_on(&engine, &target, "target").is_err(), "{at}");
            assert_eq!(
                target.list("").unwrap(),
                Vec::<String>::new(),
                "{at}: {kind}"
            );
            assert_eq!(target.used_bytes(), 0);
        }
        assert_eq!(engine.status().poisoned, None, "the source is not hurt");
    }
}

/// Writers, checkpoints, merges and bulk loads go on; each copy is a prefix of what was written.
#[test]
fn copies_are_consistent_while_everything_runs() {
    let engine = open(&SimDisk::new(1));
    write(&engine, TICKS, RowKind::Tick, batch(&[0], 0)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let running = || !stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in (1..).take_while(|_| running()) {
                write(&engine, TICKS, RowKind::Tick, batch(&[value], value as i32)).unwrap();
            }
        });
        scope.spawn(|| {
            while running() {
                engine.checkpoint().unwrap();
                engine.merge().unwrap();
            }
        });
        let mut before = 0;
        for seed in 0.. {
            if seed >= 12 && engine.status().merges > 0 {
                break;
            }
            let target = SimDisk::new(seed);
            backup::run_on(&engine, &target, "target").unwrap();
            let rows = all(&open(&target.reopen()), TICKS);
            let count = rows.len() as i64;
            let expected: Vec<_> = (0..count).map(|value| (value, value as i32)).collect();
            assert_eq!(rows, expected);
            assert!(count >= before);
            before = count;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
