//! The host over a real engine on a simulated disk.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod backfill;
mod behind;
mod control;
mod control_crash;
mod crash;
mod deliver;
mod entries;
mod faults;
mod follow;
mod hung;
mod letters;
mod overflow;
mod reload;
mod replay;
mod schedule;
mod sources;
mod state;
mod support;
mod threads;
mod workers;
mod writes;
