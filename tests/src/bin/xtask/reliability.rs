//! The long run before a release.

use std::process::Command;
use std::time::Instant;

/// Name, filters of tests, variables.
type Run = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const RUNS: &[Run] = &[
    (
        "sim_random and the simulation with triggers",
        &["random::", "sim::"],
        &[("MKTS_SIM_SEEDS", "200000")],
    ),
    (
        "sim_crash_everywhere, sim_torn_and_reordered, sim_error_everywhere, sim_fsync_lies",
        &[
            "sweep::crash::sim_crash",
            "sweep::crash::sim_torn",
            "sweep::fail",
        ],
        &[("MKTS_SWEEP_SCRIPTS", "20")],
    ),
    (
        "sim_double_crash, three deep",
        &["sweep::crash::sim_double"],
        &[("MKTS_SWEEP_DEPTH", "3")],
    ),
    (
        "corrupt_every_bit, corrupt_blocks",
        &["corrupt::"],
        &[("MKTS_EVERY_BIT", "1")],
    ),
    ("fuzz_*", &["fuzz::"], &[("MKTS_FUZZ_RUNS", "10000000")]),
    (
        "crash_failpoints",
        &["process::crash_failpoints"],
        &[("MKTS_FAIL_PASSES", "20")],
    ),
    (
        "crash_preload_errors",
        &["process::crash_preload"],
        &[("MKTS_FAIL_PASSES", "10")],
    ),
    ("crash_enospc", &["process::crash_enospc"], &[]),
    (
        "crash_kill9",
        &["crash::", "process::crash_kill9"],
        &[("MKTS_KILL_ROUNDS", "1000")],
    ),
    ("upgrade_golden", &["upgrade::"], &[]),
    ("rpc_hostile", &["hostile::"], &[]),
];

pub(super) fn run() -> Result<(), String> {
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let commit = commit.map_err(|error| format!("git: {error}"))?.stdout;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    println!("Commit {commit}.\n\n| test | with | result | seconds |\n|---|---|---|---:|");
    let scale = std::env::var("MKTS_RELIABILITY_SCALE").ok();
    let scale: u64 = scale.and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut red = Vec::new();
    for (name, filters, variables) in RUNS {
        let mut command = Command::new("cargo");
        command.args([
            "test",
            "--release",
            "--quiet",
            "--package",
            "tests",
            "--test",
            "it",
            "--",
        ]);
        command.args(*filters);
        let scaled = variables
            .iter()
            .map(|(name, text)| match text.parse::<u64>() {
                // Depths and switches are not rounds.
                Ok(number) if number > 3 => (*name, (number / scale).max(1).to_string()),
                _ => (*name, (*text).to_owned()),
            });
        let scaled: Vec<(&str, String)> = scaled.collect();
        command.envs(scaled.iter().cloned());
        let begun = Instant::now();
        let passed = command.status().is_ok_and(|status| status.success());
        let with: Vec<String> = scaled.iter().map(|(n, v)| format!("`{n}={v}`")).collect();
        let result = if passed { "green" } else { "RED" };
        println!(
            "| {name} | {} | {result} | {} |",
            with.join(" "),
            begun.elapsed().as_secs()
        );
        if !passed {
            red.push(*name);
        }
    }
    match red.is_empty() {
        true => Ok(()),
        false => Err(format!("red: {}", red.join("; "))),
    }
}
