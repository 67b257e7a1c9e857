//! The pages of one chunk: encoded from rows, or copied from another segment as they stand.

use std::ops::Range;
use std::sync::Arc;

use model::{ColumnBatch, RowKind, Zone};

use super::format::CHUNK_ROWS_MAX;
use super::reader::Chunk;
use crate::Error;
use crate::catalog::BucketInfo;
use crate::codec::grid::Grid;
use crate::latest::Latest;
use crate::page::{self, Encoded, Hints, PAGE_ROWS_MAX};

/// A chunk that is being made. Rows come in scan order.
pub(crate) struct ChunkBuilder {
    pages: Pages,
    grid: Option<Grid>,
    dense: bool,
    /// The last row if it was copied: it is not read before the chunk is finished.
    last_copied: Option<(Chunk, usize)>,
}

/// The pages of a chunk, ready to be written.
pub(crate) struct Pages {
    pub(super) info: Arc<BucketInfo>,
    /// Time first; all columns have pages of the same rows.
    pub(super) columns: Vec<Vec<Encoded>>,
    pub(super) rows: usize,
    pub(super) min: i64,
    /// The last row; `None` while there is no row.
    pub(super) latest: Option<Latest>,
}

impl ChunkBuilder {
    pub(crate) fn new(info: &Arc<BucketInfo>, zone: &Zone) -> Self {
        let grid = info.timeframe.fixed(zone);
        let grid = grid.filter(|_| info.kind == RowKind::Bar);
        let columns = (0..=info.schema.len()).map(|_| Vec::new());
        Self {
            pages: Pages {
                info: info.clone(),
                columns: columns.collect(),
                rows: 0,
                min: 0,
                latest: None,
            },
            grid: grid.map(|(step, anchor)| Grid { step, anchor }),
            dense: info.kind == RowKind::Tick,
            last_copied: None,
        }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.pages.rows
    }

    /// Appends rows as new pages.
    pub(crate) fn encode(&mut self, batch: &ColumnBatch) {
        let rows = batch.rows();
        if rows == 0 {
            return;
        }
        if self.pages.rows == 0 {
            self.pages.min = batch.times()[0];
        }
        let hints = |grid| Hints {
            grid,
            dense: self.dense,
        };
        for start in (0..rows).step_by(PAGE_ROWS_MAX) {
            let page = start..rows.min(start + PAGE_ROWS_MAX);
            let times = page::encode(&batch.time_column().slice(page.clone()), hints(self.grid));
            self.pages.columns[0].push(times);
            for (values, pages) in batch.columns().iter().zip(&mut self.pages.columns[1..]) {
                pages.push(page::encode(&values.slice(page.clone()), hints(None)));
            }
        }
        self.pages.rows += rows;
        self.pages.latest = Some(Latest::of_batch(batch, rows - 1));
        self.last_copied = None;
    }

    /// Appends pages of another chunk of the bucket, of the same schema, byte for byte. Their
    /// checksums are verified.
    pub(crate) fn copy(&mut self, chunk: &Chunk, pages: Range<usize>) -> Result<(), Error> {
        if pages.is_empty() {
            return Ok(());
        }
        let info = self.pages.info.clone();
        let rows = chunk.page_rows(pages.clone(), &info)?;
        if self.pages.rows == 0 {
            self.pages.min = chunk.page_times(pages.start, &info)?.0;
        }
        for (column, target) in self.pages.columns.iter_mut().enumerate() {
            for page in pages.clone() {
                target.push(chunk.page(column, page, &info)?);
            }
        }
        self.last_copied = Some((chunk.clone(), rows.end - 1));
        self.pages.rows += rows.len();
        Ok(())
    }

    /// # Errors
    /// If pages were copied and the last row does not decode.
    pub(crate) fn finish(mut self) -> Result<Pages, Error> {
        if let Some((chunk, row)) = self.last_copied {
            self.pages.latest = Some(chunk.row(row, &self.pages.info)?);
        }
        Ok(self.pages)
    }
}

/// Rows in scan order, cut into chunks: none larger than allowed, no time in two of them.
pub(crate) fn cut(times: &[i64]) -> Vec<Range<usize>> {
    let mut chunks = Vec::with_capacity(times.len().div_ceil(CHUNK_ROWS_MAX));
    let mut start = 0;
    while start < times.len() {
        let end = start + cut_at(&times[start..], CHUNK_ROWS_MAX);
        chunks.push(start..end);
        start = end;
    }
    chunks
}

/// The largest number of leading rows up to `most` behind which another time begins; if there is
/// none, the least above it.
fn cut_at(times: &[i64], most: usize) -> usize {
    let Some(next) = times.get(most) else {
        return times.len();
    };
    match times.partition_point(|time| time < next) {
        0 => times.partition_point(|time| time <= next),
        cut => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_cut() {
        assert_eq!(cut_at(&[1, 2, 3, 4], 5), 4);
        assert_eq!(cut_at(&[1, 2, 3, 4], 4), 4);
        assert_eq!(cut_at(&[1, 2, 3, 4], 2), 2);
        assert_eq!(cut_at(&[1, 2, 2, 2, 4], 2), 1);
        assert_eq!(cut_at(&[2, 2, 2, 2, 4], 2), 4);
        assert_eq!(cut_at(&[2, 2, 2], 2), 3);
        let times: Vec<i64> = (0..3 * CHUNK_ROWS_MAX as i64 + 5).map(|i| i / 3).collect();
        let chunks = cut(&times);
        assert_eq!(chunks.len(), 4);
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_ROWS_MAX));
        assert!(chunks.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(
            chunks[1..]
                .iter()
                .all(|c| times[c.start - 1] < times[c.start])
        );
    }
}
