//! Rows of a range of time are deleted by one frame, atomically over all ranges.

use model::BucketKey;
use wal::Lsn;

use crate::{Engine, Error};

/// Rows of a bucket with `from <= time <= to` (ns).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRange {
    /// The bucket.
    pub key: BucketKey,
    /// First time, inclusive (ns).
    pub from: i64,
    /// Last time, inclusive (ns).
    pub to: i64,
}

/// What a delete did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Position of the frame; `visible` is past it.
    pub lsn: Lsn,
    /// Rows that were visible in each range just before, in the order of the ranges.
    pub rows: Vec<u64>,
}

impl Engine {
    /// Deletes the rows of all ranges, all or none; durable and visible when this returns.
    ///
    /// # Errors
    /// `Error::NotFound` for a bucket that is not there, `Error::Invalid` for a range that ends
    /// before it begins, or as [`Engine::write`].
    pub fn delete(&self, _ranges: &[DeleteRange]) -> Result<Deleted, Error> {
        Err(Error::Invalid("delete: not yet".to_owned()))
    }

    /// Counts the rows that [`Engine::delete`] would delete now.
    ///
    /// # Errors
    /// As [`Engine::delete`], or if a page that is needed is damaged.
    pub fn count_rows(&self, _range: &DeleteRange) -> Result<u64, Error> {
        Err(Error::Invalid("count_rows: not yet".to_owned()))
    }
}
