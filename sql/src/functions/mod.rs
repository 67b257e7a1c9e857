//! Functions of time series: those of the store's own (`time_bucket`, `first`, `last`, `high`,
//! `low`, `vwap`, `adjust_factor`), and MarketStore's, which give several columns and become plain SQL before the
//! statement is planned.
//!
//! | written | becomes |
//! |---|---|
//! | `candlecandler`, `tickcandler`, `ohlcv` | GROUP BY `time_bucket`, with `first`, `high`, `low`, `last`, `sum` |
//! | `gap` | `lead` over the rows, and a condition |
//! | `adjust` | all columns, over or by `adjust_factor` |
//! | one of these in FROM, `gap('AAPL/1Min/OHLCV', '5Min')` | a subquery with it in the select list |
//! | `LIKE p ESCAPE '/'` | LIKE with the backslash, the only sign that DataFusion knows |
//! | `count`, `min`, `max`, `avg` in MarketStore's dialect | the same with its names and an `Epoch` of now |
//!
//! Invariant: what a rewriting leaves is SQL that streams and runs on all threads; no function here
//! holds the rows of its input.

mod adjust;
mod ast;
mod candles;
mod extremes;
mod factor;
mod first_last;
mod gaps;
mod like;
mod marketstore;
mod rewrite;
mod shared;
mod tables;
mod time_bucket;
mod vwap;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use model::{ColumnBatch, ColumnDef, Zone};

use rewrite::Rewriter;
pub(crate) use shared::{actions_of, register, register_own, rewrite};

/// What functions ask the store.
pub(crate) trait Lookup: Debug + Send + Sync {
    /// The columns of a table by its name, a bucket or a pattern; `None` if there is none.
    fn columns(&self, table: &str) -> Option<Vec<ColumnDef>>;
    /// The corporate actions of a symbol at the LSN of the statement, if there are any.
    fn actions(&self, symbol: &str) -> Result<Option<ColumnBatch>, String>;
}

/// Functions of one value.
pub(crate) fn scalars(zone: &Zone, lookup: &Arc<dyn Lookup>) -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(time_bucket::TimeBucket::new(zone.clone()).into()),
        Arc::new(factor::AdjustFactor::new(lookup.clone()).into()),
    ]
}

/// Functions of many values.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![
        Arc::new(first_last::ByTime::first().into()),
        Arc::new(first_last::ByTime::last().into()),
        Arc::new(extremes::Extreme::new(true).into()),
        Arc::new(extremes::Extreme::new(false).into()),
        Arc::new(vwap::Vwap::new().into()),
    ]
}
