//! What is started, and how long things may take.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use plugin_sdk::Description;

/// A program that is a plugin.
#[derive(Debug, Clone)]
pub struct Program {
    /// File to start.
    pub file: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where it is started; `None` is the server's working directory.
    pub folder: Option<PathBuf>,
    /// `env:` of the entry, values as they are; the server's own environment is not handed on.
    pub env: Vec<(String, String)>,
    /// `limits:` of the entry.
    pub limits: Limits,
    /// `metrics_port:` of the entry: a port of 127.0.0.1 that the child may listen on; 0 lets the
    /// host choose one that no other child has.
    pub metrics_port: Option<u16>,
    /// Its manifest, if it is known; the child's own must be the same.
    pub description: Option<Description>,
    /// How long things may take.
    pub timing: Timing,
}

impl Program {
    /// A program with every default.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            args: Vec::new(),
            folder: None,
            env: Vec::new(),
            limits: Limits::default(),
            metrics_port: None,
            description: None,
            timing: Timing::default(),
        }
    }

    /// A library, in a child that is this server's own program: `mkts plugin-host FILE`.
    ///
    /// # Errors
    /// If the system does not say what program this is.
    pub fn library(file: &std::path::Path) -> std::io::Result<Self> {
        let mut program = Self::new(std::env::current_exe()?);
        program.args = vec!["plugin-host".into(), file.into()];
        Ok(program)
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        self.file.display().to_string()
    }
}

/// What a child may use; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Open files.
    pub nofile: Option<u64>,
}

/// How long things may take. The defaults are those of the documents; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the start of the process until it is ready.
    pub start: Duration,
    /// Without a sign of life: the child is taken for hung and killed.
    pub silence: Duration,
    /// From `Stop` to SIGTERM.
    pub stop: Duration,
    /// From SIGTERM to SIGKILL.
    pub terminate: Duration,
    /// First pause before a restart; each further one is twice as long.
    pub backoff_min: Duration,
    /// Longest pause before a restart.
    pub backoff_max: Duration,
    /// A child that ran so long starts the pauses anew.
    pub healthy: Duration,
    /// So many exits ...
    pub exits_max: usize,
    /// ... in this time end the instance.
    pub exits_in: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            start: seconds(10),
            silence: seconds(5),
            stop: seconds(5),
            terminate: seconds(2),
            backoff_min: Duration::from_millis(200),
            backoff_max: seconds(30),
            healthy: seconds(300),
            exits_max: 10,
            exits_in: seconds(600),
        }
    }
}
