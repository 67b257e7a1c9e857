//! What the integration tests share: the real server as a child process, and small, strict
//! readers of its wire formats.
//!
//! The readers here are written against the recorded traffic, not against the crates under
//! test: a mistake that the server and its own client make together must still be seen.
//!
//! * [`candles`]: aggregates recomputed from base rows.
//! * [`marketstore`]: directories that real MarketStore servers wrote.
//! * [`oracle`]: what a store should hold, and the scripted life of a small one.
//! * [`server`]: builds the `mkts` binary once, runs it on a private directory, kills it by its
//!   own process id.
//! * [`fuzz`]: fuzz targets.
//! * [`http`]: keep-alive HTTP/1.1 that posts exact bytes.
//! * [`wire`]: MessagePack datasets, tables of columns as little-endian bytes, RPC calls.
//! * [`ws`]: WebSocket subscriber.
//! * [`rng`]: seeded numbers, so that a failure can be repeated.
#![forbid(unsafe_code)]
// A test harness writes configuration and scratch files itself, beside the store and not in it.
#![allow(clippy::disallowed_methods)]

pub mod candles;
pub mod fuzz;
pub mod http;
pub mod marketstore;
pub mod oracle;
pub mod rng;
pub mod server;
pub mod wire;
pub mod ws;
