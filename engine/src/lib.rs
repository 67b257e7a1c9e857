//! The store: buckets of bars and ticks over a write-ahead log.
//!
//! A write: [`Engine::write`] checks and encodes a commit in the caller's thread, the log makes
//! it durable with one sync that many writers share, the committer appends the same bytes to the
//! buckets' tails and moves `visible`; then tickets end and followers wake. Later a checkpoint
//! writes the tails into one immutable segment and frees the log.
//!
//! A query: [`Engine::snapshot`] takes one LSN and a pointer per bucket, [`Snapshot::scan`] picks
//! chunks by time and pages by their bounds, and hands out views of the mapping where it can.
//!
//! What it is not: it knows no triggers, no sockets, no SQL and no async. Plugins meet it in
//! [`Engine::follow`], [`Engine::write`] with a section, and [`CheckpointHook`].
//!
//! Rows are bars (one per time, the last write wins) or ticks (every row). What wins is decided by
//! position alone: tail over segment, later segment over earlier. docs/format.md has the bytes.
#![forbid(unsafe_code)]

mod alter;
mod backup;
#[doc(hidden)]
pub mod bench;
mod buffer;
mod catalog;
mod check;
mod checkpoint;
mod codec;
mod commit;
mod delete;
mod directory;
mod engine;
mod error;
mod fields;
mod follow;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod ingest;
mod inspect;
mod latest;
mod manifest;
mod mapping;
pub mod marketstore;
mod mask;
mod merge;
mod options;
mod page;
mod poison;
mod recover;
mod restore;
mod retention;
mod scan;
mod segment;
mod snapshot;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod ticket;
mod view;
mod zone;

pub use alter::SchemaChange;
pub use backup::Backup;
pub use catalog::{BucketId, BucketInfo, Origin};
pub use check::{CheckProgress, CheckReport, Finding, Level, Loss, Repaired, check, repair};
pub use commit::{Commit, Rows, as_stored};
pub use delete::{DeleteRange, Deleted};
pub use directory::Directory;
pub use engine::{CheckpointHook, Engine, Marks, NoHook, Status};
pub use error::Error;
pub use follow::{Change, CommitReader, FollowedCommit, Interest};
pub use ingest::Ingested;
pub use inspect::{LogEntry, LogFrame, LogReport, Summary, log_frames, summary};
pub use latest::LastRows;
pub use options::{Options, SyncMode};
pub use recover::Recovery;
pub use restore::{Restored, restore};
pub use retention::{Retained, RetentionRule};
pub use scan::{Limit, Scan};
pub use snapshot::Snapshot;
pub use ticket::Ticket;
pub use wal::Lsn;
pub use zone::{Condition, Values, Zones};
