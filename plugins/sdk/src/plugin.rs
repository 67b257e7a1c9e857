//! The traits of a plugin.

use model::{BucketKey, ColumnBatch, RowKind, Timeframe, Zone};
use serde::de::DeserializeOwned;

use crate::ctx::FireCtx;

/// How the host keeps the place of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The place is never stored: nothing fires again after a restart, something may be missing.
    Volatile,
    /// Every committed row is fired at least once.
    Durable,
    /// Rows written, timers and place of a window appear together or not at all.
    Exact,
}

/// What a plugin says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// Name, the stem of its module.
    pub name: &'static str,
    /// Semantic version.
    pub version: &'static str,
    /// Delivery unless the entry says otherwise.
    pub delivery: Delivery,
    /// Whether it understands [`Event::Gap`]: it can compute its effects from stored rows.
    pub accepts_gap: bool,
}

impl Manifest {
    /// A manifest with the defaults: delivery durable, no gaps.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            delivery: Delivery::Durable,
            accepts_gap: false,
        }
    }
}

/// What a plugin is told when it is made.
#[derive(Debug)]
pub struct Init<'a> {
    /// Instance id.
    pub instance: &'a str,
    /// Plus one at each start of the instance.
    pub epoch: u64,
    /// The `timezone` of the server: where days and weeks begin.
    pub zone: &'a Zone,
}

/// Any failure of a plugin, as text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PluginError(pub String);

impl From<String> for PluginError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for PluginError {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// What every kind of plugin has.
pub trait Plugin: Sized + Send + 'static {
    /// Parsed `config:` of the entry; errors carry the path of the key.
    type Config: DeserializeOwned;
    /// What it says of itself.
    const MANIFEST: Manifest;

    /// Makes an instance.
    ///
    /// # Errors
    /// If the config cannot work; the instance is then `failed` with this text.
    fn new(config: Self::Config, init: &mut Init<'_>) -> Result<Self, PluginError>;

    /// Last call. Threads of the plugin end here.
    fn close(&mut self, _why: CloseReason) {}
}

/// Why an object ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server stops.
    Stop,
    /// It panicked; a new object takes its place.
    Panic,
    /// The effects of events it has seen were dropped, and they fire again: a window was larger than
    /// a commit, or the store refused it. A new object takes its place.
    Again,
}

/// A plugin that is called after rows are durable and readable.
pub trait Trigger: Plugin {
    /// One event. Never entered twice at once for one object; events of one bucket arrive in commit
    /// order (I17).
    ///
    /// # Errors
    /// See [`FireError`]; effects of the call are dropped.
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError>;
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
        /// Key given to `set_timer`.
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

/// How a fire failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FireError {
    /// Try again, after the host's back-off.
    #[error("{0}")]
    Retry(String),
    /// Give this event up; go on with the next.
    #[error("{0}")]
    Skip(String),
    /// The instance cannot go on.
    #[error("{0}")]
    Fatal(String),
}

impl From<PluginError> for FireError {
    fn from(error: PluginError) -> Self {
        Self::Retry(error.0)
    }
}
