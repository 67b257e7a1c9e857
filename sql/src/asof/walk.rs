//! The walk over two sorted sequences, row by row but batch-wise in what it costs: keys are compared
//! once a run of equal keys, times are two columns of integers, and values are gathered a column at
//! a time when the output is made.
//!
//! Knows no streams: it says what it needs next. Holds one batch of the left, and of the right those
//! that rows not yet put out refer to, at most [`KEPT_MAX`].

use std::cmp::Ordering;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use datafusion::arrow::compute::{filter, interleave};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;

use super::sorted::{KeyOrder, Rows, prefix};
use super::{Direction, Rule};

/// Batches of the right that are held before rows are put out.
const KEPT_MAX: usize = 16;

/// Rows of the right that are passed one by one before the search leaps.
const STEPS: usize = 16;

/// What a walk needs, or gives.
pub(crate) enum Step {
    NeedLeft,
    NeedRight,
    Output(RecordBatch),
}

/// A column of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Left(usize),
    Right(usize),
}

/// A row of the right: where it is kept, and its time.
#[derive(Debug, Clone, Copy)]
struct Found {
    slot: usize,
    row: usize,
    time: i64,
}

struct Side {
    rows: Rows,
    /// The first row that is not done.
    at: usize,
    /// End of the run of equal keys that `at` is in; `at` itself if it is not known yet.
    run_end: usize,
    /// Compares keys within the batch.
    order: KeyOrder,
}

impl Side {
    fn new(rows: Rows) -> Result<Self> {
        let order = KeyOrder::new(&rows.keys, &rows.keys)?;
        Ok(Self {
            rows,
            at: 0,
            run_end: 0,
            order,
        })
    }

    fn find_run_end(&mut self) {
        let at = self.at;
        self.run_end = prefix(at, self.rows.len(), |row| {
            self.order.compare(at, row).is_eq()
        });
    }
}

pub(crate) struct Walk {
    rule: Rule,
    schema: SchemaRef,
    columns: Vec<Source>,
    left: Option<Side>,
    /// The first row of the left that is not put out.
    put_out: usize,
    /// A row with the keys of the left before the present batch.
    left_before: Option<Vec<ArrayRef>>,
    right: Option<Side>,
    /// Where the present batch of the right is kept.
    right_slot: usize,
    right_ended: bool,
    /// Keys of the left against those of the right.
    order: Option<KeyOrder>,
    /// The last row of the right at or before the present time, with the key of the left.
    behind: Option<Found>,
    kept: Vec<RecordBatch>,
    /// For each row of the left that is done and not put out: slot + 1 and row; slot 0 is no match.
    matches: Vec<(usize, usize)>,
    unmatched: usize,
}

impl Walk {
    pub(crate) fn new(rule: Rule, schema: SchemaRef, columns: Vec<Source>) -> Self {
        Self {
            rule,
            schema,
            columns,
            left: None,
            put_out: 0,
            left_before: None,
            right: None,
            right_slot: 0,
            right_ended: false,
            order: None,
            behind: None,
            kept: Vec::new(),
            matches: Vec::new(),
            unmatched: 0,
        }
    }

    /// The next batch of the left, as [`Step::NeedLeft`] asked.
    pub(crate) fn push_left(&mut self, rows: Rows) -> Result<()> {
        let goes_on = match &self.left_before {
            Some(before) => KeyOrder::new(before, &rows.keys)?.compare(0, 0).is_eq(),
            None => true,
        };
        if !goes_on {
            self.behind = None;
        }
        self.left = Some(Side::new(rows)?);
        self.put_out = 0;
        self.order = None;
        Ok(())
    }

    /// The next batch of the right, as [`Step::NeedRight`] asked; `None` at its end.
    pub(crate) fn push_right(&mut self, rows: Option<Rows>) -> Result<()> {
        let Some(rows) = rows else {
            self.right_ended = true;
            return Ok(());
        };
        self.right_slot = self.kept.len();
        self.kept.push(rows.batch.clone());
        self.right = Some(Side::new(rows)?);
        self.order = None;
        Ok(())
    }

    /// Goes on until it needs a batch or has one.
    pub(crate) fn step(&mut self) -> Result<Step> {
        loop {
            if self.kept.len() > KEPT_MAX
                && let Some(batch) = self.put_out()?
            {
                return Ok(Step::Output(batch));
            }
            let Some(left) = &mut self.left else {
                return Ok(Step::NeedLeft);
            };
            if left.at == left.rows.len() {
                let last = left.rows.len().saturating_sub(1);
                if !left.rows.times.is_empty() {
                    let keys = left.rows.keys.iter().map(|key| key.slice(last, 1));
                    self.left_before = Some(keys.collect());
                }
                let output = self.put_out()?;
                self.left = None;
                match output {
                    Some(batch) => return Ok(Step::Output(batch)),
                    None => continue,
                }
            }
            if left.at == left.run_end {
                // A run that begins within a batch has another key than the one before.
                if left.at > 0 {
                    self.behind = None;
                }
                left.find_run_end();
            }
            let Some(right) = &mut self.right else {
                if self.right_ended {
                    self.finish_run();
                    continue;
                }
                return Ok(Step::NeedRight);
            };
            let order = match &self.order {
                Some(order) => order,
                None => self
                    .order
                    .insert(KeyOrder::new(&left.rows.keys, &right.rows.keys)?),
            };
            let at = left.at;
            match order.compare(at, right.at) {
                Ordering::Less => self.finish_run(),
                Ordering::Greater => {
                    let end = right.rows.len();
                    right.at = prefix(right.at, end, |row| order.compare(at, row).is_gt());
                    right.run_end = right.at;
                    if right.at == end {
                        self.drop_right();
                    }
                }
                Ordering::Equal => {
                    if right.at == right.run_end {
                        right.find_run_end();
                    }
                    self.walk_run();
                }
            }
        }
    }

    /// No more rows of the right have the key of this run.
    fn finish_run(&mut self) {
        let left = self.left.as_ref().expect("a run is of a batch");
        let (at, end) = (left.at, left.run_end);
        let behind = self
            .behind
            .filter(|_| self.rule.direction != Direction::Forward);
        for row in at..end {
            self.found(row, behind);
        }
        self.left.as_mut().expect("a run is of a batch").at = end;
    }

    /// Matches the run of the left with that of the right, which has the same key, as far as the
    /// batch of the right decides.
    fn walk_run(&mut self) {
        let left = self.left.take().expect("both sides have a batch");
        let mut right = self.right.take().expect("both sides have a batch");
        let slot = self.right_slot;
        let times = &right.rows.times[..right.run_end];
        let of = |row: usize| Found {
            slot,
            row,
            time: times[row],
        };
        // Only the next batch knows what comes after the last row of this one.
        let may_go_on = right.run_end == right.rows.len();
        // Rows of the right with an earlier time are passed.
        let inclusive = match self.rule.direction {
            Direction::Backward => !self.rule.strict,
            Direction::Forward => self.rule.strict,
            Direction::Nearest => true,
        };
        let mut next = right.at;
        let mut at = left.at;
        while at < left.run_end {
            let time = left.rows.times[at];
            let bound = time.saturating_add(i64::from(inclusive));
            let from = next;
            next = pass(times, next, bound);
            if next > from {
                self.behind = Some(of(next - 1));
            }
            if next == times.len() && may_go_on {
                break;
            }
            let ahead = (next < times.len()).then(|| of(next));
            let found = match self.rule.direction {
                Direction::Backward => self.behind,
                Direction::Forward => ahead,
                Direction::Nearest => nearer(time, self.behind, ahead),
            };
            self.found_at(&left.rows, at, found);
            at += 1;
        }
        right.at = next;
        let exhausted = right.at == right.rows.len();
        self.left = Some(Side { at, ..left });
        self.right = Some(right);
        if exhausted {
            self.drop_right();
        }
    }

    fn found(&mut self, row: usize, found: Option<Found>) {
        let left = self.left.take().expect("a row is of a batch");
        self.found_at(&left.rows, row, found);
        self.left = Some(left);
    }

    /// Notes the match of a row, if it is within the tolerance.
    fn found_at(&mut self, left: &Rows, row: usize, found: Option<Found>) {
        let known = left.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let near = |found: &Found| {
            let tolerance = self.rule.tolerance;
            tolerance
                .is_none_or(|most| distance(left.times[row], found.time) <= most.unsigned_abs())
        };
        match found.filter(|found| known && near(found)) {
            Some(found) => self.matches.push((found.slot + 1, found.row)),
            None => {
                self.matches.push((0, 0));
                self.unmatched += 1;
            }
        }
    }

    fn drop_right(&mut self) {
        self.right = None;
        self.order = None;
        let slot = self.right_slot;
        let held = self.behind.is_some_and(|behind| behind.slot == slot);
        let used = self.matches.iter().rev().any(|found| found.0 == slot + 1);
        if !held && !used {
            self.kept.truncate(slot);
        }
    }

    /// The rows of the left that are done, if there are any, and forgets what only they needed.
    fn put_out(&mut self) -> Result<Option<RecordBatch>> {
        let rows = self.matches.len();
        let batch = match (&self.left, rows) {
            (_, 0) | (None, _) => None,
            (Some(left), _) => Some(self.output(&left.rows.batch.slice(self.put_out, rows))?),
        };
        self.put_out += rows;
        self.matches.clear();
        self.unmatched = 0;
        self.compact();
        Ok(batch.filter(|batch| batch.num_rows() > 0))
    }

    fn output(&self, left: &RecordBatch) -> Result<RecordBatch> {
        let inner = !self.rule.outer && self.unmatched > 0;
        let mask = inner.then(|| {
            let matched = self.matches.iter().map(|found| found.0 > 0);
            BooleanArray::from(matched.collect::<Vec<bool>>())
        });
        let inner_matches: Vec<(usize, usize)>;
        let matches = match inner {
            true => {
                let found = self.matches.iter().filter(|found| found.0 > 0);
                inner_matches = found.copied().collect();
                &inner_matches
            }
            false => &self.matches,
        };
        let columns = self.columns.iter().zip(self.schema.fields());
        let columns = columns.map(|(source, field)| -> Result<ArrayRef> {
            match (source, &mask) {
                (Source::Left(column), None) => Ok(left.column(*column).clone()),
                (Source::Left(column), Some(mask)) => Ok(filter(left.column(*column), mask)?),
                (Source::Right(column), _) => {
                    // Without rows that match nothing, the first array is never looked at.
                    let none = match self.kept.first() {
                        Some(first) if !self.rule.outer || self.unmatched == 0 => {
                            first.column(*column).clone()
                        }
                        _ => new_null_array(field.data_type(), 1),
                    };
                    let kept = self.kept.iter().map(|batch| batch.column(*column).as_ref());
                    let arrays: Vec<_> = [none.as_ref()].into_iter().chain(kept).collect();
                    Ok(interleave(&arrays, matches)?)
                }
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(matches.len()));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }

    /// Keeps only what rows to come may match.
    fn compact(&mut self) {
        let mut kept = Vec::with_capacity(2);
        if let Some(behind) = &mut self.behind
            && (self.right.is_none() || behind.slot != self.right_slot)
        {
            kept.push(self.kept[behind.slot].clone());
            behind.slot = 0;
        }
        if self.right.is_some() {
            let slot = kept.len();
            kept.push(self.kept[self.right_slot].clone());
            if let Some(behind) = &mut self.behind
                && slot == 0
            {
                behind.slot = 0;
            }
            self.right_slot = slot;
        }
        self.kept = kept;
    }
}

/// The first position from `next` on whose time is not before `bound`.
fn pass(times: &[i64], next: usize, bound: i64) -> usize {
    let near = times[next..].iter().take(STEPS);
    let steps = near.take_while(|time| **time < bound).count();
    match steps {
        STEPS => prefix(next + STEPS, times.len(), |row| times[row] < bound),
        _ => next + steps,
    }
}

/// The closer of two; the one behind if both are as close.
fn nearer(time: i64, behind: Option<Found>, ahead: Option<Found>) -> Option<Found> {
    match (behind, ahead) {
        (Some(behind), Some(ahead)) => {
            let closer = distance(time, behind.time) <= distance(time, ahead.time);
            Some(if closer { behind } else { ahead })
        }
        (behind, ahead) => behind.or(ahead),
    }
}

fn distance(a: i64, b: i64) -> u64 {
    a.abs_diff(b)
}
