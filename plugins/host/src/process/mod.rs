//! Plugins in child processes.
//!
//! ```text
//! dispatcher thread -> proxy -> queue -> socket -> child
//!                        ^                           |
//!                        +-------- queue <-----------+
//! ```
//! The proxy is an ordinary trigger, worker or source of the SDK: it sends what it is called with,
//! waits for the answer and makes its effects through the context of the call, so every limit of a
//! fire holds for a child, too (I19). Nothing here knows the log or the engine. Each session has a
//! runtime without threads: the proxy that waits moves its messages (drive.rs).
//!
//! Invariants: an answer counts only with the present epoch, seq and attempt (I18); a child ends with
//! the server (I23): its stdin is a pipe that only the server holds, and the thread that started it
//! waits for its end and then ends its process group.

mod child;
mod configure;
mod dir;
mod drive;
mod driver;
mod effects;
mod exits;
mod identity;
mod logs;
mod module;
mod ports;
mod program;
mod serve;
mod session;
mod source;
mod standing;
mod trigger;
mod worker;

pub use program::{Limits, Program, Timing};

use std::sync::Arc;

use plugin_sdk::{Description, Module};

/// Why a program cannot be used as a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The plugin in a program. Without a description the program is run by hand once, which makes it
/// print its manifest.
///
/// # Errors
/// If there is no such program, or it does not print a manifest.
pub fn module(program: Program) -> Result<Arc<dyn Module>, Error> {
    let description = match &program.description {
        Some(description) => description.clone(),
        None => describe(&program)?,
    };
    Ok(Arc::new(module::ProcessModule::new(program, description)))
}

/// What a program says of itself when it is started by hand, with nothing in its environment.
///
/// # Errors
/// If there is no such program, or it does not print a manifest.
pub fn describe(program: &Program) -> Result<Description, Error> {
    child::describe(program)
}
