//! The Python client `mkts.client` and the stand-in `mkts.compat`, as pip installs them.
//!
//! The packages it needs go into a virtual environment that is made once, the unmodified pymarketstore
//! among them: the same programs run with it and with the stand-in, and must see the same. The client
//! itself is installed from the sources on every run, beside the SDK of plugins, whose namespace it
//! shares. Where Python cannot be had, `MKTS_SKIP_PYTHON=1` skips this in the open.

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::server::{binary, workspace};

use crate::pymarketstore::{OLDER, PACKAGES, environment, older};

/// What the client and its tests need beside pymarketstore's packages, and what builds it.
const MORE: &[&str] = &[
    "polars",
    "pyarrow",
    "duckdb",
    "adbc-driver-flightsql",
    "adbc-driver-manager",
    "trustme",
    "websockets",
    "pytest",
    "mypy",
    "pandas-stubs",
    "hatchling",
];

#[test]
fn the_python_client_passes_its_own_tests() {
    if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        println!("skipped: MKTS_SKIP_PYTHON=1");
        return;
    }
    let python = environment("mkts-client-2", &[PACKAGES, MORE].concat());
    run_tests(&python, "mkts-client", &[]);
}

/// The oldest releases that the manifest allows, or nearly.
#[test]
fn the_python_client_works_with_older_packages() {
    if !older() {
        println!("skipped: MKTS_PYTHON_OLDER=1 runs it");
        return;
    }
    let own: &[&str] = &["pyarrow==17.*", "websockets==15.*"];
    let python = environment(
        "mkts-client-older-2",
        &[PACKAGES, MORE, OLDER, own].concat(),
    );
    // The types of that numpy are others.
    let less = ["--deselect", "tests/test_package.py::test_types_are_strict"];
    run_tests(&python, "mkts-client-older", &less);
}

/// Runs the tests of the client, installed in a folder of this name.
fn run_tests(python: &Path, folder: &str, options: &[&str]) {
    let path = installed(python, folder);
    let output = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .args(options)
        .env("PYTHONPATH", &path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MKTS_BIN", binary())
        .current_dir(workspace().join("clients/python"))
        .output()
        .expect("the environment's python runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(
        !out.contains("skipped"),
        "the environment has all it needs: {out}"
    );
}

/// Where the client of this tree is, and the SDK of plugins beside it.
fn installed(python: &Path, folder: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("the client of an earlier run is removed");
    }
    let output = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--no-build-isolation"])
        .arg("--target")
        .arg(&path)
        .arg(workspace().join("clients/python"))
        .arg(workspace().join("plugins/python"))
        .output()
        .expect("the environment's python runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pip install: {error}");
    path
}
