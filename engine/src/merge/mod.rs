//! I7: only neighbouring segments merge, and the result takes their place.
//!
//! What wins between rows is decided by the position of their segments alone, so a merged segment
//! has the age of the newest it was made of: all others stay below or above. Within it the later
//! row of equal times has won already, for bars; ticks stand in the order of their sources.
//!
//! Order, each arrow a point where a crash is harmless: take a number for the file -> write, sync,
//! rename, sync directory -> MANIFEST (the commit point, I9) -> views -> unlink the inputs. One at
//! a time. The manifest is held for the number and from MANIFEST to the views, no lock while rows
//! are read and written; mappings of the inputs live as long as somebody reads them.
//!
//! Rows of dropped buckets and deleted rows are left out, older schemas become the present one. A
//! delete that comes meanwhile masks the result as it masked the inputs: its LSN is not below.

mod plan;
mod policy;
mod rewrite;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crate::Error;
use crate::catalog::BucketId;
use crate::checkpoint::{self, New};
use crate::manifest::Manifest;
use crate::segment::{Chunk, Segment, path_of};
use crate::store::Store;
use policy::Candidate;
use rewrite::Versions;

/// Space that a merge leaves: a checkpoint and the log must never wait for one.
const SPACE_LEFT: u64 = 256 << 20;

/// Buckets whose chunks are switched under one hold of the publish lock. In between others get in;
/// they see old or new chunks, which have the same rows.
const SWITCHED_AT_ONCE: usize = 256;

/// What the merges of a process remember.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    /// Files whose damage ended a merge: they are left alone until the next start.
    damaged: BTreeSet<String>,
}

/// Runs merges after checkpoints.
pub(crate) fn spawn(store: Arc<Store>) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name("merge".to_owned());
    Ok(thread.spawn(move || serve(&store))?)
}

/// Without this thread nothing is lost; but somebody should know.
struct Watch<'a>(&'a Store);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.merge_error.lock() = Some("the merge thread panicked".to_owned());
        }
    }
}

fn serve(store: &Store) {
    let _watch = Watch(store);
    loop {
        {
            let mut signal = store.signal.lock();
            while !signal.merge && !signal.stop {
                store.signalled.wait(&mut signal);
            }
            if signal.stop {
                return;
            }
            signal.merge = false;
        }
        // Not tried again before the next checkpoint; the status has the error.
        let _ = run(store);
    }
}

/// Merges until none is due; how many segments were written.
pub(crate) fn run(store: &Store) -> Result<usize, Error> {
    let mut merging = store.merging.lock();
    let mut written = 0;
    loop {
        let segments = store.segments.lock().clone();
        let candidates = candidates(store, &merging, &segments);
        let Some(due) = policy::due(&candidates) else {
            return Ok(written);
        };
        written += one(store, &mut merging, &segments[due], || {})?;
    }
}

/// Merges everything into as few segments as allowed; how many segments were written.
pub(crate) fn run_full(store: &Store) -> Result<usize, Error> {
    let mut merging = store.merging.lock();
    let segments = store.segments.lock().clone();
    let candidates = candidates(store, &merging, &segments);
    let stale = |at: usize| candidates[at].dead > 0 || has_older_schema(store, &segments[at]);
    let mut written = 0;
    for group in policy::full(&candidates, stale) {
        written += one(store, &mut merging, &segments[group], || {})?;
    }
    Ok(written)
}

/// Merges these neighbours, whatever their sizes. `meanwhile` is called when the rows are written.
#[cfg(test)]
pub(crate) fn run_some(
    store: &Store,
    range: Range<usize>,
    meanwhile: impl FnOnce(),
) -> Result<usize, Error> {
    let mut merging = store.merging.lock();
    let segments = store.segments.lock().clone();
    one(store, &mut merging, &segments[range], meanwhile)
}

fn candidates(store: &Store, merging: &Merging, segments: &[Arc<Segment>]) -> Vec<Candidate> {
    let candidates = segments.iter().map(|segment| {
        let named = segment.named();
        let (mut rows, mut dead) = (0, 0);
        for group in segment_groups(segment) {
            let mut with_masks = Vec::new();
            let views = store.views.read();
            for (id, chunk) in segment.chunk_range(group) {
                rows += chunk.rows() as u64;
                match views.get(&id) {
                    None => dead += chunk.rows() as u64,
                    Some(view) if view.masks.is_empty() => {}
                    Some(view) => with_masks.push((view.clone(), chunk)),
                }
            }
            drop(views);
            // That may read page tables: not under the lock.
            let masked = with_masks
                .iter()
                .map(|(view, chunk)| view.masked_rows(chunk));
            dead += masked.sum::<u64>();
        }
        Candidate {
            bytes: named.bytes,
            rows,
            dead,
            damaged: merging.damaged.contains(&path_of(named.sequence)),
        }
    });
    candidates.collect()
}

/// Pieces of the directory: the publish lock is not held for a long one at once.
fn segment_groups(segment: &Segment) -> impl Iterator<Item = Range<usize>> {
    let count = segment.chunk_count();
    let starts = (0..count).step_by(SWITCHED_AT_ONCE);
    starts.map(move |start| start..count.min(start + SWITCHED_AT_ONCE))
}

fn has_older_schema(store: &Store, segment: &Arc<Segment>) -> bool {
    let views = store.views.read();
    segment.chunks().any(|(id, chunk)| {
        let view = views.get(&id);
        view.is_some_and(|view| view.info.schema_version != chunk.schema_version())
    })
}

/// One merge; how many segments it wrote. Its error goes into the status.
fn one(
    store: &Store,
    merging: &mut Merging,
    inputs: &[Arc<Segment>],
    meanwhile: impl FnOnce(),
) -> Result<usize, Error> {
    let result = rewrite(store, inputs, meanwhile);
    let mut shown = store.merge_error.lock();
    match &result {
        Ok(_) => {
            *shown = None;
            store.counters.merges.fetch_add(1, Ordering::Relaxed);
        }
        Err(Error::Closed) => {}
        Err(error) => {
            if let Error::Corrupt { file, .. } = error {
                merging.damaged.insert(file.clone());
            }
            *shown = Some(error.to_string());
        }
    }
    result
}

fn rewrite(
    store: &Store,
    inputs: &[Arc<Segment>],
    meanwhile: impl FnOnce(),
) -> Result<usize, Error> {
    let (Some(oldest), Some(newest)) = (inputs.first(), inputs.last()) else {
        meanwhile();
        return Ok(0);
    };
    check_space(store, inputs)?;
    let (sequence, store_id) = {
        let mut manifest = store.manifest.lock();
        check_open(store)?;
        manifest.next_sequence += 1;
        (manifest.next_sequence - 1, manifest.store_id)
    };
    let age = newest.named().age;
    let lsns = (oldest.lsns().0, newest.lsns().1);
    let buckets = rewrite::by_bucket(inputs);
    let ids: Vec<BucketId> = buckets.keys().copied().collect();
    let mut versions = Versions::new();
    let new = checkpoint::write_segment(store, &store_id, (sequence, age), |file, writer| {
        versions = rewrite::write(store, file, writer, buckets)?;
        Ok(lsns)
    });
    disk::failpoint::pass("merge.written");
    meanwhile();
    let result = new.and_then(|new| {
        let output = (new.rows > 0).then_some(new);
        publish(store, inputs, output, &ids, &versions)
    });
    if result.is_err() {
        checkpoint::remove_unfinished(store, sequence);
    }
    let written = result?;
    if written == 0 {
        // It has no rows, and no name in MANIFEST.
        let _ = store.disk.unlink(&path_of(sequence));
    }
    for input in inputs {
        // What cannot be removed now is an orphan for the next open.
        let _ = store.disk.unlink(&path_of(input.named().sequence));
    }
    Ok(written)
}

/// A merge that would fill the disk is not begun: whatever else needs the space comes first.
fn check_space(store: &Store, inputs: &[Arc<Segment>]) -> Result<(), Error> {
    let needed = inputs.iter().map(|input| input.named().bytes).sum::<u64>() + SPACE_LEFT;
    match store.disk.free_space()? {
        Some(free) if free < needed => Err(Error::DiskFull(format!(
            "merging segments needs {needed} bytes, {free} are free"
        ))),
        _ => Ok(()),
    }
}

fn check_open(store: &Store) -> Result<(), Error> {
    if store.is_closed() {
        return Err(Error::Closed);
    }
    store.poison.check()
}

/// The commit point, and after it the views. Returns how many segments took the inputs' place.
fn publish(
    store: &Store,
    inputs: &[Arc<Segment>],
    output: Option<New>,
    ids: &[BucketId],
    versions: &Versions,
) -> Result<usize, Error> {
    let mut manifest = store.manifest.lock();
    check_open(store)?;
    check_versions(store, versions)?;
    let next = replaced(&manifest, inputs, output.as_ref());
    next.publish(&*store.disk, &store.poison)?;
    disk::failpoint::pass("merge.published");
    *manifest = next;
    let segment = output.map(|new| new.segment);
    switch(store, inputs, segment.as_ref(), ids);
    store.replace_segments(inputs, segment.clone());
    Ok(usize::from(segment.is_some()))
}

/// A schema that was replaced while the merge ran, and forgotten by a checkpoint since, cannot be
/// the schema of a new chunk. Checkpoints, which forget, are held up by the manifest.
fn check_versions(store: &Store, versions: &Versions) -> Result<(), Error> {
    let views = store.views.read();
    for (id, version) in versions {
        let known = views
            .get(id)
            .is_none_or(|view| view.version(*version).is_some());
        if !known {
            return Err(Error::Invalid(format!(
                "the schema of bucket {} changed during a merge, which is tried again later",
                views[id].info.key
            )));
        }
    }
    Ok(())
}

fn replaced(manifest: &Manifest, inputs: &[Arc<Segment>], output: Option<&New>) -> Manifest {
    let mut next = manifest.clone();
    let is_input = |sequence| inputs.iter().any(|i| i.named().sequence == sequence);
    let first = next.segments.iter().position(|s| is_input(s.sequence));
    next.segments.retain(|entry| !is_input(entry.sequence));
    if let (Some(first), Some(new)) = (first, output) {
        next.segments.insert(first, new.entry.clone());
    }
    next
}

/// Puts the new chunks in the place of those merged.
fn switch(store: &Store, inputs: &[Arc<Segment>], output: Option<&Arc<Segment>>, ids: &[BucketId]) {
    let mut new: BTreeMap<BucketId, Vec<Chunk>> = BTreeMap::new();
    for (id, chunk) in output.into_iter().flat_map(Segment::chunks) {
        new.entry(id).or_default().push(chunk);
    }
    let ages: Vec<u64> = inputs.iter().map(|input| input.named().age).collect();
    for ids in ids.chunks(SWITCHED_AT_ONCE) {
        let mut views = store.views.write();
        for id in ids {
            // A bucket dropped meanwhile has no view.
            if let Some(view) = views.get_mut(id) {
                let chunks = new.remove(id).unwrap_or_default();
                Arc::make_mut(view).replace_chunks(&ages, chunks);
            }
        }
    }
}
