//! The mkts server: configuration, command line, RPC, WebSocket.
//!
//! A library, so that the binary is wiring only and tests can start a server in their own process.
#![forbid(unsafe_code)]

mod admin;
pub mod auth;
pub mod cli;
pub mod config;
#[cfg(feature = "sql")]
mod flight;
pub mod grpc;
pub mod http;
mod ipc;
mod logs;
mod percent;
#[cfg(feature = "sql")]
mod pgwire;
pub mod planner;
mod reload;
mod retention;
mod room;
pub mod rpc;
mod socket;
#[cfg(feature = "sql")]
mod sql;
pub mod status;
pub mod stream;
pub mod tls;
mod write;
mod ws;

/// Doors for tests that feed the decoders bytes of their own; no part of the API.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::ws::fuzz as ws_frames;
}
