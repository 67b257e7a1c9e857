//! Our columns as Arrow's, and back.
//!
//! Buffers are adopted, not copied, wherever type and alignment allow: a [`Column`] is aligned bytes
//! with an owner, and so is an Arrow buffer. Copies are left for text, missing values and times that
//! are not nanoseconds.
#![forbid(unsafe_code)]

mod times;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, PrimitiveArray, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use bytes::Bytes;
use model::{BucketKey, Column, ColumnBatch, ColumnType, Schema, Value};

pub use times::{TimeRules, is_time, times};

/// Name of the time column.
pub const EPOCH: &str = "Epoch";

/// The columns in front of the rows of several buckets.
pub const KEY_COLUMNS: [&str; 3] = ["symbol", "timeframe", "attribute_group"];

/// The Arrow schema of rows: the columns of the key if `keyed`, the time, the columns.
pub fn schema(columns: &Schema, keyed: bool, metadata: HashMap<String, String>) -> SchemaRef {
    let mut fields = Vec::with_capacity(columns.len() + 4);
    if keyed {
        fields.extend(KEY_COLUMNS.map(|name| Field::new(name, DataType::Utf8, false)));
    }
    let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    fields.push(Field::new(EPOCH, nanoseconds, false));
    let column = |c: &model::ColumnDef| Field::new(&c.name, data_type(c.ty), false);
    fields.extend(columns.columns().iter().map(column));
    Arc::new(arrow_schema::Schema::new_with_metadata(fields, metadata))
}

/// The type of a column of ours.
pub fn data_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::F32 => DataType::Float32,
        ColumnType::F64 => DataType::Float64,
        ColumnType::I8 => DataType::Int8,
        ColumnType::I16 => DataType::Int16,
        ColumnType::I32 => DataType::Int32,
        ColumnType::I64 => DataType::Int64,
        ColumnType::U8 => DataType::UInt8,
        ColumnType::U16 => DataType::UInt16,
        ColumnType::U32 => DataType::UInt32,
        ColumnType::U64 => DataType::UInt64,
        ColumnType::Str16 => DataType::Utf8,
    }
}

/// Rows as a record batch of a schema made by [`schema`]; `key` fills the columns of the key.
///
/// # Errors
/// If a text is none: a code point of it does not exist.
pub fn record_batch(
    schema: &SchemaRef,
    key: Option<&BucketKey>,
    batch: &ColumnBatch,
) -> Result<RecordBatch, String> {
    let rows = batch.rows();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    if let Some(key) = key {
        for item in [key.symbol(), key.timeframe(), key.attribute_group()] {
            let items = std::iter::repeat_n(item, rows);
            arrays.push(Arc::new(StringArray::from_iter_values(items)));
        }
    }
    arrays.push(Arc::new(time_array(batch)));
    for (def, column) in batch.schema().columns().iter().zip(batch.columns()) {
        arrays.push(array(column).map_err(|what| format!("column \"{}\": {what}", def.name))?);
    }
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(|error| error.to_string())
}

/// The times of rows, without a copy.
pub fn time_array(batch: &ColumnBatch) -> TimestampNanosecondArray {
    TimestampNanosecondArray::new(shared(batch.time_column()), None).with_timezone("UTC")
}

/// A column as an Arrow array, without a copy but for texts.
///
/// # Errors
/// If a text is none: a code point of it does not exist.
pub fn array(column: &Column) -> Result<ArrayRef, String> {
    fn of<T: ArrowPrimitiveType>(column: &Column) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(shared(column), None))
    }
    Ok(match column.ty() {
        ColumnType::F32 => of::<Float32Type>(column),
        ColumnType::F64 => of::<Float64Type>(column),
        ColumnType::I8 => of::<Int8Type>(column),
        ColumnType::I16 => of::<Int16Type>(column),
        ColumnType::I32 => of::<Int32Type>(column),
        ColumnType::I64 => of::<Int64Type>(column),
        ColumnType::U8 => of::<UInt8Type>(column),
        ColumnType::U16 => of::<UInt16Type>(column),
        ColumnType::U32 => of::<UInt32Type>(column),
        ColumnType::U64 => of::<UInt64Type>(column),
        ColumnType::Str16 => text_array(column)?,
    })
}

/// The bytes of a column without a copy.
fn shared<T: arrow_buffer::ArrowNativeType>(column: &Column) -> ScalarBuffer<T> {
    // The address of no bytes is not aligned.
    if column.is_empty() {
        return ScalarBuffer::from(Vec::new());
    }
    ScalarBuffer::new(Buffer::from(column.bytes().clone()), 0, column.len())
}

fn text_array(column: &Column) -> Result<ArrayRef, String> {
    let values: &[[u32; 16]] = column.values().unwrap_or_default();
    let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 4);
    let mut text = String::new();
    for (row, value) in values.iter().enumerate() {
        text.clear();
        push_text(value, &mut text).map_err(|what| format!("row {}: {what}", row + 1))?;
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// Appends the text of a value: its code points up to the zeros at its end.
///
/// # Errors
/// If a number is no code point.
pub fn push_text(value: &[u32; 16], out: &mut String) -> Result<(), String> {
    let end = value.iter().rposition(|c| *c != 0).map_or(0, |at| at + 1);
    for code in &value[..end] {
        let c = char::from_u32(*code).ok_or_else(|| format!("{code:#x} is no character"))?;
        out.push(c);
    }
    Ok(())
}

/// What to do with values that have no equal here.
#[derive(Debug, Clone, Copy, Default)]
pub struct ValueRules {
    /// Missing integers and texts are 0 and empty; else they are an error.
    pub nulls_zero: bool,
    /// Decimal numbers become f64.
    pub decimals: bool,
}

/// A value that cannot be taken: its row in the array, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct BadValue {
    /// Its position.
    pub row: usize,
    /// Why.
    pub what: String,
}

/// The type of ours that holds every value of an Arrow type.
///
/// # Errors
/// Why there is none.
pub fn column_type(ty: &DataType, rules: ValueRules) -> Result<ColumnType, String> {
    Ok(match ty {
        DataType::Float16 | DataType::Float32 => ColumnType::F32,
        DataType::Float64 => ColumnType::F64,
        DataType::Int8 => ColumnType::I8,
        DataType::Int16 => ColumnType::I16,
        DataType::Int32 => ColumnType::I32,
        DataType::Int64 => ColumnType::I64,
        DataType::UInt8 | DataType::Boolean => ColumnType::U8,
        DataType::UInt16 => ColumnType::U16,
        DataType::UInt32 => ColumnType::U32,
        DataType::UInt64 => ColumnType::U64,
        _ if is_text(ty) => ColumnType::Str16,
        DataType::Decimal128(..) if rules.decimals => ColumnType::F64,
        DataType::Decimal128(..) => {
            return Err(format!(
                "is {ty}; --decimals float takes it as f64, which may round"
            ));
        }
        _ => return Err(format!("is {ty}, which no column can hold")),
    })
}

/// Whether values are texts, dictionaries of texts included.
pub fn is_text(ty: &DataType) -> bool {
    match ty {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The values of an array of a type that [`column_type`] takes.
///
/// # Errors
/// The first value that cannot be taken.
pub fn column(array: &dyn Array, rules: ValueRules) -> Result<Column, BadValue> {
    let zero = rules.nulls_zero;
    match array.data_type() {
        DataType::Float32 => Ok(floats::<Float32Type>(array, f32::NAN)),
        DataType::Float64 => Ok(floats::<Float64Type>(array, f64::NAN)),
        DataType::Float16 => {
            let halves = array.as_primitive::<Float16Type>();
            let value = |v: Option<<Float16Type as ArrowPrimitiveType>::Native>| {
                v.map_or(f32::NAN, |v| v.to_f32())
            };
            Ok(Column::from_values(halves.iter().map(value).collect()))
        }
        DataType::Int8 => integers::<Int8Type>(array, zero),
        DataType::Int16 => integers::<Int16Type>(array, zero),
        DataType::Int32 => integers::<Int32Type>(array, zero),
        DataType::Int64 => integers::<Int64Type>(array, zero),
        DataType::UInt8 => integers::<UInt8Type>(array, zero),
        DataType::UInt16 => integers::<UInt16Type>(array, zero),
        DataType::UInt32 => integers::<UInt32Type>(array, zero),
        DataType::UInt64 => integers::<UInt64Type>(array, zero),
        DataType::Boolean => {
            refuse_nulls(array, zero)?;
            let bits = array.as_boolean().iter();
            let values: Vec<u8> = bits.map(|b| u8::from(b.unwrap_or(false))).collect();
            Ok(Column::from_values(values))
        }
        DataType::Decimal128(_, scale) => Ok(decimals(array, *scale)),
        ty if is_text(ty) => texts(array, zero),
        ty => Err(BadValue {
            row: 0,
            what: format!("{ty} cannot be read"),
        }),
    }
}

/// Times in nanoseconds, without a copy.
fn adopt_times(array: &TimestampNanosecondArray) -> Column {
    adopt(array)
}

/// An Arrow buffer as bytes without a copy; [`Column::new`] copies it if it is not aligned.
fn adopt<T>(array: &PrimitiveArray<T>) -> Column
where
    T: ArrowPrimitiveType,
    T::Native: Value,
{
    let bytes = Bytes::from_owner(Owner(array.values().inner().clone()));
    Column::new(T::Native::TYPE, bytes).expect("an array holds whole values")
}

/// An Arrow buffer that owns the bytes of a column.
struct Owner(Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

fn floats<T>(array: &dyn Array, missing: T::Native) -> Column
where
    T: ArrowPrimitiveType,
    T::Native: Value,
{
    let array = array.as_primitive::<T>();
    match array.null_count() {
        0 => adopt(array),
        _ => Column::from_values(array.iter().map(|v| v.unwrap_or(missing)).collect()),
    }
}

fn integers<T>(array: &dyn Array, zero: bool) -> Result<Column, BadValue>
where
    T: ArrowPrimitiveType,
    T::Native: Value,
{
    refuse_nulls(array, zero)?;
    let array = array.as_primitive::<T>();
    Ok(match array.null_count() {
        0 => adopt(array),
        _ => Column::from_values(array.iter().map(Option::unwrap_or_default).collect()),
    })
}

fn refuse_nulls(array: &dyn Array, allowed: bool) -> Result<(), BadValue> {
    if allowed || array.logical_null_count() == 0 {
        return Ok(());
    }
    let nulls = array.logical_nulls();
    let row = nulls.and_then(|nulls| (0..nulls.len()).find(|row| nulls.is_null(*row)));
    Err(BadValue {
        row: row.unwrap_or(0),
        what: "is missing, and only floats can be; --nulls zero takes 0".into(),
    })
}

fn decimals(array: &dyn Array, scale: i8) -> Column {
    let unit = 10_f64.powi(i32::from(scale));
    let values = array.as_primitive::<Decimal128Type>().iter();
    let value = |v: Option<i128>| v.map_or(f64::NAN, |v| v as f64 / unit);
    Column::from_values(values.map(value).collect::<Vec<f64>>())
}

fn texts(array: &dyn Array, zero: bool) -> Result<Column, BadValue> {
    refuse_nulls(array, zero)?;
    let mut values: Vec<[u32; 16]> = Vec::with_capacity(array.len());
    for (row, text) in strings(array).enumerate() {
        let value = text_value(text.unwrap_or_default()).map_err(|what| BadValue { row, what })?;
        values.push(value);
    }
    Ok(Column::from_values(values))
}

/// The texts of an array for which [`is_text`] holds.
pub fn strings(array: &dyn Array) -> Box<dyn Iterator<Item = Option<&str>> + '_> {
    match array.data_type() {
        DataType::Utf8 => Box::new(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => Box::new(array.as_string::<i64>().iter()),
        DataType::Utf8View => Box::new(array.as_string_view().iter()),
        _ => {
            let dictionary = array.as_any_dictionary();
            let texts: Vec<Option<&str>> = strings(dictionary.values()).collect();
            // A key of a missing row names no value.
            let keys = dictionary.normalized_keys();
            let nulls = dictionary.keys().logical_nulls();
            let text = move |(row, key): (usize, usize)| match &nulls {
                Some(nulls) if nulls.is_null(row) => None,
                _ => texts.get(key).copied().flatten(),
            };
            Box::new(keys.into_iter().enumerate().map(text))
        }
    }
}

fn text_value(text: &str) -> Result<[u32; 16], String> {
    let mut value = [0; 16];
    for (at, c) in text.chars().enumerate() {
        let slot = value.get_mut(at).ok_or_else(|| {
            let short: String = text.chars().take(40).collect();
            format!("\"{short}\" is longer than 16 characters")
        })?;
        *slot = u32::from(c);
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
