//! Calls that fail.
//!
//! Each fault is one call of one run. Before it everything succeeds; after it a step may fail and
//! then has happened wholly or not at all; what is acknowledged later still counts. Once the store
//! says that it is poisoned nothing may succeed but reading (P7).

use std::io::ErrorKind;

use disk::SimDisk;
use engine::{Engine, Error};
use tests::oracle::life::{check, open, step, summary};
use tests::oracle::{State, Step};

use super::scripts;

/// What a system call may say. `WriteZero` stands for a short write. EIO and EMFILE have no kind
/// of their own that can be made, so `Other` stands for what no caller can tell apart.
const ERRORS: [(&str, ErrorKind); 5] = [
    ("EIO, EMFILE or a failed sync", ErrorKind::Other),
    ("ENOSPC", ErrorKind::StorageFull),
    ("EINTR", ErrorKind::Interrupted),
    ("short write", ErrorKind::WriteZero),
    ("EACCES", ErrorKind::PermissionDenied),
];

/// What a life with a fault showed.
#[derive(Default)]
struct Outcome {
    poisoned: bool,
    failed: bool,
    refused_open: bool,
}

/// Lives the script on a disk with a fault planned; checks everything on the way and afterwards.
fn live(disk: &SimDisk, script: &[Step], context: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let mut states = vec![State::default()];
    let mut engine = None;
    // An opening that fails is tried again, as an operator would.
    for each in script {
        if engine.is_none() {
            engine = Some(open_twice(disk, &mut outcome, context));
        }
        let was_poisoned = poisoned(&engine);
        let result = step(disk, &mut engine, each);
        match result {
            Ok(()) => {
                // A delete that finds nothing to delete may well succeed.
                let changes = states.iter().all(|s| s.outcomes(each).last() != Some(s));
                assert!(
                    !was_poisoned || !changes,
                    "{context}: {} succeeded after poison",
                    summary(each)
                );
                if !was_poisoned {
                    states.iter_mut().for_each(|state| state.apply(each));
                }
            }
            Err(_) if was_poisoned => {}
            Err(error) => {
                outcome.failed = true;
                let text = error.to_string();
                assert!(
                    !text.contains('\n') && text.len() > 10,
                    "{context}: {text:?}"
                );
                states = states.iter().flat_map(|s| s.outcomes(each)).collect();
                states.dedup();
            }
        }
        let Some(running) = &engine else { continue };
        outcome.poisoned |= poisoned(&engine);
        let found = State::read(running).unwrap_or_else(|e| panic!("{context}: reads go on: {e}"));
        assert!(
            states.contains(&found),
            "{context}: after {}: {}",
            summary(each),
            found.difference(states.last().expect("there is one"))
        );
    }
    drop(engine);
    let unsynced: Vec<_> = (0..disk.unsynced().len()).collect();
    let kept: Vec<_> = unsynced
        .iter()
        .map(|i| (*i, disk::sim::Keep::Whole))
        .collect();
    check(
        &disk.reopen_with(&[]),
        &states,
        &format!("{context}, power cut, all unsynced lost"),
    );
    check(
        &disk.reopen_with(&kept),
        &states,
        &format!("{context}, power cut, all unsynced kept"),
    );
    check(&disk.restart(), &states, &format!("{context}, death"));
    outcome
}

fn poisoned(engine: &Option<Engine>) -> bool {
    engine
        .as_ref()
        .is_some_and(|e| e.status().poisoned.is_some())
}

/// A fault happens once: the second opening must succeed.
fn open_twice(disk: &SimDisk, outcome: &mut Outcome, context: &str) -> Engine {
    match open(disk) {
        Ok((engine, _)) => engine,
        Err(error) => {
            outcome.refused_open = true;
            let damage = matches!(error, Error::Corrupt { .. });
            assert!(!damage, "{context}: a failing call is no damage: {error}");
            let again = open(disk);
            again
                .unwrap_or_else(|e| panic!("{context}: opened again: {e}"))
                .0
        }
    }
}

/// Counts of a run without faults.
fn counts(script: &[Step]) -> (u64, u64) {
    let disk = SimDisk::new(1);
    live(&disk, script, "no fault");
    (disk.call_count(), disk.read_count())
}

#[test]
fn sim_error_everywhere() {
    for (name, script) in scripts() {
        let (calls, reads) = counts(&script);
        let (mut poisoned, mut failed, mut refused) = (0, 0, 0);
        let mut count = |outcome: Outcome| {
            poisoned += u64::from(outcome.poisoned);
            failed += u64::from(outcome.failed);
            refused += u64::from(outcome.refused_open);
        };
        for (error, kind) in ERRORS {
            for at in 0..calls {
                let disk = SimDisk::new(at);
                disk.fail_after(at, kind);
                count(live(
                    &disk,
                    &script,
                    &format!("{name}: {error} at call {at}"),
                ));
            }
        }
        for (error, kind) in [ERRORS[0], ERRORS[2]] {
            for at in 0..reads {
                let disk = SimDisk::new(at);
                disk.fail_read_after(at, kind);
                count(live(
                    &disk,
                    &script,
                    &format!("{name}: {error} at read {at}"),
                ));
            }
        }
        let tried = ERRORS.len() as u64 * calls;
        assert!(
            poisoned > tried / 2,
            "{name}: {poisoned} of {tried} poisoned"
        );
        assert!(
            failed > poisoned && refused > 20,
            "{name}: {failed} failed, {refused} refused"
        );
    }
}

#[test]
fn sim_fsync_lies() {
    for (name, script) in scripts() {
        let mut poisoned = 0;
        for at in 0.. {
            let disk = SimDisk::new(at);
            disk.fail_sync_after(at);
            let outcome = live(&disk, &script, &format!("{name}: sync {at} fails"));
            poisoned += u64::from(outcome.poisoned);
            if !outcome.failed && !outcome.refused_open {
                break;
            }
        }
        assert!(poisoned > 50, "{name}: {poisoned} syncs failed");
    }
}
