//! The real `mkts` binary on a private directory.

use crate::http::Client;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a start may take before the test gives up (a hang, not a performance check).
const START_LIMIT: Duration = Duration::from_secs(60);

/// Path of the binary under test: `MKTS_BIN`, or built now, so that it is never a stale one.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("MKTS_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    // <target>/<profile directory>/deps/<this test>
    let exe = std::env::current_exe().expect("a test knows its own path");
    let profile_dir = exe
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in <profile>/deps");
    let profile = match profile_dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = profile_dir
        .parent()
        .expect("the profile directory lies in the target directory");
    let output = Command::new(cargo)
        .args([
            "build",
            "--package",
            "server",
            "--bin",
            "mkts",
            "--profile",
            profile,
        ])
        .args(["--message-format=json-render-diagnostics", "--target-dir"])
        .arg(target)
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "building the server failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|m| m["reason"] == "compiler-artifact" && m["target"]["name"] == "mkts")
        .find_map(|m| m["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable it built")
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lie in the workspace")
}

/// Trigger lines for [`Server::start`]: the shipped aggregation.
pub const ONDISKAGG: &str = "  - module: ondiskagg.so
    on: \"*/1Min/OHLCV\"
    config:
      destinations: [5Min, 15Min, 1H, 1D]
";
/// Trigger lines for [`Server::start`]: the shipped stream.
pub const STREAM: &str = "  - module: stream.so
    on: \"*/*/*\"
";

/// A running server with its own directory; killed and removed on drop.
#[derive(Debug)]
pub struct Server {
    dir: tempfile::TempDir,
    child: Option<Child>,
    addr: SocketAddr,
    /// Where gRPC listens, if it does.
    grpc: Option<String>,
    /// Where the PostgreSQL wire does.
    postgres: Option<String>,
    starts: u32,
}

impl Server {
    /// Starts on an empty directory. `triggers` are entries of that list, `extra` whole lines.
    pub fn start(triggers: &[&str], extra: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("mkts-it-")
            .tempdir()
            .expect("a temp directory");
        let root = dir.path().join("box").join("data");
        fs::create_dir_all(&root).expect("the data directory");
        let mut config = format!(
            "root_directory: {}\nlisten_host: 127.0.0.1\nlisten_port: 0\nlog_level: info\n{extra}",
            root.display()
        );
        if !triggers.is_empty() {
            config.push_str("\ntriggers:\n");
            triggers.iter().for_each(|t| config.push_str(t));
        }
        fs::write(dir.path().join("mkts.yml"), config).expect("the configuration");
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            dir,
            child: None,
            addr,
            grpc: None,
            postgres: None,
            starts: 0,
        };
        server.spawn();
        server.wait_ready();
        server
    }

    /// Starts the process without waiting for it.
    pub fn spawn(&mut self) {
        self.spawn_failing("");
    }

    /// The same, and the process ends at this named point (`MKTS_FAIL`).
    pub fn spawn_failing(&mut self, point: &str) {
        assert!(self.child.is_none(), "already running");
        self.starts += 1;
        let log = File::create(self.log_path()).expect("a log file");
        let child = Command::new(binary())
            .arg("start")
            .arg("--config")
            .arg(self.dir.path().join("mkts.yml"))
            .arg("--ready-file")
            .arg(self.ready_path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .envs((!point.is_empty()).then_some(("MKTS_FAIL", point)))
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
    }

    /// Waits until the process serves.
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        let child = self.child.as_mut().expect("spawned");
        let ready = loop {
            let ready = self.dir.path().join(format!("ready.{}", self.starts));
            if let Ok(text) = fs::read_to_string(&ready) {
                break text;
            }
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                panic!(
                    "the server ended with {status} before it served:\n{}",
                    self.log()
                );
            }
            assert!(
                Instant::now() < deadline,
                "not ready after {START_LIMIT:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let ready: serde_json::Value =
            serde_json::from_str(&ready).expect("the ready file is JSON");
        assert_eq!(ready["pid"], child.id(), "the ready file names our child");
        let http = ready["http"]
            .as_str()
            .expect("the ready file names the address");
        self.addr = http.parse().expect("the address is host:port");
        self.grpc = ready["grpc"].as_str().map(str::to_owned);
        self.postgres = ready["postgres"].as_str().map(str::to_owned);
    }

    /// True once the process has said that it serves.
    pub fn is_ready(&self) -> bool {
        self.ready_path().exists()
    }

    /// Kills the process at once (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("the child can be killed");
        child.wait().expect("the child ends");
    }

    /// Waits for a process that ends by itself.
    pub fn wait_end(&mut self) {
        self.child
            .take()
            .expect("running")
            .wait()
            .expect("the child ends");
    }

    /// Asks the process to stop (SIGTERM) and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("running");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().expect("the child can be killed");
                panic!(
                    "still running {START_LIMIT:?} after SIGTERM:\n{}",
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts again on the same data and waits until it serves.
    pub fn restart(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// True while the process runs.
    pub fn alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }

    /// A new HTTP client.
    pub fn client(&self) -> Client {
        Client::new(self.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where gRPC listens: `grpc_listen_port: 0` opens it.
    pub fn grpc(&self) -> &str {
        self.grpc.as_deref().expect("gRPC is switched on")
    }

    /// Where the PostgreSQL wire listens: `postgres: {listen_port: 0}` opens it.
    pub fn postgres(&self) -> &str {
        self.postgres.as_deref().expect("the wire is switched on")
    }

    /// The directory around the data directory: nothing may appear in it.
    pub fn outside(&self) -> PathBuf {
        self.dir.path().join("box")
    }

    /// The data directory.
    pub fn root(&self) -> PathBuf {
        self.outside().join("data")
    }

    /// The log of the current process.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join(format!("log.{}", self.starts))
    }

    fn ready_path(&self) -> PathBuf {
        self.dir.path().join(format!("ready.{}", self.starts))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already ended is fine; the wait reaps it in either case.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("--- end of the server's log");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
