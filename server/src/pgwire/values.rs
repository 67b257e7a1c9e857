//! Arrow's types and values as PostgreSQL's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, TimeUnit, TimestampMicrosecondType, UInt32Type,
};
use bytes::{BufMut, Bytes, BytesMut};
use pg_catalog::TYPE_KEY;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::data::DataRow;

use super::{arrays, numeric};
use crate::sql::cells::{Cells, Style, plain};

/// The type that clients are told. What has none is text.
pub(super) fn pg_type(ty: &DataType) -> Type {
    match ty {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 => Type::INT8,
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Dictionary(_, values) => pg_type(values),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            arrays::of(&pg_type(of.data_type()))
        }
        _ => Type::TEXT,
    }
}

/// The type of a column; the catalog has some that Arrow has not.
fn column_type(field: &Field) -> Type {
    match field.metadata().get(TYPE_KEY).map(String::as_str) {
        Some("oid") => Type::OID,
        Some("name") => Type::NAME,
        Some("char") => Type::CHAR,
        _ => pg_type(field.data_type()),
    }
}

/// The type that a parameter of PostgreSQL's type becomes.
pub(super) fn arrow_type(ty: &Type) -> Option<DataType> {
    Some(match *ty {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Nanosecond, None),
        Type::DATE => DataType::Date32,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => DataType::Utf8,
        ref array => {
            let of = arrays::element(array)?;
            DataType::new_list(arrow_type(&of)?, true)
        }
    })
}

/// Bytes of a value, or -1.
fn size(ty: &Type) -> i16 {
    match *ty {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        _ => -1,
    }
}

/// The columns of a result in the formats asked for.
pub(super) fn fields(schema: &SchemaRef, format: &Format) -> Vec<FieldInfo> {
    let count = schema.fields().len();
    let field = |(at, field): (usize, &arrow::datatypes::FieldRef)| {
        let ty = column_type(field);
        // As many formats as the client sent; the rest is text.
        let format = match format {
            Format::Individual(codes) if codes.len() < count && at >= codes.len() => {
                FieldFormat::Text
            }
            format => format.format_for(at),
        };
        let size = size(&ty);
        let name = pg_catalog::visible(field.name()).to_owned();
        FieldInfo::new(name, None, None, ty, format).with_type_size(size)
    };
    schema.fields().iter().enumerate().map(field).collect()
}

pub(super) type Put<'a> = Box<dyn Fn(usize, &mut BytesMut) + 'a>;

/// One column, ready to be written value by value.
pub(super) struct Column<'a> {
    array: &'a ArrayRef,
    pub(super) put: Put<'a>,
}

/// The rows of a batch as messages.
pub(super) fn rows(batch: &RecordBatch, fields: &Arc<Vec<FieldInfo>>) -> Vec<DataRow> {
    let arrays = prepared(batch, fields);
    let columns: Vec<Column<'_>> = arrays
        .iter()
        .zip(fields.iter())
        .map(|(array, field)| typed(array, field, field.format() == FieldFormat::Binary))
        .collect();
    let mut buffer = BytesMut::with_capacity(batch.num_rows() * columns.len() * 16);
    let count = i16::try_from(columns.len()).unwrap_or(i16::MAX);
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        for column in &columns {
            field(column, row, &mut buffer);
        }
        rows.push(DataRow::new(buffer.split(), count));
    }
    rows
}

/// The rows of a batch as `COPY` sends them, text or binary: each by itself, as clients expect. What
/// is in `out` goes before the first.
pub(super) fn copied(
    batch: &RecordBatch,
    fields: &Arc<Vec<FieldInfo>>,
    binary: bool,
    out: &mut BytesMut,
) -> Vec<Bytes> {
    let arrays = prepared(batch, fields);
    let columns: Vec<Column<'_>> = arrays
        .iter()
        .zip(fields.iter())
        .map(|(array, field)| typed(array, field, binary))
        .collect();
    out.reserve(batch.num_rows() * columns.len() * 12);
    let mut rows = Vec::with_capacity(batch.num_rows());
    let count = i16::try_from(columns.len()).unwrap_or(i16::MAX);
    let mut text = BytesMut::new();
    for row in 0..batch.num_rows() {
        if binary {
            out.put_i16(count);
            columns.iter().for_each(|column| field(column, row, out));
            rows.push(out.split().freeze());
            continue;
        }
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.put_u8(b'\t');
            }
            if column.array.is_null(row) {
                out.put_slice(b"\\N");
                continue;
            }
            text.clear();
            (column.put)(row, &mut text);
            for byte in &text {
                match byte {
                    b'\n' => out.put_slice(b"\\n"),
                    b'\r' => out.put_slice(b"\\r"),
                    b'\t' => out.put_slice(b"\\t"),
                    b'\\' => out.put_slice(b"\\\\"),
                    byte => out.put_u8(*byte),
                }
            }
        }
        out.put_u8(b'\n');
        rows.push(out.split().freeze());
    }
    rows
}

/// A length and a value; a length of -1 is a missing one.
pub(super) fn field(column: &Column<'_>, row: usize, out: &mut BytesMut) {
    if column.array.is_null(row) {
        out.put_i32(-1);
        return;
    }
    let at = out.len();
    out.put_i32(0);
    (column.put)(row, out);
    let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// The columns in the widths that PostgreSQL has.
fn prepared(batch: &RecordBatch, fields: &Arc<Vec<FieldInfo>>) -> Vec<ArrayRef> {
    let pairs = batch.columns().iter().zip(fields.iter());
    pairs
        .map(|(array, field)| widened(array, field.datatype()))
        .collect()
}

pub(super) fn widened(array: &ArrayRef, ty: &Type) -> ArrayRef {
    let array = plain(array);
    if let DataType::LargeList(of) | DataType::FixedSizeList(of, _) = array.data_type() {
        let list = DataType::List(of.clone());
        return cast(&array, &list).unwrap_or(array);
    }
    let wanted = match *ty {
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::OID => DataType::UInt32,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::NUMERIC => DataType::Utf8,
        _ => return array,
    };
    // Each is a wider type, so no value is lost; times lose their nanoseconds.
    cast(&array, &wanted).unwrap_or(array)
}

/// Between 1970, where we count from, and 2000, where PostgreSQL does.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

fn typed<'a>(array: &'a ArrayRef, field: &FieldInfo, binary: bool) -> Column<'a> {
    match (field.datatype() == &Type::NUMERIC, binary) {
        (true, true) => numbers(array),
        _ => column(array, binary),
    }
}

/// Decimal numbers, as text in the array, in binary.
pub(super) fn numbers(array: &ArrayRef) -> Column<'_> {
    let values = array.as_string::<i32>();
    let put: Put<'_> = Box::new(move |row, out| numeric::put(values.value(row), out));
    Column { array, put }
}

pub(super) fn column(array: &ArrayRef, binary: bool) -> Column<'_> {
    let put: Put<'_> = match (array.data_type(), binary) {
        (DataType::List(_), binary) => arrays::put(array.as_list(), binary),
        (DataType::UInt32, true) => {
            let values = array.as_primitive::<UInt32Type>();
            Box::new(move |row, out| out.put_u32(values.value(row)))
        }
        (DataType::Boolean, true) => {
            let values = array.as_boolean();
            Box::new(move |row, out| out.put_u8(u8::from(values.value(row))))
        }
        (DataType::Int16, true) => {
            let values = array.as_primitive::<Int16Type>();
            Box::new(move |row, out| out.put_i16(values.value(row)))
        }
        (DataType::Int32, true) => {
            let values = array.as_primitive::<Int32Type>();
            Box::new(move |row, out| out.put_i32(values.value(row)))
        }
        (DataType::Int64, true) => {
            let values = array.as_primitive::<Int64Type>();
            Box::new(move |row, out| out.put_i64(values.value(row)))
        }
        (DataType::Float32, true) => {
            let values = array.as_primitive::<Float32Type>();
            Box::new(move |row, out| out.put_f32(values.value(row)))
        }
        (DataType::Float64, true) => {
            let values = array.as_primitive::<Float64Type>();
            Box::new(move |row, out| out.put_f64(values.value(row)))
        }
        (DataType::Date32, true) => {
            let values = array.as_primitive::<Date32Type>();
            Box::new(move |row, out| out.put_i32(values.value(row).saturating_sub(EPOCH_DAYS)))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), true) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |row, out| out.put_i64(values.value(row).saturating_sub(EPOCH_MICROS)))
        }
        _ => {
            let cells = Cells::new(array.as_ref(), Style::Postgres);
            // Every text is written through one vector, which keeps its memory.
            let text = std::cell::RefCell::new(Vec::new());
            return Column {
                array,
                put: boxed_text(cells, text),
            };
        }
    };
    Column { array, put }
}

fn boxed_text<'a>(cells: Cells<'a>, text: std::cell::RefCell<Vec<u8>>) -> Put<'a> {
    Box::new(move |row, out| {
        let mut text = text.borrow_mut();
        text.clear();
        cells.write(row, &mut text);
        out.put_slice(&text);
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int8Array, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn batch() -> RecordBatch {
        let fields = vec![
            Field::new(
                "t",
                DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                false,
            ),
            Field::new("n", DataType::Int8, true),
            Field::new("f", DataType::Float64, false),
            Field::new("s", DataType::Utf8, true),
        ];
        let times = TimestampNanosecondArray::from(vec![946_684_800_000_001_000, 0]);
        RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            vec![
                Arc::new(times.with_timezone("UTC")),
                Arc::new(Int8Array::from(vec![Some(-1), None])),
                Arc::new(Float64Array::from(vec![1.5, f64::NAN])),
                Arc::new(StringArray::from(vec![Some("a\tb"), None])),
            ],
        )
        .unwrap()
    }

    #[test]
    fn values_have_their_length_in_front() {
        let batch = batch();
        let binary = Arc::new(fields(&batch.schema(), &Format::UnifiedBinary));
        let types: Vec<Type> = binary.iter().map(|f| f.datatype().clone()).collect();
        assert_eq!(
            types,
            [Type::TIMESTAMPTZ, Type::INT2, Type::FLOAT8, Type::TEXT]
        );
        let found = rows(&batch, &binary);
        let mut wanted = BytesMut::new();
        wanted.put_i32(8);
        wanted.put_i64(1);
        wanted.put_i32(2);
        wanted.put_i16(-1);
        wanted.put_i32(8);
        wanted.put_f64(1.5);
        wanted.put_i32(3);
        wanted.put_slice(b"a\tb");
        assert_eq!(found[0].data, wanted);
        let text = Arc::new(fields(&batch.schema(), &Format::UnifiedText));
        let found = rows(&batch, &text);
        let mut wanted = BytesMut::new();
        wanted.put_i32(22);
        wanted.put_slice(b"1970-01-01 00:00:00+00");
        wanted.put_i32(-1);
        wanted.put_i32(3);
        wanted.put_slice(b"NaN");
        wanted.put_i32(-1);
        assert_eq!(found[1].data, wanted);
        assert_eq!(
            copied(&batch, &text, false, &mut BytesMut::new()),
            [
                &b"2000-01-01 00:00:00.000001+00\t-1\t1.5\ta\\tb\n"[..],
                b"1970-01-01 00:00:00+00\t\\N\tNaN\t\\N\n"
            ]
        );
    }
}
