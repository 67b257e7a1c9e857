//! The trigger against a store in memory.

mod fires;
mod host;
mod recompute;
mod ticks;
