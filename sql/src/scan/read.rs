//! The rows of a partition, piece by piece, as record batches.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Int32Array, RecordBatch, RecordBatchOptions, StringViewArray,
    TimestampNanosecondArray, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::error::Result;
use model::{ColumnBatch, NANOS_PER_SECOND};

use super::{BucketScan, Piece, Wanted, failed};
use crate::Error;
use crate::cursor::Cursor;
use crate::table::{Source, key_part};
use crate::zones::Counts;

impl BucketScan {
    pub(super) fn reader(&self, partition: usize) -> Reader {
        let mut pieces = self.partitions.get(partition).cloned().unwrap_or_default();
        // The next one is taken from the end.
        if !self.backwards {
            pieces.reverse();
        }
        Reader {
            scan: self.clone(),
            pieces,
            spans: Vec::new(),
            counts: Counts::new(&self.wanted.zones, &self.metrics, partition),
            current: None,
            ready: Vec::new(),
            left: self.wanted.limit.unwrap_or(usize::MAX),
        }
    }
}

/// The rows of one partition as they are asked for.
pub(super) struct Reader {
    scan: BucketScan,
    /// Still to do; the next is the last.
    pub(super) pieces: Vec<Piece>,
    /// Of the piece that was begun, what may have rows that are wanted; the next is the last.
    spans: Vec<Piece>,
    counts: Counts,
    current: Option<(usize, Cursor)>,
    /// Batches of the last pull; the next is the last.
    ready: Vec<RecordBatch>,
    left: usize,
}

impl Reader {
    pub(super) fn next(&mut self, rows: usize) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return Ok(Some(batch));
            }
            let Some((member, cursor)) = &mut self.current else {
                let Some(piece) = self.next_piece()? else {
                    return Ok(None);
                };
                self.current = Some((piece.member, self.cursor(piece)));
                continue;
            };
            let member = *member;
            let pulled = cursor.next(self.left).map_err(|e| Error::from(e).wrap())?;
            match pulled {
                None => self.current = None,
                Some(batch) => {
                    self.left -= batch.rows();
                    self.ready = self.slices(member, &batch, rows)?;
                }
            }
            if self.left == 0 {
                self.pieces.clear();
                self.spans.clear();
                self.current = None;
            }
        }
    }

    /// What is read next: a piece, or the parts of it that zone maps leave.
    fn next_piece(&mut self) -> Result<Option<Piece>> {
        let Wanted { zones, members, .. } = &self.scan.wanted;
        if zones.is_empty() {
            return Ok(self.pieces.pop());
        }
        while self.spans.is_empty() {
            let Some(piece) = self.pieces.pop() else {
                return Ok(None);
            };
            let member = &members[piece.member];
            let spans = zones.spans(&self.scan.snapshot, member, piece.range, &self.counts);
            let spans = spans.map_err(Error::wrap)?.into_iter();
            self.spans
                .extend(spans.map(|range| Piece { range, ..piece }));
            if !self.scan.backwards {
                self.spans.reverse();
            }
        }
        Ok(self.spans.pop())
    }

    fn cursor(&self, piece: Piece) -> Cursor {
        let member = &self.scan.wanted.members[piece.member];
        let mut columns: Vec<usize> = self
            .scan
            .columns
            .iter()
            .filter_map(|source| match source {
                Source::Column(at) => member.columns[*at],
                _ => None,
            })
            .collect();
        if columns.is_empty() {
            // There is no scan without a column: the narrowest costs least.
            let schema = &self.scan.snapshot.buckets()[member.index].schema;
            let size = |at: &usize| schema.columns()[*at].ty.size();
            columns.extend((0..schema.len()).min_by_key(size));
        }
        let range = (piece.range.from, piece.range.to);
        let snapshot = self.scan.snapshot.clone();
        Cursor::new(snapshot, member.index, columns, range, self.scan.backwards)
    }

    /// The batches of a pull, the first one last.
    fn slices(&self, member: usize, batch: &ColumnBatch, rows: usize) -> Result<Vec<RecordBatch>> {
        let whole = self.batch(member, batch)?;
        let count = whole.num_rows();
        let starts = (0..count).step_by(rows.max(1)).rev();
        Ok(starts
            .map(|at| whole.slice(at, rows.min(count - at)))
            .collect())
    }

    fn batch(&self, member: usize, batch: &ColumnBatch) -> Result<RecordBatch> {
        let scan = &self.scan;
        let member = &scan.wanted.members[member];
        let info = &scan.snapshot.buckets()[member.index];
        let rows = batch.rows();
        let mut read = batch.columns().iter();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(scan.columns.len());
        for (source, field) in scan.columns.iter().zip(scan.schema.fields()) {
            arrays.push(match source {
                Source::Key(part) => {
                    let item = StringViewArray::from_iter_values([key_part(info, *part)]);
                    take(&item, &UInt32Array::from_value(0, rows), None)?
                }
                Source::Epoch => times(batch),
                Source::Nanoseconds => {
                    let nanos = batch.times().iter();
                    let nanos = nanos.map(|t| t.rem_euclid(NANOS_PER_SECOND) as i32);
                    Arc::new(Int32Array::from_iter_values(nanos))
                }
                Source::Column(at) => match member.columns[*at] {
                    None => new_null_array(field.data_type(), rows),
                    Some(_) => {
                        let column = read.next();
                        let column = column.ok_or_else(|| failed("a column was not read"))?;
                        let array = arrow_batch::array(column).map_err(|what| {
                            failed(format!("{}: column \"{}\": {what}", info.key, field.name()))
                        })?;
                        fitted(array, field)?
                    }
                },
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(scan.schema.clone(), arrays, &options)?;
        match scan.backwards {
            true => reversed(&batch),
            false => Ok(batch),
        }
    }
}

pub(crate) fn times(batch: &ColumnBatch) -> ArrayRef {
    let array = arrow_batch::time_array(batch);
    let array: TimestampNanosecondArray = array;
    Arc::new(array)
}

pub(crate) fn fitted(array: ArrayRef, field: &Field) -> Result<ArrayRef> {
    match array.data_type() == field.data_type() {
        true => Ok(array),
        false => Ok(cast(&array, field.data_type())?),
    }
}

fn reversed(batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = u32::try_from(batch.num_rows()).map_err(|_| failed("a batch is too long"))?;
    let indices = UInt32Array::from_iter_values((0..rows).rev());
    let columns = batch
        .columns()
        .iter()
        .map(|column| take(column, &indices, None));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema: Arc<Schema> = batch.schema();
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}
