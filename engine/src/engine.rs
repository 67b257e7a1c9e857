//! `Engine`: only wiring.
//!
//! I5: `checkpoint <= visible <= durable <= appended`, see [`Marks`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use disk::{Clock, Disk, OsDisk, SystemClock};
use model::{BucketKey, RowKind, Schema};
use parking_lot::Mutex;
use wal::{Lsn, Payload};

use crate::backup::Backup;
use crate::catalog::{BucketId, BucketInfo, Origin};
use crate::commit::{Checked, Commit, Rows, Target, check, new_bucket};
use crate::delete::DeleteRange;
use crate::follow::CommitReader;
use crate::ingest::Ingested;
use crate::latest::{self, LastRows};
use crate::snapshot::Snapshot;
use crate::store::{Store, Token, rows_payload};
use crate::ticket::{Outcome, Ticket};
use crate::view::View;
use crate::{Error, Options, Recovery, backup, checkpoint, frame, ingest, merge, recover};

/// How long a writer sleeps at most before it looks again at what it waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Definitions that a bulk load queues as one: a few hundred KiB.
const DEFINITIONS_MAX: usize = 1024;

/// What a plugin host does for recovery and checkpoints.
pub trait CheckpointHook: Send + Sync {
    /// The directory is locked; nothing has been read yet. The host reads its files.
    ///
    /// # Errors
    /// Whatever keeps the store from opening.
    fn opened(&self, disk: &Arc<dyn Disk>) -> Result<(), Error>;
    /// A plugin commit found in the log, in LSN order. Also called for commits below a cursor the
    /// host already stored; the host compares LSNs.
    fn replayed(&self, lsn: Lsn, origin: Origin, section: &[u8]);
    /// The name of an origin. Called for each there is, behind the replay and before any checkpoint.
    fn named(&self, _origin: Origin, _name: &str) {}
    /// Save plugin files up to `upto`; WAL from the answer on stays. An error abandons the
    /// checkpoint. Runs inside a checkpoint: it must not start another one, nor wait for one.
    ///
    /// # Errors
    /// Whatever keeps the host from saving.
    fn checkpoint(&self, upto: Lsn) -> Result<Lsn, Error>;
}

/// A hook for engines without plugins.
#[derive(Debug)]
pub struct NoHook;

impl CheckpointHook for NoHook {
    fn opened(&self, _disk: &Arc<dyn Disk>) -> Result<(), Error> {
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
    /// Time all these syncs took.
    pub wal_sync_time: Duration,
    /// Commits so far.
    pub commits: u64,
    /// Wall-clock time of the last commit that is durable (ns); `None` before the first.
    pub last_commit_ns: Option<i64>,
    /// Rows written so far.
    pub rows: u64,
    /// Checkpoints so far.
    pub checkpoints: u64,
    /// Merges so far.
    pub merges: u64,
    /// Why the last merge failed, if it did. What it was to merge is still there.
    pub merge_error: Option<String>,
    /// Why writes are refused, if they are.
    pub poisoned: Option<String>,
    /// Damage found at open.
    pub quarantined: Vec<String>,
}

/// The store. Cheap to clone; the last [`Engine::close`] or drop joins its threads.
#[derive(Debug, Clone)]
pub struct Engine {
    owner: Arc<Owner>,
}

/// Ends the threads with the last handle.
#[derive(Debug)]
struct Owner {
    store: Arc<Store>,
    quarantined: Vec<String>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The directory's lock; given back by `close`.
    lock: Mutex<Option<disk::Lock>>,
}

impl Engine {
    /// Opens the store in a directory of the real file system, made if missing.
    ///
    /// # Errors
    /// If the directory is in use, is not a store, is damaged, or the file system fails.
    pub fn open(
        root: &Path,
        options: Options,
        hook: Arc<dyn CheckpointHook>,
    ) -> Result<(Self, Recovery), Error> {
        let disk = OsDisk::open(root)?;
        Self::open_on(Arc::new(disk), Arc::new(SystemClock::new()), options, hook)
    }

    /// Opens the store on any disk and clock (simulation).
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        hook: Arc<dyn CheckpointHook>,
    ) -> Result<(Self, Recovery), Error> {
        let opened = recover::open(disk, clock, options, hook)?;
        let owner = Owner {
            threads: Mutex::default(),
            store: opened.store,
            quarantined: opened.recovery.quarantined.clone(),
            lock: Mutex::new(Some(opened.lock)),
        };
        // After the owner is made, so that a failure here ends the log's thread.
        owner.spawn(checkpoint::spawn)?;
        if owner.store.options.merge {
            owner.spawn(merge::spawn)?;
            // What an earlier process did not get to.
            owner.store.want_merge();
        }
        let owner = Arc::new(owner);
        Ok((Self { owner }, opened.recovery))
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.owner.store
    }

    /// Catalog entry by name.
    pub fn bucket(&self, key: &BucketKey) -> Option<Arc<BucketInfo>> {
        self.store().catalog.read().by_key(key).cloned()
    }

    /// Catalog entry by number.
    pub fn bucket_by_id(&self, id: BucketId) -> Option<Arc<BucketInfo>> {
        self.store().catalog.read().by_id(id).cloned()
    }

    /// All buckets, ordered by key. Shared and cached: cheap when the catalog has not changed.
    pub fn buckets(&self) -> Arc<Vec<Arc<BucketInfo>>> {
        if let Some(sorted) = self.store().catalog.read().sorted() {
            return sorted;
        }
        Arc::make_mut(&mut self.store().catalog.write()).sort()
    }

    /// Makes an empty bucket; durable when this returns. `Error::Exists` if there is one.
    ///
    /// # Errors
    /// Also if the timeframe does not parse, or as [`Engine::write`].
    pub fn create_bucket(
        &self,
        key: &BucketKey,
        kind: RowKind,
        schema: Schema,
    ) -> Result<Arc<BucketInfo>, Error> {
        self.check_open()?;
        let mut missing = [new_bucket(key.clone(), kind, schema)?];
        while !self.reserve(&mut missing)? {
            if self.bucket(key).is_some() {
                return Err(Error::Exists(key.clone()));
            }
        }
        self.define(&missing)?;
        self.bucket(key).ok_or_else(|| Error::NotFound(key.clone()))
    }

    /// Makes buckets whose numbers were reserved; durable when this returns.
    fn define(&self, missing: &[BucketInfo]) -> Result<(), Error> {
        let outcome = Arc::new(Outcome::default());
        let last = missing.len() - 1;
        let frames = missing.iter().enumerate().map(|(index, info)| {
            // Neighbours end in their order, so that the last one's outcome is that of all.
            let outcome = (index == last).then(|| outcome.clone());
            (frame::define(info), define_token(info, outcome))
        });
        self.append(frames.collect())?;
        self.wait_flushed(&outcome).map(|_| ())
    }

    /// Makes those buckets that nobody else makes meanwhile; durable when this returns.
    pub(crate) fn define_missing(&self, missing: &mut [BucketInfo]) -> Result<(), Error> {
        for some in missing.chunks_mut(DEFINITIONS_MAX) {
            if !self.reserve(some)? {
                return Ok(());
            }
            self.define(some)?;
        }
        Ok(())
    }

    /// Drops buckets and their rows, all or none; durable when this returns. `Error::NotFound`.
    ///
    /// # Errors
    /// Also as [`Engine::write`].
    pub fn drop_buckets(&self, keys: &[BucketKey]) -> Result<(), Error> {
        let _one_at_a_time = self.store().dropping.lock();
        self.check_open()?;
        let mut dropped = Vec::with_capacity(keys.len());
        for key in keys {
            let info = self.bucket(key);
            dropped.push(info.ok_or_else(|| Error::NotFound(key.clone()))?);
        }
        dropped.sort_unstable_by_key(|info| info.id);
        dropped.dedup_by_key(|info| info.id);
        if dropped.is_empty() {
            return Ok(());
        }
        self.commit_alone(frame::drop_buckets(&dropped)).map(|_| ())
    }

    /// Checks everything, then defines missing buckets, then queues one frame. A refused commit
    /// leaves nothing behind.
    ///
    /// # Errors
    /// If a check fails, or the store is closed, poisoned or full.
    pub fn write(&self, commit: Commit) -> Result<Ticket, Error> {
        self.write_deleting(commit, &[])
    }

    /// [`Engine::write`], with ranges whose rows are deleted before the commit's own are written. A
    /// plugin commit does both at once; else the ranges go first, by themselves. Buckets that are
    /// not there have nothing to delete.
    ///
    /// # Errors
    /// As [`Engine::write`], and `Error::Invalid` for a range that ends before it begins.
    pub fn write_deleting(&self, commit: Commit, deletes: &[DeleteRange]) -> Result<Ticket, Error> {
        self.check_open()?;
        let Commit {
            origin,
            hops,
            rows,
            section,
        } = commit;
        // Again if somebody else defines one of the missing buckets meanwhile.
        loop {
            let altered = self.store().altered.load(Ordering::Acquire);
            let find = |key: &BucketKey| self.bucket(key);
            let mut checked = check(
                &rows,
                section.as_ref(),
                deletes.len(),
                &self.store().options,
                find,
            )?;
            let deleted = self.resolve_there(deletes)?;
            if checked.rows.is_empty() && section.is_none() && deleted.is_empty() {
                return Ok(Ticket::done(self.store().visible()));
            }
            self.wait_for_checkpoint()?;
            let _schemas_stay = self.store().schemas.read();
            if self.store().altered.load(Ordering::Acquire) != altered {
                // Columns may not be those any more that the rows were checked against.
                continue;
            }
            if checked.missing.is_empty() || self.reserve(&mut checked.missing)? {
                return self.queue(origin, hops, checked, section.as_ref(), &deleted);
            }
        }
    }

    fn queue(
        &self,
        origin: Origin,
        hops: u8,
        checked: Checked<'_>,
        section: Option<&Bytes>,
        deleted: &[frame::Range],
    ) -> Result<Ticket, Error> {
        let Checked { rows, missing } = checked;
        let parts: Vec<_> = rows
            .iter()
            .map(|prepared| match &prepared.bucket {
                Target::Stored(info) => (info.id, info.schema_version, &*prepared.batch),
                Target::Missing(index) => (missing[*index].id, 1, &*prepared.batch),
            })
            .collect();
        let outcome = Arc::new(Outcome::default());
        let token = |outcome| Token {
            outcome,
            defines: None,
        };
        let mut frames: Vec<(Payload, Token)> = Vec::with_capacity(missing.len() + 1);
        for info in &missing {
            frames.push((frame::define(info), define_token(info, None)));
        }
        let (kind, inside) = match section {
            None => (frame::KIND_ROWS, &[][..]),
            Some(_) => (frame::KIND_PLUGIN, deleted),
        };
        let is_alone = !deleted.is_empty() && inside.is_empty();
        if is_alone {
            frames.push((frame::delete_by(origin, hops, deleted), token(None)));
        }
        if section.is_some() || !parts.is_empty() {
            let bytes = frame::encode_rows(section, inside, &parts);
            frames.push((rows_payload(kind, hops, origin.0, bytes), token(None)));
        }
        if let Some((_, last)) = frames.last_mut() {
            // Neighbours end in their order, so that the last one's outcome is that of all.
            last.outcome = Some(outcome.clone());
        }
        self.append(frames)?;
        Ok(Ticket::new(outcome, self.store().options.sync))
    }

    /// Queues frames as neighbours, all or none.
    fn append(&self, mut frames: Vec<(Payload, Token)>) -> Result<(), Error> {
        let keys = frames.iter().filter_map(|(_, token)| token.defines.clone());
        let keys: Vec<BucketKey> = keys.collect();
        let appended = self.store().with_wal(|wal| match frames.len() {
            1 => {
                let (payload, token) = frames.swap_remove(0);
                wal.append(payload, token)
            }
            _ => wal.append_all(frames),
        });
        if appended.is_err() {
            self.store().unreserve(keys.into_iter());
        }
        appended
    }

    /// Gives numbers to new buckets. False if somebody else defined, or is defining, one of them:
    /// their outcome is then known and the caller looks again.
    fn reserve(&self, missing: &mut [BucketInfo]) -> Result<bool, Error> {
        let store = self.store();
        let mut defining = store.defining.lock();
        {
            let catalog = store.catalog.read();
            if missing
                .iter()
                .any(|info| catalog.by_key(&info.key).is_some())
            {
                return Ok(false);
            }
        }
        if missing.iter().any(|i| defining.pending.contains(&i.key)) {
            drop(defining);
            // With an interval the definition may wait for its sync: hurry it.
            store.with_wal(|wal| wal.flush())?;
            let mut defining = store.defining.lock();
            if missing.iter().any(|i| defining.pending.contains(&i.key)) {
                store.defined.wait_for(&mut defining, LOOK_AGAIN);
            }
            return Ok(false);
        }
        for info in missing {
            info.id = BucketId(defining.next_bucket);
            defining.next_bucket += 1;
            defining.pending.insert(info.key.clone());
        }
        Ok(true)
    }

    /// Writers wait here, and only here, for a checkpoint: when the log grew to its limit.
    pub(crate) fn wait_for_checkpoint(&self) -> Result<(), Error> {
        let store = self.store();
        let backlog = || store.visible().0.saturating_sub(store.checkpointed().0);
        if backlog() < store.options.wal_bytes_max {
            return Ok(());
        }
        let tried = store.signal.lock().tried;
        loop {
            self.check_open()?;
            store.want_checkpoint();
            let mut signal = store.signal.lock();
            if backlog() < store.options.wal_bytes_max {
                return Ok(());
            }
            if let Some(error) = signal.failed.clone().filter(|_| signal.tried > tried) {
                return Err(error);
            }
            store.signalled.wait_for(&mut signal, LOOK_AGAIN);
        }
    }

    /// One frame by itself: durable and visible when this returns its position.
    pub(crate) fn commit_alone(&self, payload: Payload) -> Result<Lsn, Error> {
        let outcome = Arc::new(Outcome::default());
        let token = Token {
            outcome: Some(outcome.clone()),
            defines: None,
        };
        self.append(vec![(payload, token)])?;
        self.wait_flushed(&outcome)
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.store().is_closed() {
            return Err(Error::Closed);
        }
        self.store().poison.check()
    }

    /// Waits for durability whatever the sync mode, without waiting for the interval.
    fn wait_flushed(&self, outcome: &Outcome) -> Result<Lsn, Error> {
        // Its error, if any, is also the outcome's.
        let _ = self.store().with_wal(|wal| wal.flush());
        outcome.wait()
    }

    /// Looks up or defines the number of a plugin instance; durable when this returns.
    ///
    /// # Errors
    /// If all 65535 numbers are given, or as [`Engine::write`].
    pub fn origin(&self, name: &str) -> Result<Origin, Error> {
        let store = self.store();
        let _one_at_a_time = store.origins.lock();
        let count = {
            let catalog = store.catalog.read();
            if let Some(origin) = catalog.origin(name) {
                return Ok(origin);
            }
            catalog.origins()
        };
        self.check_open()?;
        if name.is_empty() || name.len() > 255 {
            let message = format!("an origin's name has 1 to 255 bytes, not {}", name.len());
            return Err(Error::Invalid(message));
        }
        let Ok(number) = u16::try_from(count + 1) else {
            return Err(Error::Limit {
                what: "plugin instances ever defined",
                found: count as u64 + 1,
                limit: u64::from(u16::MAX),
                option: "fixed by the format",
            });
        };
        self.commit_alone(frame::define_origin(Origin(number), name))?;
        Ok(Origin(number))
    }

    /// The name of an origin.
    pub fn origin_name(&self, origin: Origin) -> Option<String> {
        let catalog = self.store().catalog.read();
        catalog.origin_name(origin).map(str::to_owned)
    }

    /// A consistent view at one LSN of the buckets named (unknown ones are left out).
    pub fn snapshot(&self, ids: &[BucketId]) -> Snapshot {
        let views = self.store().views.read();
        // Under the lock: no tail can be frozen or replaced between the mark and the views.
        let lsn = self.store().visible();
        let found = ids.iter().filter_map(|id| views.get(id).cloned()).collect();
        drop(views);
        Snapshot::new(lsn, found)
    }

    /// The last rows of the buckets named, at one LSN: [`Engine::snapshot`] and
    /// [`Snapshot::last_rows`] in one go, for very many buckets. Unknown ones, and those without
    /// rows, are left out.
    ///
    /// # Errors
    /// As [`Snapshot::last_rows`].
    pub fn last_rows(&self, ids: &[BucketId]) -> Result<Vec<LastRows>, Error> {
        {
            let views = self.store().views.read();
            let lsn = self.store().visible();
            let mut found: Vec<&View> = Vec::with_capacity(ids.len());
            found.extend(ids.iter().filter_map(|id| views.get(id)).map(AsRef::as_ref));
            // No page is read under the lock.
            if let Some(rows) = latest::gather(&found, lsn, false)? {
                return Ok(rows);
            }
        }
        self.snapshot(ids).last_rows()
    }

    /// Commits from an LSN on. `Error::Released` if the log no longer reaches back that far.
    ///
    /// # Errors
    /// Also if the store is closed.
    pub fn follow(&self, from: Lsn) -> Result<CommitReader, Error> {
        CommitReader::new(self.store().clone(), from)
    }

    /// Blocks until `visible` is past `past`, a timeout, or close; returns `visible`.
    pub fn wait_visible(&self, past: Lsn, timeout: Duration) -> Lsn {
        self.store().wait_visible(past, timeout)
    }

    /// Wakes everybody in [`Engine::wait_visible`] (to stop a follower).
    pub fn wake_followers(&self) {
        self.store().wake();
    }

    /// Writes tails into a segment now.
    ///
    /// # Errors
    /// If the disk is full, the hook refuses, or the store is poisoned or closed.
    pub fn checkpoint(&self) -> Result<(), Error> {
        let mut manifest = self.store().manifest.lock();
        // With the manifest held: whoever closes the store waits for it.
        self.check_open()?;
        checkpoint::run_locked(self.store(), &mut manifest)?;
        drop(manifest);
        self.store().want_merge();
        Ok(())
    }

    /// Loads rows straight into one new segment, past the log: atomic, durable when this returns,
    /// and triggers do not see it. Everything written before is checkpointed first, so that these
    /// rows are the newest. Rows are as in [`Engine::write`], but there is no limit to them: the
    /// caller bounds the memory (64 to 256 MiB a call are fast).
    ///
    /// # Errors
    /// As [`Engine::write`] and [`Engine::checkpoint`].
    pub fn ingest(&self, rows: Vec<Rows>) -> Result<Ingested, Error> {
        ingest::run(self, &rows)
    }

    /// Runs merges now until none is due; how many segments were written.
    ///
    /// # Errors
    /// If the disk is full, a page is damaged, or the store is poisoned or closed.
    pub fn merge(&self) -> Result<usize, Error> {
        self.check_open()?;
        merge::run(self.store())
    }

    /// Rewrites everything into as few segments as allowed, without dead rows; how many segments
    /// were written.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub fn compact(&self) -> Result<usize, Error> {
        self.checkpoint()?;
        merge::run_full(self.store())
    }

    /// A consistent copy of the running store in an empty directory, which [`Engine::open`] opens:
    /// hard links where the file system allows, else copies.
    ///
    /// # Errors
    /// If the target is not empty, or a disk fails; what was made of the copy is then removed.
    pub fn backup(&self, target: &Path) -> Result<Backup, Error> {
        backup::run(self, target)
    }

    /// The four LSNs.
    pub fn marks(&self) -> Marks {
        let store = self.store();
        // In this order, so that a commit in between cannot turn the marks around.
        let checkpoint = store.checkpointed();
        let visible = store.visible().max(checkpoint);
        let log = store.with_wal(|wal| {
            let durable = wal.durable_lsn();
            Ok((durable, wal.appended_lsn()))
        });
        let (durable, appended) = log.unwrap_or((visible, visible));
        let durable = durable.max(visible);
        Marks {
            checkpoint,
            visible,
            durable,
            appended: appended.max(durable),
        }
    }

    /// Numbers.
    pub fn status(&self) -> Status {
        let store = self.store();
        let marks = self.marks();
        let (segments, segment_bytes) = store.segments();
        let oldest = store.with_wal(|wal| Ok(wal.oldest()));
        let wal_bytes = oldest.map_or(0, |oldest| marks.appended.0.saturating_sub(oldest.0));
        let tail_bytes =
            store.tail_bytes.load(Ordering::Relaxed) + store.frozen_bytes.load(Ordering::Relaxed);
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            marks,
            buckets: store.catalog.read().len(),
            segments,
            segment_bytes,
            wal_bytes,
            tail_bytes: tail_bytes as u64,
            wal_syncs: count(&store.counters.syncs),
            wal_sync_time: Duration::from_nanos(count(&store.counters.sync_nanos)),
            commits: count(&store.counters.commits),
            last_commit_ns: Some(store.counters.last_commit_ns.load(Ordering::Relaxed))
                .filter(|time| *time != 0),
            rows: count(&store.counters.rows),
            checkpoints: count(&store.counters.checkpoints),
            merges: count(&store.counters.merges),
            merge_error: store.merge_error.lock().clone(),
            poisoned: store.poison.reason().map(str::to_owned),
            quarantined: self.owner.quarantined.clone(),
        }
    }

    /// Options it was opened with.
    pub fn options(&self) -> &Options {
        &self.store().options
    }

    /// Refuses further writes, syncs what is queued, checkpoints, stops threads.
    ///
    /// # Errors
    /// If the sync or the checkpoint fails; the threads have ended all the same, and everything
    /// acknowledged is in the log.
    pub fn close(&self) -> Result<(), Error> {
        self.owner.close()
    }
}

impl Owner {
    fn spawn(&self, thread: fn(Arc<Store>) -> Result<JoinHandle<()>, Error>) -> Result<(), Error> {
        self.threads.lock().push(thread(self.store.clone())?);
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        let store = &self.store;
        if store.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let flushed = store.with_wal(|wal| wal.flush());
        let saved = match flushed {
            Ok(()) => checkpoint::run(store),
            Err(error) => Err(error),
        };
        self.stop(Stop::Orderly);
        saved
    }

    fn stop(&self, stop: Stop) {
        let store = &self.store;
        store.closed.store(true, Ordering::Release);
        store.signal.lock().stop = true;
        store.signalled.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A panic there was printed; nothing is lost, the log has everything.
            let _ = thread.join();
        }
        // Who holds it writes files; who takes it later sees that the store is closed.
        drop(store.merging.lock());
        drop(store.manifest.lock());
        // Writers hold the lock for reading while they queue, so nobody is in between.
        let wal = store.wal.write().take();
        match wal {
            // The log marks its end unless it failed. Without the mark the next open is slower,
            // nothing else, and what was to be synced was before.
            Some(wal) if stop == Stop::Orderly && store.poison.reason().is_none() => {
                let _ = wal.close();
            }
            other => drop(other),
        }
        store.wake();
        drop(self.lock.lock().take());
    }
}

/// How the threads end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Everything queued is to be synced, and the log closed.
    Orderly,
    /// As if the process died, but for what is queued.
    Dropped,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop(Stop::Dropped);
    }
}

fn define_token(info: &BucketInfo, outcome: Option<Arc<Outcome>>) -> Token {
    Token {
        outcome,
        defines: Some(info.key.clone()),
    }
}
