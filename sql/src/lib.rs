//! SQL over snapshots of a store.
//!
//! One statement becomes one stream of record batches. Its text goes through `parse` (dialect, tokens,
//! tree), its tables are resolved to buckets and opened as **one** snapshot (`tables`), DataFusion
//! plans it, `scan` reads the engine batch by batch, and [`Rows`] hands the batches out from the
//! threads of [`Sql`].
//!
//! I24: SQL over a bucket is the engine's scan, filtered. What is pushed down (`range`) is either exact
//! and leaves the plan, or only narrows what is read and the filter stays.
//!
//! What it is not: it opens no files, knows no sockets, and keeps no state between statements.
#![forbid(unsafe_code)]

mod apart;
mod asof;
mod bounded;
mod caller;
mod catalog;
mod change;
mod clauses;
mod clock;
mod cursor;
mod dialect;
mod error;
mod extend;
mod fill;
mod functions;
mod latest;
mod limits;
mod order;
mod parse;
mod pauses;
mod pieces;
mod plan;
#[cfg(test)]
mod proofs;
mod range;
mod rows;
mod scan;
mod session;
mod shared;
mod show;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod times;
mod zones;

pub use caller::{Access, Caller, Dialect, Everyone, Extension, Nothing, Surroundings};
pub use datafusion;
pub use datafusion::common::ScalarValue;
pub use error::{Error, ErrorKind, Position};
pub use rows::Rows;
pub use session::{Kind, Options, Sql, Statement};
