//! ASOF JOIN: to each row on the left the nearest row on the right, in time.
//!
//! `node` is the join in a plan, `pushdown` moves filters below it, `exec` runs it: both sides come
//! sorted by key and time (buckets are so already), [`sorted`] makes one sequence of their partitions
//! and [`walk`] goes over the two once. In memory are a few batches of either side, however long they
//! are and however far apart matches lie.
//!
//! Rules of matching: keys are equal, and neither key nor time is NULL. Of several rows of the right
//! that are equally near, the last one stored wins when looking back, the first one when looking
//! ahead; looking both ways, the earlier time wins.

mod exec;
mod node;
mod pushdown;
mod sorted;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use exec::AsofPlanner;
pub(crate) use node::AsofNode;
pub(crate) use pushdown::AsofPushdown;
pub(crate) use sorted::{KeyOrder, ORDER};

/// Where to look from a time on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// The last row at or before it.
    Backward,
    /// The first row at or after it.
    Forward,
    /// The closer of both.
    Nearest,
}

/// How rows match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub(crate) direction: Direction,
    /// Rows of the same time do not match.
    pub(crate) strict: bool,
    /// The greatest distance, in units of the time columns.
    pub(crate) tolerance: Option<i64>,
    /// Rows on the left that match nothing stay, with NULLs.
    pub(crate) outer: bool,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = match self.direction {
            Direction::Backward => "backward",
            Direction::Forward => "forward",
            Direction::Nearest => "nearest",
        };
        let kind = if self.outer { "left" } else { "inner" };
        write!(f, "{kind}, {direction}")?;
        if self.strict {
            write!(f, ", strict")?;
        }
        match self.tolerance {
            Some(tolerance) => write!(f, ", tolerance={tolerance}"),
            None => Ok(()),
        }
    }
}
