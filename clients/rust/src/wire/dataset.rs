//! NumpyMultiDataset: the rows of some buckets as one set of columns. On the wire time is a column
//! `Epoch` of seconds and, for ticks, a column `Nanoseconds`; inside it is nanoseconds since 1970.

use bytes::Bytes;
use foldhash::HashMap;
use model::{
    BatchError, Column, ColumnBatch, ColumnDef, ColumnType, NANOS_PER_SECOND, Schema, SchemaError,
    TIME_MAX, TIME_MIN, TimeError, time_from_epoch,
};

use super::msgpack::{DecodeError, Reader, Writer};
use super::numpy_type::{parse_type, write_code};
use super::request::{read_struct, texts};

/// Most buckets in one dataset.
pub const DATASET_BUCKETS_MAX: usize = 65_536;

/// Name of the column of seconds.
pub const EPOCH: &str = "Epoch";

/// Name of the column of nanoseconds of the second.
pub const NANOSECONDS: &str = "Nanoseconds";

/// Most columns as sent: those of a schema, and the two of time.
const COLUMNS_MAX: usize = model::COLUMNS_MAX + 2;

/// Rows by the key they came under, which is not checked yet.
pub type Tables<'a> = Vec<(&'a str, ColumnBatch)>;

/// Why a dataset holds no rows of buckets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Its parts do not fit each other.
    #[error("dataset: {0}")]
    Shape(String),
    /// A type code that is not known.
    #[error("unsupported type string {0}")]
    Type(String),
    /// A column of time has another type.
    #[error("unexpected data type for {0} column: {1}, it must be {2}")]
    TimeType(&'static str, &'static str, &'static str),
    /// A time that cannot be stored.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Columns that are no schema.
    #[error("dataset: {0}")]
    Schema(#[from] SchemaError),
    /// Columns of different lengths.
    #[error("dataset: {0}")]
    Batch(#[from] BatchError),
}

/// A dataset as it arrived. Column data are slices of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// Type codes.
    pub types: Vec<String>,
    /// Column names.
    pub names: Vec<String>,
    /// Little-endian values of all rows of all buckets, by column.
    pub data: Vec<Bytes>,
    /// First row by key.
    pub startindex: Vec<(String, i64)>,
    /// Number of rows by key.
    pub lengths: Vec<(String, i64)>,
}

impl Dataset {
    /// Reads the parts; that they fit each other is checked by [`Dataset::tables`].
    ///
    /// # Errors
    /// If a part has another type, or is over a limit.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const NAMES: &[&str] = &[
            "types|column_types",
            "names|column_names",
            "data|column_data",
            "length",
            "startindex",
            "lengths",
        ];
        let mut dataset = Self::default();
        read_struct(reader, NAMES, |at, reader| {
            match at {
                0 => dataset.types = texts(reader, COLUMNS_MAX)?,
                1 => dataset.names = texts(reader, COLUMNS_MAX)?,
                2 => dataset.data = buffers(reader)?,
                3 => drop(reader.int()?),
                4 => dataset.startindex = slices(reader)?,
                _ => dataset.lengths = slices(reader)?,
            }
            Ok(())
        })?;
        Ok(dataset)
    }

    /// Cuts the columns into the rows of each bucket. With `join_nanoseconds` a column
    /// `Nanoseconds` is part of the time, else it is a column like others.
    ///
    /// # Errors
    /// If counts of types, names and data differ, a column has not as many bytes as rows, a slice
    /// is not inside, a type is unknown, or a time cannot be stored.
    pub fn tables(&self, join_nanoseconds: bool) -> Result<Tables<'_>, DatasetError> {
        let slices = self.slices()?;
        let batch = self.batch(join_nanoseconds)?;
        let rows = batch.rows();
        let mut tables = Vec::with_capacity(slices.len());
        for (key, start, len) in slices {
            let range = usize::try_from(start)
                .ok()
                .zip(usize::try_from(len).ok())
                .and_then(|(start, len)| Some(start..start.checked_add(len)?))
                .filter(|range| range.end <= rows)
                .ok_or_else(|| {
                    DatasetError::Shape(format!(
                        "rows {start} to {start}+{len} of \"{}\" are not in the {rows} rows sent",
                        shorten(key)
                    ))
                })?;
            tables.push((key, batch.slice(range)));
        }
        Ok(tables)
    }

    /// Keys with first row and number of rows.
    fn slices(&self) -> Result<Vec<(&str, i64, i64)>, DatasetError> {
        let shape = |what: String| Err(DatasetError::Shape(what));
        // Each length is taken once. The hash need not be a strong one: the keys are bounded.
        let lengths = self.lengths.iter().map(|(k, n)| (k.as_str(), Some(*n)));
        let mut lengths: HashMap<&str, Option<i64>> = lengths.collect();
        if self.startindex.is_empty() && self.lengths.is_empty() {
            return shape("it names no bucket in startindex and lengths".into());
        }
        if lengths.len() != self.lengths.len() {
            return shape("a bucket is named twice in lengths".into());
        }
        if self.startindex.len() != lengths.len() {
            return shape("startindex and lengths name different buckets".into());
        }
        let mut slices = Vec::with_capacity(lengths.len());
        for (key, start) in &self.startindex {
            let Some(len) = lengths.get_mut(key.as_str()) else {
                return shape(format!("\"{}\" is not in lengths", shorten(key)));
            };
            let Some(len) = len.take() else {
                return shape(format!("\"{}\" is named twice in startindex", shorten(key)));
            };
            slices.push((key.as_str(), *start, len));
        }
        Ok(slices)
    }

    /// All rows as one batch.
    fn batch(&self, join_nanoseconds: bool) -> Result<ColumnBatch, DatasetError> {
        let (types, names, data) = (self.types.len(), self.names.len(), self.data.len());
        if types != names || names != data {
            return Err(DatasetError::Shape(format!(
                "{names} names, {types} types and {data} columns of data"
            )));
        }
        let (mut epoch, mut nanos) = (None, None);
        let (mut defs, mut columns) = (Vec::with_capacity(names), Vec::with_capacity(names));
        for ((code, name), data) in self.types.iter().zip(&self.names).zip(&self.data) {
            let ty = parse_type(code).ok_or_else(|| DatasetError::Type(shorten(code)))?;
            let column = Column::new(ty, data.clone())
                .map_err(|e| DatasetError::Shape(format!("column \"{}\": {e}", shorten(name))))?;
            let time = match name.as_str() {
                EPOCH => Some((&mut epoch, EPOCH, ColumnType::I64)),
                NANOSECONDS if join_nanoseconds => Some((&mut nanos, NANOSECONDS, ColumnType::I32)),
                _ => None,
            };
            match time {
                None => {
                    defs.push(ColumnDef::new(name, ty));
                    columns.push(column);
                }
                Some((_, name, wanted)) if ty != wanted => {
                    return Err(DatasetError::TimeType(name, ty.name(), wanted.name()));
                }
                Some((place, name, _)) => {
                    if place.replace(column).is_some() {
                        return Err(DatasetError::Shape(format!(
                            "column \"{name}\" is given twice"
                        )));
                    }
                }
            }
        }
        let epoch = epoch.ok_or_else(|| DatasetError::Shape("it has no Epoch column".into()))?;
        let times = join_times(&epoch, nanos.as_ref())?;
        Ok(ColumnBatch::new(Schema::new(defs)?, times, columns)?)
    }
}

/// Writes rows of buckets that have one schema, as clients send them.
pub(crate) fn write_dataset(
    tables: &[(&str, &ColumnBatch)],
    nanoseconds: bool,
    writer: &mut Writer,
) {
    let empty: &[ColumnDef] = &[];
    let defs = tables.first().map_or(empty, |t| t.1.schema().columns());
    let columns = 1 + defs.len() + usize::from(nanoseconds);
    let rows: usize = tables.iter().map(|t| t.1.rows()).sum();
    writer.map(6);
    writer.text("types");
    writer.array(columns);
    writer.text("i8");
    defs.iter().for_each(|d| writer.text(write_code(d.ty)));
    if nanoseconds {
        writer.text("i4");
    }
    writer.text("names");
    writer.array(columns);
    writer.text(EPOCH);
    defs.iter().for_each(|d| writer.text(&d.name));
    if nanoseconds {
        writer.text(NANOSECONDS);
    }
    writer.text("data");
    writer.array(columns);
    writer.bytes_header(rows * 8);
    for (_, batch) in tables {
        writer.out.extend_from_slice(epochs(batch.times()).bytes());
    }
    for (at, def) in defs.iter().enumerate() {
        writer.bytes_header(rows * def.ty.size());
        for (_, batch) in tables {
            writer.out.extend_from_slice(batch.columns()[at].bytes());
        }
    }
    if nanoseconds {
        writer.bytes_header(rows * 4);
        for (_, batch) in tables {
            writer
                .out
                .extend_from_slice(nanos_of_second(batch.times()).bytes());
        }
    }
    writer.text("length");
    writer.int(rows as i64);
    let mut start = 0;
    writer.text("startindex");
    writer.map(tables.len());
    for (key, batch) in tables {
        writer.text(key);
        writer.int(start);
        start += batch.rows() as i64;
    }
    writer.text("lengths");
    writer.map(tables.len());
    for (key, batch) in tables {
        writer.text(key);
        writer.int(batch.rows() as i64);
    }
}

/// The `Epoch` column of some times: whole seconds, rounded down.
pub fn epochs(times: &[i64]) -> Column {
    Column::from_values::<i64>(
        times
            .iter()
            .map(|t| t.div_euclid(NANOS_PER_SECOND))
            .collect(),
    )
}

/// The `Nanoseconds` column of some times.
pub fn nanos_of_second(times: &[i64]) -> Column {
    let nanos = |t: &i64| t.rem_euclid(NANOS_PER_SECOND) as i32;
    Column::from_values::<i32>(times.iter().map(nanos).collect())
}

fn join_times(epoch: &Column, nanos: Option<&Column>) -> Result<Column, DatasetError> {
    let epochs: &[i64] = epoch.values().expect("the type was checked");
    let Some(nanos) = nanos else {
        let range = TIME_MIN / NANOS_PER_SECOND..=TIME_MAX / NANOS_PER_SECOND;
        // One pass without branches finds out whether all are in range, as they nearly always are.
        let (low, high) = epochs.iter().fold((i64::MAX, i64::MIN), |(low, high), e| {
            (low.min(*e), high.max(*e))
        });
        let all_in_range = range.contains(&low) && range.contains(&high);
        if !all_in_range && !epochs.is_empty() {
            let bad = if range.contains(&low) { high } else { low };
            time_from_epoch(bad, 0)?;
        }
        let times = epochs.iter().map(|e| e.wrapping_mul(NANOS_PER_SECOND));
        return Ok(Column::from_values::<i64>(times.collect()));
    };
    let nanos: &[i32] = nanos.values().expect("the type was checked");
    if nanos.len() != epochs.len() {
        return Err(DatasetError::Batch(BatchError::Rows {
            column: NANOSECONDS.into(),
            found: nanos.len(),
            expected: epochs.len(),
        }));
    }
    let times = epochs.iter().zip(nanos);
    let times = times.map(|(e, n)| time_from_epoch(*e, i64::from(*n)));
    Ok(Column::from_values(times.collect::<Result<Vec<i64>, _>>()?))
}

fn buffers(reader: &mut Reader<'_>) -> Result<Vec<Bytes>, DecodeError> {
    let len = reader.array()?;
    if len > COLUMNS_MAX {
        return Err(reader.error(format!("{len} columns, the limit is {COLUMNS_MAX}")));
    }
    reader.charge(len, 2 * size_of::<Bytes>())?;
    (0..len).map(|_| reader.bytes()).collect()
}

fn slices(reader: &mut Reader<'_>) -> Result<Vec<(String, i64)>, DecodeError> {
    let len = reader.map()?;
    if len > DATASET_BUCKETS_MAX {
        return Err(reader.error(format!(
            "{len} buckets in one dataset, the limit is {DATASET_BUCKETS_MAX}"
        )));
    }
    reader.charge(len, 2 * size_of::<(String, i64)>())?;
    let entry = |_| Ok((reader.text()?.to_owned(), reader.int()?));
    (0..len).map(entry).collect()
}

/// A hostile text goes into an error only in part, without control characters.
pub(crate) fn shorten(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    clean.take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Dataset {
        let le = |values: &[i64]| -> Bytes { Column::from_values(values.to_vec()).bytes().clone() };
        let f4 = Column::from_values(vec![1.0_f32, 2.0, 3.0]).bytes().clone();
        Dataset {
            types: vec!["i8".into(), "<f4".into()],
            names: vec!["Epoch".into(), "V".into()],
            data: vec![le(&[60, 120, 180]), f4],
            startindex: vec![("A/1Min/X".into(), 0), ("B/1Min/X".into(), 1)],
            lengths: vec![("B/1Min/X".into(), 2), ("A/1Min/X".into(), 1)],
        }
    }

    #[test]
    fn tables_are_slices_of_the_columns() {
        let sample = sample();
        let tables = sample.tables(false).unwrap();
        assert_eq!(tables[0].0, "A/1Min/X");
        assert_eq!(tables[0].1.times(), [60 * NANOS_PER_SECOND]);
        assert_eq!(
            tables[1].1.times(),
            [120, 180].map(|s| s * NANOS_PER_SECOND)
        );
        let v = tables[1].1.column("V").unwrap();
        assert_eq!(v.values::<f32>(), Some(&[2.0, 3.0][..]));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let refused = |change: &dyn Fn(&mut Dataset)| {
            let mut dataset = sample();
            change(&mut dataset);
            dataset.tables(true).unwrap_err().to_string()
        };
        assert!(refused(&|d| d.types.truncate(1)).contains("names"));
        assert!(refused(&|d| d.types[1] = "f2".into()).contains("type string f2"));
        assert!(refused(&|d| d.types[0] = "f8".into()).contains("Epoch"));
        assert!(refused(&|d| d.names[0] = "epoch".into()).contains("Epoch"));
        assert!(refused(&|d| d.data[1] = d.data[1].slice(1..)).contains("whole number"));
        assert!(refused(&|d| d.data[1] = d.data[1].slice(4..)).contains("2 rows"));
        assert!(refused(&|d| d.startindex.clear()).contains("startindex"));
        assert!(refused(&|d| d.startindex[0].1 = -1).contains("A/1Min/X"));
        assert!(refused(&|d| d.lengths[0].1 = i64::MAX).contains("B/1Min/X"));
        assert!(refused(&|d| d.lengths[0].0 = "C/1Min/X".into()).contains("lengths"));
        assert!(refused(&|d| d.names[1] = "Epoch".into()).contains("Epoch"));
        let millis = Column::from_values(vec![1_583_159_400_000_i64; 3]);
        assert!(refused(&|d| d.data[0] = millis.bytes().clone()).contains("milliseconds"));
        assert!(Dataset::default().tables(false).is_err());
    }

    #[test]
    fn written_and_read_back_it_is_the_same() {
        let sample = sample();
        let tables = sample.tables(false).unwrap();
        let times: Vec<i64> = tables[1].1.times().iter().map(|t| t + 7).collect();
        let ticks = tables[1].1.clone().with_times(times).unwrap();
        let mut writer = Writer::default();
        write_dataset(
            &[("A/1Min/X", &tables[0].1), ("B/1Min/X", &ticks)],
            true,
            &mut writer,
        );
        let bytes = Bytes::from(writer.out);
        let back = Dataset::read(&mut Reader::new(&bytes)).unwrap();
        let back = back.tables(true).unwrap();
        assert_eq!(back[0], tables[0]);
        assert_eq!(back[1], ("B/1Min/X", ticks));
    }
}
