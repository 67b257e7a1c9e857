//! What an operator asks of a running server about its plugins: over REST and on the command line,
//! which must agree, with good and bad input.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

mod commands;
mod metrics;
mod refusals;
mod secrets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use client::Client;
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use serde_json::Value;

/// `mkts` with the plugin `probe`.
const PROBE: &str = env!("CARGO_BIN_EXE_probe");

/// A hang, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// What nobody may see.
const TOKEN: &str = "s3cret-token-value";
const PIN: u64 = 73_519_846;

/// A server on its own directory; killed when dropped.
struct Site {
    dir: tempfile::TempDir,
    server: Option<(Child, String)>,
}

impl Site {
    /// With these entries of `triggers:`, and a file `fails` that makes the probe fail.
    fn new(triggers: &str) -> Self {
        Self::prepared(triggers, |_| {})
    }

    /// The same, with what else the directory needs.
    fn prepared(triggers: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("root_directory: data\nlisten_port: 0\ntriggers:\n{triggers}");
        fs::write(dir.path().join("mkts.yml"), config).unwrap();
        prepare(dir.path());
        fs::write(dir.path().join("fails"), "").unwrap();
        let mut site = Self { dir, server: None };
        site.start();
        site
    }

    fn start(&mut self) {
        let ready = self.path("ready");
        let _ = fs::remove_file(&ready);
        let mut child = Command::new(PROBE)
            .args(["start", "--ready-file", "ready"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let addr = loop {
            if let Ok(text) = fs::read(&ready) {
                let value: Value = serde_json::from_slice(&text).unwrap();
                break value["http"].as_str().unwrap().to_owned();
            }
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            assert!(Instant::now() < deadline, "the server does not get ready");
            std::thread::sleep(Duration::from_millis(2));
        };
        self.server = Some((child, addr));
    }

    /// As a supervisor stops it.
    fn stop(&mut self) {
        let (mut child, _) = self.server.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn addr(&self) -> &str {
        &self.server.as_ref().unwrap().1
    }

    fn client(&self) -> Client {
        Client::new(self.addr())
    }

    /// Writes bars of these minutes.
    fn write(&self, key: &str, minutes: std::ops::Range<i64>) {
        let times: Vec<i64> = minutes.map(|n| n * 60_000_000_000).collect();
        let values: Vec<f64> = times.iter().map(|t| *t as f64).collect();
        let schema = Schema::new(vec![ColumnDef::new("Close", ColumnType::F64)]).unwrap();
        let times = Column::from_values(times);
        let rows = ColumnBatch::new(schema, times, vec![Column::from_values(values)]).unwrap();
        let key = BucketKey::parse(key).unwrap();
        self.client().write(&[(key, rows)], RowKind::Bar).unwrap();
    }

    /// The command, asked about this server.
    fn mkts(&self, args: &[&str]) -> Output {
        let url = format!("http://{}", self.addr());
        run(self.dir.path(), &[args, &["--url", &url]].concat())
    }

    /// What a command that must succeed printed.
    fn text(&self, args: &[&str]) -> String {
        let output = self.mkts(args);
        assert!(output.status.success(), "{args:?}: {}", all(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let text = self.text(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// A call that must succeed.
    fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut client = self.client();
        let path = format!("/admin/v1/{path}");
        let (status, text) = match method {
            "GET" => client.get(&path),
            "PUT" => client.put(&path, body),
            _ => client.post(&path, body),
        }
        .unwrap();
        let value = serde_json::from_str(&text);
        (
            status,
            value.unwrap_or_else(|error| panic!("{path}: {error}: {text}")),
        )
    }

    /// An instance as `GET plugins/{id}` shows it.
    fn instance(&self, id: &str) -> Value {
        self.get(&format!("plugins/{id}"))
    }

    /// Waits until an instance is as it should be.
    fn wait(&self, id: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let instance = self.instance(id);
            if done(&instance) {
                return instance;
            }
            assert!(Instant::now() < deadline, "{id}: no {what}: {instance}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until an instance has fired everything.
    fn settle(&self, id: &str) -> Value {
        self.wait(id, "rest", |instance| instance["lag_bytes"] == 0)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("--- the server's log\n{log}");
        }
    }
}

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(PROBE)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Standard output and standard error.
fn all(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    format!("{out}{err}")
}

/// A probe with secrets, and one that is switched off.
const ENTRIES: &str = "
  - module: probe
    name: one
    on: '*/1Min/OHLCV'
    max_attempts: 2
    config:
      token: s3cret-token-value
      auth: {pin: 73519846}
      fails_while: fails
      shown: plain
  - module: other
    name: 'a b:c%'
    on: '*/1Min/NONE'
";
