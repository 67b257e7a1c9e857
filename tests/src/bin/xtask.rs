//! `cargo xtask`: work on the tests themselves.
//!
//! * `mutate [NAME]`: applies each deliberate fault to a copy of the tree and expects red tests.
//! * `reliability`: the long run before a release; prints the table for docs/reliability.md.
//! * `golden VERSION`: writes tests/data/format/VERSION/store.json.gz with the format of today.
//! * `proto`: writes the Rust code of plugins/proto and clients/proto from their .proto files.
#![forbid(unsafe_code)]
// Writes its copies and files beside any store.
#![allow(clippy::disallowed_methods)]

#[path = "xtask/faults.rs"]
mod faults;
#[path = "xtask/mutate.rs"]
mod mutate;
#[path = "xtask/reliability.rs"]
mod reliability;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["mutate"] => mutate::run(None),
        ["mutate", name] => mutate::run(Some(name)),
        ["reliability"] => reliability::run(),
        ["golden", version] => golden(version),
        ["proto"] => proto(),
        _ => Err("usage: cargo xtask mutate [NAME] | reliability | golden v1 | proto".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn golden(version: &str) -> Result<(), String> {
    let dir = tests::server::workspace()
        .join("tests/data/format")
        .join(version);
    let path = dir.join("store.json.gz");
    if path.exists() {
        return Err(format!(
            "{} is there: a released format never changes",
            path.display()
        ));
    }
    let bytes = tests::oracle::golden::make().encode();
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&path, &bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
}

/// The generator is a test of each crate: nothing else builds a protobuf compiler.
fn proto() -> Result<(), String> {
    let status = std::process::Command::new("cargo")
        .args(["test", "-q", "-p", "plugin-proto", "-p", "client-proto"])
        .args(["--test", "generated"])
        .env("MKTS_PROTO_WRITE", "1")
        .current_dir(tests::server::workspace())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| "the generator failed".to_owned())
}
