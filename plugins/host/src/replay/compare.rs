//! Computed rows beside stored ones, both in order of time, a stretch at a time.
//!
//! Of bars a time has one row, so two that differ are one difference. A tick is what it holds: of
//! ticks with one time, those that only one side has are missing or extra.

use std::ops::Range;
use std::sync::Arc;

use engine::{BucketInfo, Commit, Engine, Limit, Origin, Rows, Scan, as_stored};
use model::{BucketKey, ColumnBatch, RowKind, Scalar, Zone};

use crate::calls::effect_bytes_max;

/// Stored rows read at once.
const STORED_ROWS: usize = 16_384;

/// How the rows of a bucket compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketDiff {
    /// The bucket.
    pub key: BucketKey,
    /// Rows computed; each is equal, different or missing.
    pub computed: u64,
    /// The store has the same.
    pub equal: u64,
    /// The store has another bar of this time.
    pub different: u64,
    /// The store has no such row.
    pub missing: u64,
    /// Rows of the range that the store has and the replay did not compute.
    pub extra: u64,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Stored and computed are not the same.
    Different,
    /// Computed only.
    Missing,
    /// Stored only.
    Extra,
}

impl Difference {
    /// The word shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Different => "different",
            Self::Missing => "missing",
            Self::Extra => "extra",
        }
    }
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct RowDiff {
    /// Its bucket.
    pub key: BucketKey,
    /// Its time (ns).
    pub time: i64,
    /// How.
    pub found: Difference,
    /// Every column.
    pub columns: Vec<ColumnDiff>,
}

/// A column of such a row.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDiff {
    /// Its name.
    pub name: String,
    /// What the store has, if it has the row.
    pub stored: Option<Scalar>,
    /// What was computed, if it was.
    pub computed: Option<Scalar>,
}

/// Compares buckets, shows the first differences, and writes what was computed.
pub(super) struct Comparer<'a> {
    pub(super) engine: &'a Engine,
    pub(super) zone: &'a Zone,
    /// Extra rows are told of this range only.
    pub(super) range: (i64, i64),
    /// Differences that are still shown.
    pub(super) left: usize,
    pub(super) shown: Vec<RowDiff>,
}

/// One bucket under comparison.
struct Pair<'a, 'c> {
    of: &'a mut Comparer<'c>,
    diff: BucketDiff,
    kind: RowKind,
    computed: &'a ColumnBatch,
    /// Computed rows that the store has not, or otherwise.
    wanted: Vec<u32>,
}

impl Comparer<'_> {
    /// Compares a bucket; the rows of it that the store lacks.
    pub(super) fn bucket(
        &mut self,
        info: &Arc<BucketInfo>,
        computed: ColumnBatch,
    ) -> Result<(BucketDiff, ColumnBatch), String> {
        let fault = |error: engine::Error| format!("{}: {error}", info.key);
        // It may have been made or changed meanwhile.
        let stored = self.engine.bucket(&info.key);
        let computed = match &stored {
            Some(stored) => as_stored(&computed, stored, self.zone).map_err(fault)?,
            None => computed,
        };
        let (engine, (from, to)) = (self.engine, self.range);
        let times = computed.times();
        let first = times.first().map_or(from, |time| from.min(*time));
        let last = times.last().map_or(to, |time| to.max(*time));
        let mut pair = Pair {
            of: self,
            diff: BucketDiff {
                key: info.key.clone(),
                computed: computed.rows() as u64,
                equal: 0,
                different: 0,
                missing: 0,
                extra: 0,
            },
            kind: info.kind,
            computed: &computed,
            wanted: Vec::new(),
        };
        let mut done = 0;
        if let Some(stored) = stored {
            let mut reader = Stored::new(engine, &stored, first, last);
            while let Some(rows) = reader.next().map_err(fault)? {
                let end = rows.times().last().copied().unwrap_or(last);
                let until = times.partition_point(|time| *time <= end);
                pair.stretch(done..until, &rows);
                done = until;
            }
        }
        let none = ColumnBatch::empty(computed.schema().clone());
        pair.stretch(done..computed.rows(), &none);
        let (diff, wanted) = (pair.diff, pair.wanted);
        Ok((diff, computed.take(&wanted)))
    }

    /// Writes rows as commits of nobody's, each as large as a window's may be.
    pub(super) fn write(&self, info: &BucketInfo, rows: &ColumnBatch) -> Result<(), String> {
        let per_commit = effect_bytes_max(self.engine) / 2 / rows.schema().row_bytes().max(1);
        let per_commit = per_commit.max(1);
        for start in (0..rows.rows()).step_by(per_commit) {
            let end = (start + per_commit).min(rows.rows());
            let commit = Commit {
                origin: Origin::CLIENT,
                hops: 0,
                rows: vec![Rows {
                    key: info.key.clone(),
                    batch: rows.slice(start..end),
                    create: Some(info.kind),
                }],
                section: None,
            };
            self.engine
                .write(commit)
                .and_then(engine::Ticket::wait)
                .map_err(|error| format!("{}: {error}", info.key))?;
        }
        Ok(())
    }
}

impl Pair<'_, '_> {
    /// Compares a range of the computed rows with all stored ones of the same stretch of time.
    fn stretch(&mut self, computed: Range<usize>, stored: &ColumnBatch) {
        let (mut at, mut other) = (computed.start, 0);
        while at < computed.end || other < stored.rows() {
            let ours = self.computed.times()[at..computed.end].first();
            let theirs = stored.times()[other..].first();
            let time = match (ours, theirs) {
                (Some(a), Some(b)) => *a.min(b),
                (Some(time), None) | (None, Some(time)) => *time,
                (None, None) => return,
            };
            let next = end_of(&self.computed.times()[..computed.end], at, time);
            let next_other = end_of(stored.times(), other, time);
            self.moment(time, at..next, other..next_other, stored);
            (at, other) = (next, next_other);
        }
    }

    /// Compares the rows of one time.
    fn moment(
        &mut self,
        time: i64,
        computed: Range<usize>,
        stored: Range<usize>,
        rows: &ColumnBatch,
    ) {
        let mut left: Vec<usize> = stored.collect();
        for row in computed {
            let same = left
                .iter()
                .position(|other| is_same(self.computed, row, rows, *other));
            match same {
                Some(at) => {
                    left.remove(at);
                    self.diff.equal += 1;
                }
                None if self.kind == RowKind::Bar && !left.is_empty() => {
                    let other = left.remove(0);
                    self.differs(time, Difference::Different, Some(row), Some((rows, other)));
                }
                None => self.differs(time, Difference::Missing, Some(row), None),
            }
        }
        let (from, to) = self.of.range;
        if (from..=to).contains(&time) {
            for other in left {
                self.differs(time, Difference::Extra, None, Some((rows, other)));
            }
        }
    }

    fn differs(
        &mut self,
        time: i64,
        found: Difference,
        computed: Option<usize>,
        stored: Option<(&ColumnBatch, usize)>,
    ) {
        match found {
            Difference::Different => self.diff.different += 1,
            Difference::Missing => self.diff.missing += 1,
            Difference::Extra => self.diff.extra += 1,
        }
        if let Some(row) = computed {
            self.wanted
                .push(u32::try_from(row).expect("256 MiB have fewer rows"));
        }
        if self.of.left == 0 {
            return;
        }
        self.of.left -= 1;
        let value = |rows: &ColumnBatch, name: &str, row| Some(rows.column(name)?.scalar(row));
        let schema = stored.map_or(self.computed.schema(), |(rows, _)| rows.schema());
        let columns = schema.columns().iter().map(|column| ColumnDiff {
            name: column.name.clone(),
            stored: stored.and_then(|(rows, row)| value(rows, &column.name, row)),
            computed: computed.and_then(|row| value(self.computed, &column.name, row)),
        });
        let columns = columns.collect();
        self.of.shown.push(RowDiff {
            key: self.diff.key.clone(),
            time,
            found,
            columns,
        });
    }
}

/// Where the rows of a time end that may begin at `start`.
fn end_of(times: &[i64], start: usize, time: i64) -> usize {
    start + times[start..].iter().take_while(|at| **at == time).count()
}

/// Whether two rows have the same columns and, to the bit, the same values.
fn is_same(a: &ColumnBatch, row: usize, b: &ColumnBatch, other: usize) -> bool {
    a.schema().len() == b.schema().len()
        && a.schema().columns().iter().all(|column| {
            let (Some(one), Some(two)) = (a.column(&column.name), b.column(&column.name)) else {
                return false;
            };
            let bytes = |column: &model::Column, row: usize| {
                let size = column.ty().size();
                column.bytes().slice(row * size..(row + 1) * size)
            };
            one.ty() == two.ty() && bytes(one, row) == bytes(two, other)
        })
}

/// Stored rows of a range; those of one time always come together.
pub(super) struct Stored<'a> {
    engine: &'a Engine,
    bucket: &'a BucketInfo,
    from: i64,
    to: i64,
    is_done: bool,
}

impl<'a> Stored<'a> {
    pub(super) fn new(engine: &'a Engine, bucket: &'a BucketInfo, from: i64, to: i64) -> Self {
        Self {
            engine,
            bucket,
            from,
            to,
            is_done: from > to,
        }
    }

    /// The next rows; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<ColumnBatch>, engine::Error> {
        let mut limit = STORED_ROWS;
        while !self.is_done {
            let snapshot = self.engine.snapshot(&[self.bucket.id]);
            if snapshot.buckets().is_empty() {
                // Dropped meanwhile.
                self.is_done = true;
                break;
            }
            let scan = Scan {
                from: self.from,
                to: self.to,
                columns: None,
                limit: Some(Limit::First(limit)),
            };
            let rows = snapshot.scan(0, &scan)?;
            let (Some(first), Some(last)) = (rows.times().first(), rows.times().last()) else {
                self.is_done = true;
                break;
            };
            if rows.rows() < limit {
                self.is_done = true;
                return Ok(Some(rows));
            }
            if first == last {
                // Too many ticks of one moment: they are not to be parted.
                limit *= 2;
                continue;
            }
            self.from = *last;
            let whole = rows.times().partition_point(|time| time < last);
            return Ok(Some(rows.slice(0..whole)));
        }
        Ok(None)
    }
}
