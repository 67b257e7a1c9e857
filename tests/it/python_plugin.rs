//! The Python SDK of plugins, as pip installs it.
//!
//! The packages it needs go into a virtual environment that is made once; the SDK itself is installed
//! from the sources on every run, in a folder of its own. Its own tests run against a server made in
//! Python. Where Python cannot be had, `MKTS_SKIP_PYTHON=1` skips this in the open.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tests::server::workspace;

use crate::pymarketstore::environment;

/// What the SDK and its tests need, and what builds it.
const PACKAGES: &[&str] = &[
    "grpcio==1.76.0",
    "grpcio-tools==1.76.0",
    "protobuf>=6.31.1,<7",
    "numpy",
    "msgpack",
    "pyarrow",
    "pytest",
    "hatchling",
];

/// A Python that has the SDK of this tree.
struct Python {
    program: PathBuf,
    /// Where the SDK is.
    path: PathBuf,
}

impl Python {
    /// `None` if Python is to be left out.
    fn get() -> Option<&'static Self> {
        static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
        PYTHON.get_or_init(Self::make).as_ref()
    }

    fn make() -> Option<Self> {
        if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
            println!("skipped: MKTS_SKIP_PYTHON=1");
            return None;
        }
        let program = environment("mkts-plugin-1", PACKAGES);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mkts-plugin-sdk");
        if path.exists() {
            std::fs::remove_dir_all(&path).expect("the SDK of an earlier run is removed");
        }
        let output = Command::new(&program)
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--no-build-isolation"])
            .arg("--target")
            .arg(&path)
            .arg(workspace().join("plugins/python"))
            .output()
            .expect("the environment's python runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pip install: {error}");
        Some(Self { program, path })
    }
}

#[test]
fn the_python_sdk_passes_its_own_tests() {
    let Some(python) = Python::get() else {
        return;
    };
    let output = Command::new(&python.program)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .env("PYTHONPATH", &python.path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(workspace().join("plugins/python"))
        .output()
        .expect("the environment's python runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(
        !out.contains("skipped"),
        "the environment has all it needs: {out}"
    );
}
