//! Writes the chunks of neighbouring segments as one segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use disk::File;

use super::plan::{Step, plan};
use crate::catalog::{BucketId, BucketInfo};
use crate::manifest::FillError;
use crate::scan::{Scan, scan};
use crate::segment::{CHUNK_ROWS_MAX, Chunk, ChunkBuilder, Segment, Writer, cut};
use crate::store::Store;
use crate::view::View;
use crate::{Error, Lsn};

/// Bytes after which what was written is synced: so the sync at the end is short, and with it the
/// wait of commits whose syncs go to the same device.
const SYNC_BYTES: u64 = 32 << 20;

/// The schema version that each bucket was written with.
pub(super) type Versions = BTreeMap<BucketId, u32>;

/// Chunks of all inputs by bucket.
pub(super) fn by_bucket(inputs: &[Arc<Segment>]) -> BTreeMap<BucketId, Vec<Chunk>> {
    let mut buckets: BTreeMap<BucketId, Vec<Chunk>> = BTreeMap::new();
    for (id, chunk) in inputs.iter().flat_map(Segment::chunks) {
        buckets.entry(id).or_default().push(chunk);
    }
    for chunks in buckets.values_mut() {
        chunks.sort_by_key(|chunk| chunk.min);
    }
    buckets
}

/// Adds what is alive of all buckets.
pub(super) fn write(
    store: &Store,
    file: &dyn File,
    writer: &mut Writer<'_>,
    buckets: BTreeMap<BucketId, Vec<Chunk>>,
) -> Result<Versions, FillError> {
    let mut versions = Versions::new();
    let mut out = Out {
        store,
        file,
        writer,
        synced: 0,
    };
    for (id, chunks) in buckets {
        // A dropped bucket has no view.
        let Some(view) = store.views.read().get(&id).cloned() else {
            continue;
        };
        let view = view.of_chunks(chunks);
        versions.insert(id, view.info.schema_version);
        out.bucket(&view)?;
    }
    Ok(versions)
}

struct Out<'a, 'w> {
    store: &'a Store,
    file: &'a dyn File,
    writer: &'a mut Writer<'w>,
    /// Bytes that were synced.
    synced: u64,
}

impl Out<'_, '_> {
    fn bucket(&mut self, view: &View) -> Result<(), FillError> {
        let mut chunk = self.begin(&view.info);
        for step in plan(view)? {
            match step {
                Step::Copy { chunk: from, pages } => {
                    let from = &view.chunks[from];
                    let rows = from.page_rows(pages.clone(), &view.info)?.len();
                    chunk = self.room(chunk, rows, &view.info)?;
                    chunk.copy(from, pages)?;
                }
                Step::Read { from, to } => {
                    let scanned = Scan {
                        from,
                        to,
                        ..Scan::all()
                    };
                    let rows = scan(view, Lsn(0), &scanned)?;
                    for range in cut(rows.times()) {
                        chunk = self.room(chunk, range.len(), &view.info)?;
                        chunk.encode(&rows, range);
                    }
                }
            }
        }
        self.end(chunk)
    }

    fn begin(&self, info: &Arc<BucketInfo>) -> ChunkBuilder {
        ChunkBuilder::new(info, &self.store.options.zone)
    }

    /// A chunk with room for so many rows, which begin behind all times it has.
    fn room(
        &mut self,
        chunk: ChunkBuilder,
        rows: usize,
        info: &Arc<BucketInfo>,
    ) -> Result<ChunkBuilder, FillError> {
        if chunk.rows() == 0 || chunk.rows() + rows <= CHUNK_ROWS_MAX {
            return Ok(chunk);
        }
        self.end(chunk)?;
        Ok(self.begin(info))
    }

    fn end(&mut self, chunk: ChunkBuilder) -> Result<(), FillError> {
        self.store.poison.check()?;
        if self.store.is_closed() {
            return Err(Error::Closed.into());
        }
        self.writer.chunk(&chunk.finish()?)?;
        if self.writer.flushed() - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.writer.flushed();
        }
        Ok(())
    }
}
