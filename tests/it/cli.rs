//! The command line as people and scripts use it: the real binary, real bars, both kinds of places.

mod connect;
mod loader;
mod scripts;
mod tools;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::server::{Server, binary, workspace};

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// The output of a command that did well.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// Everything printed by a command that failed so.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        format!("{}{}", self.out, self.err)
    }
}

fn run_raw(dir: &Path, args: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
    let mut child = Command::new(binary())
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mkts starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // Small: no pipe fills up. A command that reads nothing may be gone already.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("mkts ends");
    let code = output.status.code().expect("no signal ended it");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (code, output.stdout, err)
}

/// Runs `mkts` in a directory, with standard input.
fn run_with(dir: &Path, args: &[&str], input: &str) -> Ran {
    let (code, out, err) = run_raw(dir, args, input.as_bytes());
    Ran {
        code,
        out: String::from_utf8_lossy(&out).into_owned(),
        err,
    }
}

fn run(dir: &Path, args: &[&str]) -> Ran {
    run_with(dir, args, "")
}

/// A session as a script, in the directory of a store.
fn session(dir: &Path, script: &str) -> Ran {
    run_with(dir, &["connect", "--dir", "store"], script)
}

/// The real bars that come with the repository.
fn data(name: &str) -> PathBuf {
    workspace().join("data").join(name)
}

/// A directory with an empty store in it.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("store")).expect("a directory in it");
    dir
}

/// A place whose store has minute bars of SPY.
fn with_bars() -> tempfile::TempDir {
    let dir = place();
    let file = data("SPY_1Min_OHLCV.csv.gz");
    let file = file.to_str().expect("the path is UTF-8");
    let types = "Open=f4,High=f4,Low=f4,Close=f4,Volume=i4";
    run(
        dir.path(),
        &[
            "write",
            "SPY/1Min/OHLCV",
            file,
            "--dir",
            "store",
            "--types",
            types,
        ],
    )
    .good();
    dir
}

fn url(server: &Server) -> String {
    server.addr().to_string()
}
