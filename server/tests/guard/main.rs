//! Tokens, TLS and the reload of the configuration, on the real program.
#![forbid(unsafe_code)]
// Tests prepare files beside the store; a failed unwrap is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[cfg(feature = "sql")]
mod doors;
#[cfg(feature = "sql")]
mod keys;
mod matrix;
mod reload;
mod support;
mod tls;
