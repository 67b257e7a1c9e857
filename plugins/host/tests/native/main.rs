//! Modules in shared libraries: the C border, seen from the host.
//!
//! The Rust samples are built beside this program, as it links them in, too; those in C are compiled
//! by the tests, which are skipped, loudly, where there is no compiler.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // test files are no files of a store

mod border;
mod c;
mod fake;
mod panics;
mod refuse;
mod replay;
mod rust;
mod support;
