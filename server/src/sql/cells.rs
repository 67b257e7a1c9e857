//! Values of Arrow columns as text, for every door that speaks text.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// How a text is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A JSON value: text in quotes, what is no number `null`.
    Json,
    /// A field of CSV.
    Csv,
    /// PostgreSQL's text format.
    Postgres,
}

/// One column, ready to be written value by value.
pub(crate) struct Cells<'a> {
    array: &'a dyn Array,
    write: Writer<'a>,
}

impl std::fmt::Debug for Cells<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cells({})", self.array.data_type())
    }
}

impl<'a> Cells<'a> {
    /// A column made by [`plain`].
    pub(crate) fn new(array: &'a dyn Array, style: Style) -> Self {
        let write = writer(array, style);
        Self { array, write }
    }

    /// Whether there is no value.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Appends a value that is there.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        (self.write)(row, out);
    }
}

/// A column without dictionaries and runs: their values are written, not their keys.
pub(crate) fn plain(array: &ArrayRef) -> ArrayRef {
    let values = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        DataType::Null => DataType::Utf8,
        _ => return array.clone(),
    };
    // Both always cast to their values; a column that did not would be written by its own rules.
    cast(array, &values).unwrap_or_else(|_| array.clone())
}

type Writer<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

fn writer(array: &dyn Array, style: Style) -> Writer<'_> {
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, out| {
                let text: &[u8] = match (array.value(row), style) {
                    (true, Style::Postgres) => b"t",
                    (false, Style::Postgres) => b"f",
                    (true, _) => b"true",
                    (false, _) => b"false",
                };
                out.extend_from_slice(text);
            })
        }
        DataType::Int8 => whole::<Int8Type>(array),
        DataType::Int16 => whole::<Int16Type>(array),
        DataType::Int32 => whole::<Int32Type>(array),
        DataType::Int64 => whole::<Int64Type>(array),
        DataType::UInt8 => whole::<UInt8Type>(array),
        DataType::UInt16 => whole::<UInt16Type>(array),
        DataType::UInt32 => whole::<UInt32Type>(array),
        DataType::UInt64 => whole::<UInt64Type>(array),
        DataType::Float16 => {
            let array = array.as_primitive::<Float16Type>();
            Box::new(move |row, out| float32(array.value(row).to_f32(), style, out))
        }
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            Box::new(move |row, out| float32(array.value(row), style, out))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            Box::new(move |row, out| float64(array.value(row), style, out))
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Box::new(move |row, out| text(array.value(row), style, out))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            Box::new(move |row, out| text(array.value(row), style, out))
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Box::new(move |row, out| text(array.value(row), style, out))
        }
        DataType::Timestamp(unit, zone) => {
            let has_zone = zone.is_some();
            match unit {
                TimeUnit::Second => times::<TimestampSecondType>(array, 1, has_zone, style),
                TimeUnit::Millisecond => {
                    times::<TimestampMillisecondType>(array, 1_000, has_zone, style)
                }
                TimeUnit::Microsecond => {
                    times::<TimestampMicrosecondType>(array, 1_000_000, has_zone, style)
                }
                TimeUnit::Nanosecond => {
                    times::<TimestampNanosecondType>(array, 1_000_000_000, has_zone, style)
                }
            }
        }
        DataType::Date32 => {
            let array = array.as_primitive::<Date32Type>();
            Box::new(move |row, out| {
                quoted(style, out, |out| date(i64::from(array.value(row)), out));
            })
        }
        DataType::Date64 => {
            let array = array.as_primitive::<Date64Type>();
            Box::new(move |row, out| {
                quoted(style, out, |out| {
                    date(array.value(row).div_euclid(86_400_000), out);
                });
            })
        }
        ty => displayed(array, matches!(ty, DataType::Decimal128(..)), style),
    }
}

fn whole<'a, T>(array: &'a dyn Array) -> Writer<'a>
where
    T: ArrowPrimitiveType,
    T::Native: std::fmt::Display,
{
    let array = array.as_primitive::<T>();
    Box::new(move |row, out| add(out, format_args!("{}", array.value(row))))
}

/// Writing to a vector cannot fail.
fn add(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// JSON has no NaN, which is a missing value here.
fn float64(value: f64, style: Style, out: &mut Vec<u8>) {
    match (value.is_finite(), style) {
        (true, Style::Postgres) => trimmed(out, format_args!("{value:?}")),
        (true, _) => add(out, format_args!("{value:?}")),
        (false, _) => not_finite(value, style, out),
    }
}

fn float32(value: f32, style: Style, out: &mut Vec<u8>) {
    match (value.is_finite(), style) {
        (true, Style::Postgres) => trimmed(out, format_args!("{value:?}")),
        (true, _) => add(out, format_args!("{value:?}")),
        (false, _) => not_finite(f64::from(value), style, out),
    }
}

/// PostgreSQL writes `1`, not `1.0`.
fn trimmed(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    add(out, text);
    if out.ends_with(b".0") {
        out.truncate(out.len() - 2);
    }
}

fn not_finite(value: f64, style: Style, out: &mut Vec<u8>) {
    let text: &[u8] = match style {
        Style::Json => b"null",
        _ if value.is_nan() => b"NaN",
        _ if value > 0.0 => b"Infinity",
        _ => b"-Infinity",
    };
    out.extend_from_slice(text);
}

fn text(value: &str, style: Style, out: &mut Vec<u8>) {
    match style {
        Style::Json => json_text(value, out),
        Style::Csv => csv_text(value, out),
        // A zero ends a text there, so none may be inside.
        Style::Postgres => out.extend(value.bytes().filter(|byte| *byte != 0)),
    }
}

/// A text in quotes, as JSON wants it.
pub(crate) fn json_text(value: &str, out: &mut Vec<u8>) {
    // A text always becomes JSON, and a vector takes everything.
    let _ = serde_json::to_writer(out, value);
}

pub(crate) fn csv_text(value: &str, out: &mut Vec<u8>) {
    let is_plain = !value
        .bytes()
        .any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'));
    // A missing value is nothing, so an empty text is two quotes.
    if is_plain && !value.is_empty() {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in value.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// What needs quotes in JSON only.
fn quoted(style: Style, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if style == Style::Json {
        out.push(b'"');
    }
    write(out);
    if style == Style::Json {
        out.push(b'"');
    }
}

fn times<'a, T>(array: &'a dyn Array, per_second: i64, has_zone: bool, style: Style) -> Writer<'a>
where
    T: ArrowPrimitiveType<Native = i64>,
{
    let array = array.as_primitive::<T>();
    let nanos = 1_000_000_000 / per_second;
    Box::new(move |row, out| {
        let value = array.value(row);
        let fraction = value.rem_euclid(per_second) * nanos;
        let second = value.div_euclid(per_second);
        quoted(style, out, |out| {
            instant(second, fraction, has_zone, style, out);
        });
    })
}

const DAY_SECONDS: i64 = 86_400;

/// `2024-01-31T09:30:00.5Z`, and for PostgreSQL, which counts microseconds,
/// `2024-01-31 09:30:00.5+00`.
fn instant(second: i64, nanos: i64, has_zone: bool, style: Style, out: &mut Vec<u8>) {
    date(second.div_euclid(DAY_SECONDS), out);
    let of_day = second.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let is_postgres = style == Style::Postgres;
    let between = if is_postgres { ' ' } else { 'T' };
    add(
        out,
        format_args!("{between}{hour:02}:{minute:02}:{second:02}"),
    );
    let micros = nanos / 1000;
    match is_postgres {
        true if micros != 0 => {
            add(out, format_args!(".{micros:06}"));
            let zeros = out.iter().rev().take_while(|byte| **byte == b'0').count();
            out.truncate(out.len() - zeros);
        }
        true => {}
        false if nanos == 0 => {}
        false if nanos % 1_000_000 == 0 => add(out, format_args!(".{:03}", nanos / 1_000_000)),
        false if nanos % 1_000 == 0 => add(out, format_args!(".{micros:06}")),
        false => add(out, format_args!(".{nanos:09}")),
    }
    if has_zone {
        out.extend_from_slice(if is_postgres { b"+00" } else { b"Z" });
    }
}

/// A day since 1970 in the Gregorian calendar.
fn date(day: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(day);
    add(out, format_args!("{year:04}-{month:02}-{day:02}"));
}

/// Year, month and day. Eras of 400 years begin on the first of March, so that the day that comes
/// and goes is the last of a year.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Everything else, as Arrow shows it.
fn displayed(array: &dyn Array, is_number: bool, style: Style) -> Writer<'_> {
    let options = FormatOptions::default().with_display_error(true);
    let style = match is_number && style == Style::Json {
        // Digits need no quotes.
        true => Style::Postgres,
        false => style,
    };
    match ArrayFormatter::try_new(array, &options.with_null("null")) {
        Ok(formatter) => {
            // The formatter keeps references to options that live as long as the program.
            Box::new(move |row, out| text(&formatter.value(row).to_string(), style, out))
        }
        Err(_) => Box::new(move |_, out| text("?", style, out)),
    }
}

/// The short name of a type, as `/sql` shows it.
pub(crate) fn type_name(ty: &DataType) -> String {
    match ty {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "decimal".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Date32Array, DictionaryArray, Float32Array, Float64Array, Int64Array,
        StringArray, TimestampNanosecondArray, UInt64Array,
    };

    use super::*;

    fn written(array: impl Array + 'static, style: Style) -> Vec<String> {
        let array = plain(&(Arc::new(array) as ArrayRef));
        let cells = Cells::new(array.as_ref(), style);
        let mut texts = Vec::new();
        for row in 0..array.len() {
            let mut out = Vec::new();
            match cells.is_null(row) {
                true => out.extend_from_slice(b"-"),
                false => cells.write(row, &mut out),
            }
            texts.push(String::from_utf8(out).unwrap());
        }
        texts
    }

    #[test]
    fn times_are_exact_and_short() {
        let second = 1_706_693_400_000_000_000;
        let times = || {
            let nanos = [0, 500_000_000, 1_000, 1];
            let values: Vec<i64> = nanos.iter().map(|n| second + n).chain([-1]).collect();
            TimestampNanosecondArray::from(values).with_timezone("UTC")
        };
        assert_eq!(
            written(times(), Style::Csv),
            [
                "2024-01-31T09:30:00Z",
                "2024-01-31T09:30:00.500Z",
                "2024-01-31T09:30:00.000001Z",
                "2024-01-31T09:30:00.000000001Z",
                "1969-12-31T23:59:59.999999999Z"
            ]
        );
        assert_eq!(
            written(times(), Style::Postgres),
            [
                "2024-01-31 09:30:00+00",
                "2024-01-31 09:30:00.5+00",
                "2024-01-31 09:30:00.000001+00",
                "2024-01-31 09:30:00+00",
                "1969-12-31 23:59:59.999999+00"
            ]
        );
        assert_eq!(
            written(Date32Array::from(vec![0, 11_016, -1, 18_321]), Style::Json),
            [
                "\"1970-01-01\"",
                "\"2000-02-29\"",
                "\"1969-12-31\"",
                "\"2020-02-29\""
            ]
        );
    }

    #[test]
    fn numbers_keep_every_digit() {
        let floats = || Float64Array::from(vec![1.0, 0.1, 1e300, f64::NAN, f64::NEG_INFINITY]);
        assert_eq!(
            written(floats(), Style::Json),
            ["1.0", "0.1", "1e300", "null", "null"]
        );
        assert_eq!(
            written(floats(), Style::Postgres),
            ["1", "0.1", "1e300", "NaN", "-Infinity"]
        );
        assert_eq!(written(Float32Array::from(vec![0.1]), Style::Csv), ["0.1"]);
        let wide = UInt64Array::from(vec![u64::MAX]);
        assert_eq!(written(wide, Style::Json), ["18446744073709551615"]);
        let some = Int64Array::from(vec![Some(i64::MIN), None]);
        assert_eq!(written(some, Style::Csv), ["-9223372036854775808", "-"]);
        let bits = BooleanArray::from(vec![true, false]);
        assert_eq!(written(bits, Style::Postgres), ["t", "f"]);
    }

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        let texts = || StringArray::from(vec!["plain", "a,b", "say \"x\"", "", "\u{20ac}\n"]);
        assert_eq!(
            written(texts(), Style::Csv),
            [
                "plain",
                "\"a,b\"",
                "\"say \"\"x\"\"\"",
                "\"\"",
                "\"\u{20ac}\n\""
            ]
        );
        assert_eq!(
            written(texts(), Style::Json),
            [
                "\"plain\"",
                "\"a,b\"",
                "\"say \\\"x\\\"\"",
                "\"\"",
                "\"\u{20ac}\\n\""
            ]
        );
        let keys: DictionaryArray<Int8Type> = vec!["x", "y", "x"].into_iter().collect();
        assert_eq!(written(keys, Style::Csv), ["x", "y", "x"]);
    }
}
