//! Old rows are deleted by rule.

use std::time::Duration;

use model::{BucketKey, KeyPattern};

use crate::{Engine, Error};

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
    pub fn retain(&self, _rules: &[RetentionRule], _now: i64) -> Result<Vec<Retained>, Error> {
        Err(Error::Invalid("retain: not yet".to_owned()))
    }
}
