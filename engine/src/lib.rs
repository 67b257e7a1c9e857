//! The store. CONTRACT SKELETON: the public surface that host, server and benches are written
//! against; bodies follow.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind, Schema, Timeframe, Zone};

/// Position in the endless log; the order of LSNs is the order of commits. (Will be `wal::Lsn`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// Number of a bucket, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub u32);

/// Who wrote a commit: 0 a client, else a plugin instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Origin(pub u16);

impl Origin {
    /// A client of the server.
    pub const CLIENT: Self = Self(0);
}

/// What the catalog knows of a bucket.
#[derive(Debug, Clone)]
pub struct BucketInfo {
    /// Number.
    pub id: BucketId,
    /// Name.
    pub key: BucketKey,
    /// One row per time, or every row.
    pub kind: RowKind,
    /// Parsed timeframe of the key.
    pub timeframe: Timeframe,
    /// Version of `schema`, from 1.
    pub schema_version: u32,
    /// Columns.
    pub schema: Schema,
}

/// One atomic set of rows. Shared by clients (`section: None`) and plugins (`Some`).
#[derive(Debug)]
pub struct Commit {
    /// Who writes.
    pub origin: Origin,
    /// How many triggers led to this write; 0 from a client.
    pub hops: u8,
    /// Rows of any number of buckets. Several entries of one bucket are applied in order.
    pub rows: Vec<Rows>,
    /// Plugin section, opaque to the engine: its presence makes a plugin commit.
    pub section: Option<Bytes>,
}

/// Rows for one bucket. Columns are matched by name, in any order, and cast to the bucket's types.
/// Bars are floored to the timeframe (in `Options::zone`), sorted, and reduced to one row per time.
#[derive(Debug)]
pub struct Rows {
    /// The bucket.
    pub key: BucketKey,
    /// The rows; need not be sorted.
    pub batch: ColumnBatch,
    /// What kind of bucket to make if there is none; `None` makes a missing bucket an error.
    pub create: Option<RowKind>,
}

/// A write under way.
#[derive(Debug)]
pub struct Ticket {}

impl Ticket {
    /// Waits until the commit is acknowledged: durable and visible with `sync: commit`, queued with
    /// `sync: interval`. Returns its LSN (with `interval` the LSN may not be known: `None`).
    pub fn wait(self) -> Result<Option<Lsn>, Error> {
        unimplemented!()
    }
    /// Waits until the commit is durable and visible, whatever the sync mode.
    pub fn wait_visible(self) -> Result<Lsn, Error> {
        unimplemented!()
    }
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// After the sync that holds it.
    Commit,
    /// Once queued; a sync follows at most this much later.
    Interval(Duration),
}

/// Limits and defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a write is acknowledged.
    pub sync: SyncMode,
    /// Zone of days and weeks.
    pub zone: Zone,
    /// Tail bytes that start a checkpoint (64 MiB).
    pub tail_bytes_max: usize,
    /// WAL bytes not yet checkpointed that make writers wait (1 GiB).
    pub wal_bytes_max: u64,
    /// Largest frame (32 MiB).
    pub frame_bytes_max: usize,
    /// Size of a WAL segment (64 MiB).
    pub wal_segment_bytes: u64,
    /// Newest frames kept in memory for followers (64 MiB).
    pub follow_bytes: usize,
    /// Hops after which rows are stored but not offered to triggers (8).
    pub hops_max: u8,
}

/// What opening found.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Frames replayed.
    pub frames: u64,
    /// Rows replayed into tails.
    pub rows: u64,
    /// Bytes of the log read.
    pub bytes: u64,
    /// Bytes cut off the end: never acknowledged.
    pub cut_bytes: u64,
    /// Damaged stretches set aside, named.
    pub quarantined: Vec<String>,
    /// Segments opened.
    pub segments: usize,
    /// How long it took.
    pub duration: Duration,
}

/// Error of the store. Every text names the thing and is one line.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such bucket.
    #[error("no bucket {0}")]
    NotFound(BucketKey),
    /// Bucket is there already.
    #[error("bucket {0} exists already")]
    Exists(BucketKey),
    /// Columns given and columns stored differ.
    #[error("unable to match data columns ({given:?}) to bucket columns ({stored:?})")]
    SchemaMismatch {
        /// Of the request.
        given: Schema,
        /// Of the bucket.
        stored: Schema,
    },
    /// A value of the request is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// Over a limit, which is named.
    #[error("{what}: {found} is over the limit of {limit} ({option})")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Found.
        found: u64,
        /// Allowed.
        limit: u64,
        /// The option that sets it.
        option: &'static str,
    },
    /// Damaged bytes.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// File below the root.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// An earlier write or sync failed; only reads go on until a restart.
    #[error(
        "the store stopped taking writes after a disk error: {0}; restart the server to recover"
    )]
    Poisoned(String),
    /// No space.
    #[error("disk is full: {0}")]
    DiskFull(String),
    /// Another process holds the directory.
    #[error("{0}")]
    Locked(String),
    /// Log was released before a follower read it.
    #[error("log before {oldest:?} is gone, wanted {wanted:?}")]
    Released {
        /// Wanted.
        wanted: Lsn,
        /// Oldest there.
        oldest: Lsn,
    },
    /// The engine is closed.
    #[error("the store is closed")]
    Closed,
    /// Other failure of the file system.
    #[error("{0}")]
    Io(String),
}

/// What a plugin host does for recovery and checkpoints.
pub trait CheckpointHook: Send + Sync {
    /// The directory is locked; nothing has been read yet. The host reads its files.
    fn opened(&self, disk: &Arc<dyn disk::Disk>) -> Result<(), Error>;
    /// A plugin commit found in the log, in LSN order. Also called for commits below a cursor the
    /// host already stored; the host compares LSNs.
    fn replayed(&self, lsn: Lsn, origin: Origin, section: &[u8]);
    /// Save plugin files up to `upto`; WAL from the answer on stays. An error abandons the
    /// checkpoint.
    fn checkpoint(&self, upto: Lsn) -> Result<Lsn, Error>;
}

/// A hook for engines without plugins.
#[derive(Debug)]
pub struct NoHook;

impl CheckpointHook for NoHook {
    fn opened(&self, _disk: &Arc<dyn disk::Disk>) -> Result<(), Error> {
        Ok(())
    }
    fn replayed(&self, _lsn: Lsn, _origin: Origin, _section: &[u8]) {}
    fn checkpoint(&self, upto: Lsn) -> Result<Lsn, Error> {
        Ok(upto)
    }
}

/// The four LSNs: `checkpoint <= visible <= durable <= appended`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    /// In segments.
    pub checkpoint: Lsn,
    /// Readable.
    pub visible: Lsn,
    /// Synced.
    pub durable: Lsn,
    /// Queued to the log.
    pub appended: Lsn,
}

/// Numbers for `/metrics` and `status`.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The four LSNs.
    pub marks: Marks,
    /// Buckets.
    pub buckets: usize,
    /// Data segments.
    pub segments: usize,
    /// Bytes in data segments.
    pub segment_bytes: u64,
    /// Bytes in WAL segments on disk.
    pub wal_bytes: u64,
    /// Bytes in tails.
    pub tail_bytes: u64,
    /// Syncs of the log so far.
    pub wal_syncs: u64,
    /// Commits so far.
    pub commits: u64,
    /// Rows written so far.
    pub rows: u64,
    /// Checkpoints so far.
    pub checkpoints: u64,
    /// Why writes are refused, if they are.
    pub poisoned: Option<String>,
    /// Damage found at open.
    pub quarantined: Vec<String>,
}

/// The store. Cheap to clone; the last [`Engine::close`] or drop joins its threads.
#[derive(Debug, Clone)]
pub struct Engine {}

impl Engine {
    /// Opens the store in a directory of the real file system, made if missing.
    pub fn open(
        _root: &Path,
        _options: Options,
        _hook: Arc<dyn CheckpointHook>,
    ) -> Result<(Self, Recovery), Error> {
        unimplemented!()
    }
    /// Opens the store on any disk and clock (simulation).
    pub fn open_on(
        _disk: Arc<dyn disk::Disk>,
        _clock: Arc<dyn disk::Clock>,
        _options: Options,
        _hook: Arc<dyn CheckpointHook>,
    ) -> Result<(Self, Recovery), Error> {
        unimplemented!()
    }
    /// Catalog entry by name.
    pub fn bucket(&self, _key: &BucketKey) -> Option<Arc<BucketInfo>> {
        unimplemented!()
    }
    /// Catalog entry by number.
    pub fn bucket_by_id(&self, _id: BucketId) -> Option<Arc<BucketInfo>> {
        unimplemented!()
    }
    /// All buckets, ordered by key. Shared and cached: cheap when the catalog has not changed.
    pub fn buckets(&self) -> Arc<Vec<Arc<BucketInfo>>> {
        unimplemented!()
    }
    /// Makes an empty bucket; durable when this returns. `Error::Exists` if there is one.
    pub fn create_bucket(
        &self,
        _key: &BucketKey,
        _kind: RowKind,
        _schema: Schema,
    ) -> Result<Arc<BucketInfo>, Error> {
        unimplemented!()
    }
    /// Drops buckets and their rows, all or none; durable when this returns. `Error::NotFound`.
    pub fn drop_buckets(&self, _keys: &[BucketKey]) -> Result<(), Error> {
        unimplemented!()
    }
    /// Checks everything, then defines missing buckets, then queues one frame. A refused commit
    /// leaves nothing behind.
    pub fn write(&self, _commit: Commit) -> Result<Ticket, Error> {
        unimplemented!()
    }
    /// Looks up or defines the number of a plugin instance; durable when this returns.
    pub fn origin(&self, _name: &str) -> Result<Origin, Error> {
        unimplemented!()
    }
    /// The name of an origin.
    pub fn origin_name(&self, _origin: Origin) -> Option<String> {
        unimplemented!()
    }
    /// A consistent view at one LSN of the buckets named (unknown ones are left out).
    pub fn snapshot(&self, _ids: &[BucketId]) -> Snapshot {
        unimplemented!()
    }
    /// Commits from an LSN on. `Error::Released` if the log no longer reaches back that far.
    pub fn follow(&self, _from: Lsn) -> Result<CommitReader, Error> {
        unimplemented!()
    }
    /// Blocks until `visible` is past `past`, a timeout, or close; returns `visible`.
    pub fn wait_visible(&self, _past: Lsn, _timeout: Duration) -> Lsn {
        unimplemented!()
    }
    /// Wakes everybody in [`Engine::wait_visible`] (to stop a follower).
    pub fn wake_followers(&self) {
        unimplemented!()
    }
    /// Writes tails into a segment now.
    pub fn checkpoint(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// The four LSNs.
    pub fn marks(&self) -> Marks {
        unimplemented!()
    }
    /// Numbers.
    pub fn status(&self) -> Status {
        unimplemented!()
    }
    /// Options it was opened with.
    pub fn options(&self) -> &Options {
        unimplemented!()
    }
    /// Refuses further writes, syncs what is queued, checkpoints, stops threads.
    pub fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
}

/// Which rows of a bucket.
#[derive(Debug, Clone)]
pub struct Scan {
    /// First time, inclusive (ns).
    pub from: i64,
    /// Last time, inclusive (ns).
    pub to: i64,
    /// Positions of the columns in the bucket's schema, in the order wanted; `None` for all.
    pub columns: Option<Vec<usize>>,
    /// At most this many rows.
    pub limit: Option<Limit>,
}

/// How many rows, counted from which end of the range. Rows come back ascending either way.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// The first n.
    First(usize),
    /// The last n.
    Last(usize),
}

impl Scan {
    /// All rows, all columns.
    pub fn all() -> Self {
        Self {
            from: i64::MIN,
            to: i64::MAX,
            columns: None,
            limit: None,
        }
    }
}

/// A consistent view of some buckets at one LSN. Files it needs live as long as it does.
#[derive(Debug)]
pub struct Snapshot {}

impl Snapshot {
    /// Everything below is in the view.
    pub fn lsn(&self) -> Lsn {
        unimplemented!()
    }
    /// The buckets of the view, in the order asked for.
    pub fn buckets(&self) -> &[Arc<BucketInfo>] {
        unimplemented!()
    }
    /// Rows of a bucket, ascending in time. `index` is the position in [`Snapshot::buckets`].
    pub fn scan(&self, _index: usize, _scan: &Scan) -> Result<ColumnBatch, Error> {
        unimplemented!()
    }
    /// The last row, without a scan: it is kept in memory per bucket.
    pub fn last(&self, _index: usize) -> Result<Option<ColumnBatch>, Error> {
        unimplemented!()
    }
    /// Least and greatest time of the bucket (an upper bound on what is stored), if it has rows.
    pub fn time_range(&self, _index: usize) -> Option<(i64, i64)> {
        unimplemented!()
    }
}

/// Follows commits in LSN order, never past `visible`.
#[derive(Debug)]
pub struct CommitReader {}

impl CommitReader {
    /// The next commit if it is visible by now.
    pub fn next_commit(&mut self) -> Result<Option<FollowedCommit>, Error> {
        unimplemented!()
    }
    /// Where the next commit will be read from.
    pub fn position(&self) -> Lsn {
        unimplemented!()
    }
}

/// A commit as a follower sees it.
#[derive(Debug, Clone)]
pub struct FollowedCommit {
    /// Its position.
    pub lsn: Lsn,
    /// Position after it.
    pub end: Lsn,
    /// Wall clock at the append (ns), for display of lag only.
    pub wall_ns: i64,
    /// Who wrote it.
    pub origin: Origin,
    /// Triggers that led to it.
    pub hops: u8,
    /// What it changed, in order. Frames without interest for plugins have none.
    pub changes: Vec<Change>,
}

/// One change of a commit.
#[derive(Debug, Clone)]
pub enum Change {
    /// Rows written to a bucket; columns are views of the frame's bytes.
    Rows(Arc<BucketInfo>, ColumnBatch),
    /// A bucket was defined.
    Defined(Arc<BucketInfo>),
    /// A bucket was dropped.
    Dropped(Arc<BucketInfo>),
}
