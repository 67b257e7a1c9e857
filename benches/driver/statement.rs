//! Statements of SQL: the time is that of planning and of all batches.

use std::time::Duration;

use model::Column;
use sql::datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use sql::datafusion::arrow::compute::{cast, concat_batches};
use sql::datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use sql::{Caller, Nothing, Options, Sql};

use crate::Result;
use crate::answer::{Answer, checksum};
use crate::request::Repeat;
use crate::session::Open;

impl Open {
    /// Runs a statement as a door does, and sums what it gives.
    pub(super) fn sql(&self, text: &str, threads: usize, repeat: Repeat) -> Result<Answer> {
        let options = Options {
            threads,
            time: Duration::from_secs(600),
            ..Options::default()
        };
        let sql = Sql::new(self.engine.clone(), std::sync::Arc::new(Nothing), options)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let caller = Caller::anyone();
        let (times, (schema, batches)) = repeat.time(|| {
            runtime.block_on(async {
                let rows = sql.run(text, &caller).await?;
                let schema = rows.schema();
                Ok((schema, rows.collect().await?))
            })
        })?;
        let columns = columns(&schema, &batches)?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let sum = format!("{:016x}", checksum(&columns)?);
        Ok(Answer::timed(times)
            .with("rows", rows)
            .with("batches", batches.len())
            .with("sum", sum))
    }
}

/// Times as whole numbers, all else as f64 with NaN for what is missing.
fn columns(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Column>> {
    let whole = concat_batches(schema, batches)?;
    let column = |array: &ArrayRef| -> Result<Column> {
        Ok(match array.data_type() {
            DataType::Timestamp(..) => {
                let times = cast(array, &DataType::Int64)?;
                Column::from_values(times.as_primitive::<Int64Type>().values().to_vec())
            }
            _ => {
                let values = cast(array, &DataType::Float64)?;
                let values = values.as_primitive::<Float64Type>();
                Column::from_values(
                    values
                        .iter()
                        .map(|v| v.unwrap_or(f64::NAN))
                        .collect::<Vec<f64>>(),
                )
            }
        })
    };
    whole.columns().iter().map(column).collect()
}
