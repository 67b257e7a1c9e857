//! Bulk load: rows straight into one segment, past the log.
//!
//! Order: missing buckets are defined through the log; then, with the manifest held: checkpoint up
//! to `L` -> segment (write, sync, rename, sync directory) -> MANIFEST, the commit point -> views.
//! The rows count as written at `L`: they win over everything below, and commits from `L` on,
//! which go on all the while, win over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::ColumnBatch;

use crate::catalog::BucketInfo;
use crate::commit::{Rows, Target, prepare};
use crate::segment::{Source, fill};
use crate::tail::concat;
use crate::{BucketId, Engine, Error, checkpoint};

/// What [`crate::Engine::ingest`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Rows, after bars of equal times were reduced to one.
    pub rows: u64,
    /// Bytes of the segment.
    pub bytes: u64,
}

/// A bucket and its rows in scan order.
struct Job {
    info: Arc<BucketInfo>,
    rows: ColumnBatch,
}

impl Source for Job {
    fn info(&self) -> &Arc<BucketInfo> {
        &self.info
    }

    fn size(&self) -> usize {
        self.rows.rows()
    }

    fn rows(&self) -> ColumnBatch {
        self.rows.clone()
    }
}

pub(crate) fn run(engine: &Engine, rows: &[Rows]) -> Result<Ingested, Error> {
    engine.check_open()?;
    // Again if a bucket is dropped or changed between the look-up and the commit point.
    let store = engine.store();
    loop {
        let mut checked = prepare(rows, &store.options, |key| engine.bucket(key))?;
        if checked.rows.is_empty() {
            return Ok(Ingested::default());
        }
        if !checked.missing.is_empty() {
            engine.define_missing(&mut checked.missing)?;
            continue;
        }
        let rows = checked.rows.into_iter().map(|prepared| {
            let Target::Stored(info) = prepared.bucket else {
                unreachable!("no bucket is missing");
            };
            (info, prepared.batch.into_owned())
        });
        if let Some(ingested) = load(engine, jobs(rows))? {
            return Ok(ingested);
        }
    }
}

/// Rows by bucket and time.
fn jobs(rows: impl Iterator<Item = (Arc<BucketInfo>, ColumnBatch)>) -> Vec<Job> {
    let mut buckets: BTreeMap<BucketId, (Arc<BucketInfo>, Vec<ColumnBatch>)> = BTreeMap::new();
    for (info, batch) in rows {
        let bucket = buckets.entry(info.id).or_insert_with(|| (info, Vec::new()));
        bucket.1.push(batch);
    }
    let mut jobs = Vec::with_capacity(buckets.len());
    for (info, batches) in buckets.into_values() {
        let follows = |pair: &[ColumnBatch]| pair[0].times().last() < pair[1].times().first();
        let ordered = batches.windows(2).all(follows);
        let rows = match concat(&info.schema, batches) {
            rows if ordered => rows,
            rows => rows.ordered(info.kind),
        };
        jobs.push(Job { info, rows });
    }
    jobs
}

/// `None` if a bucket is not as it was when the rows were checked.
fn load(engine: &Engine, jobs: Vec<Job>) -> Result<Option<Ingested>, Error> {
    let store = engine.store();
    let mut manifest = store.manifest.lock();
    // With the manifest held: whoever closes the store waits for it.
    engine.check_open()?;
    checkpoint::run_locked(store, &mut manifest)?;
    let unchanged = {
        let catalog = store.catalog.read();
        jobs.iter().all(|job| {
            let found = catalog.by_id(job.info.id);
            found.is_some_and(|found| found.schema_version == job.info.schema_version)
        })
    };
    if !unchanged {
        return Ok(None);
    }
    let (at, sequence) = (manifest.checkpoint, manifest.next_sequence);
    let result = checkpoint::write_segment(
        store,
        &manifest.store_id,
        (sequence, sequence),
        |_, writer| {
            fill(&jobs, &store.options.zone, writer)?;
            Ok((at, at))
        },
    );
    disk::failpoint::pass("ingest.written");
    let result = result.and_then(|new| {
        let mut next = manifest.clone();
        next.segments.push(new.entry.clone());
        next.next_sequence += 1;
        next.publish(&*store.disk, &store.poison)?;
        disk::failpoint::pass("ingest.published");
        Ok((next, new))
    });
    let (next, new) = match result {
        Ok(written) => written,
        Err(error) => {
            checkpoint::remove_unfinished(store, sequence);
            return Err(error);
        }
    };
    *manifest = next;
    checkpoint::add_chunks(store, &new.segment);
    store.replace_segments(&[], Some(new.segment));
    drop(manifest);
    store.counters.rows.fetch_add(new.rows, Ordering::Relaxed);
    store.want_merge();
    Ok(Some(Ingested {
        rows: new.rows,
        bytes: new.entry.bytes,
    }))
}
