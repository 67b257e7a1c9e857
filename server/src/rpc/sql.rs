//! SQL in `DataService.Query`, in MarketStore's shape: one bucket named like the statement, times in
//! seconds, columns by their NumPy codes. The rows go through `sql`, batch by batch.

use std::borrow::Cow;

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
    columns: Vec<Collected>,
    rows: usize,
    /// Bytes of the room of results that are taken.
    taken: u64,
}

/// A column as it grows.
struct Collected {
    name: String,
    values: Values,
}

enum Values {
    Texts(Texts),
    Others(ColumnType, ColumnData),
}

impl Assembly {
    fn new(schema: &Schema) -> Result<Self, Failure> {
        let mut columns: Vec<Collected> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let ty = reply_type(field.data_type()).ok_or_else(|| {
                format!(
                    "column \"{}\" is {}, which has no type on this wire; CAST it",
                    field.name(),
                    field.data_type()
                )
            })?;
            let is_free = |name: &str| columns.iter().all(|c| c.name != name);
            columns.push(Collected {
                name: unique(field.name(), is_free),
                values: match ty {
                    ColumnType::Str16 => Values::Texts(Texts::default()),
                    ty => Values::Others(ty, ColumnData::default()),
                },
            });
        }
        Ok(Self {
            columns,
            rows: 0,
            taken: 0,
        })
    }

    fn row_bytes(&self) -> u64 {
        let bytes = self.columns.iter().map(|column| match &column.values {
            Values::Texts(texts) => 4 * texts.width(),
            Values::Others(ty, _) => ty.size(),
        });
        bytes.sum::<usize>() as u64
    }

    fn add(&mut self, batch: &RecordBatch, app: &App, held: &mut Held) -> Result<(), Failure> {
        self.rows += batch.num_rows();
        for (array, column) in batch.columns().iter().zip(&mut self.columns) {
            match &mut column.values {
                Values::Texts(texts) => texts.add(array)?,
                Values::Others(ty, data) => data.push(values(array, *ty)?.bytes()),
            }
        }
        self.take_room(app, held)
    }

    fn take_room(&mut self, app: &App, held: &mut Held) -> Result<(), Failure> {
        let limits = app.limits();
        let bytes = (self.rows as u64).saturating_mul(self.row_bytes());
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
        let mut reply = DatasetReply {
            length: self.rows,
            slices: vec![(key(text), 0, self.rows)],
            ..DatasetReply::default()
        };
        for column in self.columns {
            let (code, data) = match column.values {
                Values::Texts(texts) => (texts.code(), texts.data()),
                Values::Others(ty, data) => (reply_code(ty).into(), data),
            };
            reply.types.push(code);
            reply.names.push(column.name);
            reply.data.push(data);
        }
        reply
    }
}

/// Characters of a text on MarketStore's wire.
const WIDTH: usize = 16;

/// The texts of a column. On the wire all have the width of the longest one, which NumPy reads
/// whatever it is; MarketStore's own clients know that of [`WIDTH`], so that is the least.
#[derive(Default)]
struct Texts {
    joined: String,
    /// Where each text ends.
    ends: Vec<usize>,
    longest: usize,
}

impl Texts {
    fn add(&mut self, array: &ArrayRef) -> Result<(), Failure> {
        let texts = cast(array, &DataType::Utf8).map_err(|e| Failure::from(e.to_string()))?;
        for text in texts.as_string::<i32>() {
            let text = text.unwrap_or_default();
            self.longest = self.longest.max(text.chars().count());
            self.joined.push_str(text);
            self.ends.push(self.joined.len());
        }
        Ok(())
    }

    fn width(&self) -> usize {
        self.longest.max(WIDTH)
    }

    fn code(&self) -> Cow<'static, str> {
        match self.width() {
            WIDTH => reply_code(ColumnType::Str16).into(),
            width => format!("U{width}").into(),
        }
    }

    fn data(&self) -> ColumnData {
        let width = 4 * self.width();
        let mut bytes = Vec::with_capacity(width * self.ends.len());
        let mut start = 0;
        for (row, end) in self.ends.iter().enumerate() {
            let text = self.joined[start..*end].chars();
            text.for_each(|c| bytes.extend_from_slice(&u32::from(c).to_le_bytes()));
            bytes.resize(width * (row + 1), 0);
            start = *end;
        }
        let mut data = ColumnData::default();
        data.push(&bytes.into());
        data
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
fn unique(name: &str, is_free: impl Fn(&str) -> bool) -> String {
    if is_free(name) {
        return name.to_owned();
    }
    let mut numbered = (0..).map(|n| format!("{name}{n}"));
    let free = numbered.find(|name| is_free(name));
    free.unwrap_or_else(|| name.to_owned())
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

/// The values of a column that is no text. Missing ones are NaN or 0: the wire knows no other.
fn values(array: &ArrayRef, ty: ColumnType) -> Result<Column, Failure> {
    let failed = |what: String| Failure::from(what);
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
        assert_eq!(unique("Epoch", |name| name != "Epoch"), "Epoch0");
    }
    #[test]
    fn texts_are_as_wide_as_the_longest_and_none_is_cut() {
        use sql::datafusion::arrow::array::StringArray;
        let column = |texts: &[Option<&str>]| {
            let mut column = Texts::default();
            let array: ArrayRef = std::sync::Arc::new(StringArray::from(texts.to_vec()));
            column.add(&array).expect("texts");
            (column.code(), column.data().into_bytes())
        };
        let wire = |text: &str, width: usize| {
            let mut bytes: Vec<u8> = text
                .chars()
                .flat_map(|c| u32::from(c).to_le_bytes())
                .collect();
            bytes.resize(4 * width, 0);
            bytes
        };
        let (code, bytes) = column(&[Some("a\u{1F600}"), None]);
        assert_eq!(code, "U16");
        assert_eq!(bytes[..], [wire("a\u{1F600}", 16), wire("", 16)].concat());
        let long = "seventeen letters";
        let (code, bytes) = column(&[Some("a"), Some(long)]);
        assert_eq!(code, "U17");
        assert_eq!(bytes[..], [wire("a", 17), wire(long, 17)].concat());
    }
}
