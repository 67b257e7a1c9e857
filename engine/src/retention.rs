//! Old rows are deleted by rule.
//!
//! A row is old against the wall clock *and* against the newest row of its bucket: a clock that
//! jumps ahead, or one row from the future, deletes nothing by itself. A feed that stands still
//! keeps its last rows for ever.

use std::time::Duration;

use model::{BucketKey, KeyPattern};

use crate::{BucketInfo, DeleteRange, Engine, Error};

/// Ranges of one frame: 24 KiB, far below any limit of a frame.
const RANGES_MAX: usize = 1024;

/// How long the buckets of a pattern keep their rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// Which buckets.
    pub on: KeyPattern,
    /// How far back from the newest row.
    pub keep: Duration,
}

/// Rows that a rule deleted from a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The bucket.
    pub key: BucketKey,
    /// Rows before this time (ns) are gone.
    pub cutoff: i64,
    /// How many there were.
    pub rows: u64,
}

impl Engine {
    /// One pass at the wall time `now` (ns): for each bucket the first rule that matches. Returns
    /// the buckets that lost rows.
    ///
    /// # Errors
    /// As [`Engine::delete`].
    pub fn retain(&self, rules: &[RetentionRule], now: i64) -> Result<Vec<Retained>, Error> {
        let mut retained = Vec::new();
        for info in self.buckets().iter() {
            if let Some(rule) = rules.iter().find(|rule| rule.on.matches(&info.key)) {
                retained.extend(self.expired(info, rule, now)?);
            }
        }
        for group in retained.chunks_mut(RANGES_MAX) {
            self.delete_expired(group)?;
        }
        Ok(retained)
    }

    /// What a rule takes from a bucket, if anything.
    fn expired(
        &self,
        info: &BucketInfo,
        rule: &RetentionRule,
        now: i64,
    ) -> Result<Option<Retained>, Error> {
        let snapshot = self.snapshot(&[info.id]);
        if snapshot.buckets().is_empty() {
            // Dropped since.
            return Ok(None);
        }
        let Some((oldest, newest)) = snapshot.time_range(0) else {
            return Ok(None);
        };
        let keep = i64::try_from(rule.keep.as_nanos()).unwrap_or(i64::MAX);
        let cutoff = now.min(newest).saturating_sub(keep);
        if oldest >= cutoff {
            return Ok(None);
        }
        let rows = snapshot.count(0, i64::MIN, cutoff - 1)?;
        let key = info.key.clone();
        Ok((rows > 0).then_some(Retained { key, cutoff, rows }))
    }

    fn delete_expired(&self, group: &mut [Retained]) -> Result<(), Error> {
        let ranges = group.iter().map(|retained| DeleteRange {
            key: retained.key.clone(),
            from: i64::MIN,
            to: retained.cutoff - 1,
        });
        let deleted = self.delete_as(&ranges.collect::<Vec<_>>(), true)?;
        for (retained, rows) in group.iter_mut().zip(deleted.rows) {
            retained.rows = rows;
        }
        Ok(())
    }
}
