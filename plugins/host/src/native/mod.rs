//! Modules in shared libraries, run in the server: the host's side of the C border.
//!
//! ```text
//! file -> describe (nothing of it runs) -> copy in plugins/_cache -> dlopen -> entry -> Module
//! ```
//! Invariants of this folder, the only unsafe code of the crate:
//!
//! * Nothing of a file runs before its section has been read and agrees with us and its name.
//! * What is opened is our copy, so that nobody overwrites mapped pages; it is never closed, as code
//!   of Rust cannot be unloaded.
//! * What the host lends is valid for the call: handles are checked, and one used later answers
//!   `STALE` (`handle.rs`).
//! * Nothing unwinds through the border. A panic of the plugin goes on as a panic of ours, so that
//!   those who call a [`plugin_sdk::Module`] contain both in the same way.
#![allow(unsafe_code)]

mod cache;
mod calls;
mod error;
mod file;
mod handle;
mod library;
mod module;
mod object;
mod source;
mod table;

pub use cache::{Cache, load};
pub use error::{LoadError, Refusal};
pub use file::describe;
