//! The binary as a person uses it: commands, exit codes, files.
#![forbid(unsafe_code)]
// Tests prepare their own files beside the store; a failed unwrap is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use client::{Client, Query};
use tempfile::TempDir;

const MKTS: &str = env!("CARGO_BIN_EXE_mkts");
/// A hang, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

fn mkts(dir: &Path, args: &[&str]) -> Output {
    Command::new(MKTS)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../data")
        .join(name)
}

const CONFIG: &str = "root_directory: data\nlisten_port: 0\n";

/// A server on its own directory, killed when dropped.
struct Server {
    dir: TempDir,
    child: Child,
    addr: String,
}

impl Server {
    fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mkts.yml"), config).unwrap();
        let (child, addr) = spawn(dir.path(), &[]);
        Self { dir, child, addr }
    }

    fn restart(&mut self) {
        (self.child, self.addr) = spawn(self.dir.path(), &[]);
    }

    fn signal(&mut self, signal: rustix::process::Signal) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
        self.child
            .wait()
            .unwrap()
            .code()
            .expect("an exit code, not a signal")
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn load(&self, args: &[&str]) -> Output {
        let url = self.url();
        let all: Vec<&str> = ["load", "--url", &url]
            .iter()
            .chain(args)
            .copied()
            .collect();
        mkts(self.dir.path(), &all)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, more: &[&str]) -> (Child, String) {
    let ready = dir.join("ready");
    let _ = std::fs::remove_file(&ready);
    let mut child = Command::new(MKTS)
        .args(["start", "--ready-file", "ready"])
        .args(more)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = std::fs::read(&ready) {
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(value["pid"], child.id());
            return (child, value["http"].as_str().unwrap().into());
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "the server ended before it served"
        );
        assert!(Instant::now() < deadline, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn wrong_usage_ends_with_1_and_version_with_0() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(mkts(dir.path(), &["--version"]).status.code(), Some(0));
    assert_eq!(
        mkts(dir.path(), &["start", "--no-such"]).status.code(),
        Some(1)
    );
    let missing = mkts(dir.path(), &["start"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("mkts init"), "{}", text(&missing));
}

#[test]
fn init_says_that_the_file_is_there() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(mkts(dir.path(), &["init"]).status.code(), Some(0));
    let again = mkts(dir.path(), &["init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("exists already"));
    assert_eq!(mkts(dir.path(), &["check-config"]).status.code(), Some(0));
}

#[test]
fn check_config_names_the_line_inside_a_plugins_config() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{CONFIG}triggers:\n  - module: ondiskagg.so\n    on: \"*/1Min/OHLCV\"\n    config:\n      \
         destinations:\n        - 5Min\n        - 5Parsec\n"
    );
    std::fs::write(dir.path().join("mkts.yml"), config).unwrap();
    let output = mkts(dir.path(), &["check-config"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("5Parsec"), "{}", text(&output));
    assert!(
        text(&output).contains("mkts.yml:8: error") || text(&output).contains("mkts.yml:9: error"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_directory_in_use_ends_with_3() {
    let server = Server::start(CONFIG);
    let second = mkts(server.dir.path(), &["start"]);
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
}

#[test]
fn a_port_in_use_ends_with_1_and_names_the_key() {
    let server = Server::start(CONFIG);
    let port = server.addr.rsplit(':').next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = format!("root_directory: data\nlisten_port: {port}\n");
    std::fs::write(dir.path().join("mkts.yml"), config).unwrap();
    let output = mkts(dir.path(), &["start"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("listen_port"), "{}", text(&output));
    assert!(
        !dir.path().join("data").exists(),
        "nothing is made before the port is there"
    );
}

#[test]
fn a_directory_of_marketstore_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/category_name"), "Symbol").unwrap();
    std::fs::write(dir.path().join("mkts.yml"), CONFIG).unwrap();
    let output = mkts(dir.path(), &["start"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("directory of MarketStore"),
        "{}",
        text(&output)
    );
    assert_eq!(
        std::fs::read_dir(dir.path().join("data")).unwrap().count(),
        1
    );
}

#[test]
fn bars_are_loaded_and_survive_stop_and_kill() {
    let mut server = Server::start(CONFIG);
    let file = bundled("SPY_1Min_OHLCV.csv.gz");
    let loaded = server.load(&[file.to_str().unwrap(), "SPY/1Min/OHLCV", "--json"]);
    assert_eq!(loaded.status.code(), Some(0), "{}", text(&loaded));
    let result: serde_json::Value = serde_json::from_slice(&loaded.stdout).unwrap();
    assert_eq!(
        (&result["rows"], &result["rejected"]),
        (&4839.into(), &0.into())
    );

    let all = Query::of("SPY/1Min/OHLCV");
    let before = Client::new(&server.addr).query(&all).unwrap();
    assert_eq!(before[0].batch.rows(), 4839);
    assert_eq!(server.signal(rustix::process::Signal::TERM), 0);
    server.restart();
    assert_eq!(Client::new(&server.addr).query(&all).unwrap(), before);

    // Loading bars again changes nothing: the bucket gives the types now.
    let again = server.load(&[file.to_str().unwrap(), "SPY/1Min/OHLCV"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    server.restart();
    assert_eq!(Client::new(&server.addr).query(&all).unwrap(), before);
    assert_eq!(server.signal(rustix::process::Signal::INT), 0);
}

#[test]
fn ticks_keep_their_nanoseconds_and_their_number() {
    let server = Server::start(CONFIG);
    let file = bundled("IBM_Tick_TRADE.csv.gz");
    let loaded = server.load(&[
        file.to_str().unwrap(),
        "IBM/1Sec/TRADE",
        "--ticks",
        "--types",
        "Price=f4,Size=i4,Exchange=U16,Cond=U16",
        "--json",
    ]);
    assert_eq!(loaded.status.code(), Some(0), "{}", text(&loaded));
    let result: serde_json::Value = serde_json::from_slice(&loaded.stdout).unwrap();
    let tables = Client::new(&server.addr)
        .query(&Query::of("IBM/1Sec/TRADE"))
        .unwrap();
    assert_eq!(
        tables[0].batch.rows() as u64,
        result["rows"].as_u64().unwrap()
    );
    assert_eq!(tables[0].batch.times()[0], 1_381_132_830_270_000_000);
}

#[test]
fn rejected_lines_are_listed_and_end_with_3() {
    let server = Server::start(CONFIG);
    let file = server.dir.path().join("bars.csv");
    std::fs::write(
        &file,
        "when,o\n2020-01-31 09:30,1.5\nnever,2\n2020-01-31 09:31,x\n",
    )
    .unwrap();
    let loaded = server.load(&[
        "bars.csv",
        "A/1Min/OHLCV",
        "--columns",
        "Open=o",
        "--types",
        "Open=f4",
        "--epoch-column",
        "when",
        "--time-zone",
        "America/New_York",
    ]);
    assert_eq!(loaded.status.code(), Some(3), "{}", text(&loaded));
    let shown = text(&loaded);
    assert!(shown.contains("bars.csv:3: time \"never\""), "{shown}");
    assert!(
        shown.contains("bars.csv:4: Open: \"x\" is not a number"),
        "{shown}"
    );
    let tables = Client::new(&server.addr)
        .query(&Query::of("A/1Min/OHLCV"))
        .unwrap();
    assert_eq!(tables[0].batch.times(), [1_580_481_000_000_000_000]);
}

#[test]
fn a_load_without_a_server_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "Epoch,Open\n60,1\n").unwrap();
    // Port 9 is the discard service; nobody listens there.
    let output = mkts(
        dir.path(),
        &[
            "load",
            "a.csv",
            "A/1Min/OHLCV",
            "--url",
            "http://127.0.0.1:9",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("no server answers at 127.0.0.1:9"),
        "{}",
        text(&output)
    );
    let key = mkts(dir.path(), &["load", "a.csv", "A/../OHLCV"]);
    assert_eq!(key.status.code(), Some(1), "{}", text(&key));
}

#[test]
fn a_server_ends_with_the_process_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mkts.yml"), CONFIG).unwrap();
    let (mut child, _) = spawn(dir.path(), &["--until-stdin-ends"]);
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_demo_shows_all_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let output = Command::new(MKTS)
        .args(["demo", "--seconds", "1"])
        .env("TMPDIR", temp.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for part in [
        "after the write began",
        "aggregated on disk",
        "SPY/1D/OHLCV",
        "AAPL/15Min/OHLCV",
        "kill -9",
        "7142 of 7142",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}
