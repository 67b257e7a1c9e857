//! The unmodified Python client of MarketStore against the real server.
//!
//! A virtual environment is made once in the target directory with pip; the script
//! `tests/python/client_test.py` then writes real bars, reads them back, streams, and compares
//! every value. Where Python cannot be had, `MKTS_SKIP_PYTHON=1` skips this in the open.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use tests::server::{ONDISKAGG, STREAM, Server, workspace};

/// The client under test, and what it needs beside it (it does not pin them itself).
pub(crate) const PACKAGES: &[&str] = &[
    "pymarketstore==0.22",
    "msgpack",
    "numpy",
    "pandas",
    "requests",
    "six",
    "websocket-client",
    "protobuf",
    "grpcio",
];

/// An older set of which the client is known to work, for `MKTS_PYTHON_OLDER=1`.
pub(crate) const OLDER: &[&str] = &["numpy==1.26.4", "pandas==2.2.3", "protobuf==4.25.9"];

#[test]
fn the_unmodified_python_client_works() {
    if std::env::var("MKTS_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        println!("skipped: MKTS_SKIP_PYTHON=1");
        return;
    }
    let python = environment("pymarketstore-0.22", PACKAGES);
    let server = Server::start(&[ONDISKAGG, STREAM], "");
    drive(&python, "client_test.py", &server.addr().to_string());
}

/// Both transports of the client with the older packages; they take a minute to install.
#[test]
fn the_unmodified_python_client_works_with_older_packages() {
    if !older() {
        println!("skipped: MKTS_PYTHON_OLDER=1 runs it");
        return;
    }
    let python = environment("pymarketstore-0.22-older", &[PACKAGES, OLDER].concat());
    let server = Server::start(&[ONDISKAGG, STREAM], "");
    drive(&python, "client_test.py", &server.addr().to_string());
    let server = Server::start(&[], "grpc_listen_port: 0\n");
    drive(&python, "grpc_test.py", server.grpc());
}

/// Whether the sets of older packages are to be tested, too.
pub(crate) fn older() -> bool {
    std::env::var("MKTS_PYTHON_OLDER").is_ok_and(|v| v == "1")
}

/// Runs a script of `tests/python` against a server.
pub(crate) fn drive(python: &Path, script: &str, address: &str) {
    let output = Command::new(python)
        .arg(workspace().join("tests/python").join(script))
        .arg(address)
        .arg(workspace().join("data"))
        .output()
        .expect("the environment's python runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("all parts passed"), "{out}");
}

/// The python of a virtual environment that holds some packages. Another list is another name.
pub(crate) fn environment(name: &str, packages: &[&str]) -> PathBuf {
    // Tests that run at the same time share environments.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join("bin").join("python");
    // Written last: an environment that was interrupted is made again.
    let complete = folder.join("complete");
    if complete.exists() {
        return python;
    }
    let hint = "the Python tests need python3 with venv and a reachable package index; \
                MKTS_SKIP_PYTHON=1 skips it";
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an incomplete environment is removed");
    }
    run(
        Command::new("python3").arg("-m").arg("venv").arg(&folder),
        hint,
    );
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(packages);
    run(&mut pip, hint);
    std::fs::write(complete, "").expect("the mark is written");
    python
}

fn run(command: &mut Command, hint: &str) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; {hint}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}; {hint}");
}
