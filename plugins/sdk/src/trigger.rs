//! Triggers: called after rows are durable and readable.

use model::{BucketKey, ColumnBatch, RowKind, Timeframe};

use crate::ctx::FireCtx;
use crate::error::FireError;
use crate::plugin::Plugin;

/// A plugin that is called after rows are durable and readable.
pub trait Trigger: Plugin {
    /// One event. Never entered twice at once for one object; events of one bucket arrive in commit
    /// order (I17).
    ///
    /// # Errors
    /// See [`FireError`]; effects of the call are dropped.
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError>;
}

/// A trigger whose one object serves all instances with the same config ([`crate::Scope::Singleton`],
/// which its manifest must say).
pub trait SharedTrigger: Plugin + Sync {
    /// One event of the instance that `ctx` belongs to. Calls of several instances may overlap.
    ///
    /// # Errors
    /// See [`FireError`]; effects of the call are dropped.
    fn fire(&self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError>;
}

/// What one fire is about.
#[derive(Debug)]
pub enum Event<'a> {
    /// New rows of one bucket, those of neighbouring commits joined.
    Write(Batch<'a>),
    /// Rows of this range (ns, inclusive) may have changed: read them again.
    Gap {
        /// Bucket.
        key: &'a BucketKey,
        /// First time.
        from: i64,
        /// Last time.
        to: i64,
    },
    /// The bucket was dropped.
    Deleted(&'a BucketKey),
    /// A timer is due.
    Timer {
        /// Key given to `set_timer`; `__schedule` for the entry's `schedule:`.
        key: &'a [u8],
        /// When it was due (wall clock, ns).
        due: i64,
        /// Payload given to `set_timer`.
        payload: &'a [u8],
    },
}

/// Rows of one bucket.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Bucket.
    pub key: &'a BucketKey,
    /// Bars or ticks.
    pub kind: RowKind,
    /// Parsed timeframe of the key.
    pub timeframe: Timeframe,
    /// The rows in commit order: ascending in time within one commit, not across commits.
    pub rows: &'a ColumnBatch,
}
