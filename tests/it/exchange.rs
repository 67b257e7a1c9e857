//! Files between mkts and pyarrow, the implementation that most other tools use.
//!
//! `tests/python/exchange_test.py` drives the commands and compares every value.
//! `MKTS_SKIP_PYTHON=1` skips this in the open.

use std::process::Command;

use tests::server::{binary, workspace};

use crate::pymarketstore::environment;

#[test]
fn pyarrow_and_we_read_each_others_files() {
    if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        println!("skipped: MKTS_SKIP_PYTHON=1");
        return;
    }
    let python = environment("pyarrow-1", &["pyarrow"]);
    let work = tempfile::tempdir().expect("a directory");
    let output = Command::new(python)
        .arg(workspace().join("tests/python/exchange_test.py"))
        .arg(binary())
        .arg(workspace().join("data"))
        .arg(work.path())
        .output()
        .expect("the environment's python runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("all parts passed"), "{out}");
}
