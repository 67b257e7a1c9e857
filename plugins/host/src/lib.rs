//! Runs plugins: registry, on-patterns, windows, cursors, dispatch.
#![forbid(unsafe_code)]

mod entry;
mod fire;
mod host;
mod on;
mod registry;
mod resolve;
mod status;

pub use entry::{Entry, EntryKind, Join, Match, OnError, TIMEOUT, WAL_HOLD, WindowOptions};
pub use host::{Error, Host, Publisher};
pub use registry::{Problem, check};
pub use status::{InstanceStatus, State};
