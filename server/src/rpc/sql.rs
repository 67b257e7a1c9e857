//! SQL in `DataService.Query`, in MarketStore's shape: one bucket named like the statement, times in
//! seconds, columns by their NumPy codes. The rows go through `sql`, batch by batch.

use client::wire::{ColumnData, DatasetReply, reply_code};
use model::{Column, ColumnType, NANOS_PER_SECOND};
use sql::datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use sql::datafusion::arrow::compute::cast;
use sql::datafusion::arrow::datatypes::{DataType, Schema, TimeUnit, TimestampNanosecondType};
use tokio_stream::StreamExt;

use super::Failure;
use crate::auth::Caller;
use crate::http::App;
use crate::room::Held;

/// Bytes of the room of results that are taken at once.
const ROOM_BYTES: u64 = 64 << 10;

/// Answers one statement.
pub(super) fn run(
    app: &App,
    caller: &Caller,
    text: &str,
    held: &mut Held,
) -> Result<DatasetReply, Failure> {
    let Some(sql) = &app.sql else {
        return Err("SQL is switched off (sql.enabled)".to_owned().into());
    };
    let caller = sql::Caller {
        dialect: sql::Dialect::MarketStore,
        ..crate::sql::caller(caller, false, None)
    };
    // This thread is one that may block, not one that drives sockets.
    tokio::runtime::Handle::current().block_on(async {
        let mut rows = sql.run(text, &caller).await.map_err(failure)?;
        let mut result = Assembly::new(&rows.schema())?;
        while let Some(batch) = rows.next().await {
            result.add(&batch.map_err(failure)?, app, held)?;
        }
        Ok(result.finish(text))
    })
}

fn failure(error: sql::Error) -> Failure {
    Failure {
        text: error.to_string(),
        denied: error.kind == sql::ErrorKind::Denied,
    }
}

/// The result as it grows.
struct Assembly {
    names: Vec<String>,
    /// What each column is in the reply.
    types: Vec<ColumnType>,
    data: Vec<ColumnData>,
    rows: usize,
    row_bytes: u64,
    /// Bytes of the room of results that are taken.
    taken: u64,
}

impl Assembly {
    fn new(schema: &Schema) -> Result<Self, Failure> {
        let mut names: Vec<String> = Vec::with_capacity(schema.fields().len());
        let mut types = Vec::with_capacity(names.capacity());
        for field in schema.fields() {
            let ty = reply_type(field.data_type()).ok_or_else(|| {
                format!(
                    "column \"{}\" is {}, which has no type on this wire; CAST it",
                    field.name(),
                    field.data_type()
                )
            })?;
            types.push(ty);
            names.push(unique(field.name(), &names));
        }
        Ok(Self {
            data: std::iter::repeat_with(ColumnData::default)
                .take(types.len())
                .collect(),
            row_bytes: types.iter().map(|ty| ty.size() as u64).sum(),
            names,
            types,
            rows: 0,
            taken: 0,
        })
    }

    fn add(&mut self, batch: &RecordBatch, app: &App, held: &mut Held) -> Result<(), Failure> {
        self.rows += batch.num_rows();
        self.take_room(app, held)?;
        for ((array, ty), data) in batch.columns().iter().zip(&self.types).zip(&mut self.data) {
            data.push(values(array, *ty)?.bytes());
        }
        Ok(())
    }

    fn take_room(&mut self, app: &App, held: &mut Held) -> Result<(), Failure> {
        let limits = app.limits();
        let bytes = self.rows as u64 * self.row_bytes;
        if self.rows as u64 > limits.result_rows {
            return Err(format!(
                "the result has more than {} rows (limits.result_rows); use LIMIT",
                limits.result_rows
            )
            .into());
        }
        if bytes > limits.result_bytes {
            return Err(format!(
                "the result has more than {} bytes (limits.result_bytes); use LIMIT",
                limits.result_bytes
            )
            .into());
        }
        if bytes <= self.taken {
            return Ok(());
        }
        let more = (bytes - self.taken).next_multiple_of(ROOM_BYTES);
        let Some(part) = app.results.take(more) else {
            metrics::counter!("mkts_rejected_total", "reason" => "results").increment(1);
            return Err(format!(
                "the results under way together have more than {} bytes (limits.results_bytes); \
                 try again later or ask for fewer rows",
                limits.results_bytes
            )
            .into());
        };
        held.merge(part);
        self.taken += more;
        Ok(())
    }

    fn finish(self, text: &str) -> DatasetReply {
        DatasetReply {
            types: self.types.iter().map(|ty| reply_code(*ty)).collect(),
            names: self.names,
            data: self.data,
            length: self.rows,
            slices: vec![(key(text), 0, self.rows)],
        }
    }
}

/// MarketStore takes the statement with `:SQL` behind it for a key: what stands before the first colon
/// are the items, what stands before the second the categories.
fn key(text: &str) -> String {
    let whole = format!("{text}:SQL");
    let mut parts = whole.split(':');
    let items = parts.next().unwrap_or_default();
    match parts.next() {
        Some(categories) if !categories.is_empty() => format!("{items}:{categories}"),
        _ => format!("{items}:Symbol/Timeframe/AttributeGroup"),
    }
}

/// Two columns of one name cannot be told apart by clients.
fn unique(name: &str, before: &[String]) -> String {
    if !before.iter().any(|other| other == name) {
        return name.to_owned();
    }
    let numbered = (0..).map(|n| format!("{name}{n}"));
    let mut free = numbered.filter(|name| !before.contains(name));
    free.next().unwrap_or_else(|| name.to_owned())
}

fn reply_type(ty: &DataType) -> Option<ColumnType> {
    Some(match ty {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Duration(_) => {
            ColumnType::I64
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Null => ColumnType::F64,
        DataType::Dictionary(_, values) => reply_type(values)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Str16,
        DataType::Float16 => ColumnType::F32,
        DataType::Boolean => ColumnType::U8,
        _ => arrow_batch::column_type(ty, arrow_batch::ValueRules::default()).ok()?,
    })
}

/// The values of a column. Missing ones are NaN, 0 or empty: the wire knows no other.
fn values(array: &ArrayRef, ty: ColumnType) -> Result<Column, Failure> {
    let failed = |what: String| Failure::from(what);
    if ty == ColumnType::Str16 {
        let texts = cast(array, &DataType::Utf8).map_err(|e| failed(e.to_string()))?;
        let texts = texts.as_string::<i32>().iter();
        let texts = texts.map(|text| {
            let mut value = [0_u32; 16];
            let characters = text.unwrap_or_default().chars().map(u32::from);
            // Longer ones are cut, as the wire's texts have 16 characters.
            value
                .iter_mut()
                .zip(characters)
                .for_each(|(slot, c)| *slot = c);
            value
        });
        return Ok(Column::from_values(texts.collect::<Vec<_>>()));
    }
    if ty == ColumnType::I64 && !array.data_type().is_integer() {
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let times = match array.data_type() {
            DataType::Duration(_) => cast(array, &DataType::Int64),
            _ => cast(array, &nanoseconds),
        };
        let times = times.map_err(|e| failed(e.to_string()))?;
        if let Some(times) = times.as_primitive_opt::<TimestampNanosecondType>() {
            let seconds = times
                .iter()
                .map(|t| t.unwrap_or(0).div_euclid(NANOS_PER_SECOND));
            return Ok(Column::from_values(seconds.collect::<Vec<i64>>()));
        }
        return taken(&times);
    }
    match array.data_type() {
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Null => {
            taken(&cast(array, &DataType::Float64).map_err(|e| failed(e.to_string()))?)
        }
        _ => taken(array),
    }
}

fn taken(array: &ArrayRef) -> Result<Column, Failure> {
    let rules = arrow_batch::ValueRules {
        nulls_zero: true,
        decimals: true,
    };
    let column = arrow_batch::column(array.as_ref(), rules);
    column.map_err(|bad| Failure::from(bad.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_as_marketstore_cuts_them() {
        for (text, wanted) in [
            ("SELECT 1;", "SELECT 1;:SQL"),
            ("SELECT '10:30';", "SELECT '10:30';"),
            ("a::b", "a:Symbol/Timeframe/AttributeGroup"),
        ] {
            assert_eq!(key(text), wanted);
        }
        assert_eq!(unique("Epoch", &["Epoch".to_owned()]), "Epoch0");
    }
}
