//! Where buckets begin, found by asking the function that made them: so zones, sessions and months
//! are what they were in the query, whatever the function is.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;

/// Name of the column of times that the function is given.
pub(crate) const TIME: &str = "__time";

/// A function from times to the starts of their buckets, which ascends with the time.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    function: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// The length of the bucket found last, to try first.
    step: Option<i64>,
}

impl Grid {
    /// `function` has the column [`TIME`] of the type `time`, and gives that type.
    pub(crate) fn new(function: Arc<dyn PhysicalExpr>, time: DataType) -> Self {
        Self {
            function,
            schema: Arc::new(Schema::new(vec![Field::new(TIME, time, false)])),
            step: None,
        }
    }

    pub(crate) fn data_type(&self) -> &DataType {
        self.schema.field(0).data_type()
    }

    /// The starts of the buckets of these times.
    pub(crate) fn starts(&self, times: Vec<i64>) -> Result<Vec<i64>> {
        let rows = times.len();
        let times: ArrayRef = Arc::new(Int64Array::from(times));
        let times = cast(&times, self.data_type())?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![times])?;
        let starts = self.function.evaluate(&batch)?.into_array(rows)?;
        let starts = cast(&starts, &DataType::Int64)?;
        Ok(starts.as_primitive::<Int64Type>().values().to_vec())
    }

    fn start(&self, time: i64) -> Result<i64> {
        let starts = self.starts(vec![time])?;
        starts
            .first()
            .copied()
            .ok_or_else(|| internal_datafusion_err!("a time has a bucket"))
    }

    /// The starts of the buckets after the one that begins at `from`, and before `to`: the first
    /// `most` of them.
    pub(crate) fn between(&mut self, mut from: i64, to: i64, most: usize) -> Result<Vec<i64>> {
        let mut found = Vec::new();
        while found.len() < most {
            let regular = self.regular(from, to, most - found.len())?;
            if let Some(last) = regular.last() {
                from = *last;
                found.extend(regular);
                continue;
            }
            let Some(start) = self.next(from, to)? else {
                break;
            };
            self.step = Some(start - from);
            found.push(start);
            from = start;
        }
        Ok(found)
    }

    /// The buckets that follow at equal steps.
    fn regular(&self, from: i64, to: i64, most: usize) -> Result<Vec<i64>> {
        let Some(step) = self.step else {
            return Ok(Vec::new());
        };
        let next = |time: &i64| time.checked_add(step).filter(|time| *time < to);
        let guesses: Vec<i64> = std::iter::successors(next(&from), next)
            .take(most)
            .collect();
        if guesses.is_empty() {
            return Ok(guesses);
        }
        // Each begins a bucket, and the time just before belongs to the one before.
        let before = guesses.iter().map(|time| time - 1);
        let starts = self.starts(guesses.iter().copied().chain(before).collect())?;
        let (starts, before) = starts.split_at(guesses.len());
        let mut previous = from;
        let right = guesses
            .iter()
            .zip(starts.iter().zip(before))
            .take_while(|(guess, found)| {
                let right = found.0 == *guess && *found.1 == previous;
                previous = **guess;
                right
            });
        let right = right.count();
        Ok(guesses[..right].to_vec())
    }

    /// The start of the next bucket, if it is before `to`.
    fn next(&self, from: i64, to: i64) -> Result<Option<i64>> {
        let (mut low, mut high) = (from, to - 1);
        if low >= high || self.start(high)? <= from {
            return Ok(None);
        }
        // `low` is of the bucket at `from`, `high` of a later one.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.start(middle)? <= from {
                true => low = middle,
                false => high = middle,
            }
        }
        let start = self.start(high)?;
        Ok((from < start && start < to).then_some(start))
    }
}
