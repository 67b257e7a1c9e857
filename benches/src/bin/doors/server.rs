//! A server with every door open, on a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Result;

const CONFIG: &str = "\
root_directory: data
listen_port: 0
grpc_listen_port: 0
log_level: warning
postgres:
  listen_port: 0
flight:
  enabled: true
";

/// A running server; killed when dropped.
pub(crate) struct Started {
    child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) postgres: String,
}

impl Started {
    pub(crate) fn new(binary: Option<PathBuf>, dir: &Path) -> Result<Self> {
        let binary = match binary {
            Some(binary) => binary,
            None => std::env::current_exe()?.with_file_name("mkts"),
        };
        fs::write(dir.join("mkts.yml"), CONFIG)?;
        let ready = dir.join("ready");
        let mut child = Command::new(&binary)
            .args(["start", "--config", "mkts.yml", "--ready-file", "ready"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let text = loop {
            if let Ok(text) = fs::read(&ready) {
                break text;
            }
            if let Some(status) = child.try_wait()? {
                return Err(format!("the server ended with {status}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let value: serde_json::Value = serde_json::from_slice(&text)?;
        let address = |door: &str| {
            let text = value[door].as_str().map(str::to_owned);
            text.ok_or_else(|| format!("the ready file names no {door}"))
        };
        Ok(Self {
            http: address("http")?,
            grpc: address("grpc")?,
            postgres: address("postgres")?,
            child,
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
