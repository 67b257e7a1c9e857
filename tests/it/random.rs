//! Random lives of a store with everything at once: writes of all kinds, deletes, schema changes,
//! bulk loads, retention, checkpoints and merges on their own threads, and crashes, crashes during
//! recovery, failing syncs and calls, full disks and clocks that jump.
//!
//! `MKTS_SIM_SEEDS=n` runs n seeds (100), `MKTS_SIM_SEED=n` one. A life that fails is made smaller:
//! operations are left out as long as it still fails, and the line that repeats what is left is
//! printed (`MKTS_SIM_KEEP`). Threads are real, so a seed repeats the operations and the fate of
//! unsynced sectors, not every interleaving: each try is made a few times.
//!
//! A table says how often each fault and each branch of recovery happened; from 1 000 seeds on all
//! of them must have.

mod plan;
mod run;

use std::collections::BTreeMap;

use plan::{Op, plan};
pub(crate) use run::place;
use run::run;

/// How often something happened.
type Hits = BTreeMap<String, u64>;

/// What a long run must have seen.
const EXPECTED: &[&str] = &[
    "crash after Create of segments",
    "crash after Create of wal",
    "crash after Rename of MANIFEST",
    "crash after Rename of catalog",
    "crash after Rename of segments",
    "crash after Rename of wal",
    "crash after SetReadonly of segments",
    "crash after Sync of MANIFEST",
    "crash after Sync of catalog",
    "crash after Sync of segments",
    "crash after Sync of wal",
    "crash after SyncDir of root",
    "crash after SyncDir of segments",
    "crash after SyncDir of wal",
    "crash after Unlink of catalog",
    "crash after Unlink of segments",
    "crash after Write of MANIFEST",
    "crash after Write of catalog",
    "crash after Write of segments",
    "crash after Write of wal",
    "death",
    "disk full: refused",
    "disk full: went on when there was space",
    "poisoned",
    "power cut",
    "recovery: crashed",
    "recovery: cut the end of the log",
    "recovery: nothing to replay",
    "recovery: replayed",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs a life up to three times; why it fails, if it does.
fn fails(seed: u64, ops: &[(usize, Op)], tries: usize) -> Option<String> {
    (0..tries).find_map(|_| run(seed, ops, &mut Hits::new()).err())
}

/// Leaves out what is not needed for the failure: halves first, single operations last.
fn shrink(
    mut ops: Vec<(usize, Op)>,
    mut why: String,
    mut fails: impl FnMut(&[(usize, Op)]) -> Option<String>,
) -> (Vec<(usize, Op)>, String) {
    let mut size = ops.len().div_ceil(2);
    let mut tries = 300;
    while size > 0 && tries > 0 {
        let mut start = ops.len();
        while start > 0 && tries > 0 {
            let end = start;
            start = start.saturating_sub(size);
            let mut fewer = ops.clone();
            fewer.drain(start..end);
            tries -= 1;
            if let Some(still) = fails(&fewer) {
                (ops, why) = (fewer, still);
            }
        }
        size /= 2;
    }
    (ops, why)
}

fn report(seed: u64, ops: Vec<(usize, Op)>, why: String) -> ! {
    let (ops, why) = shrink(ops, why, |fewer| fails(seed, fewer, 2));
    let keep: Vec<String> = ops.iter().map(|(index, _)| index.to_string()).collect();
    let keep = keep.join(",");
    for (index, op) in &ops {
        println!("{index}: {op:?}");
    }
    panic!(
        "{why}\nMKTS_SIM_SEED={seed} MKTS_SIM_KEEP={keep} cargo test -p tests --test it sim_random"
    );
}

#[test]
fn sim_random() {
    let seeds = match number("MKTS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MKTS_SIM_SEEDS").unwrap_or(100),
    };
    let keep = std::env::var("MKTS_SIM_KEEP").ok();
    let keep: Option<Vec<usize>> = keep.map(|text| {
        let numbers = text
            .split(',')
            .map(|n| n.parse().expect("MKTS_SIM_KEEP is numbers"));
        numbers.collect()
    });
    let mut hits = Hits::new();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let ops: Vec<(usize, Op)> = plan(seed).into_iter().enumerate().collect();
        let kept = |(index, _): &(usize, Op)| keep.as_ref().is_none_or(|k| k.contains(index));
        let ops: Vec<(usize, Op)> = ops.into_iter().filter(kept).collect();
        if let Err(why) = run(seed, &ops, &mut hits) {
            report(seed, ops, why);
        }
    }
    for (what, count) in &hits {
        println!("{count:8} {what}");
    }
    let missing: Vec<&&str> = EXPECTED
        .iter()
        .filter(|what| !hits.contains_key(**what))
        .collect();
    assert!(
        count < 1_000 || missing.is_empty(),
        "never happened: {missing:?}"
    );
    assert!(
        count < 100 || missing.len() < EXPECTED.len() / 3,
        "too little happened: {missing:?}"
    );
}

/// The shrinking itself: of a life that fails because of two operations those two are left.
#[test]
fn a_failing_life_shrinks_to_what_fails() {
    let needs = |ops: &[(usize, Op)]| {
        let has = |index| ops.iter().any(|(i, _)| *i == index);
        (has(3) && has(31)).then(|| "three and thirty-one".to_owned())
    };
    let ops: Vec<(usize, Op)> = (0..40).map(|index| (index, Op::Heal)).collect();
    let (left, why) = shrink(ops, "all".to_owned(), needs);
    let left: Vec<usize> = left.iter().map(|(index, _)| *index).collect();
    assert_eq!((left, &*why), (vec![3, 31], "three and thirty-one"));
}
