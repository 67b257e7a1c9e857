//! I6: a tail only grows, and its marks are monotone.
//!
//! One bucket's rows since the last checkpoint, in the order of commits. A reader that knows an
//! LSN sees the rows up to the last mark at or below it; row numbers below that mark never change
//! their rows. The lock is held for an append, for a binary search, or to copy (part of) the open
//! block; sealed blocks are shared.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use model::{Column, ColumnBatch, ColumnType, RowKind, Schema};
use parking_lot::{Mutex, RwLock};
use wal::Lsn;

use crate::latest::{Gathered, Latest};
use crate::mask::Mask;

/// Rows after which the open block is sealed: bounds what a reader copies under the lock.
const BLOCK_ROWS: usize = 65_536;

/// A batch of this many rows becomes a block of its own: views of the frame's bytes, no copy.
pub(crate) const ADOPT_ROWS: usize = 2048;

/// Rows before a tail is looked at for superseded rows.
const REBUILD_ROWS: usize = 1024;

/// Rows `..rows` are covered by the LSN `end`; `last` is the row with the greatest time, of equal
/// times the newest.
#[derive(Debug, Clone, Copy)]
struct Mark {
    end: Lsn,
    rows: u32,
    last: u32,
}

#[derive(Debug)]
struct Block {
    first_row: usize,
    batch: Arc<ColumnBatch>,
}

/// The rows that still can grow.
#[derive(Debug, Default)]
struct Open {
    times: Vec<i64>,
    columns: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct State {
    blocks: Vec<Block>,
    /// Rows in `blocks`.
    sealed: usize,
    open: Open,
    marks: Vec<Mark>,
    min_time: i64,
    max_time: i64,
    last: usize,
    /// Whether the rows stand as a scan returns them: bars strictly ascending, ticks ascending.
    ordered: bool,
    rebuild_at: usize,
    bytes: usize,
}

/// Rows behind the sorted ones that readers sort by themselves. Sorting all again when they are
/// more costs each row a bounded number of copies.
fn fresh_max(sorted_rows: usize) -> usize {
    4096.max(sorted_rows / 32)
}

/// What an append did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) bytes: usize,
    /// Many rows may be superseded: see [`Tail::rebuilt`].
    pub(crate) rebuild: bool,
    /// They are the tail's first rows.
    pub(crate) first: bool,
}

/// Rows of one bucket since the last checkpoint.
#[derive(Debug)]
pub(crate) struct Tail {
    schema: Schema,
    kind: RowKind,
    /// Whether there are rows, for readers of many tails: set before a row becomes visible.
    filled: AtomicBool,
    state: RwLock<State>,
    /// The first `.0` rows in scan order, if they do not stand so. Made by the first reader.
    sorted: Mutex<Option<(usize, Arc<ColumnBatch>)>>,
}

/// What a reader at an LSN may see of a tail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix {
    /// Rows visible.
    pub(crate) rows: usize,
    /// Bounds of their times; not tight if the tail has grown since.
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) ordered: bool,
}

impl Tail {
    pub(crate) fn new(schema: Schema, kind: RowKind) -> Self {
        let columns = vec![Vec::new(); schema.len()];
        let state = State {
            blocks: Vec::new(),
            sealed: 0,
            open: Open {
                times: Vec::new(),
                columns,
            },
            marks: Vec::new(),
            min_time: i64::MAX,
            max_time: i64::MIN,
            last: 0,
            ordered: true,
            rebuild_at: REBUILD_ROWS,
            bytes: 0,
        };
        Self {
            schema,
            kind,
            filled: AtomicBool::new(false),
            state: RwLock::new(state),
            sorted: Mutex::new(None),
        }
    }

    /// Adds the rows of a commit that ends at `end`. `batch` has a row.
    pub(crate) fn append(&self, batch: &ColumnBatch, end: Lsn) -> Appended {
        if batch.rows() < ADOPT_ROWS {
            let columns = batch.columns().iter().map(|column| &column.bytes()[..]);
            let values = std::iter::once(&batch.time_column().bytes()[..]).chain(columns);
            return self.append_values(values, end);
        }
        let mut state = self.state.write();
        self.filled.store(true, Ordering::Release);
        let first_row = state.rows();
        state.note_times(first_row, batch.times().iter().copied(), self.kind);
        state.seal(&self.schema);
        state.blocks.push(Block {
            first_row,
            batch: Arc::new(batch.clone()),
        });
        state.sealed += batch.rows();
        state.finish(batch.bytes(), end, self.kind)
    }

    /// The same for few rows: the bytes of the times, then of each column.
    pub(crate) fn append_values<'a>(
        &self,
        mut values: impl Iterator<Item = &'a [u8]>,
        end: Lsn,
    ) -> Appended {
        let mut state = self.state.write();
        self.filled.store(true, Ordering::Release);
        let first_row = state.rows();
        let times = values.next().expect("the times come first");
        let mut bytes = times.len();
        let times = times.chunks_exact(size_of::<i64>());
        let times = times.map(|time| i64::from_le_bytes(time.try_into().expect("eight bytes")));
        state.note_times(first_row, times.clone(), self.kind);
        state.open.times.extend(times);
        for (target, source) in state.open.columns.iter_mut().zip(values) {
            target.extend_from_slice(source);
            bytes += source.len();
        }
        if state.open.times.len() >= BLOCK_ROWS {
            state.seal(&self.schema);
        }
        state.finish(bytes, end, self.kind)
    }

    /// Bytes of all appends.
    pub(crate) fn bytes(&self) -> usize {
        self.state.read().bytes
    }

    /// What is visible at `lsn`; `None` if nothing is.
    pub(crate) fn prefix(&self, lsn: Lsn) -> Option<Prefix> {
        let state = self.state.read();
        let mark = state.mark_at(lsn)?;
        Some(Prefix {
            rows: mark.rows as usize,
            min: state.min_time,
            max: state.max_time,
            ordered: state.ordered,
        })
    }

    /// Number of rows, superseded ones included.
    pub(crate) fn rows(&self) -> usize {
        self.state.read().rows()
    }

    /// The row with the greatest time at `lsn`, if that is not below `at_least`.
    pub(crate) fn last(&self, lsn: Lsn, at_least: i64) -> Option<Latest> {
        let state = self.state.read();
        let row = state.mark_at(lsn)?.last as usize;
        if state.time_at(row) < at_least {
            return None;
        }
        if row >= state.sealed {
            return Some(state.open.row(row - state.sealed, &self.schema));
        }
        let block = &state.blocks[state.block_of(row)];
        Some(Latest::of_batch(&block.batch, row - block.first_row))
    }

    /// Whether there may be rows; if not, none is visible yet.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// [`Tail::last`] into `target`, without an allocation; whether there was such a row.
    pub(crate) fn push_last(&self, lsn: Lsn, at_least: i64, target: &mut Gathered<'_>) -> bool {
        if !self.is_filled() {
            return false;
        }
        let state = self.state.read();
        let Some(row) = state.mark_at(lsn).map(|mark| mark.last as usize) else {
            return false;
        };
        let time = state.time_at(row);
        if time < at_least {
            return false;
        }
        if row >= state.sealed {
            let row = row - state.sealed;
            target.push(time, |at, size| {
                &state.open.columns[at][row * size..(row + 1) * size]
            });
        } else {
            let block = &state.blocks[state.block_of(row)];
            let row = row - block.first_row;
            let columns = block.batch.columns();
            target.push(time, |at, size| {
                &columns[at].bytes()[row * size..(row + 1) * size]
            });
        }
        true
    }

    /// Of the first `rows` rows, which must be ordered, those with times in `from..=to`.
    pub(crate) fn rows_between(&self, rows: usize, from: i64, to: i64) -> Range<usize> {
        let state = self.state.read();
        let start = state.partition_point(rows, |time| time < from);
        let end = state.partition_point(rows, |time| time <= to);
        start..end.max(start)
    }

    /// Appends rows `range` with the columns named, in as many batches as there are blocks.
    pub(crate) fn read(
        &self,
        range: Range<usize>,
        columns: &[usize],
        schema: &Schema,
        target: &mut Vec<ColumnBatch>,
    ) {
        let state = self.state.read();
        let mut row = range.start;
        while row < range.end && row < state.sealed {
            let block = &state.blocks[state.block_of(row)];
            let inside = row - block.first_row;
            let end = (range.end - block.first_row).min(block.batch.rows());
            target.push(project(&block.batch, inside..end, columns, schema));
            row = block.first_row + end;
        }
        if row < range.end {
            let open = row - state.sealed..range.end - state.sealed;
            target.push(state.open.copy(open, columns, schema, &self.schema));
        }
    }

    /// The first `rows` rows as a scan returns them, in one piece.
    pub(crate) fn sorted(&self, rows: usize) -> Arc<ColumnBatch> {
        let mut sorted = self.sorted.lock();
        match &*sorted {
            Some((of_rows, batch)) if *of_rows == rows => batch.clone(),
            _ => {
                let batch = Arc::new(self.ordered(0..rows));
                *sorted = Some((rows, batch.clone()));
                batch
            }
        }
    }

    /// The first `rows` rows in at most two pieces, each as a scan returns it; the second is the
    /// newer. A feed with one late row would otherwise have every reader sort the whole tail: the
    /// old rows are sorted once, and again only when the new ones are many.
    pub(crate) fn sorted_runs(&self, rows: usize) -> Vec<Arc<ColumnBatch>> {
        let cached = self.sorted.lock().clone();
        match cached {
            Some((of_rows, old)) if of_rows < rows && rows - of_rows <= fresh_max(of_rows) => {
                vec![old, Arc::new(self.ordered(of_rows..rows))]
            }
            _ => vec![self.sorted(rows)],
        }
    }

    fn ordered(&self, rows: Range<usize>) -> ColumnBatch {
        let all: Vec<usize> = (0..self.schema.len()).collect();
        let mut pieces = Vec::new();
        self.read(rows, &all, &self.schema, &mut pieces);
        concat(&self.schema, pieces).ordered(self.kind)
    }

    /// If more than half of the rows are superseded: the same rows without those, as one commit
    /// that ends at `visible`. Only the committer calls this, between commits.
    pub(crate) fn rebuilt(&self, visible: Lsn) -> Option<Self> {
        let rows = {
            let mut state = self.state.write();
            let rows = state.rows();
            if !state.may_rebuild(self.kind) {
                return None;
            }
            state.rebuild_at = 2 * rows;
            rows
        };
        let batch = self.sorted(rows);
        *self.sorted.lock() = None;
        if batch.rows() > rows / 2 {
            return None;
        }
        let tail = Self::new(self.schema.clone(), self.kind);
        tail.append(&batch, visible);
        Some(tail)
    }
}

impl Tail {
    /// The same rows in the same order without those masked, as one commit that ends at `end`;
    /// `None` if there are none of those. Only the committer calls this, between commits.
    pub(crate) fn without(&self, masks: &[Mask], end: Lsn) -> Option<Self> {
        let (rows, min, max) = {
            let state = self.state.read();
            (state.rows(), state.min_time, state.max_time)
        };
        if !masks.iter().any(|mask| mask.from <= max && min <= mask.to) {
            return None;
        }
        let all: Vec<usize> = (0..self.schema.len()).collect();
        let mut pieces = Vec::new();
        self.read(0..rows, &all, &self.schema, &mut pieces);
        let tail = Self::new(self.schema.clone(), self.kind);
        let mut kept_rows = 0;
        for piece in pieces {
            let is_kept = |time: &i64| !masks.iter().any(|mask| mask.contains(*time));
            let times = (0_u32..).zip(piece.times());
            let kept = times.filter(|(_, time)| is_kept(time)).map(|(row, _)| row);
            let kept: Vec<u32> = kept.collect();
            kept_rows += kept.len();
            if kept.len() == piece.rows() {
                tail.append(&piece, end);
            } else if !kept.is_empty() {
                tail.append(&piece.take(&kept), end);
            }
        }
        (kept_rows < rows).then_some(tail)
    }
}

impl State {
    /// Only bars supersede each other. Looked at again when the tail has doubled, so that the
    /// work stays in proportion to the rows written.
    fn may_rebuild(&self, kind: RowKind) -> bool {
        kind == RowKind::Bar && !self.ordered && self.rows() >= self.rebuild_at
    }

    fn rows(&self) -> usize {
        self.sealed + self.open.times.len()
    }

    /// Notes times of rows from `first_row` on.
    fn note_times(&mut self, first_row: usize, times: impl Iterator<Item = i64>, kind: RowKind) {
        for (row, time) in (first_row..).zip(times) {
            let follows = match kind {
                RowKind::Bar => time > self.max_time,
                RowKind::Tick => time >= self.max_time,
            };
            self.ordered &= row == 0 || follows;
            self.min_time = self.min_time.min(time);
            if time >= self.max_time {
                self.max_time = time;
                self.last = row;
            }
        }
    }

    /// Makes appended rows visible from `end` on.
    fn finish(&mut self, bytes: usize, end: Lsn, kind: RowKind) -> Appended {
        let first = self.marks.is_empty();
        self.mark(end);
        let bytes = bytes + size_of::<Mark>();
        self.bytes += bytes;
        Appended {
            bytes,
            rebuild: self.may_rebuild(kind),
            first,
        }
    }

    fn mark(&mut self, end: Lsn) {
        let row = |row: usize| u32::try_from(row).expect("a tail is limited by the log's length");
        let mark = Mark {
            end,
            rows: row(self.rows()),
            last: row(self.last),
        };
        match self.marks.last_mut() {
            // Several sections of one commit.
            Some(last) if last.end == end => *last = mark,
            Some(last) => {
                assert!(last.end < end, "commits are applied in LSN order");
                self.marks.push(mark);
            }
            None => self.marks.push(mark),
        }
    }

    fn mark_at(&self, lsn: Lsn) -> Option<Mark> {
        let last = self.marks.last()?;
        if last.end <= lsn {
            return Some(*last);
        }
        let count = self.marks.partition_point(|mark| mark.end <= lsn);
        count.checked_sub(1).map(|index| self.marks[index])
    }

    fn seal(&mut self, schema: &Schema) {
        if self.open.times.is_empty() {
            return;
        }
        let columns = vec![Vec::new(); schema.len()];
        let open = std::mem::replace(
            &mut self.open,
            Open {
                times: Vec::new(),
                columns,
            },
        );
        let first_row = self.sealed;
        self.sealed += open.times.len();
        let columns = open.columns.into_iter().zip(schema.columns());
        let columns = columns.map(|(bytes, def)| column(def.ty, bytes)).collect();
        let batch = batch(schema, Column::from_values(open.times), columns);
        self.blocks.push(Block {
            first_row,
            batch: Arc::new(batch),
        });
    }

    fn block_of(&self, row: usize) -> usize {
        self.blocks.partition_point(|block| block.first_row <= row) - 1
    }

    fn time_at(&self, row: usize) -> i64 {
        if row >= self.sealed {
            return self.open.times[row - self.sealed];
        }
        let block = &self.blocks[self.block_of(row)];
        block.batch.times()[row - block.first_row]
    }

    /// Of the first `rows` rows, which are ordered, the number of leading ones with
    /// `before(time)`. Never looks at later rows: those may be in any order.
    fn partition_point(&self, rows: usize, before: impl Fn(i64) -> bool + Copy) -> usize {
        let blocks = self.blocks.partition_point(|block| block.first_row < rows);
        let blocks = &self.blocks[..blocks];
        let whole = blocks.partition_point(|block| {
            let len = block.batch.rows().min(rows - block.first_row);
            before(block.batch.times()[len - 1])
        });
        match blocks.get(whole) {
            Some(block) => {
                let len = block.batch.rows().min(rows - block.first_row);
                let times = &block.batch.times()[..len];
                block.first_row + times.partition_point(|time| before(*time))
            }
            None => {
                let open = &self.open.times[..rows.saturating_sub(self.sealed)];
                self.sealed.min(rows) + open.partition_point(|time| before(*time))
            }
        }
    }
}

impl Open {
    fn copy(
        &self,
        rows: Range<usize>,
        columns: &[usize],
        target: &Schema,
        schema: &Schema,
    ) -> ColumnBatch {
        let copied = columns.iter().map(|index| {
            let ty = schema.columns()[*index].ty;
            let bytes = &self.columns[*index][rows.start * ty.size()..rows.end * ty.size()];
            column(ty, bytes.to_vec())
        });
        let copied = copied.collect();
        let times = Column::from_values(self.times[rows].to_vec());
        batch(target, times, copied)
    }

    fn row(&self, row: usize, schema: &Schema) -> Latest {
        let values = self.columns.iter().zip(schema.columns());
        Latest::new(
            self.times[row],
            values.map(|(bytes, def)| {
                let size = def.ty.size();
                &bytes[row * size..(row + 1) * size]
            }),
        )
    }
}

pub(crate) fn column(ty: ColumnType, bytes: Vec<u8>) -> Column {
    Column::new(ty, Bytes::from(bytes)).expect("tails hold whole values")
}

pub(crate) fn batch(schema: &Schema, times: Column, columns: Vec<Column>) -> ColumnBatch {
    ColumnBatch::new(schema.clone(), times, columns).expect("columns are of the schema's types")
}

/// Rows and columns of a batch, without a copy.
pub(crate) fn project(
    source: &ColumnBatch,
    rows: Range<usize>,
    columns: &[usize],
    schema: &Schema,
) -> ColumnBatch {
    let columns = columns
        .iter()
        .map(|index| source.columns()[*index].slice(rows.clone()));
    let columns = columns.collect();
    batch(schema, source.time_column().slice(rows), columns)
}

/// Joins batches; without a copy if there is only one.
pub(crate) fn concat(schema: &Schema, mut pieces: Vec<ColumnBatch>) -> ColumnBatch {
    match pieces.len() {
        0 => ColumnBatch::empty(schema.clone()),
        1 => pieces.swap_remove(0),
        _ => {
            let rows = pieces.iter().map(ColumnBatch::rows).sum();
            let mut builder = model::BatchBuilder::new(schema.clone(), rows);
            for piece in &pieces {
                builder
                    .append(piece)
                    .expect("all pieces have the schema's types");
            }
            builder.finish()
        }
    }
}
