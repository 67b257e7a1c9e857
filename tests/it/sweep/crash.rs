//! Crashes.

use std::collections::HashSet;
use std::sync::Arc;

use disk::SimDisk;
use disk::sim::{Keep, Unsynced};
use tests::oracle::State;
use tests::oracle::life::{check, open};

use super::life::Recorded;
use super::{number, scripts};

/// What of the unsynced changes survives, in the order in which it reached the medium.
type Fate = Vec<(usize, Keep)>;

/// Outcomes that were looked at already: the same bytes with the same states allowed.
#[derive(Default)]
struct Seen(HashSet<(u64, usize)>);

impl Seen {
    fn is_new(&mut self, disk: &SimDisk, allowed: &Arc<Vec<State>>) -> bool {
        self.0.insert((disk.digest(), Arc::as_ptr(allowed).addr()))
    }
}

fn all(count: usize) -> Fate {
    (0..count).map(|index| (index, Keep::Whole)).collect()
}

#[test]
fn sim_crash_everywhere() {
    for (name, script) in scripts() {
        let recorded = Recorded::run(&script);
        let mut looked = 0;
        for (index, disk) in recorded.disks.iter().enumerate() {
            let allowed = &recorded.allowed[index];
            let context = format!("{name}, {}", recorded.calls[index]);
            let unsynced = disk.unsynced().len();
            let outcomes = [
                ("death", disk.copy().restart()),
                ("all unsynced lost", disk.reopen_with(&[])),
                ("all unsynced kept", disk.reopen_with(&all(unsynced))),
            ];
            for (what, outcome) in outcomes {
                check(&outcome, allowed, &format!("{context}: {what}"));
                looked += 1;
            }
        }
        assert!(looked > 600, "{name} made only {looked} crashes");
    }
}

/// The process dies and starts again on a full disk: nothing can be saved, and what it serves is
/// in the page cache and the log alone. What was read there must survive the power cut that follows.
#[test]
fn sim_death_then_power_cut_on_a_full_disk() {
    for (name, script) in scripts() {
        let recorded = Recorded::run(&script);
        let mut served = 0;
        for (index, disk) in recorded.disks.iter().enumerate() {
            let context = format!("{name}, {}", recorded.calls[index]);
            let disk = disk.copy().restart();
            disk.set_capacity(Some(disk.used_bytes()));
            let Ok((engine, recovery)) = open(&disk) else {
                continue;
            };
            served += u64::from(recovery.frames > 0);
            let found = State::read(&engine).unwrap_or_else(|e| panic!("{context}: {e}"));
            disk.crash();
            drop(engine);
            let after = disk.reopen_with(&[]);
            after.set_capacity(None);
            check(
                &after,
                &[found],
                &format!("{context}: seen before the power cut"),
            );
        }
        assert!(
            served > 50,
            "{name}: served only {served} times from the log"
        );
    }
}

/// Each change kept and lost alone, each write cut at each border, each pair alone in both orders.
fn fates(unsynced: &[Unsynced]) -> Vec<Fate> {
    let count = unsynced.len();
    let without = |skipped: usize| {
        let mut fate = all(count);
        fate.remove(skipped);
        fate
    };
    let mut fates = vec![Vec::new(), all(count)];
    for (index, change) in unsynced.iter().enumerate() {
        fates.push(vec![(index, Keep::Whole)]);
        fates.push(without(index));
        for cut in change.cuts() {
            for part in [0..cut, cut..change.len] {
                let part = (index, Keep::Bytes(part));
                fates.push(vec![part.clone()]);
                let mut others = all(count);
                others[index] = part;
                fates.push(others);
            }
        }
        for other in (0..count).filter(|other| *other != index) {
            fates.push(vec![(other, Keep::Whole), (index, Keep::Whole)]);
        }
    }
    fates
}

#[test]
fn sim_torn_and_reordered() {
    for (name, script) in scripts() {
        let recorded = Recorded::run(&script);
        let (mut seen, mut looked, mut most) = (Seen::default(), 0, 0);
        for (index, disk) in recorded.disks.iter().enumerate() {
            let unsynced = disk.unsynced();
            most = most.max(unsynced.len());
            for fate in fates(&unsynced) {
                let outcome = disk.reopen_with(&fate);
                if seen.is_new(&outcome, &recorded.allowed[index]) {
                    let context = format!("{name}, {}: {fate:?}", recorded.calls[index]);
                    check(&outcome, &recorded.allowed[index], &context);
                    looked += 1;
                }
            }
        }
        assert!(most >= 2, "{name}: never two unsynced changes at once");
        assert!(looked > 200, "{name}: only {looked} outcomes");
    }
}

/// Opens `disk`, keeping each state of that recovery, and crashes it at each of its calls.
fn crash_recovery(
    disk: &SimDisk,
    allowed: &Arc<Vec<State>>,
    sweep: &mut Sweep,
    context: &str,
    depth: u64,
) {
    if depth == 0 || !sweep.seen[depth as usize].is_new(disk, allowed) {
        return;
    }
    disk.record();
    let opened = open(disk).unwrap_or_else(|e| panic!("{context}: {e}"));
    let states = disk.recorded();
    drop(opened);
    for (index, state) in states.iter().enumerate() {
        let count = state.unsynced().len();
        let outcomes = [
            ("death", state.copy().restart()),
            ("lost", state.reopen_with(&[])),
            ("kept", state.reopen_with(&all(count))),
        ];
        for (what, outcome) in outcomes {
            let context = format!("{context}; recovery call {index}, {what}");
            crash_recovery(&outcome.copy(), allowed, sweep, &context, depth - 1);
            if sweep.checked.is_new(&outcome, allowed) || what == "death" {
                check(&outcome, allowed, &context);
                sweep.crashes += 1;
            }
        }
    }
}

#[derive(Default)]
struct Sweep {
    /// By depth: recoveries gone through already.
    seen: Vec<Seen>,
    checked: Seen,
    crashes: u64,
}

#[test]
fn sim_double_crash() {
    let depth = number("MKTS_SWEEP_DEPTH", 2) - 1;
    for (name, script) in scripts() {
        let recorded = Recorded::run(&script);
        let mut sweep = Sweep::default();
        sweep.seen.resize_with(depth as usize + 1, Seen::default);
        for (index, disk) in recorded.disks.iter().enumerate() {
            let allowed = &recorded.allowed[index];
            let context = format!("{name}, {}", recorded.calls[index]);
            let count = disk.unsynced().len();
            for outcome in [disk.reopen_with(&[]), disk.reopen_with(&all(count))] {
                crash_recovery(&outcome, allowed, &mut sweep, &context, depth);
            }
        }
        assert!(sweep.crashes > 1_000, "{name}: {} crashes", sweep.crashes);
    }
}
