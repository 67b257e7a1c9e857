//! Every fuzz target over its corpus and seeded mutations of it: no panic, no end missing.
//!
//! `MKTS_FUZZ_RUNS=n` runs the cheapest targets n times (3 000; those that open a store for each
//! input a fraction of it), `MKTS_SEED` repeats a run, `MKTS_FUZZ_TARGET` picks one target. The
//! input of a panic is printed as a line for `cargo xtask fuzz-input`, and belongs into the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use tests::fuzz::mutate::mutate;
use tests::fuzz::{TARGETS, Target, own_seeds};
use tests::rng::Rng;

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut inputs: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in std::fs::read_dir(&dir).into_iter().flatten() {
        let path = entry.expect("the corpus can be listed").path();
        let bytes = std::fs::read(&path).expect("the corpus can be read");
        inputs.push((path.display().to_string(), bytes));
    }
    inputs.sort();
    let own = own_seeds(name).into_iter().enumerate();
    inputs.extend(own.map(|(index, bytes)| (format!("own seed {index}"), bytes)));
    inputs
}

fn run(target: &Target, name: &str, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if outcome.is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} fails on {name}: {hex}", target.name);
    }
}

fn smoke(targets: &[&str]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let runs: u64 = number("MKTS_FUZZ_RUNS").unwrap_or(3_000);
    let seed: u64 = number("MKTS_SEED").unwrap_or(1);
    let only = std::env::var("MKTS_FUZZ_TARGET").ok();
    for target in TARGETS
        .iter()
        .filter(|target| targets.contains(&target.name))
    {
        if only.as_ref().is_some_and(|only| only != target.name) {
            continue;
        }
        let inputs = corpus(target.name);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (name, input) in &inputs {
            run(target, name, input);
        }
        let mut rng = Rng::new(seed);
        for number in 0..(runs * target.share / 1_000).max(1) {
            let pick = |rng: &mut Rng| &inputs[rng.below(inputs.len() as u64) as usize].1;
            let input = mutate(pick(&mut rng), pick(&mut rng), &mut rng);
            run(
                target,
                &format!("mutation {number} of MKTS_SEED={seed}"),
                &input,
            );
        }
    }
}

const OF_CLIENTS: [&str; 10] = [
    "msgpack_value",
    "json_rpc",
    "write_dataset",
    "query_request",
    "numpy_types",
    "ws_frames",
    "rpc_answer",
    "bucket_key_and_pattern",
    "timeframe",
    "config_yaml",
];

#[test]
fn fuzz_what_clients_send() {
    smoke(&OF_CLIENTS);
}

#[test]
fn fuzz_what_files_hold() {
    let others = TARGETS.iter().map(|target| target.name);
    smoke(
        &others
            .filter(|name| !OF_CLIENTS.contains(name))
            .collect::<Vec<_>>(),
    );
}
