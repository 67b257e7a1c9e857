//! Rows of a range of time are deleted by one frame, atomically over all ranges.

use model::BucketKey;
use wal::Lsn;

use crate::frame::{self, RANGE_BYTES, Range};
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
    /// Deletes the rows of all ranges, all or none; durable and visible when this returns. Rows
    /// written later in the same range stay.
    ///
    /// # Errors
    /// `Error::NotFound` for a bucket that is not there, `Error::Invalid` for a range that ends
    /// before it begins, or as [`Engine::write`].
    pub fn delete(&self, ranges: &[DeleteRange]) -> Result<Deleted, Error> {
        self.delete_as(ranges, false)
    }

    /// `expired`: for their age only.
    pub(crate) fn delete_as(
        &self,
        ranges: &[DeleteRange],
        expired: bool,
    ) -> Result<Deleted, Error> {
        self.check_open()?;
        let mut resolved = self.resolve(ranges)?;
        resolved
            .iter_mut()
            .for_each(|range| range.expired = expired);
        let bytes = resolved.len() * RANGE_BYTES;
        if bytes > self.options().frame_bytes_max {
            return Err(Error::Limit {
                what: "bytes of the ranges of one delete",
                found: bytes as u64,
                limit: self.options().frame_bytes_max as u64,
                option: "frame_bytes_max",
            });
        }
        let rows = resolved.iter().map(|range| self.count_resolved(range));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        if resolved.is_empty() {
            let lsn = self.marks().visible;
            return Ok(Deleted { lsn, rows });
        }
        self.wait_for_checkpoint()?;
        let lsn = self.commit_alone(frame::delete(&resolved))?;
        Ok(Deleted { lsn, rows })
    }

    /// Counts the rows that [`Engine::delete`] would delete now.
    ///
    /// # Errors
    /// As [`Engine::delete`], or if a page that is needed is damaged.
    pub fn count_rows(&self, range: &DeleteRange) -> Result<u64, Error> {
        let resolved = self.resolve(std::slice::from_ref(range))?;
        self.count_resolved(&resolved[0])
    }

    fn resolve(&self, ranges: &[DeleteRange]) -> Result<Vec<Range>, Error> {
        let resolve = |DeleteRange { key, from, to }: &DeleteRange| {
            if from > to {
                let message =
                    format!("{key}: the range ends at {to} before it begins at {from} (ns)");
                return Err(Error::Invalid(message));
            }
            let info = self.bucket(key);
            let bucket = info.ok_or_else(|| Error::NotFound(key.clone()))?.id;
            Ok(Range {
                bucket,
                expired: false,
                from: *from,
                to: *to,
            })
        };
        ranges.iter().map(resolve).collect()
    }

    /// The ranges of those buckets that are there.
    pub(crate) fn resolve_there(&self, ranges: &[DeleteRange]) -> Result<Vec<Range>, Error> {
        let there = ranges
            .iter()
            .filter(|range| self.bucket(&range.key).is_some());
        let there: Vec<DeleteRange> = there.cloned().collect();
        match self.resolve(&there) {
            // Dropped a moment ago.
            Err(Error::NotFound(_)) => self.resolve_there(ranges),
            resolved => resolved,
        }
    }

    fn count_resolved(&self, range: &Range) -> Result<u64, Error> {
        let snapshot = self.snapshot(&[range.bucket]);
        // Dropped since: no rows.
        match snapshot.buckets().is_empty() {
            true => Ok(0),
            false => snapshot.count(0, range.from, range.to),
        }
    }
}
