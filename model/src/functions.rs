//! Functions over the rows of one bucket: those of MarketStore, by its names and in its shapes.
//!
//! A call is a text like `candlecandler('5Min',Open,High,Low,Close,Sum::Volume)`. Calls run one
//! behind the other as a [`Pipeline`]: rows go in piece by piece in order of time, results come out
//! as soon as they are certain, and only `gap` by z-score keeps more than a row between the pieces.
//!
//! | call | result |
//! |---|---|
//! | `count(*)`, `min(c)`, `max(c)`, `avg(c)` | one row at the present time |
//! | `candlecandler`, `tickcandler` | one candle a window |
//! | `gap` | one row a gap |
//! | `adjust` | the rows, with prices and volumes as if today's shares had always been |

mod adjust;
mod aggregate;
mod call;
mod candler;
mod gap;
mod grid;
mod pipeline;

#[cfg(test)]
mod tests;

pub use adjust::{Adjust, Factors, Quantity};
pub use aggregate::{Aggregate, Reduce};
pub use call::{Argument, FunctionCall, FunctionError, parse};
pub use candler::Candler;
pub use gap::Gap;
pub use grid::{Cursor, Grid, Step};
pub use pipeline::{Pipeline, Site};

use crate::batch::ColumnBatch;
use crate::schema::RowKind;

/// Runs one call over rows that are all there.
///
/// # Errors
/// If a column is missing or of a type that the function does not take.
pub fn run(
    call: &FunctionCall,
    input: &ColumnBatch,
    kind: RowKind,
    site: &Site<'_>,
) -> Result<ColumnBatch, FunctionError> {
    let mut pipeline = Pipeline::new(std::slice::from_ref(call), input.schema(), kind, site)?;
    let head = pipeline.push(input)?;
    let rest = pipeline.finish()?;
    let mut rows = crate::BatchBuilder::new(rest.schema().clone(), head.rows() + rest.rows());
    rows.append(&head)
        .and_then(|()| rows.append(&rest))
        .map_err(FunctionError::of)?;
    Ok(rows.finish())
}
