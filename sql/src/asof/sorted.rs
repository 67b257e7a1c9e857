//! One side of the join: its partitions, each sorted by key and time, as one sorted sequence.
//!
//! Most of the time the partitions follow each other (stretches of time, sets of symbols), so the
//! sequence is made of slices of their batches; only where they interleave are rows gathered.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::{
    SortOptions, and, filter_record_batch, interleave_record_batch, is_not_null,
};
use datafusion::arrow::datatypes::{
    DataType, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::{Result, internal_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use futures::StreamExt;

/// How a side is sorted; NULLs are at the end.
pub(crate) const ORDER: SortOptions = SortOptions {
    descending: false,
    nulls_first: false,
};

/// Slices of fewer rows are gathered into one batch.
const SLICE_ROWS_MIN: usize = 1024;

/// Rows of a gathered batch.
const GATHERED_ROWS: usize = 8192;

/// What of a side is compared.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) time: Arc<dyn PhysicalExpr>,
}

/// Rows with their keys and times taken out.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) times: ScalarBuffer<i64>,
    /// Of the times: a row without one matches nothing.
    pub(crate) nulls: Option<NullBuffer>,
}

impl Rows {
    pub(crate) fn new(batch: RecordBatch, terms: &Terms) -> Result<Self> {
        let rows = batch.num_rows();
        let keys = terms.keys.iter();
        let keys = keys.map(|key| key.evaluate(&batch)?.into_array(rows));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let time = terms.time.evaluate(&batch)?.into_array(rows)?;
        let nulls = time.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let mut times = values(&time)?;
        if let Some(nulls) = &nulls {
            // They are sorted behind all others.
            let known = |(row, time): (usize, &i64)| match nulls.is_valid(row) {
                true => *time,
                false => i64::MAX,
            };
            times = times.iter().enumerate().map(known).collect();
        }
        Ok(Self {
            batch,
            keys,
            times,
            nulls,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    fn slice(&self, start: usize, rows: usize) -> Self {
        Self {
            batch: self.batch.slice(start, rows),
            keys: self.keys.iter().map(|key| key.slice(start, rows)).collect(),
            times: self.times.slice(start, rows),
            nulls: self.nulls.as_ref().map(|nulls| nulls.slice(start, rows)),
        }
    }

    /// Without the rows that can never match.
    pub(crate) fn matchable(self, terms: &Terms) -> Result<Self> {
        let mut nullable: Vec<ArrayRef> = Vec::new();
        nullable.extend(
            self.keys
                .iter()
                .filter(|k| k.logical_null_count() > 0)
                .cloned(),
        );
        if self.nulls.is_some() {
            nullable.push(terms.time.evaluate(&self.batch)?.into_array(self.len())?);
        }
        let Some((first, others)) = nullable.split_first() else {
            return Ok(self);
        };
        let mut keep = is_not_null(first)?;
        for other in others {
            keep = and(&keep, &is_not_null(other)?)?;
        }
        Self::new(filter_record_batch(&self.batch, &keep)?, terms)
    }
}

fn values(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().values().clone(),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values().clone(),
            TimeUnit::Millisecond => array
                .as_primitive::<TimestampMillisecondType>()
                .values()
                .clone(),
            TimeUnit::Microsecond => array
                .as_primitive::<TimestampMicrosecondType>()
                .values()
                .clone(),
            TimeUnit::Nanosecond => array
                .as_primitive::<TimestampNanosecondType>()
                .values()
                .clone(),
        },
        other => return internal_err!("a time of type {other} in an ASOF join"),
    })
}

/// Compares keys of two batches by row.
pub(crate) struct KeyOrder(Vec<datafusion::arrow::array::DynComparator>);

impl KeyOrder {
    pub(crate) fn new(left: &[ArrayRef], right: &[ArrayRef]) -> Result<Self> {
        let pairs = left.iter().zip(right);
        let comparators = pairs.map(|(left, right)| Ok(make_comparator(left, right, ORDER)?));
        Ok(Self(comparators.collect::<Result<_>>()?))
    }

    pub(crate) fn compare(&self, left: usize, right: usize) -> Ordering {
        let mut columns = self.0.iter();
        columns
            .find_map(|compare| Some(compare(left, right)).filter(|o| o.is_ne()))
            .unwrap_or(Ordering::Equal)
    }
}

/// How many rows from `start` on hold `condition`, which holds for a prefix of them. Fast where the
/// prefix is short, and where it is everything.
pub(crate) fn prefix(start: usize, end: usize, condition: impl Fn(usize) -> bool) -> usize {
    if start == end || condition(end - 1) {
        return end;
    }
    let mut step = 1;
    let mut low = start;
    // Everything before `low` holds; the row at `end - 1` does not.
    while low + step < end && condition(low + step - 1) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(end) - 1;
    while low < high {
        let middle = low + (high - low) / 2;
        match condition(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

/// The partitions of a side as one sequence.
pub(crate) struct Sorted {
    inputs: Vec<Input>,
    terms: Terms,
    /// Pieces on their way into one batch.
    pieces: Vec<RecordBatch>,
    pieces_rows: usize,
}

struct Input {
    stream: Option<SendableRecordBatchStream>,
    head: Option<Rows>,
}

impl Sorted {
    pub(crate) fn new(streams: Vec<SendableRecordBatchStream>, terms: Terms) -> Self {
        let input = |stream| Input {
            stream: Some(stream),
            head: None,
        };
        Self {
            inputs: streams.into_iter().map(input).collect(),
            terms,
            pieces: Vec::new(),
            pieces_rows: 0,
        }
    }

    /// The next rows; never none in a batch.
    pub(crate) async fn next(&mut self) -> Result<Option<Rows>> {
        loop {
            for input in &mut self.inputs {
                input.fill(&self.terms).await?;
            }
            self.inputs.retain(|input| input.head.is_some());
            if self.inputs.len() < 2 && self.pieces.is_empty() {
                return Ok(self.inputs.first_mut().and_then(|input| input.head.take()));
            }
            if self.inputs.is_empty() {
                return self.gathered();
            }
            let (least, rows) = self.least()?;
            if rows >= SLICE_ROWS_MIN && !self.pieces.is_empty() {
                return self.gathered();
            }
            let piece = self.inputs[least].take(rows);
            if rows >= SLICE_ROWS_MIN {
                return Ok(Some(piece));
            }
            self.pieces_rows += rows;
            self.pieces.push(piece.batch);
            if self.pieces_rows >= GATHERED_ROWS {
                return self.gathered();
            }
        }
    }

    /// The input whose head begins first, and how many rows of it come before all other heads. Of
    /// equal rows those of the first input come first.
    fn least(&self) -> Result<(usize, usize)> {
        let heads: Vec<&Rows> = self.inputs.iter().filter_map(|i| i.head.as_ref()).collect();
        let mut least = 0;
        for (index, head) in heads.iter().enumerate().skip(1) {
            let order = KeyOrder::new(&head.keys, &heads[least].keys)?;
            let before = order
                .compare(0, 0)
                .then(head.times[0].cmp(&heads[least].times[0]));
            if before.is_lt() {
                least = index;
            }
        }
        let head = heads[least];
        let mut rows = head.len();
        for (index, other) in heads
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != least)
        {
            let order = KeyOrder::new(&head.keys, &other.keys)?;
            rows = prefix(0, rows, |row| {
                let before = order
                    .compare(row, 0)
                    .then(head.times[row].cmp(&other.times[0]));
                before.is_lt() || (before.is_eq() && least < index)
            });
        }
        // The first row is before all others, if not by its time then by its place.
        Ok((least, rows.max(1)))
    }

    fn gathered(&mut self) -> Result<Option<Rows>> {
        let pieces = std::mem::take(&mut self.pieces);
        self.pieces_rows = 0;
        let Some(first) = pieces.first() else {
            return Ok(None);
        };
        let batch = match pieces.len() {
            1 => first.clone(),
            _ => {
                let indices = pieces.iter().enumerate();
                let indices =
                    indices.flat_map(|(piece, b)| (0..b.num_rows()).map(move |r| (piece, r)));
                let indices: Vec<(usize, usize)> = indices.collect();
                interleave_record_batch(&pieces.iter().collect::<Vec<_>>(), &indices)?
            }
        };
        Rows::new(batch, &self.terms).map(Some)
    }
}

impl Input {
    async fn fill(&mut self, terms: &Terms) -> Result<()> {
        while self.head.is_none() {
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            match stream.next().await.transpose()? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => self.head = Some(Rows::new(batch, terms)?),
                None => self.stream = None,
            }
        }
        Ok(())
    }

    /// The first rows of the head.
    fn take(&mut self, rows: usize) -> Rows {
        let head = self
            .head
            .take()
            .expect("only inputs with a head are chosen");
        if rows < head.len() {
            self.head = Some(head.slice(rows, head.len() - rows));
        }
        head.slice(0, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_a_partition_point() {
        for len in 0..40_usize {
            for start in 0..=len {
                for point in start..=len {
                    assert_eq!(prefix(start, len, |row| row < point), point);
                }
            }
        }
    }
}
