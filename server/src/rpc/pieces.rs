//! The rows of one bucket piece by piece, so that a long result is never in memory twice.

use engine::{Limit, Scan, Snapshot};
use model::{ColumnBatch, RowKind, Zone};

use crate::planner::Plan;

/// Bytes and rows that are read at once.
const PIECE_BYTES: usize = 1 << 20;
const PIECE_ROWS_MAX: usize = 1 << 16;

/// Wide rows are not read one by one: a page of the store has so many.
const PIECE_ROWS_MIN: usize = 1 << 12;

/// Most bytes of the last rows of a bucket that are read at once; beyond, they are counted first.
const LAST_BYTES: usize = 64 << 20;

/// The rows of a plan of one bucket, piece by piece in order of time. All calls are to be made with the
/// snapshot it was made with.
#[derive(Debug)]
pub(super) struct Pieces {
    index: usize,
    columns: Vec<usize>,
    from: i64,
    to: i64,
    bars: bool,
    /// Rows at once.
    step: usize,
    /// Rows at `from` that were given already.
    given: usize,
    /// Rows that come before those wanted.
    skip: usize,
    /// Rows still wanted.
    left: usize,
    /// Read from the end, in one piece.
    last: Option<usize>,
    done: bool,
}

impl Pieces {
    pub(super) fn new(
        zone: &Zone,
        plan: &Plan,
        snapshot: &Snapshot,
        index: usize,
        columns: Vec<usize>,
    ) -> Result<Self, String> {
        let bucket = &snapshot.buckets()[index];
        let widths = columns
            .iter()
            .map(|at| bucket.schema.columns()[*at].ty.size());
        let row_bytes = 8 + widths.sum::<usize>();
        let mut pieces = Self {
            index,
            columns,
            from: plan.start(bucket, zone),
            to: plan.to,
            bars: bucket.kind == RowKind::Bar,
            step: (PIECE_BYTES / row_bytes)
                .next_multiple_of(PIECE_ROWS_MIN)
                .clamp(PIECE_ROWS_MIN, PIECE_ROWS_MAX),
            given: 0,
            skip: 0,
            left: usize::MAX,
            last: None,
            done: false,
        };
        match plan.limit {
            None => {}
            Some(Limit::First(rows)) => pieces.left = rows,
            Some(Limit::Last(rows)) if rows.saturating_mul(row_bytes) <= LAST_BYTES => {
                pieces.last = Some(rows);
            }
            Some(Limit::Last(rows)) => {
                let count = snapshot.count(index, pieces.from, pieces.to);
                let count = usize::try_from(count.map_err(|e| e.to_string())?);
                pieces.skip = count.unwrap_or(usize::MAX).saturating_sub(rows);
            }
        }
        Ok(pieces)
    }

    /// The next rows; the first of them may be none, if there are none at all.
    pub(super) fn next(&mut self, snapshot: &Snapshot) -> Result<Option<ColumnBatch>, String> {
        if self.done || self.left == 0 {
            return Ok(None);
        }
        let Some(rows) = self.last else {
            return self.next_from_start(snapshot).map(Some);
        };
        self.done = true;
        self.scan(snapshot, Limit::Last(rows)).map(Some)
    }

    fn next_from_start(&mut self, snapshot: &Snapshot) -> Result<ColumnBatch, String> {
        let step = self.step.min(self.left.saturating_add(self.skip));
        let wanted = self.given.saturating_add(step);
        let rows = self.scan(snapshot, Limit::First(wanted))?;
        self.done = rows.rows() < wanted;
        let new = rows.slice(self.given.min(rows.rows())..rows.rows());
        if let Some(last) = rows.times().last() {
            self.stand_behind(*last, rows.times());
        }
        let skipped = self.skip.min(new.rows());
        self.skip -= skipped;
        let end = new.rows().min(skipped.saturating_add(self.left));
        self.left -= end - skipped;
        Ok(new.slice(skipped..end))
    }

    /// Ticks may have equal times at the border: those are read again, and passed by.
    fn stand_behind(&mut self, last: i64, times: &[i64]) {
        match self.bars.then(|| last.checked_add(1)) {
            Some(Some(next)) => self.from = next,
            Some(None) => self.done = true,
            None => {
                self.given = times.iter().rev().take_while(|time| **time == last).count();
                self.from = last;
            }
        }
    }

    fn scan(&self, snapshot: &Snapshot, limit: Limit) -> Result<ColumnBatch, String> {
        let scan = Scan {
            from: self.from,
            to: self.to,
            columns: Some(self.columns.clone()),
            limit: Some(limit),
        };
        snapshot.scan(self.index, &scan).map_err(|e| e.to_string())
    }
}
