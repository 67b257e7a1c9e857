//! Rows as CSV: exact times, and numbers in the fewest digits that read back to the bit.

use std::fmt::Write as _;
use std::io::Write;

use flate2::write::GzEncoder;
use jiff::Timestamp;
use model::{BucketKey, Column, ColumnBatch, ColumnType, NANOS_PER_SECOND};

use super::output::Output;
use super::{Compression, Layout, TimeText, Writer};
use crate::cli::load::type_code;
use arrow_batch::{EPOCH, KEY_COLUMNS, push_text};

/// Rows of CSV, through gzip if asked.
pub(super) struct CsvWriter {
    target: Target,
    time: TimeText,
    keyed: bool,
    /// Rows in the making.
    lines: csv::Writer<Vec<u8>>,
    field: String,
}

enum Target {
    Plain(Output),
    Gzip(GzEncoder<Output>),
}

impl CsvWriter {
    pub(super) fn new(output: Output, layout: &Layout) -> Result<Self, String> {
        let target = match layout.compression {
            Compression::Gzip => Target::Gzip(GzEncoder::new(output, flate2::Compression::new(6))),
            _ => Target::Plain(output),
        };
        let mut writer = Self {
            target,
            time: layout.time,
            keyed: layout.keyed,
            lines: csv::Writer::from_writer(Vec::new()),
            field: String::new(),
        };
        if layout.keyed {
            KEY_COLUMNS.iter().for_each(|name| writer.put(name));
        }
        writer.put(EPOCH);
        for column in layout.columns.columns() {
            match layout.typed_header {
                true => writer.put(&format!("{}:{}", column.name, type_code(column.ty))),
                false => writer.put(&column.name),
            }
        }
        writer.end_line();
        writer.flush()?;
        Ok(writer)
    }

    fn put(&mut self, field: &str) {
        self.lines
            .write_field(field)
            .expect("memory takes every field");
    }

    fn end_line(&mut self) {
        self.lines
            .write_record(None::<&[u8]>)
            .expect("memory takes every line");
    }

    /// Sends the lines made so far on.
    fn flush(&mut self) -> Result<(), String> {
        let lines = std::mem::replace(&mut self.lines, csv::Writer::from_writer(Vec::new()));
        let lines = lines.into_inner().map_err(|error| error.to_string())?;
        match &mut self.target {
            Target::Plain(output) => output.write_all(&lines),
            Target::Gzip(output) => output.write_all(&lines),
        }
        .map_err(|error| error.to_string())
    }

    fn put_time(&mut self, time: i64) {
        self.field.clear();
        write_time(time, self.time, &mut self.field);
        self.lines
            .write_field(&self.field)
            .expect("memory takes every field");
    }

    fn put_value(&mut self, column: &Column, row: usize) -> Result<(), String> {
        self.field.clear();
        write_value(column, row, &mut self.field)?;
        self.lines
            .write_field(&self.field)
            .expect("memory takes every field");
        Ok(())
    }
}

impl Writer for CsvWriter {
    fn write(&mut self, key: &BucketKey, batch: &ColumnBatch) -> Result<(), String> {
        for (row, time) in batch.times().iter().enumerate() {
            if self.keyed {
                self.put(key.symbol());
                self.put(key.timeframe());
                self.put(key.attribute_group());
            }
            self.put_time(*time);
            for (at, column) in batch.columns().iter().enumerate() {
                self.put_value(column, row).map_err(|what| {
                    let name = &batch.schema().columns()[at].name;
                    let mut text = String::new();
                    write_time(*time, TimeText::Rfc3339, &mut text);
                    format!("column \"{name}\" at {text}: {what}")
                })?;
            }
            self.end_line();
        }
        self.flush()
    }

    fn finish(self: Box<Self>) -> Result<Output, String> {
        match self.target {
            Target::Plain(output) => Ok(output),
            Target::Gzip(gzip) => gzip.finish().map_err(|error| error.to_string()),
        }
    }
}

fn write_time(time: i64, form: TimeText, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = match form {
        TimeText::EpochNs => write!(out, "{time}"),
        TimeText::Epoch => write_seconds(time, out),
        TimeText::Rfc3339 => match Timestamp::from_nanosecond(i128::from(time)) {
            Ok(time) => write!(out, "{time}"),
            Err(_) => write_seconds(time, out),
        },
    };
}

/// Seconds with as many digits after the point as there are.
fn write_seconds(time: i64, out: &mut String) -> std::fmt::Result {
    let unit = NANOS_PER_SECOND.unsigned_abs();
    let (whole, nanos) = (time.unsigned_abs() / unit, time.unsigned_abs() % unit);
    let sign = if time < 0 { "-" } else { "" };
    if nanos == 0 {
        return write!(out, "{sign}{whole}");
    }
    let fraction = format!("{nanos:09}");
    write!(out, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

fn write_value(column: &Column, row: usize, out: &mut String) -> Result<(), String> {
    macro_rules! show {
        ($ty:ty, $form:literal) => {{
            let values: &[$ty] = column.values().expect("the type is the one just matched");
            let _ = write!(out, $form, values[row]);
        }};
    }
    match column.ty() {
        // `{:?}` has an exponent where `{}` would write hundreds of zeros.
        ColumnType::F32 => show!(f32, "{:?}"),
        ColumnType::F64 => show!(f64, "{:?}"),
        ColumnType::I8 => show!(i8, "{}"),
        ColumnType::I16 => show!(i16, "{}"),
        ColumnType::I32 => show!(i32, "{}"),
        ColumnType::I64 => show!(i64, "{}"),
        ColumnType::U8 => show!(u8, "{}"),
        ColumnType::U16 => show!(u16, "{}"),
        ColumnType::U32 => show!(u32, "{}"),
        ColumnType::U64 => show!(u64, "{}"),
        ColumnType::Str16 => {
            let values: &[[u32; 16]] = column.values().expect("the type is the one just matched");
            push_text(&values[row], out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::times::TimeFormat;
    use model::Zone;

    #[test]
    fn times_are_read_back_to_the_nanosecond() {
        for time in [
            0,
            1,
            -1,
            1_580_482_645_140_000_001,
            1_580_482_645_000_000_000,
            -1_500_000_000,
            -9_000_000_000_000_000_001,
            9_000_000_000_000_000_000,
        ] {
            for (form, format) in [
                (TimeText::Rfc3339, "auto"),
                (TimeText::Epoch, "s"),
                (TimeText::EpochNs, "ns"),
            ] {
                let mut text = String::new();
                write_time(time, form, &mut text);
                let read = TimeFormat::parse(format).unwrap();
                assert_eq!(read.read(&text, &Zone::utc()), Ok(time), "{text}");
            }
        }
    }

    #[test]
    fn seconds_have_no_needless_digits() {
        let text = |time| {
            let mut out = String::new();
            write_seconds(time, &mut out).unwrap();
            out
        };
        assert_eq!(text(60_000_000_000), "60");
        assert_eq!(text(1_500_000_000), "1.5");
        assert_eq!(text(-1), "-0.000000001");
    }
}
