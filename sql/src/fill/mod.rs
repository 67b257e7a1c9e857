//! FILL: rows for the buckets of time that have none, between the first and the last of each key.
//!
//! The input is the grouped query, sorted by the other group columns and by time; the output is the
//! same with the missing buckets in their places. A gap may be any length: rows of it are made batch
//! by batch as they are asked for.

mod exec;
mod grid;
mod node;
#[cfg(test)]
mod tests;

pub(crate) use exec::FillPlanner;
pub(crate) use grid::Grid;
pub(crate) use node::{FillNode, with_values};

use datafusion::common::ScalarValue;

/// What a column has in a bucket without rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Fill {
    /// NULL.
    Null,
    /// What the bucket before has.
    Prev,
    /// On the line between the buckets before and after.
    Linear,
    /// This, of the column's type.
    Value(ScalarValue),
}

/// What happens to a column of the grouped query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The start of the bucket.
    Time,
    /// A group column: the same over the gap.
    Key,
    /// A value.
    Value(Fill),
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time => write!(f, "time"),
            Self::Key => write!(f, "key"),
            Self::Value(Fill::Null) => write!(f, "null"),
            Self::Value(Fill::Prev) => write!(f, "prev"),
            Self::Value(Fill::Linear) => write!(f, "linear"),
            Self::Value(Fill::Value(value)) => write!(f, "{value}"),
        }
    }
}

/// The name of the column of times in the function of a [`Grid`].
pub(crate) fn grid_time_column() -> &'static str {
    grid::TIME
}
