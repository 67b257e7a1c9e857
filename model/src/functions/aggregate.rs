//! `count`, `min`, `max` and `avg`: one row over everything.

use super::call::FunctionError;
use super::pipeline::Place;
use crate::batch::{BatchBuilder, Column, ColumnBatch};
use crate::candle::{Aggregation, Windows, roll_up};
use crate::schema::{ColumnDef, ColumnType, Schema};

/// How all values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// The number of rows.
    Count,
    /// The smallest value, of the type of the column; NaN or 0 if there is no row.
    Min,
    /// The largest value, of the type of the column; NaN or 0 if there is no row.
    Max,
    /// The mean, in 64-bit floats; NaN if there is no row.
    Avg,
}

/// `count(*)`, `min(Low)`, ...
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// What becomes of the values.
    pub how: Reduce,
    /// The column; `*` is `Epoch`.
    pub column: String,
}

impl Reduce {
    /// Name of the column of the result.
    pub fn output(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Min => "Min",
            Self::Max => "Max",
            Self::Avg => "Avg",
        }
    }
}

/// An aggregate at work.
#[derive(Debug)]
pub(super) struct Running {
    how: Reduce,
    place: Place,
    schema: Schema,
    rows: u64,
    /// The value of all rows so far: one row.
    so_far: Option<Column>,
}

impl Running {
    pub(super) fn new(
        call: &Aggregate,
        input: &super::pipeline::Input<'_>,
    ) -> Result<Self, FunctionError> {
        let (place, ty) = input.find(&call.column)?;
        let out = match call.how {
            Reduce::Count => ColumnType::I64,
            Reduce::Avg => ColumnType::F64,
            Reduce::Min | Reduce::Max => ty,
        };
        if ty == ColumnType::Str16 && call.how != Reduce::Count {
            let name = call.how.output().to_lowercase();
            return Err(FunctionError(format!(
                "{name} of column {}, which is text",
                call.column
            )));
        }
        let schema = Schema::new(vec![ColumnDef::new(call.how.output(), out)]);
        Ok(Self {
            how: call.how,
            place,
            schema: schema.expect("one column with a name"),
            rows: 0,
            so_far: None,
        })
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn push(&mut self, rows: &ColumnBatch) -> Result<(), FunctionError> {
        self.rows += rows.rows() as u64;
        if rows.is_empty() || self.how == Reduce::Count {
            return Ok(());
        }
        let mut column = self.place.of(rows);
        let how = match self.how {
            Reduce::Min => Aggregation::Min,
            Reduce::Max => Aggregation::Max,
            Reduce::Count | Reduce::Avg => {
                column = column.cast(ColumnType::F64).map_err(FunctionError::of)?;
                Aggregation::Sum
            }
        };
        let piece = whole(&column, how);
        self.so_far = Some(match self.so_far.take() {
            None => piece,
            Some(before) => whole(&join(&before, &piece)?, how),
        });
        Ok(())
    }

    pub(super) fn finish(self, now: i64) -> Result<ColumnBatch, FunctionError> {
        let ty = self.schema.columns()[0].ty;
        let value = match (self.how, self.so_far) {
            (Reduce::Count, _) => {
                Column::from_values(vec![i64::try_from(self.rows).unwrap_or(i64::MAX)])
            }
            (_, None) => Column::absent(ty, 1),
            (Reduce::Avg, Some(sum)) => {
                let sum = sum.values::<f64>().map_or(f64::NAN, |sum| sum[0]);
                Column::from_values(vec![sum / self.rows as f64])
            }
            (Reduce::Min | Reduce::Max, Some(value)) => value,
        };
        let times = Column::from_values(vec![now]);
        ColumnBatch::new(self.schema, times, vec![value]).map_err(FunctionError::of)
    }
}

/// All rows of a column as one value.
fn whole(column: &Column, how: Aggregation) -> Column {
    let window = Windows {
        starts: vec![0],
        ends: vec![column.len() as u32],
    };
    roll_up(column, &window, how).column
}

fn join(a: &Column, b: &Column) -> Result<Column, FunctionError> {
    let schema = Schema::new(vec![ColumnDef::new("v", a.ty())]).expect("one column with a name");
    let mut rows = BatchBuilder::new(schema.clone(), a.len() + b.len());
    for column in [a, b] {
        let times = Column::from_values(vec![0_i64; column.len()]);
        ColumnBatch::new(schema.clone(), times, vec![column.clone()])
            .and_then(|batch| rows.append(&batch))
            .map_err(FunctionError::of)?;
    }
    Ok(rows.finish().columns()[0].clone())
}
