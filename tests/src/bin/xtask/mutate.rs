//! Tests of the tests: each deliberate fault must turn a test red.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::faults::{FAULTS, Fault};

pub(super) fn run(only: Option<&str>) -> Result<(), String> {
    let chosen = |fault: &&Fault| only.is_none_or(|name| fault.name == name);
    let faults: Vec<&Fault> = FAULTS.iter().filter(chosen).collect();
    if faults.is_empty() {
        let names: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        return Err(format!("no such fault; there are {}", names.join(", ")));
    }
    let tree = Tree::copy()?;
    println!("| fault | tests | result | seconds |\n|---|---|---|---:|");
    let mut missed = Vec::new();
    for fault in faults {
        let begun = Instant::now();
        let result = tree.with(fault)?;
        let seconds = begun.elapsed().as_secs();
        println!(
            "| {} | `{}` | {result} | {seconds} |",
            fault.what,
            fault.tests.join(" ")
        );
        if result != "caught" {
            missed.push(fault.name);
        }
    }
    match missed.is_empty() {
        true => Ok(()),
        false => Err(format!("not caught: {}", missed.join(", "))),
    }
}

/// A copy of what git knows of the tree, as it is now.
struct Tree {
    dir: tempfile::TempDir,
    target: PathBuf,
}

impl Tree {
    fn copy() -> Result<Self, String> {
        let from = tests::server::workspace();
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let listed = Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(from)
            .output();
        let listed = listed.map_err(|error| format!("git ls-files: {error}"))?;
        for name in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            copy(&from.join(name), &dir.path().join(name))?;
        }
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => PathBuf::from(target),
            None => from.join("target"),
        };
        Ok(Self {
            dir,
            target: target.join("mutate"),
        })
    }

    /// What the fault's tests say while it is applied.
    fn with(&self, fault: &Fault) -> Result<&'static str, String> {
        let path = self.dir.path().join(fault.file);
        let good = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", fault.file))?;
        if good.matches(fault.from).count() != 1 {
            return Ok("STALE: the text to change is not there once");
        }
        let write = |text: &str| {
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", fault.file))
        };
        write(&good.replace(fault.from, fault.to))?;
        let result = match self.cargo(fault, true) {
            false => "STALE: it does not compile",
            true if self.cargo(fault, false) => "NOT CAUGHT",
            true => "caught",
        };
        write(&good)?;
        Ok(result)
    }

    fn cargo(&self, fault: &Fault, build_only: bool) -> bool {
        // A fault that makes a test run for ever is noticed, too.
        let mut command = Command::new("timeout");
        command.args(["900", "cargo", "test", "--quiet"]);
        let (cargo, names) = match fault.tests.iter().position(|word| *word == "--") {
            Some(at) => fault.tests.split_at(at),
            None => (fault.tests, &[][..]),
        };
        command.args(cargo);
        if build_only {
            command.arg("--no-run");
        } else {
            command.args(names);
        }
        command
            .current_dir(self.dir.path())
            .env("CARGO_TARGET_DIR", &self.target)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let copied = match to.parent() {
        Some(dir) => std::fs::create_dir_all(dir).and_then(|()| std::fs::copy(from, to)),
        None => std::fs::copy(from, to),
    };
    copied
        .map(drop)
        .map_err(|error| format!("{}: {error}", from.display()))
}
