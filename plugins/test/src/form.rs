//! What a plugin runs as.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plugin_host::native::{self, Cache};
use plugin_host::process::{self, Program};
use plugin_sdk::{BuiltIn, Module};

/// How long a process may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a plugin runs as.
#[derive(Debug, Clone)]
pub enum Form {
    /// Linked into this program.
    BuiltIn(BuiltIn),
    /// A library in this process.
    Native(PathBuf),
    /// A program of its own.
    Process(Box<Program>),
}

impl Form {
    /// A program of its own. It may take longer to start, or to show a sign of life, than a server
    /// allows: tests run unoptimized code on machines that have other work.
    pub fn program(mut program: Program) -> Self {
        program.timing.start = PATIENCE;
        program.timing.silence = PATIENCE;
        Self::Process(Box::new(program))
    }

    /// `built-in`, `native` or `process`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BuiltIn(_) => "built-in",
            Self::Native(_) => "native",
            Self::Process(_) => "process",
        }
    }

    /// The plugin. A library is opened, a program without a description run once.
    ///
    /// # Errors
    /// If it is none, or cannot be run here.
    pub fn module(&self) -> Result<Arc<dyn Module>, String> {
        match self {
            Self::BuiltIn(line) => Ok(line.module()),
            Self::Native(file) => load(file),
            Self::Process(program) => {
                let program = Program::clone(program);
                process::module(program).map_err(|error| error.to_string())
            }
        }
    }
}

/// Opens a library; the copy that is opened is gone with this process.
fn load(file: &Path) -> Result<Arc<dyn Module>, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let cache = Cache::in_store(folder.path());
    // Open files stay readable when their names are gone.
    native::load(file, &cache).map_err(|error| error.to_string())
}
