//! LATEST BY: of each key the row with the greatest time.
//!
//! Every partition finds its own latest rows, then one task those of all. What is held is a row a
//! key, and a few batches that were not compacted yet. Where the input is a plain scan and buckets
//! are the keys, the scan is told to read last rows only.

mod exec;
mod node;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use exec::LatestPlanner;
pub(crate) use node::LatestNode;
