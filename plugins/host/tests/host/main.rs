//! The host over a real engine on a simulated disk.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod behind;
mod crash;
mod deliver;
mod entries;
mod faults;
mod sources;
mod support;
mod workers;
