//! Rows of one bucket in pieces, from either end.
//!
//! A cursor knows where it stands by time alone: each pull is a scan with a limit from there. Ticks may
//! have equal times at the border; those already given are counted and passed by.

use std::sync::Arc;

use engine::{Error, Limit, Scan, Snapshot};
use model::{ColumnBatch, RowKind};

use crate::limits::{PULL_ROWS_MAX, PULL_ROWS_MIN};

/// Where a reader of a bucket stands.
#[derive(Debug)]
pub(crate) struct Cursor {
    snapshot: Arc<Snapshot>,
    index: usize,
    /// Positions in the bucket's schema.
    columns: Vec<usize>,
    from: i64,
    to: i64,
    /// Rows at the border that were given already.
    skip: usize,
    pull: usize,
    backwards: bool,
    done: bool,
}

impl Cursor {
    /// Over the rows of bucket `index` with `from <= time <= to`; the newest first if `backwards`.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        index: usize,
        columns: Vec<usize>,
        (from, to): (i64, i64),
        backwards: bool,
    ) -> Self {
        Self {
            snapshot,
            index,
            columns,
            from,
            to,
            skip: 0,
            pull: PULL_ROWS_MIN,
            backwards,
            done: from > to,
        }
    }

    /// The next rows, ascending in time, at most `most`; `None` at the end. Backwards, they are the last
    /// of those not given yet, still ascending.
    pub(crate) fn next(&mut self, most: usize) -> Result<Option<ColumnBatch>, Error> {
        if self.done || most == 0 {
            return Ok(None);
        }
        let wanted = self.pull.min(most);
        self.pull = (self.pull * 2).min(PULL_ROWS_MAX);
        let count = wanted.saturating_add(self.skip);
        let scan = Scan {
            from: self.from,
            to: self.to,
            columns: Some(self.columns.clone()),
            limit: Some(match self.backwards {
                false => Limit::First(count),
                true => Limit::Last(count),
            }),
        };
        let batch = self.snapshot.scan(self.index, &scan)?;
        let rows = batch.rows();
        if rows < count {
            self.done = true;
        }
        if rows <= self.skip {
            self.done = true;
            return Ok(None);
        }
        let fresh = match self.backwards {
            false => self.skip..rows,
            true => 0..rows - self.skip,
        };
        self.advance(&batch);
        Ok(Some(batch.slice(fresh)))
    }

    /// Stands behind the rows of `batch`.
    fn advance(&mut self, batch: &ColumnBatch) {
        let times = batch.times();
        let bars = self.snapshot.buckets()[self.index].kind == RowKind::Bar;
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return;
        };
        match (self.backwards, bars) {
            (false, true) => match last.checked_add(1) {
                Some(next) => self.from = next,
                None => self.done = true,
            },
            (true, true) => match first.checked_sub(1) {
                Some(next) => self.to = next,
                None => self.done = true,
            },
            (false, false) => {
                self.from = *last;
                self.skip = times.len() - times.partition_point(|time| time < last);
            }
            (true, false) => {
                self.to = *first;
                self.skip = times.partition_point(|time| time <= first);
            }
        }
        if self.from > self.to {
            self.done = true;
        }
    }
}
