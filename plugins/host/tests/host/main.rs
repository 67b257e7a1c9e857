//! The host over a real engine on a simulated disk.

mod behind;
mod crash;
mod deliver;
mod entries;
mod faults;
mod support;
