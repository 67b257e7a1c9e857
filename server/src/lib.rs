//! The mkts server: configuration, command line, RPC, WebSocket.
//!
//! A library, so that the binary is wiring only and tests can start a server in their own process.
#![forbid(unsafe_code)]

mod admin;
pub mod auth;
pub mod cli;
pub mod config;
pub mod grpc;
pub mod http;
mod logs;
mod percent;
pub mod planner;
mod reload;
mod retention;
mod room;
pub mod rpc;
mod socket;
pub mod status;
pub mod stream;
pub mod tls;
mod ws;

/// Doors for tests that feed the decoders bytes of their own; no part of the API.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::ws::fuzz as ws_frames;
}
