//! The server of the demo: this program once more, on a directory of its own.
// Not files of a store: configuration, log and ready file lie beside it.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::Failure;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server; ends and takes its directory with it when dropped.
pub(super) struct Server {
    directory: PathBuf,
    child: Option<Child>,
    address: String,
}

const CONFIG: &str = "\
root_directory: data
listen_port: 0
triggers:
  - module: ondiskagg.so
    on: \"*/1Min/OHLCV\"
    config:
      destinations: [5Min, 15Min, 1H, 1D]
  - module: stream.so
    on: \"*/*/*\"
";

impl Server {
    pub(super) fn start() -> Result<Self, Failure> {
        let directory = make_directory().map_err(|e| Failure::new(format!("no directory: {e}")))?;
        let mut server = Self {
            directory,
            child: None,
            address: String::new(),
        };
        fs::write(server.directory.join("mkts.yml"), CONFIG)
            .map_err(|error| Failure::new(error.to_string()))?;
        server.spawn()?;
        Ok(server)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts the process and waits until it serves.
    pub(super) fn spawn(&mut self) -> Result<(), Failure> {
        let fail = |error: Error| Failure::new(format!("the server cannot be started: {error}"));
        let ready = self.directory.join("ready");
        match fs::remove_file(&ready) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .map_err(fail)?;
        let child = Command::new(std::env::current_exe().map_err(fail)?)
            .args(["start", "--config", "mkts.yml", "--ready-file", "ready"])
            .arg("--until-stdin-ends")
            .current_dir(&self.directory)
            // Ctrl-C is for the demo, which stops the server and then removes its directory.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(fail)?)
            .stderr(log)
            .spawn()
            .map_err(fail)?;
        self.child = Some(child);
        self.wait_ready(&ready)
    }

    fn wait_ready(&mut self, ready: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(text) = fs::read(ready) {
                let value: serde_json::Value = serde_json::from_slice(&text)
                    .map_err(|error| Failure::new(format!("the ready file is wrong: {error}")))?;
                self.address = value["http"].as_str().unwrap_or_default().into();
                return Ok(());
            }
            let ended = match &mut self.child {
                Some(child) => matches!(child.try_wait(), Ok(Some(_)) | Err(_)),
                None => true,
            };
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                return Err(Failure::new(format!("the server did not start:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the process without a warning.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .and_then(|()| child.wait())
                .map_err(|error| Failure::new(format!("the server cannot be killed: {error}")))?;
        }
        Ok(())
    }

    /// Asks the process to stop and waits for its end.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = rustix::process::Pid::from_child(&child);
        // It may have ended already; the status says how.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(format!("the server ended with {status}"))),
            Err(error) => Err(Failure::new(error.to_string())),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing useful can be done about a failure on the way out.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A new directory that nobody else can enter.
fn make_directory() -> std::io::Result<PathBuf> {
    let parent = std::env::temp_dir();
    for attempt in 0..100 {
        let directory = parent.join(format!("mkts-demo-{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            done => return done.map(|()| directory),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}
