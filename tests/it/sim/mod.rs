//! Log, store, dispatcher and triggers together on a disk that crashes.
//!
//! A life is a random list of writes (bars in order, late bars, corrections, several buckets in one
//! commit, ticks), deletes of bars, checkpoints and pauses, drawn from a seed, against the real engine
//! and the real plugin host with triggers of every delivery: `ondiskagg`, which is given so little log
//! that it is behind again and again; copiers that repeat every tick, `exact` and `durable`; a counter
//! that counts every tick in its state, on two threads; one that watches and keeps nothing
//! (`volatile`); and copiers that come late and begin at the oldest row. The disk crashes after a
//! drawn number of calls, often again during recovery, and the store is opened on what a power cut (or
//! the death of the process) left. Then:
//!
//! * what was acknowledged is there, and of what was not a prefix, whole commits only (I2, I3);
//! * every aggregate equals recomputation from the base bars that are left, every tick was copied and
//!   counted once (I12, I16), whenever the copier came; `durable` saw every tick, `volatile` none
//!   twice in a run;
//! * opening once more changes nothing.
//!
//! `MKTS_SIM_SEEDS=n` runs n lives (60); `MKTS_PLUGIN_ROUNDS=n` sets the crashes of the longest test
//! (48), which prints what the disk did last before each.
//!
//! Writers and triggers are real threads, so a seed repeats the operations and the fate of the
//! disk's sectors, not the exact interleaving.

mod life;
mod model;
mod plugins;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use tests::rng::Rng;

use life::{Crash, Life};

fn seeds() -> u64 {
    std::env::var("MKTS_SIM_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60)
}

#[test]
fn a_life_without_a_crash_keeps_everything() {
    for seed in 0..seeds().div_ceil(20) {
        let mut life = Life::new(seed);
        life.run(80, None);
        life.stop_cleanly();
        life.check("after a clean stop");
        assert!(life.crashes == 0, "seed {seed}");
    }
}

#[test]
fn crashes_lose_double_and_invent_nothing() {
    let mut crashes = 0;
    for seed in 0..seeds() {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut life = Life::new(seed);
        for round in 0..3 {
            let after = 1 + rng.below(250);
            let kind = if rng.below(3) == 0 {
                Crash::Process
            } else {
                Crash::Power
            };
            life.run(40, Some((after, kind)));
            // Some recoveries are crashed, too.
            if rng.below(3) == 0 {
                life.crash_during_recovery(1 + rng.below(40), kind);
            }
            life.check(&format!(
                "seed {seed}, round {round}, crash after {after} calls, {kind:?}"
            ));
        }
        crashes += life.crashes;
    }
    assert!(
        crashes >= seeds(),
        "only {crashes} crashes happened: the test does not test"
    );
}

#[test]
fn a_failing_sync_poisons_and_a_restart_has_everything_acknowledged() {
    let mut poisoned = 0;
    for seed in 0..seeds().div_ceil(3) {
        let mut rng = Rng::new(seed ^ 0xfa11);
        let mut life = Life::new(seed);
        life.fail_a_sync_after(rng.below(30));
        life.run(40, None);
        poisoned += u64::from(life.poisoned());
        life.restart(Crash::Power);
        life.check(&format!("seed {seed}, after a failed sync"));
    }
    assert!(poisoned > 0, "no sync failed: the test does not test");
}

/// Crashes of the test below.
fn rounds() -> u64 {
    let rounds = std::env::var("MKTS_PLUGIN_ROUNDS").ok();
    rounds.and_then(|n| n.parse().ok()).unwrap_or(48)
}

/// Crashes over two lives without a look between them: backfills, ranges and writes meet.
#[test]
fn triggers_keep_their_promises_through_crashes() {
    let (mut crashes, mut gaps) = (0, 0);
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0.. {
        if crashes >= rounds() {
            break;
        }
        let mut rng = Rng::new(seed ^ 0x714);
        let mut life = Life::new(seed ^ 0x714);
        for round in 0..3 {
            life.add_late();
            for _ in 0..2 {
                let kind = match rng.below(3) {
                    0 => Crash::Process,
                    _ => Crash::Power,
                };
                life.run(40, Some((1 + rng.below(250), kind)));
                if rng.below(3) == 0 {
                    life.crash_during_recovery(1 + rng.below(80), kind);
                }
                life.look(&format!("seed {seed}, round {round}, between two lives"));
            }
            life.check(&format!("seed {seed}, round {round}"));
        }
        crashes += life.crashes;
        gaps += life.gaps;
        for (end, count) in &life.ends {
            *ends.entry(end.clone()).or_default() += count;
        }
    }
    for (end, count) in &ends {
        println!("{count:8} {end}");
    }
    println!("{crashes} crashes, {gaps} gaps");
    assert!(gaps > 0, "nothing fell behind: the test does not test");
    assert!(plugins::WATCHED.load(Relaxed) > 0);
    assert_eq!(plugins::SEEN_TWICE.load(Relaxed), 0, "volatile fired twice");
    let needed = [
        "Sync of wal",
        "Write of wal",
        "Write of plugins",
        "Rename of plugins",
    ];
    let missing: Vec<_> = needed
        .iter()
        .filter(|end| !ends.contains_key(**end))
        .collect();
    assert!(
        crashes < 500 || missing.is_empty(),
        "never happened: {missing:?}"
    );
}
