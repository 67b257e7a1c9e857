//! The pages of one chunk: encoded from rows, or copied from another segment as they stand.

use std::ops::Range;
use std::sync::Arc;

use model::{Column, ColumnBatch, RowKind, Zone};

use super::format::CHUNK_ROWS_MAX;
use super::parallel;
use super::reader::Chunk;
use crate::Error;
use crate::catalog::BucketInfo;
use crate::codec::grid::Grid;
use crate::latest::Latest;
use crate::page::{self, Encoded, Hints, PAGE_ROWS_MAX};

/// Rows from which on two threads share the pages: fewer are not worth starting one.
pub(super) const PARALLEL_ROWS: usize = 1 << 15;

/// Pages of one column that a thread takes at once.
const PAGES_AT_ONCE: usize = 16;

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

    /// Appends some rows of a batch as new pages.
    pub(crate) fn encode(&mut self, batch: &ColumnBatch, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if self.pages.rows == 0 {
            self.pages.min = batch.times()[range.start];
        }
        if range.len() < PARALLEL_ROWS {
            for column in 0..self.pages.columns.len() {
                let hints = self.hints(column);
                let target = &mut self.pages.columns[column];
                encode_pages(column_of(batch, column), range.clone(), hints, target);
            }
        } else {
            self.encode_parallel(batch, range.clone());
        }
        self.pages.rows += range.len();
        self.pages.latest = Some(Latest::of_batch(batch, range.end - 1));
        self.last_copied = None;
    }

    fn encode_parallel(&mut self, batch: &ColumnBatch, range: Range<usize>) {
        let step = PAGES_AT_ONCE * PAGE_ROWS_MAX;
        let columns = self.pages.columns.len();
        let pieces = (0..columns).flat_map(|column| {
            let starts = range.clone().step_by(step);
            starts.map(move |start| (column, start))
        });
        let pieces: Vec<(usize, usize)> = pieces.collect();
        let encoded = parallel::map(pieces.len(), |number| {
            let (column, start) = pieces[number];
            let rows = start..range.end.min(start + step);
            let mut pages = Vec::with_capacity(PAGES_AT_ONCE);
            encode_pages(
                column_of(batch, column),
                rows,
                self.hints(column),
                &mut pages,
            );
            pages
        });
        for ((column, _), mut pages) in pieces.into_iter().zip(encoded) {
            self.pages.columns[column].append(&mut pages);
        }
    }

    fn hints(&self, column: usize) -> Hints {
        Hints {
            grid: self.grid.filter(|_| column == 0),
            dense: self.dense,
        }
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

/// Time is column 0.
fn column_of(batch: &ColumnBatch, column: usize) -> &Column {
    match column {
        0 => batch.time_column(),
        _ => &batch.columns()[column - 1],
    }
}

fn encode_pages(values: &Column, range: Range<usize>, hints: Hints, target: &mut Vec<Encoded>) {
    for start in range.clone().step_by(PAGE_ROWS_MAX) {
        let page = start..range.end.min(start + PAGE_ROWS_MAX);
        target.push(page::encode(&values.slice(page), hints));
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
    use crate::BucketId;
    use model::{BucketKey, ColumnDef, ColumnType, Schema, Timeframe};

    #[test]
    fn two_threads_make_the_pages_that_one_makes() {
        let def = |name: &str, ty| ColumnDef {
            name: name.to_owned(),
            ty,
        };
        let defs = vec![def("Price", ColumnType::F64), def("Size", ColumnType::I32)];
        let schema = Schema::new(defs).unwrap();
        let rows = 5 * PARALLEL_ROWS + 77;
        let times = (0..rows as i64).map(|row| row * 1_000_000_000);
        let prices = (0..rows).map(|row| (row * row % 9973) as f64 / 100.0);
        let sizes = (0..rows).map(|row| (row % 701) as i32);
        let columns = vec![
            Column::from_values(prices.collect::<Vec<_>>()),
            Column::from_values(sizes.collect::<Vec<_>>()),
        ];
        let times = Column::from_values(times.collect::<Vec<_>>());
        let batch = ColumnBatch::new(schema.clone(), times, columns).unwrap();
        let key = BucketKey::parse("A/1Sec/TRADE").unwrap();
        let timeframe = Timeframe::parse("1Sec").unwrap();
        let info = BucketInfo::new(BucketId(1), key, timeframe, RowKind::Bar, schema);
        let info = Arc::new(info);
        let range = 5..rows - 3;
        let mut both = ChunkBuilder::new(&info, &Zone::utc());
        both.encode(&batch, range.clone());
        let mut one = ChunkBuilder::new(&info, &Zone::utc());
        for start in range.clone().step_by(PAGE_ROWS_MAX) {
            one.encode(&batch, start..range.end.min(start + PAGE_ROWS_MAX));
        }
        let (both, one) = (both.finish().unwrap(), one.finish().unwrap());
        assert_eq!((both.rows, both.min), (one.rows, one.min));
        assert_eq!(both.latest.unwrap().bytes(), one.latest.unwrap().bytes());
        for (both, one) in both.columns.iter().zip(&one.columns) {
            assert_eq!(both.len(), range.len().div_ceil(PAGE_ROWS_MAX));
            let page = |page: &Encoded| (page.entry, page.bytes.clone());
            assert!(both.iter().map(page).eq(one.iter().map(page)));
        }
    }

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
