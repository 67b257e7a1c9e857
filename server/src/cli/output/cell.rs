//! The values of a column as text.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, TimeUnit};
use jiff::Timestamp;
use model::NANOS_PER_SECOND;

/// How values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Look {
    /// As MarketStore's client shows them: `2020-01-02 00:00:00 +0000 UTC`, `10`, `TRUE`.
    MarketStore,
    /// As `mkts export` writes CSV: `2020-01-02T00:00:00Z`, `10.0`, `true`.
    Exact,
}

/// A column of a batch, by its type.
pub(in crate::cli) enum Cells<'a> {
    F32(&'a PrimitiveArray<Float32Type>),
    F64(&'a PrimitiveArray<Float64Type>),
    I8(&'a PrimitiveArray<Int8Type>),
    I16(&'a PrimitiveArray<Int16Type>),
    I32(&'a PrimitiveArray<Int32Type>),
    I64(&'a PrimitiveArray<Int64Type>),
    U8(&'a PrimitiveArray<UInt8Type>),
    U16(&'a PrimitiveArray<UInt16Type>),
    U32(&'a PrimitiveArray<UInt32Type>),
    U64(&'a PrimitiveArray<UInt64Type>),
    Bool(&'a BooleanArray),
    Text(&'a StringArray),
    /// Nanoseconds since 1970.
    Time(&'a ArrayRef, TimeUnit),
    Other(&'a ArrayRef, ArrayFormatter<'a>),
}

impl<'a> Cells<'a> {
    /// The column of an array.
    pub(in crate::cli) fn new(array: &'a ArrayRef) -> Result<Self, String> {
        Ok(match array.data_type() {
            DataType::Float32 => Self::F32(array.as_primitive()),
            DataType::Float64 => Self::F64(array.as_primitive()),
            DataType::Int8 => Self::I8(array.as_primitive()),
            DataType::Int16 => Self::I16(array.as_primitive()),
            DataType::Int32 => Self::I32(array.as_primitive()),
            DataType::Int64 => Self::I64(array.as_primitive()),
            DataType::UInt8 => Self::U8(array.as_primitive()),
            DataType::UInt16 => Self::U16(array.as_primitive()),
            DataType::UInt32 => Self::U32(array.as_primitive()),
            DataType::UInt64 => Self::U64(array.as_primitive()),
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Timestamp(unit, _) => Self::Time(array, *unit),
            _ => {
                const OPTIONS: FormatOptions<'static> = FormatOptions::new();
                let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS);
                Self::Other(array, formatter.map_err(|error| error.to_string())?)
            }
        })
    }

    /// Whether a value is missing.
    pub(in crate::cli) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::F32(a) => a.is_null(row),
            Self::F64(a) => a.is_null(row),
            Self::I8(a) => a.is_null(row),
            Self::I16(a) => a.is_null(row),
            Self::I32(a) => a.is_null(row),
            Self::I64(a) => a.is_null(row),
            Self::U8(a) => a.is_null(row),
            Self::U16(a) => a.is_null(row),
            Self::U32(a) => a.is_null(row),
            Self::U64(a) => a.is_null(row),
            Self::Bool(a) => a.is_null(row),
            Self::Text(a) => a.is_null(row),
            Self::Time(a, _) | Self::Other(a, _) => a.is_null(row),
        }
    }

    /// Appends a value; a missing one is empty.
    pub(in crate::cli) fn show(&self, row: usize, look: Look, out: &mut String) {
        if self.is_null(row) {
            return;
        }
        // Writing to a string cannot fail.
        let _ = match self {
            Self::F32(a) => match look {
                Look::Exact => write!(out, "{:?}", a.value(row)),
                Look::MarketStore => float(a.value(row), a.value(row).into(), out),
            },
            Self::F64(a) => match look {
                Look::Exact => write!(out, "{:?}", a.value(row)),
                Look::MarketStore => float(a.value(row), a.value(row), out),
            },
            Self::I8(a) => write!(out, "{}", a.value(row)),
            Self::I16(a) => write!(out, "{}", a.value(row)),
            Self::I32(a) => write!(out, "{}", a.value(row)),
            Self::I64(a) => write!(out, "{}", a.value(row)),
            Self::U8(a) => write!(out, "{}", a.value(row)),
            Self::U16(a) => write!(out, "{}", a.value(row)),
            Self::U32(a) => write!(out, "{}", a.value(row)),
            Self::U64(a) => write!(out, "{}", a.value(row)),
            Self::Bool(a) => match (a.value(row), look) {
                (true, Look::Exact) => out.write_str("true"),
                (false, Look::Exact) => out.write_str("false"),
                (true, Look::MarketStore) => out.write_str("TRUE"),
                (false, Look::MarketStore) => out.write_str("FALSE"),
            },
            Self::Text(a) => out.write_str(a.value(row)),
            Self::Time(a, unit) => {
                match (nanos(a, *unit, row), look) {
                    (Some(time), Look::MarketStore) => go_time(time, out),
                    (Some(time), Look::Exact) => rfc3339(time, out),
                    (None, _) => out.push_str("out of range"),
                }
                Ok(())
            }
            Self::Other(_, formatter) => {
                formatter.value(row).write(out).map_err(|_| std::fmt::Error)
            }
        };
    }
}

fn nanos(array: &ArrayRef, unit: TimeUnit, row: usize) -> Option<i64> {
    match unit {
        TimeUnit::Nanosecond => Some(array.as_primitive::<TimestampNanosecondType>().value(row)),
        TimeUnit::Microsecond => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            value.checked_mul(1_000)
        }
        TimeUnit::Millisecond => {
            let value = array.as_primitive::<TimestampMillisecondType>().value(row);
            value.checked_mul(1_000_000)
        }
        TimeUnit::Second => {
            let value = array.as_primitive::<TimestampSecondType>().value(row);
            value.checked_mul(NANOS_PER_SECOND)
        }
    }
}

/// The shortest digits that read back, without an exponent where a person reads them.
fn float<T>(value: T, size: f64, out: &mut String) -> std::fmt::Result
where
    T: std::fmt::Display + std::fmt::LowerExp,
{
    match size.abs() {
        size if size == 0.0 || (1e-7..1e21).contains(&size) || !size.is_finite() => {
            write!(out, "{value}")
        }
        _ => write!(out, "{value:e}"),
    }
}

/// `2020-01-31 14:57:25.25 +0000 UTC`, Go's text of a time.
pub(in crate::cli) fn go_time(time: i64, out: &mut String) {
    match Timestamp::from_nanosecond(i128::from(time)) {
        Ok(time) => {
            // `2020-01-31T14:57:25.25Z`, with as many digits as there are.
            let text = time.to_string();
            let (date, clock) = text.split_once('T').unwrap_or((&text, ""));
            out.push_str(date);
            out.push(' ');
            out.push_str(clock.trim_end_matches('Z'));
            out.push_str(" +0000 UTC");
        }
        Err(_) => out.push_str("out of range"),
    }
}

fn rfc3339(time: i64, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = match Timestamp::from_nanosecond(i128::from(time)) {
        Ok(time) => write!(out, "{time}"),
        Err(_) => write!(out, "{time} ns"),
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Decimal128Array, Float32Array, TimestampNanosecondArray};

    use super::*;

    fn shown(array: ArrayRef, look: Look) -> Vec<String> {
        let cells = Cells::new(&array).unwrap();
        let text = |row| {
            let mut out = String::new();
            cells.show(row, look, &mut out);
            out
        };
        (0..array.len()).map(text).collect()
    }

    #[test]
    fn both_looks_show_all_digits() {
        let prices: ArrayRef = Arc::new(Float32Array::from(vec![
            Some(10.0),
            Some(0.1),
            Some(1e30),
            Some(f32::NAN),
            None,
        ]));
        assert_eq!(
            shown(prices.clone(), Look::MarketStore),
            ["10", "0.1", "1e30", "NaN", ""]
        );
        assert_eq!(
            shown(prices, Look::Exact),
            ["10.0", "0.1", "1e30", "NaN", ""]
        );
        let times = vec![1_577_923_200_000_000_000, 1_580_482_645_140_000_001, -1];
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"));
        assert_eq!(
            shown(times.clone(), Look::MarketStore),
            [
                "2020-01-02 00:00:00 +0000 UTC",
                "2020-01-31 14:57:25.140000001 +0000 UTC",
                "1969-12-31 23:59:59.999999999 +0000 UTC"
            ]
        );
        assert_eq!(shown(times, Look::Exact)[0], "2020-01-02T00:00:00Z");
        let decimal = Decimal128Array::from(vec![12345]).with_precision_and_scale(10, 2);
        let decimal: ArrayRef = Arc::new(decimal.unwrap());
        assert_eq!(shown(decimal, Look::Exact), ["123.45"]);
    }
}
