//! `adjust`: prices and volumes as if today's number of shares had always been.
//!
//! A split of 4 to 1 divides all earlier prices by 4 and multiplies all earlier volumes by 4.
//! Splits and stock dividends are rows of `<Symbol>/1D/ACTIONS`, as MarketStore's `ice` imports
//! them: announcements that later rows may replace or take back.

use std::collections::BTreeMap;

use super::call::{FunctionError, Given, shown};
use super::pipeline::Input;
use crate::batch::{Column, ColumnBatch, Value};
use crate::schema::{ColumnType, Schema};
use crate::time::NANOS_PER_SECOND;

/// `adjust('split','dividend')`: which corporate actions count. Without a literal, both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjust {
    /// Splits and reverse splits.
    pub splits: bool,
    /// Stock dividends.
    pub dividends: bool,
}

impl Adjust {
    pub(super) fn new(given: Given) -> Result<Self, FunctionError> {
        Self::of(&given.literals)
    }

    /// From the literals of a call.
    ///
    /// # Errors
    /// If one is neither `split` nor `dividend`.
    pub fn of(literals: &[String]) -> Result<Self, FunctionError> {
        let mut adjust = Self {
            splits: literals.is_empty(),
            dividends: literals.is_empty(),
        };
        for literal in literals {
            match literal.to_ascii_lowercase().as_str() {
                "split" => adjust.splits = true,
                "dividend" => adjust.dividends = true,
                _ => {
                    let word = shown(literal);
                    let text = format!("adjust('{word}'): use 'split', 'dividend' or both");
                    return Err(FunctionError(text));
                }
            }
        }
        Ok(adjust)
    }
}

/// By what the rows of each time are divided.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// Times of changes, ascending.
    times: Vec<i64>,
    /// The factor before the change of that index; one more behind the last, which is 1.
    factors: Vec<f64>,
}

impl Factors {
    /// From the rows of a bucket of corporate actions.
    ///
    /// # Errors
    /// If a column is missing or of another type.
    pub fn of(actions: &ColumnBatch, which: Adjust) -> Result<Self, FunctionError> {
        let actions = Actions::of(actions)?;
        let mut changes: Vec<(i64, f64)> = actions
            .in_force()
            .filter(|row| actions.counts(*row, which))
            .map(|row| (actions.expires[row], actions.rate(row)))
            .filter(|(_, rate)| rate.is_finite() && *rate > 0.0)
            .collect();
        changes.sort_by_key(|(time, _)| *time);
        let mut factors = vec![1.0; changes.len() + 1];
        for at in (0..changes.len()).rev() {
            factors[at] = factors[at + 1] * changes[at].1;
        }
        let nanos = |seconds: i64| seconds.saturating_mul(NANOS_PER_SECOND);
        Ok(Self {
            times: changes.iter().map(|change| nanos(change.0)).collect(),
            factors,
        })
    }

    /// No change at all.
    pub fn none() -> Self {
        Self {
            times: Vec::new(),
            factors: vec![1.0],
        }
    }

    /// Whether no time has another factor than 1.
    pub fn is_none(&self) -> bool {
        self.times.is_empty()
    }

    /// The product of the rates of all later changes; one that falls on the time itself is past.
    pub fn at(&self, time: i64) -> f64 {
        self.factors[self.times.partition_point(|change| *change <= time)]
    }

    /// The factor of every time.
    pub fn all(&self, times: &[i64]) -> Vec<f64> {
        times.iter().map(|time| self.at(*time)).collect()
    }
}

/// The columns of a bucket of corporate actions that matter.
struct Actions<'a> {
    text: &'a [i64],
    update: &'a [i64],
    delete: &'a [i64],
    kind: &'a [u8],
    status: &'a [u8],
    expires: &'a [i64],
    new_rate: &'a [f64],
    old_rate: &'a [f64],
    rate: &'a [f64],
}

impl<'a> Actions<'a> {
    fn of(rows: &'a ColumnBatch) -> Result<Self, FunctionError> {
        Ok(Self {
            text: values(rows, "TextNumber")?,
            update: values(rows, "UpdateTextNumber")?,
            delete: values(rows, "DeleteTextNumber")?,
            kind: bytes(rows, "NotificationType")?,
            status: bytes(rows, "Status")?,
            expires: values(rows, "ExpirationDate")?,
            new_rate: values(rows, "NewRate")?,
            old_rate: values(rows, "OldRate")?,
            rate: values(rows, "Rate")?,
        })
    }

    /// The rows that no later row has replaced or taken back.
    fn in_force(&self) -> impl Iterator<Item = usize> + use<> {
        let mut by_number = BTreeMap::new();
        for row in 0..self.text.len() {
            match self.status[row] {
                b'N' => {
                    by_number.insert(self.text[row], row);
                }
                b'U' => {
                    by_number.insert(self.update[row], row);
                }
                b'D' => {
                    by_number.remove(&self.delete[row]);
                }
                _ => {}
            }
        }
        by_number.into_values()
    }

    fn counts(&self, row: usize, which: Adjust) -> bool {
        match self.kind[row] {
            b'7' | b'+' => which.splits,
            b'/' => which.dividends,
            _ => false,
        }
    }

    /// New shares for an old one.
    fn rate(&self, row: usize) -> f64 {
        match self.rate[row] {
            rate if rate > 0.0 => rate,
            _ => self.new_rate[row] / self.old_rate[row],
        }
    }
}

fn values<'a, T: Value>(rows: &'a ColumnBatch, name: &str) -> Result<&'a [T], FunctionError> {
    let column = rows.column(name).and_then(Column::values::<T>);
    column.ok_or_else(|| {
        FunctionError(format!(
            "the bucket of corporate actions has no column {name} of type {}",
            T::TYPE.name()
        ))
    })
}

/// A column of characters, which may be signed or not.
fn bytes<'a>(rows: &'a ColumnBatch, name: &str) -> Result<&'a [u8], FunctionError> {
    match rows.column(name) {
        Some(column) if column.ty() == ColumnType::I8 => Ok(column.bytes()),
        _ => values::<u8>(rows, name),
    }
}

/// What the number of shares has to do with a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Money for a share: divided by the factor.
    Price,
    /// Shares: multiplied by the factor.
    Shares,
    /// Neither.
    Other,
}

impl Quantity {
    /// By name and type: volumes and sizes are shares, other floats are prices, the rest is left as
    /// it is.
    pub fn of(name: &str, ty: ColumnType) -> Self {
        let name = name.to_ascii_lowercase();
        match ty {
            ColumnType::Str16 => Self::Other,
            _ if name.contains("volume") || name.ends_with("size") => Self::Shares,
            ColumnType::F32 | ColumnType::F64 => Self::Price,
            _ => Self::Other,
        }
    }
}

/// An adjustment at work.
#[derive(Debug)]
pub(super) struct Running {
    schema: Schema,
    factors: Factors,
}

impl Running {
    pub(super) fn new(
        call: &Adjust,
        input: &Input<'_>,
        actions: Option<&ColumnBatch>,
    ) -> Result<Self, FunctionError> {
        let factors = match actions {
            Some(actions) => Factors::of(actions, *call)?,
            None => Factors::none(),
        };
        let schema = input.schema.clone();
        Ok(Self { schema, factors })
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn push(&mut self, rows: &ColumnBatch) -> Result<ColumnBatch, FunctionError> {
        if self.factors.is_none() {
            return Ok(rows.clone());
        }
        let factors = self.factors.all(rows.times());
        let columns = self.schema.columns().iter().zip(rows.columns());
        let columns = columns
            .map(|(def, column)| adjusted(column, &factors, Quantity::of(&def.name, def.ty)));
        let columns = columns.collect();
        ColumnBatch::new(self.schema.clone(), rows.time_column().clone(), columns)
            .map_err(FunctionError::of)
    }
}

/// Integers are rounded to the nearest; what does not fit becomes the nearest that does.
fn adjusted(column: &Column, factors: &[f64], quantity: Quantity) -> Column {
    macro_rules! by_type {
        ($($ty:ident = $rust:ty, $round:ident);*) => { match column.ty() {
            $(ColumnType::$ty => {
                let values = column.values::<$rust>().unwrap_or_default().iter().zip(factors);
                Column::from_values::<$rust>(match quantity {
                    Quantity::Price => values.map(|(v, f)| $round(*v as f64 / f) as $rust).collect(),
                    _ => values.map(|(v, f)| $round(*v as f64 * f) as $rust).collect(),
                })
            })*
            ColumnType::Str16 => column.clone(),
        } };
    }
    if quantity == Quantity::Other {
        return column.clone();
    }
    by_type!(
        F32 = f32, exact; F64 = f64, exact; I8 = i8, nearest; I16 = i16, nearest;
        I32 = i32, nearest; I64 = i64, nearest; U8 = u8, nearest; U16 = u16, nearest;
        U32 = u32, nearest; U64 = u64, nearest
    )
}

fn exact(value: f64) -> f64 {
    value
}

fn nearest(value: f64) -> f64 {
    value.round()
}
