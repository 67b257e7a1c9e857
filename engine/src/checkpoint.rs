//! Tails -> segment -> manifest -> free the WAL.
//!
//! Order, each arrow a point where a crash is harmless: freeze tails at `L` -> hook -> segment
//! (write, sync, rename, sync directory) -> catalog likewise -> MANIFEST (its rename is the commit
//! point, I9) -> publish views -> release the log below `min(L, hook's answer)`. Before the commit
//! point the new files are orphans, removed at open; after it, frames below `L` are skipped at
//! replay. Writers go on all the while: they are held only to freeze and to publish, both swaps
//! of pointers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use disk::File;
use model::ColumnBatch;
use parking_lot::MutexGuard;
use wal::Lsn;

use crate::Error;
use crate::catalog::{BucketId, BucketInfo, Catalog, Past, Pasts};
use crate::latest::Latest;
use crate::manifest::{FillError, Manifest, SegmentEntry, publish, publish_bytes};
use crate::segment::{Chunk, Segment, Source, Writer, Written, fill, path_of};
use crate::store::{Signal, Store};
use crate::tail::concat;
use crate::view::View;

/// Pause after a failed checkpoint: a full disk does not get better within a commit.
const RETRY: Duration = Duration::from_millis(500);

/// Runs checkpoints when they are wanted.
pub(crate) fn spawn(store: Arc<Store>) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name("checkpoint".to_owned());
    Ok(thread.spawn(move || serve(&store))?)
}

/// Without this thread nobody would free the log: a writer at its limit must not wait for that.
struct Watch<'a>(&'a Store);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .poison
                .set("the checkpoint thread panicked".to_owned());
            self.0.signalled.notify_all();
        }
    }
}

fn serve(store: &Store) {
    let _watch = Watch(store);
    loop {
        {
            let mut signal = store.signal.lock();
            while !signal.wanted && !signal.stop {
                store.signalled.wait(&mut signal);
            }
            if signal.stop {
                return;
            }
            signal.wanted = false;
        }
        let result = run(store);
        let mut signal = store.signal.lock();
        signal.tried += 1;
        signal.failed = result.err();
        store.signalled.notify_all();
        if signal.failed.is_some() {
            pause(store, &mut signal);
        }
    }
}

/// Those who want a checkpoint do not cut the pause short: while a disk is full every commit does.
fn pause(store: &Store, signal: &mut MutexGuard<'_, Signal>) {
    let until = Instant::now() + RETRY;
    while !signal.stop && !store.signalled.wait_until(signal, until).timed_out() {}
}

/// What a checkpoint writes.
struct Frozen {
    /// Every commit below is in the tails frozen, or in segments.
    upto: Lsn,
    catalog: Arc<Catalog>,
    /// What files will still have of the past of buckets, once the frozen tails are written.
    pasts: Pasts,
    /// Buckets with frozen tails, by number.
    views: Vec<Arc<View>>,
}

/// A segment that has its name and does not count yet: MANIFEST does not name it.
pub(crate) struct New {
    pub(crate) entry: SegmentEntry,
    pub(crate) segment: Arc<Segment>,
    pub(crate) rows: u64,
}

/// Writes what is in tails into a segment. One at a time.
pub(crate) fn run(store: &Store) -> Result<(), Error> {
    let mut manifest = store.manifest.lock();
    run_locked(store, &mut manifest)?;
    drop(manifest);
    store.want_merge();
    Ok(())
}

/// The same for who holds the manifest already. Returns from where on the log is kept.
pub(crate) fn run_locked(store: &Store, manifest: &mut Manifest) -> Result<Lsn, Error> {
    store.poison.check()?;
    let frozen = freeze(store);
    disk::failpoint::pass("checkpoint.frozen");
    let upto = frozen.upto;
    let keep = save(store, manifest, frozen)?;
    store.signalled.notify_all();
    let keep = upto.min(keep);
    if let Some(wal) = &*store.wal.read() {
        wal.release(keep)?;
    }
    Ok(keep)
}

/// Writes what is frozen; the LSN from which on the hook needs the log.
fn save(store: &Store, manifest: &mut Manifest, mut frozen: Frozen) -> Result<Lsn, Error> {
    let written = store.hook.checkpoint(frozen.upto).and_then(|keep| {
        if frozen.upto == manifest.checkpoint {
            return Ok((keep, None));
        }
        Ok((keep, Some(write(store, manifest, &frozen)?)))
    });
    let (keep, written) = match written {
        Ok(written) => written,
        Err(error) => {
            remove_unfinished(store, manifest.next_sequence);
            if store.poison.reason().is_none() && manifest.catalog != Some(frozen.upto) {
                let _ = store.disk.unlink(&Catalog::file_name(frozen.upto));
            }
            // Their tails are frozen still: the next checkpoint takes them along.
            let dirty = frozen.views.iter().map(|view| view.info.id);
            store.dirty.lock().extend(dirty);
            return Err(error);
        }
    };
    if let Some((next, segment)) = written {
        disk::failpoint::pass("checkpoint.published");
        // Views that nobody shares are changed in place below.
        let buckets: Vec<BucketId> = frozen.views.drain(..).map(|view| view.info.id).collect();
        let old_catalog = std::mem::replace(&mut *manifest, next).catalog;
        publish_views(store, segment.as_ref(), &buckets, &frozen);
        store.replace_segments(&[], segment);
        store.checkpointed.store(frozen.upto.0, Ordering::Release);
        store.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        if let Some(lsn) = old_catalog {
            // What cannot be removed now is an orphan for the next open.
            let _ = store.disk.unlink(&Catalog::file_name(lsn));
        }
    }
    Ok(keep)
}

/// Gives back the space of a segment that MANIFEST does not name. Not after a failure that poisons:
/// then MANIFEST may be the new one after all.
pub(crate) fn remove_unfinished(store: &Store, sequence: u64) {
    if store.poison.reason().is_none() {
        let _ = store.disk.unlink(&path_of(sequence));
    }
}

/// Sets the tails aside between two groups of commits. What an earlier checkpoint failed to write
/// is still frozen and comes along.
fn freeze(store: &Store) -> Frozen {
    let oldest = store.oldest_readable();
    let _apply = store.apply.lock();
    let mut dirty = std::mem::take(&mut *store.dirty.lock());
    dirty.sort_unstable();
    dirty.dedup();
    let catalog = store.catalog.read().clone();
    let mut views = store.views.write();
    let upto = store.visible();
    let mut frozen: Vec<Arc<View>> = Vec::with_capacity(dirty.len());
    let mut fresh = 0;
    for id in dirty {
        // One that was dropped since has no view.
        let Some(view) = views.get_mut(&id) else {
            continue;
        };
        if view.tail.rows() > 0 {
            fresh += Arc::make_mut(view).freeze(upto);
        }
        if !view.frozen.is_empty() {
            frozen.push(view.clone());
        }
    }
    let with_past = store.with_past.lock();
    let pasts = with_past
        .iter()
        .filter_map(|id| Some((*id, past(views.get(id)?, oldest))));
    let pasts = pasts.collect();
    drop(with_past);
    store.tail_bytes.fetch_sub(fresh, Ordering::Relaxed);
    store.frozen_bytes.fetch_add(fresh, Ordering::Relaxed);
    drop(views);
    Frozen {
        upto,
        catalog,
        pasts,
        views: frozen,
    }
}

/// Versions that chunks or readable frames have, and deletes that chunks need: the frozen tails
/// will be written in the present version and without what is deleted.
fn past(view: &View, oldest: Lsn) -> Past {
    let older = view.older.iter().filter(|o| view.needs_version(o, oldest));
    let masks = view.masks.iter().filter(|m| view.chunks_need(m));
    Past {
        older: older.cloned().collect(),
        masks: masks.copied().collect(),
    }
}

/// Segment, catalog, manifest, in this order.
fn write(
    store: &Store,
    manifest: &Manifest,
    frozen: &Frozen,
) -> Result<(Manifest, Option<Arc<Segment>>), Error> {
    let disk = &*store.disk;
    let mut next = manifest.clone();
    let mut segment = None;
    if frozen.views.iter().any(|view| has_rows(view)) {
        let sequence = manifest.next_sequence;
        let new = write_segment(
            store,
            &manifest.store_id,
            (sequence, sequence),
            |_, writer| {
                fill(&frozen.views, &store.options.zone, writer)?;
                Ok((manifest.checkpoint, frozen.upto))
            },
        )?;
        segment = Some(new.segment);
        next.segments.push(new.entry);
        next.next_sequence += 1;
    }
    let file = Catalog::file_name(frozen.upto);
    publish_bytes(
        disk,
        &store.poison,
        &file,
        &frozen.catalog.encode(frozen.upto, &frozen.pasts),
    )?;
    next.catalog = Some(frozen.upto);
    next.checkpoint = frozen.upto;
    next.publish(disk, &store.poison)?;
    Ok((next, segment))
}

/// The frozen tails of a bucket.
impl Source for Arc<View> {
    fn info(&self) -> &Arc<BucketInfo> {
        &self.info
    }

    fn size(&self) -> usize {
        self.frozen.iter().map(|frozen| frozen.tail.rows()).sum()
    }

    fn rows(&self) -> ColumnBatch {
        rows_of(self)
    }
}

/// Writes a segment under its name and opens it. `fill` adds the chunks and says which commits
/// they cover.
pub(crate) fn write_segment(
    store: &Store,
    store_id: &[u8; 16],
    (sequence, age): (u64, u64),
    fill: impl FnOnce(&dyn File, &mut Writer<'_>) -> Result<(Lsn, Lsn), FillError>,
) -> Result<New, Error> {
    let disk = &*store.disk;
    let path = path_of(sequence);
    let written: Written = publish(disk, &store.poison, &path, |file| {
        let mut writer = Writer::new(file, sequence, store_id)?;
        let (first_lsn, last_lsn) = fill(file, &mut writer)?;
        Ok(writer.finish(first_lsn, last_lsn)?)
    })?;
    let entry = SegmentEntry {
        sequence,
        age,
        bytes: written.bytes,
        footer_crc: written.footer_crc,
    };
    let segment = Segment::open(disk, &entry, store_id).map_err(|error| {
        store
            .poison
            .set(format!("a new segment does not read: {error}"));
        error
    })?;
    Ok(New {
        entry,
        segment: Arc::new(segment),
        rows: written.rows,
    })
}

/// Whether a frozen tail has a row that is not deleted.
fn has_rows(view: &View) -> bool {
    view.frozen
        .iter()
        .any(|frozen| !frozen.rows(view).is_empty())
}

/// The rows of all frozen tails in scan order, in the present schema and without those deleted.
fn rows_of(view: &View) -> ColumnBatch {
    let schema = &view.info.schema;
    let frozen = view.frozen.iter();
    let pieces: Vec<ColumnBatch> = frozen.flat_map(|frozen| frozen.rows(view)).collect();
    let follows = |pair: &[ColumnBatch]| pair[0].times().last() < pair[1].times().first();
    if view.frozen.len() == 1 || pieces.windows(2).all(follows) {
        return concat(schema, pieces);
    }
    concat(schema, pieces).ordered(view.info.kind)
}

/// Chunks take the place of the tails of `buckets` that were frozen for them. A tail frozen since
/// by a schema change stays.
fn publish_views(
    store: &Store,
    segment: Option<&Arc<Segment>>,
    buckets: &[BucketId],
    frozen: &Frozen,
) {
    let chunks = segment.into_iter().flat_map(Segment::chunks);
    let chunks: Vec<_> = chunks.map(with_latest).collect();
    // Freed after the lock is given back: that may be a lot of memory.
    let mut written = Vec::with_capacity(buckets.len());
    let mut views = store.views.write();
    // A bucket dropped meanwhile has no view.
    for (id, chunk, latest) in chunks {
        if let Some(view) = views.get_mut(&id) {
            Arc::make_mut(view).add_chunk(chunk, latest);
        }
    }
    for id in buckets {
        if let Some(view) = views.get_mut(id) {
            written.extend(Arc::make_mut(view).take_frozen(frozen.upto));
        }
    }
    store.with_past.lock().retain(|id| {
        let Some(view) = views.get_mut(id) else {
            return false;
        };
        if let Some(next) = view.forgetting(frozen.pasts.get(id), frozen.upto) {
            *view = Arc::new(next);
        }
        view.has_past()
    });
    drop(views);
    let bytes = written.iter().map(|frozen| frozen.tail.bytes()).sum();
    store.frozen_bytes.fetch_sub(bytes, Ordering::Relaxed);
}

/// The row is copied out of the mapping before a lock is taken.
fn with_latest((id, chunk): (BucketId, Chunk)) -> (BucketId, Chunk, Latest) {
    let latest = chunk.latest();
    (id, chunk, latest)
}

/// Adds the chunks of a segment that is newer than all others.
pub(crate) fn add_chunks(store: &Store, segment: &Arc<Segment>) {
    let chunks: Vec<_> = segment.chunks().map(with_latest).collect();
    let mut views = store.views.write();
    for (id, chunk, latest) in chunks {
        if let Some(view) = views.get_mut(&id) {
            Arc::make_mut(view).add_chunk(chunk, latest);
        }
    }
}

/// Adds the chunks of a segment at open; segments come oldest first.
pub(crate) fn add_segment(segment: &Arc<Segment>, views: &mut foldhash::HashMap<BucketId, View>) {
    for (id, chunk) in segment.chunks() {
        // Rows of a bucket that was dropped since.
        if let Some(view) = views.get_mut(&id) {
            let latest = chunk.latest();
            view.add_chunk(chunk, latest);
        }
    }
}
