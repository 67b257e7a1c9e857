//! A start serves from the log, and writes what it replayed into a segment behind the readers' back.

use std::sync::Arc;

use disk::{Disk, ManualClock, SimDisk};
use model::RowKind;

use super::{MINUTE, all, batch, open, options, write};
use crate::{CheckpointHook, Engine, Error, Lsn, NoHook, Options, Origin, Recovery, log_frames};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

/// Serves at once, and takes the checkpoint as soon as the hook lets it.
fn start(disk: &SimDisk, hook: Arc<dyn CheckpointHook>) -> Result<(Engine, Recovery), Error> {
    let options = Options {
        checkpoint_before_serving: false,
        ..options()
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Engine::open_on(disk, Arc::new(ManualClock::new(0)), options, hook)
}

/// Never lets a checkpoint happen.
struct Refuses;

impl CheckpointHook for Refuses {
    fn opened(&self, _disk: &Arc<dyn Disk>) -> Result<(), Error> {
        Ok(())
    }
    fn replayed(&self, _lsn: Lsn, _origin: Origin, _section: &[u8]) {}
    fn checkpoint(&self, _upto: Lsn) -> Result<Lsn, Error> {
        Err(Error::Invalid("not now".to_owned()))
    }
}

type State = [Vec<(i64, i32)>; 2];

fn state(engine: &Engine) -> State {
    [all(engine, BARS), all(engine, TICKS)]
}

fn fill(engine: &Engine, from: i32) -> Result<(), Error> {
    for value in from..from + 4 {
        let times = [0, MINUTE, i64::from(value) * MINUTE];
        write(engine, BARS, RowKind::Bar, batch(&times, value))?;
        write(engine, TICKS, RowKind::Tick, batch(&[5, 5, 7], value))?;
    }
    Ok(())
}

/// A store with rows in a segment and in the log, as a killed process leaves it.
fn killed() -> (SimDisk, State) {
    let disk = SimDisk::new(7);
    let engine = open(&disk);
    fill(&engine, 1).unwrap();
    engine.checkpoint().unwrap();
    fill(&engine, 3).unwrap();
    let state = state(&engine);
    drop(engine);
    (disk.restart(), state)
}

#[test]
fn the_checkpoint_comes_after_the_start() {
    let (disk, expected) = killed();
    let (engine, recovery) = start(&disk, Arc::new(Refuses)).unwrap();
    assert_eq!(recovery.rows, 24);
    assert_eq!(state(&engine), expected);
    assert!(engine.marks().checkpoint < engine.marks().visible);
    drop(engine);
    let disk = disk.restart();
    let (engine, recovery) = start(&disk, Arc::new(NoHook)).unwrap();
    assert_eq!(recovery.rows, 24, "nothing was written");
    // Nobody asks for it.
    while engine.marks().checkpoint < engine.marks().visible {
        std::thread::yield_now();
    }
    assert_eq!(state(&engine), expected);
    engine.close().unwrap();
    let (engine, recovery) = start(&disk.restart(), Arc::new(NoHook)).unwrap();
    assert_eq!((recovery.rows, state(&engine)), (0, expected));
}

/// Whatever the checkpoint thread got done before the crash, no row is lost and no tick doubled.
#[test]
fn a_crash_at_any_call_of_the_start_and_its_checkpoint_is_survived() {
    let (good, expected) = killed();
    for at in 0.. {
        let disk = good.copy();
        disk.crash_after(at);
        let mut checkpointed = false;
        if let Ok((engine, _)) = start(&disk, Arc::new(NoHook)) {
            // Waits for the one that is under way.
            checkpointed = engine.checkpoint().is_ok();
        }
        let survived = !disk.crashed();
        // Twice in a row, with and without the page cache, before and after the next checkpoint.
        for next in [disk.restart(), disk.reopen()] {
            let (engine, _) = start(&next, Arc::new(Refuses)).unwrap();
            assert_eq!(state(&engine), expected, "after a crash at {at}");
            drop(engine);
            let next = next.reopen();
            let (engine, recovery) = start(&next, Arc::new(NoHook)).unwrap();
            assert_eq!(state(&engine), expected, "after a crash at {at}, again");
            assert!(recovery.quarantined.is_empty());
            fill(&engine, 9).unwrap();
            let more = state(&engine);
            engine.close().unwrap();
            drop(engine);
            assert_eq!(state(&open(&next.reopen())), more);
        }
        if survived {
            assert!(checkpointed && at > 10, "{at}");
            return;
        }
    }
}

/// The log was readable from the page cache only: what a start has shown stays when the machine
/// loses power before any checkpoint.
#[test]
fn what_a_start_showed_after_a_failed_sync_is_durable_without_a_checkpoint() {
    for at in 0.. {
        let disk = SimDisk::new(at);
        let engine = open(&disk);
        disk.fail_sync_after(at);
        let healthy = fill(&engine, 1).is_ok() && fill(&engine, 5).is_ok();
        let acknowledged = state(&engine);
        drop(engine);
        if healthy {
            assert!(at > 10, "some sync must have failed");
            return;
        }
        // The process is killed; the sync lied about pages that are still in the cache.
        let disk = disk.restart();
        let (engine, _) = start(&disk, Arc::new(Refuses)).unwrap();
        let shown = state(&engine);
        for (shown, acknowledged) in shown.iter().zip(&acknowledged) {
            assert!(shown.len() >= acknowledged.len(), "sync {at}");
        }
        drop(engine);
        for next in [disk.reopen(), disk.restart(), disk.reopen()] {
            let (engine, _) = start(&next, Arc::new(Refuses)).unwrap();
            assert_eq!(state(&engine), shown, "sync {at}");
        }
    }
}

/// Whether the log ends at the mark of a good close.
fn closed(disk: &SimDisk) -> bool {
    log_frames(disk, &mut |_| Ok(())).unwrap().log.closed
}

#[test]
fn an_orderly_stop_marks_the_end_of_the_log_and_nothing_else_does() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    fill(&engine, 1).unwrap();
    drop(engine);
    assert!(!closed(&disk), "dropped");

    let engine = open(&disk);
    engine.close().unwrap();
    assert!(closed(&disk), "closed without a commit of its own");
    drop(engine);
    let engine = open(&disk);
    assert!(!closed(&disk), "the next open wipes the mark");
    fill(&engine, 2).unwrap();
    let expected = state(&engine);
    engine.close().unwrap();
    assert!(closed(&disk.reopen()), "durable");
    let (engine, recovery) = start(&disk.reopen(), Arc::new(NoHook)).unwrap();
    assert_eq!((recovery.frames, state(&engine)), (0, expected));
}

/// What could not be saved is in the log, whose end is known all the same.
#[test]
fn the_end_is_marked_although_the_checkpoint_fails() {
    let disk = SimDisk::new(1);
    let (engine, _) = start(&disk, Arc::new(Refuses)).unwrap();
    fill(&engine, 1).unwrap();
    let expected = state(&engine);
    assert!(engine.close().is_err());
    assert!(closed(&disk.reopen()));
    let (engine, recovery) = start(&disk.reopen(), Arc::new(NoHook)).unwrap();
    assert_eq!((recovery.rows, state(&engine)), (23, expected));
}

#[test]
fn a_failed_sync_leaves_no_mark() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    fill(&engine, 1).unwrap();
    disk.fail_sync_after(0);
    assert!(fill(&engine, 2).is_err());
    assert!(engine.close().is_err());
    assert!(!closed(&disk) && !closed(&disk.reopen()));
}
