//! A backup whose disks crash or fail at every call: the copy is whole or no store, and the store
//! is unharmed.

use std::io::ErrorKind;

use disk::sim::Keep;
use disk::{Disk, SimDisk};
use model::RowKind;

use super::{MINUTE, all, batch, open, try_open, write};
use crate::manifest::MANIFEST;
use crate::{Engine, backup};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

const ERRORS: [ErrorKind; 3] = [
    ErrorKind::Other,
    ErrorKind::StorageFull,
    ErrorKind::Interrupted,
];

type State = [Vec<(i64, i32)>; 2];

fn state(engine: &Engine) -> State {
    [all(engine, BARS), all(engine, TICKS)]
}

/// Two segments, and rows that only the backup's own checkpoint saves.
fn stored(seed: u64) -> (SimDisk, Engine, State) {
    let disk = SimDisk::new(seed);
    let engine = open(&disk);
    write(&engine, BARS, RowKind::Bar, batch(&[0, MINUTE], 10)).unwrap();
    write(&engine, TICKS, RowKind::Tick, batch(&[5, 5, 7], 20)).unwrap();
    engine.checkpoint().unwrap();
    write(&engine, BARS, RowKind::Bar, batch(&[MINUTE], 30)).unwrap();
    engine.checkpoint().unwrap();
    write(&engine, TICKS, RowKind::Tick, batch(&[6], 40)).unwrap();
    let expected = state(&engine);
    (disk, engine, expected)
}

/// Whether the copy counts; then it has everything. Else it does not open, or nothing was copied
/// yet and it is as good as an empty directory.
fn is_whole_or_nothing(copy: &SimDisk, expected: &State, context: &str) -> bool {
    if copy.exists(MANIFEST).unwrap() {
        assert_eq!(&state(&open(copy)), expected, "{context}");
        return true;
    }
    if let Ok((engine, _)) = try_open(copy) {
        assert_eq!(engine.buckets().len(), 0, "{context}");
    }
    false
}

fn every_fate(disk: &SimDisk) -> Vec<SimDisk> {
    let unsynced = disk.unsynced();
    let kept = |skipped: Option<usize>| -> Vec<(usize, Keep)> {
        let kept = (0..unsynced.len()).filter(|index| Some(*index) != skipped);
        kept.map(|index| (index, Keep::Whole)).collect()
    };
    let mut fates = vec![
        disk.reopen_with(&[]),
        disk.reopen_with(&kept(None)),
        disk.copy().restart(),
    ];
    for (index, change) in unsynced.iter().enumerate() {
        fates.push(disk.reopen_with(&[(index, Keep::Whole)]));
        fates.push(disk.reopen_with(&kept(Some(index))));
        for cut in change.cuts() {
            fates.push(disk.reopen_with(&[(index, Keep::Bytes(0..cut))]));
        }
    }
    fates
}

/// A store that opens, has its rows and goes on.
fn is_unharmed(disk: &SimDisk, expected: &State, context: &str) {
    let engine = open(disk);
    assert_eq!(&state(&engine), expected, "{context}");
    write(&engine, TICKS, RowKind::Tick, batch(&[9], 50)).unwrap();
    backup::run_on(&engine, &SimDisk::new(9), "another").unwrap();
    engine.close().unwrap();
}

#[test]
fn a_power_cut_of_the_target_at_any_call_leaves_a_whole_copy_or_none() {
    let (_, engine, expected) = stored(1);
    let target = SimDisk::new(2);
    target.record();
    backup::run_on(&engine, &target, "target").unwrap();
    let recorded = target.recorded();
    let last = recorded.len() - 1;
    let (mut whole, mut none) = (0, 0);
    for (call, disk) in recorded.iter().enumerate() {
        for copy in every_fate(disk) {
            let context = format!("before call {call} of {last}");
            match is_whole_or_nothing(&copy, &expected, &context) {
                true => whole += 1,
                false => none += 1,
            }
            if call == last {
                assert!(
                    copy.exists(MANIFEST).unwrap(),
                    "what was reported is durable"
                );
            }
        }
    }
    assert!(whole >= 3 && none > 30, "{whole} whole, {none} none");
}

#[test]
fn an_error_of_the_target_at_any_call_leaves_a_whole_copy_or_none() {
    let (disk, engine, expected) = stored(1);
    for kind in ERRORS {
        for at in 0.. {
            let target = SimDisk::new(2);
            target.fail_after(at, kind);
            let context = format!("{kind} at call {at}");
            let made = backup::run_on(&engine, &target, "target");
            for copy in every_fate(&target) {
                let whole = is_whole_or_nothing(&copy, &expected, &context);
                // An error may come behind the commit point; success never before it.
                assert!(whole || made.is_err(), "{context}");
            }
            assert_eq!(state(&engine), expected, "{context}: the store goes on");
            if target.call_count() < at {
                assert!(at > 20, "{at}");
                break;
            }
        }
    }
    for at in 0.. {
        let target = SimDisk::new(2);
        target.fail_sync_after(at);
        let made = backup::run_on(&engine, &target, "target");
        let whole = is_whole_or_nothing(&target.reopen_with(&[]), &expected, "a sync lies");
        assert!(whole || made.is_err(), "sync {at}");
        if made.is_ok() {
            assert!(at > 3, "{at}");
            break;
        }
    }
    drop(engine);
    is_unharmed(&disk.restart(), &expected, "after all these");
}

/// What a failing source shows: the copy, and the store after the death of the process and after
/// a power cut. True once the fault is behind the last call.
fn fails_at(plan: impl Fn(&SimDisk), context: &str) -> bool {
    let (source, engine, expected) = stored(1);
    let target = SimDisk::new(2);
    plan(&source);
    let made = backup::run_on(&engine, &target, "target");
    let done = made.is_ok();
    for copy in [target.reopen_with(&[]), target.restart()] {
        let whole = is_whole_or_nothing(&copy, &expected, context);
        assert!(!done || whole, "{context}");
    }
    if !source.crashed() {
        assert_eq!(state(&engine), expected, "{context}: reads go on");
    }
    drop(engine);
    is_unharmed(&source.reopen_with(&[]), &expected, context);
    is_unharmed(&source.restart(), &expected, context);
    done
}

#[test]
fn a_source_that_crashes_or_fails_at_any_call_is_unharmed() {
    let sweep = |what: &str, plan: &dyn Fn(&SimDisk, u64)| {
        let mut failed = 0;
        for at in 0.. {
            match fails_at(|disk| plan(disk, at), &format!("{what} at {at}")) {
                // Some errors are passed over: of those the last calls of a backup are none.
                true if at > 40 => break,
                true => {}
                false => failed += 1,
            }
        }
        failed
    };
    assert!(sweep("crash", &|disk, at| disk.crash_after(at)) > 5);
    for kind in ERRORS {
        let calls = sweep("call", &|disk, at| disk.fail_after(at, kind));
        let reads = sweep("read", &|disk, at| disk.fail_read_after(at, kind));
        assert!(
            calls > 5 && reads > 5,
            "{kind}: {calls} calls, {reads} reads"
        );
    }
    assert!(sweep("sync", &|disk, at| disk.fail_sync_after(at)) > 2);
}
