//! Pages by themselves and stores that are large at once, for the benches. Not part of the
//! interface.

use bytes::Bytes;
use model::{BucketKey, Column, ColumnBatch, ColumnType};

use crate::codec::grid::Grid;
use crate::page::{self, Hints, PAGE_ROWS_MAX, PageEntry};
use crate::segment::ChunkBuilder;
use crate::{Engine, Error, checkpoint};

/// Adds one segment in which each of these buckets, which exist with the schema of the rows, has the
/// rows. Their pages are in the file once and all page tables name them, so that billions of rows
/// fit a small disk; everything but the pages is as large as it would be.
///
/// # Errors
/// If a bucket is missing, there is none, or the disk fails.
pub fn fill(engine: &Engine, keys: &[BucketKey], rows: &ColumnBatch) -> Result<(), Error> {
    let store = engine.store();
    let mut infos = Vec::with_capacity(keys.len());
    for key in keys {
        let info = engine.bucket(key);
        infos.push(info.ok_or_else(|| Error::NotFound(key.clone()))?);
    }
    infos.sort_unstable_by_key(|info| info.id);
    let Some((first, others)) = infos.split_first() else {
        return Err(Error::Invalid("no bucket to fill".to_owned()));
    };
    let mut manifest = store.manifest.lock();
    checkpoint::run_locked(store, &mut manifest)?;
    let (at, sequence) = (manifest.checkpoint, manifest.next_sequence);
    let names = (sequence, sequence);
    let new = checkpoint::write_segment(store, &manifest.store_id, names, |_, writer| {
        let mut chunk = ChunkBuilder::new(first, &store.options.zone);
        chunk.encode(rows, 0..rows.rows());
        writer.chunk(&chunk.finish()?)?;
        others.iter().for_each(|info| writer.again(info));
        Ok((at, at))
    })?;
    let mut next = manifest.clone();
    next.segments.push(new.entry.clone());
    next.next_sequence += 1;
    next.publish(&*store.disk, &store.poison)?;
    *manifest = next;
    checkpoint::add_chunks(store, &new.segment);
    store.replace_segments(&[], Some(new.segment));
    Ok(())
}

/// A column as a segment has it.
#[derive(Debug, Clone)]
pub struct Pages {
    ty: ColumnType,
    pages: Vec<(PageEntry, Bytes)>,
}

impl Pages {
    /// Encodes a column; the grid of times is step and anchor; columns of ticks are dense.
    pub fn encode(values: &Column, grid: Option<(i64, i64)>, dense: bool) -> Self {
        let grid = grid.map(|(step, anchor)| Grid { step, anchor });
        let pages = (0..values.len()).step_by(PAGE_ROWS_MAX).map(|start| {
            let end = values.len().min(start + PAGE_ROWS_MAX);
            let page = page::encode(&values.slice(start..end), Hints { grid, dense });
            (page.entry, page.bytes)
        });
        Self {
            ty: values.ty(),
            pages: pages.collect(),
        }
    }

    /// The values; `None` never happens to pages just encoded.
    pub fn decode(&self) -> Option<Column> {
        let rows = self
            .pages
            .iter()
            .map(|(entry, _)| usize::from(entry.rows))
            .sum();
        page::join(self.ty, &self.pages, 0..rows).ok()
    }

    /// Bytes of the pages without their entries in the page table.
    pub fn bytes(&self) -> usize {
        self.pages.iter().map(|(_, page)| page.len()).sum()
    }

    /// The numbers of the codecs, page by page.
    pub fn codecs(&self) -> Vec<u8> {
        self.pages.iter().map(|(entry, _)| entry.codec).collect()
    }
}
