//! What the callers, the committer and the checkpoint share.
//!
//! Locks, in the order of taking; no I/O under any of them:
//!
//! | lock | protects | held for |
//! |---|---|---|
//! | `apply` | the border between two groups of commits | applying a group; freezing tails |
//! | `defining` | names on their way into the catalog | a look-up |
//! | `catalog` | names and numbers that are visible | a look-up or a change |
//! | `views` | the publish lock: pointers to views | look-ups; swaps of pointers |
//! | `dirty`, `with_past` | which buckets have tails, and a past | noting one; taking all |
//! | a tail's own | its rows | see `tail.rs` |

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use disk::{Clock, Disk};
use model::BucketKey;
use parking_lot::{Condvar, Mutex, RwLock};
use wal::{Committed, Lsn, Wal, WalError};

use crate::catalog::{BucketId, Catalog};
use crate::engine::CheckpointHook;
use crate::follow::Recent;
use crate::frame::{self, Content, Range, Section};
use crate::manifest::Manifest;
use crate::mask::Mask;
use crate::merge::Merging;
use crate::poison::Poison;
use crate::segment::Segment;
use crate::tail::{ADOPT_ROWS, Appended};
use crate::ticket::Outcome;
use crate::view::{View, Views};
use crate::{BucketInfo, Error, Options};

/// Goes through the log with a payload.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) outcome: Option<Arc<Outcome>>,
    /// The bucket that this frame defines.
    pub(crate) defines: Option<BucketKey>,
}

/// However a frame is lost, nobody may wait for it for ever.
impl Drop for Token {
    fn drop(&mut self) {
        if let Some(outcome) = &self.outcome {
            outcome.abandon();
        }
    }
}

/// Names on their way into the catalog.
#[derive(Debug, Default)]
pub(crate) struct Defining {
    /// Queued to the log, outcome unknown.
    pub(crate) pending: HashSet<BucketKey>,
    /// Numbers below were given.
    pub(crate) next_bucket: u32,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_nanos: AtomicU64,
    pub(crate) commits: AtomicU64,
    /// Wall-clock time of the last durable one; 0 before the first.
    pub(crate) last_commit_ns: AtomicI64,
    pub(crate) rows: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) merges: AtomicU64,
}

/// What the checkpoint thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    pub(crate) wanted: bool,
    /// For the merge thread.
    pub(crate) merge: bool,
    pub(crate) stop: bool,
    /// Checkpoints tried since the start, and why the last one failed.
    pub(crate) tried: u64,
    pub(crate) failed: Option<Error>,
}

pub(crate) struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) hook: Arc<dyn CheckpointHook>,
    pub(crate) apply: Mutex<()>,
    pub(crate) defining: Mutex<Defining>,
    /// With `defining`: names left `pending`.
    pub(crate) defined: Condvar,
    /// Held over the look-up and the commit of a drop, so that a bucket is dropped once.
    pub(crate) dropping: Mutex<()>,
    /// Held for reading from the last look at a schema until the rows are queued, for writing from
    /// queueing a schema change until it is visible: so in the log no rows of a version follow the
    /// frame that replaced it. Taken after `dropping`, before all others.
    pub(crate) schemas: RwLock<()>,
    /// Counts schema changes that are visible.
    pub(crate) altered: AtomicU64,
    /// With the origins of the catalog: held over the look-up and the commit of a new one.
    pub(crate) origins: Mutex<()>,
    /// Shared with a checkpoint; copied when it changes meanwhile.
    pub(crate) catalog: RwLock<Arc<Catalog>>,
    pub(crate) views: RwLock<Views>,
    /// Buckets that got rows since the last checkpoint, some perhaps twice or dropped since.
    pub(crate) dirty: Mutex<Vec<BucketId>>,
    /// Buckets with deletes or older schemas that files may still need.
    pub(crate) with_past: Mutex<BTreeSet<BucketId>>,
    /// Release after rows are in tails and before tickets end; Acquire in readers.
    visible: AtomicU64,
    pub(crate) checkpointed: AtomicU64,
    pub(crate) recent: Mutex<Recent>,
    /// Counts calls of `wake`.
    wakes: Mutex<u64>,
    moved: Condvar,
    /// What is published; held during a whole checkpoint.
    pub(crate) manifest: Mutex<Manifest>,
    /// Held during a whole merge; taken before `manifest`.
    pub(crate) merging: Mutex<Merging>,
    /// The data segments, oldest first: those of the manifest.
    pub(crate) segments: Mutex<Vec<Arc<Segment>>>,
    /// Why the last merge failed, if it did.
    pub(crate) merge_error: Mutex<Option<String>>,
    pub(crate) signal: Mutex<Signal>,
    pub(crate) signalled: Condvar,
    /// Bytes of tails that are not frozen, and of those that are.
    pub(crate) tail_bytes: AtomicUsize,
    pub(crate) frozen_bytes: AtomicUsize,
    pub(crate) poison: Poison,
    pub(crate) closed: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) wal: RwLock<Option<Wal<Token>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("visible", &self.visible())
            .finish_non_exhaustive()
    }
}

impl Store {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        hook: Arc<dyn CheckpointHook>,
        manifest: Manifest,
        catalog: Catalog,
        views: Views,
    ) -> Self {
        let checkpoint = manifest.checkpoint;
        let with_past = views.iter().filter(|(_, view)| view.has_past());
        let with_past = with_past.map(|(id, _)| *id).collect();
        Self {
            with_past: Mutex::new(with_past),
            disk,
            clock,
            apply: Mutex::new(()),
            defining: Mutex::new(Defining::default()),
            defined: Condvar::new(),
            dropping: Mutex::new(()),
            schemas: RwLock::new(()),
            altered: AtomicU64::new(0),
            origins: Mutex::new(()),
            catalog: RwLock::new(Arc::new(catalog)),
            views: RwLock::new(views),
            dirty: Mutex::new(Vec::new()),
            visible: AtomicU64::new(checkpoint.0),
            checkpointed: AtomicU64::new(checkpoint.0),
            recent: Mutex::new(Recent::new(checkpoint, options.follow_bytes)),
            wakes: Mutex::new(0),
            moved: Condvar::new(),
            manifest: Mutex::new(manifest),
            merging: Mutex::default(),
            segments: Mutex::default(),
            merge_error: Mutex::default(),
            signal: Mutex::new(Signal::default()),
            signalled: Condvar::new(),
            tail_bytes: AtomicUsize::new(0),
            frozen_bytes: AtomicUsize::new(0),
            poison: Poison::default(),
            closed: AtomicBool::new(false),
            counters: Counters::default(),
            wal: RwLock::new(None),
            options,
            hook,
        }
    }

    pub(crate) fn visible(&self) -> Lsn {
        Lsn(self.visible.load(Ordering::Acquire))
    }

    pub(crate) fn checkpointed(&self) -> Lsn {
        Lsn(self.checkpointed.load(Ordering::Acquire))
    }

    /// I5, I6: the mark only moves forward, and only in the committer (or before it runs).
    pub(crate) fn set_visible(&self, lsn: Lsn) {
        assert!(lsn >= self.visible(), "visible moves forward");
        self.visible.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn with_wal<R>(
        &self,
        call: impl FnOnce(&Wal<Token>) -> Result<R, WalError>,
    ) -> Result<R, Error> {
        match &*self.wal.read() {
            Some(wal) => call(wal).map_err(|error| match (error, self.poison.reason()) {
                (WalError::Poisoned, Some(reason)) => Error::Poisoned(reason.to_owned()),
                (error, _) => error.into(),
            }),
            None => Err(Error::Closed),
        }
    }

    /// A new definition got its outcome.
    fn settle(&self, key: &BucketKey) {
        self.defining.lock().pending.remove(key);
        self.defined.notify_all();
    }

    pub(crate) fn unreserve(&self, keys: impl Iterator<Item = BucketKey>) {
        let mut defining = self.defining.lock();
        for key in keys {
            defining.pending.remove(&key);
        }
        drop(defining);
        self.defined.notify_all();
    }

    /// Blocks until `visible` is past `past`, a wake, the timeout, or close.
    pub(crate) fn wait_visible(&self, past: Lsn, timeout: std::time::Duration) -> Lsn {
        let deadline = std::time::Instant::now() + timeout;
        let mut wakes = self.wakes.lock();
        let before = *wakes;
        while self.visible() <= past && *wakes == before && !self.closed.load(Ordering::Acquire) {
            if self.moved.wait_until(&mut wakes, deadline).timed_out() {
                break;
            }
        }
        self.visible()
    }

    /// Ends every [`Store::wait_visible`].
    pub(crate) fn wake(&self) {
        *self.wakes.lock() += 1;
        self.moved.notify_all();
    }

    /// Wakes those for whom `visible` moved.
    fn notify_visible(&self) {
        // Taken so that nobody is between the look at `visible` and the wait.
        drop(self.wakes.lock());
        self.moved.notify_all();
    }

    /// There is a new segment: perhaps one merge is due.
    pub(crate) fn want_merge(&self) {
        self.signal.lock().merge = true;
        self.signalled.notify_all();
    }

    pub(crate) fn want_checkpoint(&self) {
        let mut signal = self.signal.lock();
        if !signal.wanted {
            signal.wanted = true;
            drop(signal);
            self.signalled.notify_all();
        }
    }

    /// Applies one durable frame; returns how many rows it wrote, and the buckets whose tails may
    /// be rebuilt in `rebuild`. An error if the frame does not fit what came before it.
    pub(crate) fn apply(
        &self,
        content: Content,
        lsn: Lsn,
        end: Lsn,
        rebuild: &mut Vec<BucketId>,
    ) -> Result<u64, Error> {
        match content {
            Content::Rows { deleted, rows, .. } if deleted.is_empty() => {
                return self.append_rows(&self.views.read(), &rows, lsn, end, rebuild);
            }
            Content::Rows { deleted, rows, .. } => {
                return self.apply_delete(&deleted, &rows, lsn, end, rebuild);
            }
            Content::Alter { after, .. } => self.apply_alter(after, lsn, end)?,
            Content::Delete(ranges) => {
                return self.apply_delete(&ranges, &[], lsn, end, rebuild);
            }
            Content::Define(info) => {
                let defined = Arc::make_mut(&mut self.catalog.write()).define(info);
                if let Some(info) = defined {
                    let mut views = self.views.write();
                    views.insert(info.id, Arc::new(View::new(info)));
                    self.set_visible(end);
                }
            }
            Content::Drop(dropped) => {
                // Freed after the locks are given back: that may be a lot of memory.
                let mut removed = Vec::with_capacity(dropped.len());
                let mut catalog = self.catalog.write();
                let catalog = Arc::make_mut(&mut catalog);
                let mut views = self.views.write();
                for info in dropped {
                    catalog.drop_bucket(info.id);
                    if let Some(view) = views.remove(&info.id) {
                        let frozen = view.frozen.iter().map(|frozen| frozen.tail.bytes()).sum();
                        self.frozen_bytes.fetch_sub(frozen, Ordering::Relaxed);
                        self.tail_bytes
                            .fetch_sub(view.tail.bytes(), Ordering::Relaxed);
                        removed.push(view);
                    }
                }
                self.set_visible(end);
            }
            Content::Origin(origin, name) => {
                Arc::make_mut(&mut self.catalog.write()).define_origin(origin, &name);
            }
            Content::Unknown => {}
        }
        Ok(0)
    }

    fn apply_alter(&self, after: BucketInfo, lsn: Lsn, end: Lsn) -> Result<(), Error> {
        let mut catalog = self.catalog.write();
        let Some(before) = catalog.by_id(after.id) else {
            // Dropped: the drop came first in the log.
            return Ok(());
        };
        if before.schema_version.checked_add(1) != Some(after.schema_version) {
            let (is, next) = (before.schema_version, after.schema_version);
            let what = format!("makes version {next} of {}, which has {is}", after.key);
            return Err(frame::bad(lsn, what));
        }
        let after = Arc::make_mut(&mut catalog).alter(after);
        let mut views = self.views.write();
        if let Some(view) = views.get_mut(&after.id) {
            self.with_past.lock().insert(after.id);
            let bytes = Arc::make_mut(view).alter(after, lsn);
            self.tail_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.frozen_bytes.fetch_add(bytes, Ordering::Relaxed);
            if bytes >= self.options.tail_bytes_max / 4 {
                // Frozen tails do not count for the limit: a checkpoint is writing them as a rule.
                self.want_checkpoint();
            }
        }
        self.altered.fetch_add(1, Ordering::Release);
        self.set_visible(end);
        Ok(())
    }

    /// Deletes, then appends the rows of the same frame: readers see both or none. New tails are made
    /// outside the publish lock: only the committer changes tails.
    fn apply_delete(
        &self,
        ranges: &[Range],
        rows: &[Section],
        lsn: Lsn,
        end: Lsn,
        rebuild: &mut Vec<BucketId>,
    ) -> Result<u64, Error> {
        let mut buckets: HashMap<BucketId, Vec<Mask>> = HashMap::new();
        for range in ranges {
            let (from, to) = (range.from, range.to);
            let masks = buckets.entry(range.bucket).or_default();
            masks.push(Mask { from, to, lsn });
        }
        let mut changed = Vec::with_capacity(buckets.len());
        for (id, masks) in buckets {
            let view = self.views.read().get(&id).cloned();
            // Without a view it was dropped before.
            if let Some(view) = view {
                let tail = view.tail.without(&masks, end).map(Arc::new);
                changed.push((id, masks, tail));
            }
        }
        // Freed after the lock is given back: that may be a lot of memory.
        let mut old = Vec::with_capacity(changed.len());
        let mut views = self.views.write();
        for (id, masks, tail) in changed {
            let Some(view) = views.get_mut(&id) else {
                continue;
            };
            let view = Arc::make_mut(view);
            masks.into_iter().for_each(|mask| view.mask(mask));
            if view.has_past() {
                self.with_past.lock().insert(id);
            }
            if let Some(tail) = tail {
                self.tail_bytes.fetch_add(tail.bytes(), Ordering::Relaxed);
                self.tail_bytes
                    .fetch_sub(view.tail.bytes(), Ordering::Relaxed);
                old.push(std::mem::replace(&mut view.tail, tail));
            }
        }
        // Under the lock: nobody takes a snapshot between the two.
        let count = self.append_rows(&views, rows, lsn, end, rebuild)?;
        self.set_visible(end);
        Ok(count)
    }

    fn append_rows(
        &self,
        views: &Views,
        rows: &[Section],
        lsn: Lsn,
        end: Lsn,
        rebuild: &mut Vec<BucketId>,
    ) -> Result<u64, Error> {
        let mut count = 0;
        for section in rows {
            // Rows of a dropped bucket: the drop came first in the log.
            let Some(view) = views.get(&section.bucket) else {
                continue;
            };
            if section.rows() == 0 {
                continue;
            }
            let Some(appended) = append(section, view, end) else {
                let version = section.schema_version;
                let what = format!(
                    "has rows that are not of {} version {version}",
                    view.info.key
                );
                return Err(frame::bad(lsn, what));
            };
            self.tail_bytes.fetch_add(appended.bytes, Ordering::Relaxed);
            count += section.rows() as u64;
            if appended.first {
                self.dirty.lock().push(section.bucket);
            }
            if appended.rebuild {
                rebuild.push(section.bucket);
            }
        }
        Ok(count)
    }

    /// Replaces tails of which most rows are superseded; everything applied is visible.
    pub(crate) fn rebuild(&self, buckets: &[BucketId]) {
        for id in buckets {
            let Some(view) = self.views.read().get(id).cloned() else {
                continue;
            };
            if let Some(tail) = view.tail.rebuilt(self.visible()) {
                let (old, new) = (view.tail.bytes(), tail.bytes());
                self.tail_bytes.fetch_add(new, Ordering::Relaxed);
                self.tail_bytes.fetch_sub(old, Ordering::Relaxed);
                // Looked up again: a checkpoint may have published another view since. The tail
                // is the same, because nothing is frozen while a group is applied.
                if let Some(view) = self.views.write().get_mut(id) {
                    let mut next = (**view).clone();
                    next.tail = Arc::new(tail);
                    *view = Arc::new(next);
                }
            }
        }
    }

    fn apply_group(&self, group: &[Committed<Token>]) {
        let _apply = self.apply.lock();
        let mut rebuild = Vec::new();
        for commit in group {
            let applied = frame::read(commit.lsn, commit.kind, &commit.payload)
                .and_then(|content| self.apply(content, commit.lsn, commit.end, &mut rebuild));
            match applied {
                Ok(rows) => self.counters.rows.fetch_add(rows, Ordering::Relaxed),
                // Written by this process a moment ago: its bytes in memory are damaged.
                Err(error) => {
                    self.poison.set(error.to_string());
                    continue;
                }
            };
        }
        if let Some(last) = group.last() {
            self.set_visible(last.end);
        }
        rebuild.dedup();
        self.rebuild(&rebuild);
    }

    fn over_limit(&self) -> bool {
        let wal = self.visible().0.saturating_sub(self.checkpointed().0);
        self.tail_bytes.load(Ordering::Relaxed) >= self.options.tail_bytes_max
            || wal >= self.options.wal_bytes_max
    }
}

/// `None` if the rows do not fit the bucket.
fn append(section: &Section, view: &View, end: Lsn) -> Option<Appended> {
    let info = &view.info;
    if section.schema_version != info.schema_version {
        // Writers hold `schemas`, so this log never has such rows; they are mapped all the same.
        let mapping = view.mapping(section.schema_version)?;
        let old = view.version(section.schema_version)?;
        return Some(
            view.tail
                .append(&mapping.map(&section.batch(&old.schema)?), end),
        );
    }
    if section.rows() < ADOPT_ROWS {
        return Some(view.tail.append_values(section.values(&info.schema)?, end));
    }
    Some(view.tail.append(&section.batch(&info.schema)?, end))
}

/// The committer's end of the store.
pub(crate) struct Sink(pub(crate) Arc<Store>);

/// The log refuses writes by itself when its thread panics; the store must say so, too: an operator
/// looks here.
impl Drop for Sink {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison.set("the log's thread panicked".to_owned());
            self.0.signalled.notify_all();
        }
    }
}

impl Store {
    /// A commit of this wall-clock time is durable.
    pub(crate) fn note_commit(&self, wall_ns: i64) {
        self.counters
            .last_commit_ns
            .store(wall_ns, Ordering::Relaxed);
    }
}

impl wal::Sink<Token> for Sink {
    /// I2: called after the sync, so rows become visible only when they are durable.
    fn durable(&mut self, group: Vec<Committed<Token>>) {
        let store = &*self.0;
        store.recent.lock().extend(&group);
        store.apply_group(&group);
        store.notify_visible();
        let commits = group.len() as u64;
        store.counters.commits.fetch_add(commits, Ordering::Relaxed);
        store.note_commit(group.last().map_or(0, |commit| commit.wall_ns));
        for commit in group {
            if let Some(key) = &commit.token.defines {
                store.settle(key);
            }
            if let Some(outcome) = &commit.token.outcome {
                outcome.set(Ok(commit.lsn));
            }
        }
        if store.over_limit() {
            store.want_checkpoint();
        }
    }

    fn synced(&mut self, took: Duration) {
        let counters = &self.0.counters;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counters.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn failed(&mut self, tokens: Vec<Token>, error: &WalError) {
        let store = &*self.0;
        let error = match error {
            WalError::DiskFull => {
                // It frees the log, and fits into what the log leaves free.
                store.want_checkpoint();
                Error::from(error.clone())
            }
            other => {
                store.poison.set(other.to_string());
                Error::Poisoned(store.poison.reason().unwrap_or_default().to_owned())
            }
        };
        for token in tokens {
            if let Some(key) = &token.defines {
                store.settle(key);
            }
            if let Some(outcome) = &token.outcome {
                outcome.set(Err(error.clone()));
            }
        }
        // Writers that wait for a checkpoint look at the poison again.
        store.signalled.notify_all();
    }
}

/// A payload on the heap, ready for the log.
pub(crate) fn rows_payload(kind: u8, hops: u8, origin: u16, bytes: Vec<u8>) -> wal::Payload {
    wal::Payload::new(kind, hops, origin, Bytes::from(bytes))
}

impl Store {
    /// Followers read frames from here on.
    pub(crate) fn oldest_readable(&self) -> Lsn {
        let oldest = self.with_wal(|wal| Ok(wal.oldest())).unwrap_or(Lsn(0));
        oldest.min(self.recent.lock().start())
    }

    /// Data segments and their bytes.
    pub(crate) fn segments(&self) -> (usize, u64) {
        let segments = self.segments.lock();
        let bytes = segments.iter().map(|segment| segment.named().bytes);
        (segments.len(), bytes.sum())
    }

    /// Takes `old`, which are neighbours, out and puts `new` in their place; at the end if there
    /// are none.
    pub(crate) fn replace_segments(&self, old: &[Arc<Segment>], new: Option<Arc<Segment>>) {
        let mut segments = self.segments.lock();
        let is_old = |segment: &Arc<Segment>| old.iter().any(|old| Arc::ptr_eq(old, segment));
        let at = segments.iter().position(is_old).unwrap_or(segments.len());
        segments.retain(|segment| !is_old(segment));
        if let Some(new) = new {
            segments.insert(at, new);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
