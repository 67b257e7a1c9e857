//! Rows as plain values, to and from the engine's batches.

use model::{Column, ColumnBatch, ColumnDef, ColumnType, Schema};

/// One value. Floats by their bits, so that NaN equals itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Any integer.
    Int(i128),
    /// The bits of an f64; an f32 is widened, which is exact.
    Float(u64),
    /// Text.
    Text(String),
}

impl Value {
    /// What older rows have in a new column.
    pub fn fill(ty: ColumnType) -> Self {
        match ty {
            ColumnType::F32 => Self::Float(f64::from(f32::NAN).to_bits()),
            ColumnType::F64 => Self::Float(f64::NAN.to_bits()),
            ColumnType::Str16 => Self::Text(String::new()),
            _ => Self::Int(0),
        }
    }

    /// The value in another type, as C converts it.
    pub(super) fn cast(&self, ty: ColumnType) -> Self {
        match (self, ty) {
            (Self::Int(value), ColumnType::F64) => Self::Float((*value as f64).to_bits()),
            (Self::Int(value), ColumnType::F32) => Self::Float(f64::from(*value as f32).to_bits()),
            (Self::Float(bits), ColumnType::F32) => {
                Self::Float(f64::from(f64::from_bits(*bits) as f32).to_bits())
            }
            (Self::Float(_), ColumnType::F64) | (Self::Text(_), _) => self.clone(),
            (Self::Float(bits), ty) => Self::Int(f64::from_bits(*bits) as i128).cast(ty),
            (Self::Int(value), ty) => value_of(ty, &value.to_le_bytes()[..ty.size().min(16)]),
        }
    }
}

/// Names and types.
pub type Columns = Vec<(String, ColumnType)>;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Nanoseconds since 1970.
    pub time: i64,
    /// By position of the column.
    pub values: Vec<Value>,
}

/// Columns from a short text: `Open:f64 Volume:i64`.
///
/// # Panics
/// If the text is not of that form.
pub fn columns(text: &str) -> Columns {
    let column = |word: &str| {
        let (name, ty) = word.split_once(':').expect("name:type");
        (name.to_owned(), type_named(ty))
    };
    text.split_whitespace().map(column).collect()
}

fn type_named(name: &str) -> ColumnType {
    match name {
        "f32" => ColumnType::F32,
        "f64" => ColumnType::F64,
        "i8" => ColumnType::I8,
        "i16" => ColumnType::I16,
        "i32" => ColumnType::I32,
        "i64" => ColumnType::I64,
        "u8" => ColumnType::U8,
        "u16" => ColumnType::U16,
        "u32" => ColumnType::U32,
        "u64" => ColumnType::U64,
        "text" => ColumnType::Str16,
        other => panic!("no type {other}"),
    }
}

/// The engine's schema of these columns.
///
/// # Panics
/// If two have one name.
pub fn schema(columns: &Columns) -> Schema {
    let defs = columns.iter().map(|(name, ty)| ColumnDef::new(name, *ty));
    Schema::new(defs.collect()).expect("names are valid and differ")
}

/// The columns of an engine's schema.
pub fn columns_of(schema: &Schema) -> Columns {
    let columns = schema.columns().iter();
    columns.map(|def| (def.name.to_string(), def.ty)).collect()
}

/// The rows as a batch.
///
/// # Panics
/// If a value does not fit its column.
pub fn batch(columns: &Columns, rows: &[Row]) -> ColumnBatch {
    let times = rows.iter().map(|row| row.time).collect();
    let column = |index: usize| column(columns[index].1, rows, index);
    let data = (0..columns.len()).map(column).collect();
    ColumnBatch::new(schema(columns), Column::from_values::<i64>(times), data)
        .expect("all columns have as many rows")
}

fn column(ty: ColumnType, rows: &[Row], index: usize) -> Column {
    let mut bytes = Vec::new();
    for row in rows {
        match (&row.values[index], ty) {
            (Value::Float(bits), ColumnType::F64) => bytes.extend(bits.to_le_bytes()),
            (Value::Float(bits), ColumnType::F32) => {
                bytes.extend((f64::from_bits(*bits) as f32).to_le_bytes());
            }
            (Value::Int(value), _) => bytes.extend(&value.to_le_bytes()[..ty.size()]),
            (Value::Text(text), ColumnType::Str16) => bytes.extend(code_points(text)),
            (value, ty) => panic!("{value:?} is not of type {ty:?}"),
        }
    }
    Column::new(ty, bytes.into()).expect("whole values")
}

fn code_points(text: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (place, char) in bytes.chunks_exact_mut(4).zip(text.chars()) {
        place.copy_from_slice(&(char as u32).to_le_bytes());
    }
    bytes
}

/// The rows of a batch.
pub fn rows_of(batch: &ColumnBatch) -> Vec<Row> {
    let columns: Vec<Vec<Value>> = batch.columns().iter().map(values_of).collect();
    let row = |(index, time): (usize, &i64)| Row {
        time: *time,
        values: columns.iter().map(|column| column[index].clone()).collect(),
    };
    batch.times().iter().enumerate().map(row).collect()
}

fn values_of(column: &Column) -> Vec<Value> {
    let ty = column.ty();
    let values = column.bytes().chunks_exact(ty.size());
    values.map(|bytes| value_of(ty, bytes)).collect()
}

fn value_of(ty: ColumnType, bytes: &[u8]) -> Value {
    let mut wide = [0; 16];
    let count = bytes.len().min(16);
    wide[..count].copy_from_slice(&bytes[..count]);
    let unsigned = i128::from_le_bytes(wide);
    let shift = 128 - 8 * bytes.len().min(16) as u32;
    let signed = || Value::Int((unsigned << shift) >> shift);
    match ty {
        ColumnType::F64 => Value::Float(unsigned as u64),
        ColumnType::F32 => Value::Float(f64::from(f32::from_bits(unsigned as u32)).to_bits()),
        ColumnType::I8 | ColumnType::I16 | ColumnType::I32 | ColumnType::I64 => signed(),
        ColumnType::U8 | ColumnType::U16 | ColumnType::U32 | ColumnType::U64 => {
            Value::Int(unsigned)
        }
        ColumnType::Str16 => {
            let points = bytes
                .chunks_exact(4)
                .map(|four| u32::from_le_bytes(four.try_into().expect("a chunk has four bytes")));
            let points = points.take_while(|point| *point != 0);
            let chars = points.map(|point| char::from_u32(point).unwrap_or('\u{fffd}'));
            Value::Text(chars.collect())
        }
    }
}
