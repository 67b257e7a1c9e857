//! MarketStore directories of the versions 2, 3 and 4: read, never written.
//!
//! [`Tree`] knows the buckets of a directory and what its logs hold that its files may lack;
//! [`Tree::read`] streams one bucket as batches in order of time; [`import`] moves buckets into a
//! store and compares what arrived.
//!
//! Two rules hold everywhere here. What the bytes prove is imported; what they do not prove is left
//! where it is and named with file and offset ([`Fault`]), never guessed. And the source is opened
//! for reading only, through [`disk::Source`], which has no call that writes.
//!
//! MarketStore's own faults are repaired on the way: the daily bar of 1 January that it writes in
//! front of the first slot and cannot find again, ticks that read back one second late, rows that a
//! killed server still has in its log, and ticks that its replay of that log would double.

mod clock;
mod compress;
mod fault;
mod header;
mod import;
mod inspect;
mod journal;
mod log;
mod md5;
mod overlay;
mod reader;
mod rows;
mod slots;
mod sums;
#[cfg(test)]
mod tests;
mod tree;
mod year;
mod year_sums;

pub use compress::Compression;
pub use fault::Fault;
pub use import::{Imported, Progress, import};
pub use inspect::{LogMessage, LogWrites, inspect_log};
pub use reader::{BucketReader, Repaired};
pub use tree::{ReadOptions, SourceBucket, Tree};
pub use year_sums::{YearSums, YearsWanted, year_sums};
