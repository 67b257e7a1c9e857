//! The sample in C passes the same cases, as a library and as a process.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use plugin_test::{Suite, json};

fn library() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tally.so");
    let built = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(root.join("../abi/include"))
        .arg("-o")
        .args([&file, &root.join("../samples/c/tally.c")])
        .output();
    match built {
        Ok(built) => {
            let errors = String::from_utf8_lossy(&built.stderr);
            assert!(built.status.success(), "{errors}");
            Some(file)
        }
        Err(error) => {
            eprintln!("SKIPPED: no C compiler \"cc\": {error}");
            None
        }
    }
}

#[test]
fn the_plugin_in_c_does_the_same_as_library_and_as_process() {
    if let Some(file) = library() {
        let suite = Suite::of_files("tally").config(json!({}));
        suite.library_and_process(file, "child");
    }
}

/// What a child runs; of no interest otherwise.
#[test]
fn child() {
    Suite::child();
}
