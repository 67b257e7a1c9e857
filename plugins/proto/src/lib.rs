//! The messages between the server and a plugin in a child process.
//!
//! `proto/mkts/plugin/v1/plugin.proto` is the text to read: it says who sends what when, and how rows
//! lie in bytes. The code here is generated from it by `cargo xtask proto` and committed, so that
//! nobody needs a protobuf compiler; a test compares the two.
#![forbid(unsafe_code)]

mod rows;

pub use rows::{Received, Sent, WireError, decode_rows, encode_rows, encoded_len, message, schema};

/// Package `mkts.plugin.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    rustdoc::all
)]
pub mod v1 {
    include!("mkts.plugin.v1.rs");
}

/// The number of this protocol in `Hello.protocols`.
pub const PROTOCOL: u32 = 1;

/// Largest message in bytes, both ways.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
