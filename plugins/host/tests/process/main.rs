//! Plugins in child processes, called through the same traits as all others.
//!
//! The child is this very test program: started with the name of one test and a session in its
//! environment, it serves a plugin instead of testing.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod ahead;
mod child;
mod ends;
mod fire;
mod guard;
mod kinds;
mod raw;
mod shown;
mod store;
mod support;

/// What a child runs; of no interest otherwise.
#[test]
fn child_main() {
    if std::env::var_os("CHILD").is_some() {
        child::main();
    }
}
