//! `gap`: where rows are missing.

use super::call::{FunctionError, Given, shown};
use super::grid::Step;
use crate::batch::{Column, ColumnBatch};
use crate::schema::{ColumnDef, ColumnType, Schema};
use crate::time::NANOS_PER_SECOND;

/// What counts as a gap between two rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gap {
    /// More than these nanoseconds: `gap('5Min')`.
    Longer(i64),
    /// So many standard deviations more than the mean distance: `gap()` is 3, `gap('2.5')`.
    Unusual(f64),
}

// A threshold is a finite number.
impl Eq for Gap {}

/// Distance from the mean that MarketStore takes for unusual, in standard deviations.
const Z_SCORE: f64 = 3.0;

impl Gap {
    pub(super) fn new(given: Given) -> Result<Self, FunctionError> {
        match &given.literals[..] {
            [] => Ok(Self::Unusual(Z_SCORE)),
            [literal] => Self::parse(literal),
            several => Err(FunctionError(format!(
                "too many init arguments for gap, need at most 1 have {}",
                several.len()
            ))),
        }
    }

    /// A timeframe, or a number of standard deviations.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn parse(literal: &str) -> Result<Self, FunctionError> {
        if let Ok(Step::Timeframe(timeframe)) = Step::parse(literal) {
            return Ok(Self::Longer(timeframe.nanos()));
        }
        match literal.parse::<f64>() {
            Ok(z) if z.is_finite() && z > 0.0 => Ok(Self::Unusual(z)),
            _ => Err(FunctionError(format!(
                "gap('{}'): use a length like '5Min', a number of standard deviations like '3', or \
                 nothing, which is 3",
                shown(literal)
            ))),
        }
    }
}

/// A search for gaps at work.
#[derive(Debug)]
pub(super) struct Running {
    gap: Gap,
    schema: Schema,
    /// The last row so far, or all of them if only all tell what is unusual.
    times: Vec<i64>,
}

impl Running {
    pub(super) fn new(gap: Gap) -> Self {
        let columns = ["End", "Length"].map(|name| ColumnDef::new(name, ColumnType::I64));
        Self {
            gap,
            schema: Schema::new(columns.to_vec()).expect("two columns with names"),
            times: Vec::new(),
        }
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn push(&mut self, rows: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        self.times.extend_from_slice(rows.times());
        let Gap::Longer(length) = self.gap else {
            return Ok(ColumnBatch::empty(self.schema.clone()));
        };
        let found = self.found(|distance| distance > length);
        self.times.drain(..self.times.len().saturating_sub(1));
        found
    }

    pub(super) fn finish(self) -> Result<ColumnBatch, FunctionError> {
        let Gap::Unusual(z) = self.gap else {
            return Ok(ColumnBatch::empty(self.schema));
        };
        let distances = || self.times.windows(2).map(|pair| (pair[1] - pair[0]) as f64);
        let count = self.times.len().saturating_sub(1) as f64;
        let mean = distances().sum::<f64>() / count;
        let variance = distances().map(|d| (d - mean) * (d - mean)).sum::<f64>() / count;
        let least = mean + z * variance.sqrt();
        self.found(|distance| distance as f64 > least)
    }

    fn found(&self, is_gap: impl Fn(i64) -> bool) -> Result<ColumnBatch, FunctionError> {
        let pairs = self.times.windows(2).map(|pair| (pair[0], pair[1]));
        let (starts, ends): (Vec<i64>, Vec<i64>) =
            pairs.filter(|(start, end)| is_gap(end - start)).unzip();
        let length = |(start, end): (&i64, &i64)| (end - start) / NANOS_PER_SECOND;
        let lengths: Vec<i64> = starts.iter().zip(&ends).map(length).collect();
        let ends: Vec<i64> = ends
            .iter()
            .map(|end| end.div_euclid(NANOS_PER_SECOND))
            .collect();
        let columns = vec![Column::from_values(ends), Column::from_values(lengths)];
        ColumnBatch::new(self.schema.clone(), Column::from_values(starts), columns)
            .map_err(FunctionError::of)
    }
}
