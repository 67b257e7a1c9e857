//! A CSV file as batches of rows, and the lines that are not rows.

use std::io::Read;

use csv::{ReaderBuilder, StringRecord};
use model::{ColumnBatch, ColumnDef, ColumnType, NANOS_PER_SECOND, Schema, Zone};

use super::times::TimeFormat;
use super::values::{Values, infer, type_code};

/// What the command line says about the file.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) header: bool,
    pub(crate) delimiter: u8,
    /// `name` by position, or `bucket column = CSV column`.
    pub(crate) columns: Vec<String>,
    pub(crate) epoch_column: Option<String>,
    pub(crate) time_format: TimeFormat,
    pub(crate) zone: Zone,
    pub(crate) types: Vec<(String, ColumnType)>,
    pub(crate) batch_rows: usize,
    /// Rejected lines that are kept with their reason; all are counted.
    pub(crate) rejects_listed: usize,
    /// `columnNameMap` of a control file: names by position, an empty one keeps the header's.
    pub(crate) control_names: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            columns: Vec::new(),
            epoch_column: None,
            time_format: TimeFormat::Auto,
            zone: Zone::utc(),
            types: Vec::new(),
            batch_rows: 100_000,
            rejects_listed: 20,
            control_names: None,
        }
    }
}

/// A line that is not a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    pub(crate) line: u64,
    pub(crate) reason: String,
}

/// Lines that are not rows.
#[derive(Debug, Default)]
pub(crate) struct Rejects {
    pub(crate) count: u64,
    pub(crate) listed: Vec<Reject>,
}

/// Where the time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeSource {
    One(usize),
    /// Date and time of day.
    Two(usize, usize),
}

/// Reads a file batch by batch.
pub(crate) struct Table<R> {
    reader: csv::Reader<R>,
    options: Options,
    fields: usize,
    time: TimeSource,
    nanoseconds: Option<usize>,
    /// Position in the file of each column, and its name.
    sources: Vec<(usize, String)>,
    /// Types that the header names (`Open:f4`), by position in the file.
    header_types: Vec<Option<ColumnType>>,
    /// Known at once for a bucket that is there, else after the first batch.
    schema: Option<Schema>,
    pub(crate) rejects: Rejects,
    /// A record read ahead to count the fields of a file without a header.
    ahead: Option<StringRecord>,
}

impl<R: Read> Table<R> {
    /// Reads the header and maps columns. `bucket` is the schema of the bucket if it is there.
    pub(crate) fn open(
        input: R,
        mut options: Options,
        bucket: Option<Schema>,
    ) -> Result<Self, String> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(options.delimiter)
            .from_reader(input);
        let mut first = StringRecord::new();
        let some = reader
            .read_record(&mut first)
            .map_err(|error| format!("the first line cannot be read: {error}"))?;
        if !some {
            return Err("the file is empty".into());
        }
        let (names, ahead) = match options.header {
            true => (
                first.iter().map(|name| clean(name).to_string()).collect(),
                None,
            ),
            false => (vec![String::new(); first.len()], Some(first)),
        };
        let (names, header_types) = typed(names);
        let names = match &options.control_names {
            Some(map) => by_control(names, map, options.header)?,
            None => rename(names, &options.columns)?,
        };
        let has_control = options.control_names.is_some();
        let time = time_source(
            has_control,
            &names,
            options.epoch_column.as_deref(),
            &mut options.time_format,
        )?;
        let nanoseconds = find(&names, "Nanoseconds");
        let sources = sources(has_control, &names, time, nanoseconds, bucket.as_ref())?;
        if let Some((name, _)) = options
            .types
            .iter()
            .find(|(name, _)| !sources.iter().any(|(_, source)| source == name))
        {
            return Err(format!(
                "--types names \"{name}\", which is not among the columns {}",
                list(sources.iter().map(|(_, name)| name))
            ));
        }
        Ok(Self {
            reader,
            fields: names.len(),
            time,
            nanoseconds,
            sources,
            header_types,
            schema: bucket,
            rejects: Rejects::default(),
            ahead,
            options,
        })
    }

    /// The next rows; `None` at the end of the file.
    pub(crate) fn next_batch(&mut self) -> Result<Option<ColumnBatch>, String> {
        loop {
            let records = self.read_records()?;
            if records.is_empty() {
                return Ok(None);
            }
            let schema = match &self.schema {
                Some(schema) => schema.clone(),
                None => {
                    let schema = self.infer_schema(&records)?;
                    self.schema.insert(schema).clone()
                }
            };
            let batch = self.convert(&records, schema)?;
            // A batch of rejects only is not the end.
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    fn read_records(&mut self) -> Result<Vec<StringRecord>, String> {
        let mut records = Vec::new();
        let mut record = self.ahead.take().unwrap_or_default();
        let mut have = !record.is_empty();
        while records.len() < self.options.batch_rows {
            if !have {
                let line = self.reader.position().line();
                match self.reader.read_record(&mut record) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => match error.kind() {
                        csv::ErrorKind::Utf8 { pos, .. } => {
                            let line = pos.as_ref().map_or(line, csv::Position::line);
                            self.reject(line, "is not UTF-8 text".into());
                            continue;
                        }
                        _ => return Err(format!("line {line}: {error}")),
                    },
                }
            }
            have = false;
            if record.len() == self.fields {
                records.push(std::mem::take(&mut record));
            } else {
                let (found, wanted) = (record.len(), self.fields);
                self.reject(line_of(&record), format!("{found} fields, wanted {wanted}"));
            }
        }
        Ok(records)
    }

    fn infer_schema(&self, records: &[StringRecord]) -> Result<Schema, String> {
        let columns = self.sources.iter().map(|(at, name)| {
            let forced = self.options.types.iter().find(|(wanted, _)| wanted == name);
            let values = records.iter().filter_map(|record| record.get(*at));
            let known = forced.map(|(_, ty)| *ty).or(self.header_types[*at]);
            let ty = known.unwrap_or_else(|| infer(values));
            ColumnDef::new(name.clone(), ty)
        });
        Schema::new(columns.collect()).map_err(|error| error.to_string())
    }

    fn convert(&mut self, records: &[StringRecord], schema: Schema) -> Result<ColumnBatch, String> {
        let mut times: Vec<i64> = Vec::with_capacity(records.len());
        let mut columns: Vec<Values> = schema
            .columns()
            .iter()
            .map(|column| Values::new(column.ty))
            .collect();
        for record in records {
            let row = times.len();
            let added = self
                .time_of(record)
                .and_then(|time| self.add_row(record, &mut columns).map(|()| time));
            match added {
                Ok(time) => times.push(time),
                Err(reason) => {
                    columns.iter_mut().for_each(|column| column.truncate(row));
                    self.reject(line_of(record), reason);
                }
            }
        }
        let columns = columns.into_iter().map(Values::finish).collect();
        ColumnBatch::new(schema, model::Column::from_values(times), columns)
            .map_err(|error| error.to_string())
    }

    fn time_of(&self, record: &StringRecord) -> Result<i64, String> {
        let Options {
            time_format, zone, ..
        } = &self.options;
        let time = match self.time {
            TimeSource::One(at) => time_format.read(&record[at], zone)?,
            TimeSource::Two(date, time) => {
                let text = format!("{} {}", record[date].trim(), record[time].trim());
                time_format.read(&text, zone)?
            }
        };
        let Some(at) = self.nanoseconds else {
            return Ok(time);
        };
        let text = record[at].trim();
        match text.parse::<i64>() {
            Ok(nanos) if (0..NANOS_PER_SECOND).contains(&nanos) => Ok(time + nanos),
            _ => Err(format!(
                "Nanoseconds: \"{text}\" is not from 0 to 999999999"
            )),
        }
    }

    fn add_row(&self, record: &StringRecord, columns: &mut [Values]) -> Result<(), String> {
        for ((at, name), column) in self.sources.iter().zip(columns) {
            let text = &record[*at];
            column
                .push(text)
                .map_err(|reason| format!("{name}: \"{}\" is {reason}", short(text)))?;
        }
        Ok(())
    }

    fn reject(&mut self, line: u64, reason: String) {
        self.rejects.count += 1;
        if self.rejects.listed.len() < self.options.rejects_listed {
            self.rejects.listed.push(Reject { line, reason });
        }
    }
}

fn line_of(record: &StringRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Spreadsheets put a byte order mark in front of the first name.
fn clean(name: &str) -> &str {
    name.trim_start_matches('\u{feff}').trim()
}

/// Splits `Open:f4` into a name and a type. Other names with a colon stay whole.
fn typed(names: Vec<String>) -> (Vec<String>, Vec<Option<ColumnType>>) {
    let split = |name: String| match name.rsplit_once(':') {
        Some((rest, code)) => match ColumnType::ALL
            .into_iter()
            .find(|ty| type_code(*ty) == code)
        {
            Some(ty) => (rest.to_string(), Some(ty)),
            None => (name, None),
        },
        None => (name, None),
    };
    names.into_iter().map(split).unzip()
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Position of a column by name, in any case; a name in the right case wins.
fn find(names: &[String], wanted: &str) -> Option<usize> {
    names.iter().position(|name| name == wanted).or_else(|| {
        names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(wanted))
    })
}

/// Applies `--columns`.
fn rename(mut names: Vec<String>, columns: &[String]) -> Result<Vec<String>, String> {
    let originals = names.clone();
    for (position, column) in columns.iter().enumerate() {
        let (target, at) = match column.split_once('=') {
            Some((target, source)) => (target.trim(), find_source(&originals, source.trim())?),
            None => (column.trim(), position),
        };
        if at >= names.len() {
            return Err(format!(
                "--columns names {} columns, the file has {}",
                columns.len(),
                names.len()
            ));
        }
        // An empty name keeps the header's.
        if !target.is_empty() {
            names[at] = target.into();
        }
    }
    if names.iter().all(String::is_empty) {
        return Err(
            "a file without a header needs --columns, like Epoch,Open,High,Low,Close".into(),
        );
    }
    Ok(names)
}

/// Applies `columnNameMap`.
fn by_control(
    mut names: Vec<String>,
    map: &[String],
    has_header: bool,
) -> Result<Vec<String>, String> {
    if !has_header && map.is_empty() {
        return Err(
            "not enough info to map DB column names to csv file: a control file needs \
             firstRowHasColumnNames: true or a columnNameMap"
                .into(),
        );
    }
    if map.len() > names.len() {
        return Err(format!(
            "columnNameMap has {} names, the file has {} columns",
            map.len(),
            names.len()
        ));
    }
    for (name, new) in names.iter_mut().zip(map) {
        if !new.is_empty() {
            *name = new.trim().to_owned();
        }
    }
    Ok(names)
}

/// What MarketStore's loader says about a column of the bucket that the file does not have.
fn unmatched(column: &str, names: &[String]) -> String {
    format!(
        "Unable to find a matching csv column for \"{column}\": unable to match all csv file \
         columns to DB columns; the file has {}",
        list(names.iter())
    )
}

fn find_source(names: &[String], source: &str) -> Result<usize, String> {
    if let Some(number) = source
        .strip_prefix('#')
        .and_then(|n| n.parse::<usize>().ok())
    {
        return match number {
            1.. if number <= names.len() => Ok(number - 1),
            _ => Err(format!(
                "--columns: there is no column {source}, the file has {}",
                names.len()
            )),
        };
    }
    find(names, source).ok_or_else(|| {
        format!(
            "--columns: there is no column \"{source}\"; the file has {}",
            list(names.iter())
        )
    })
}

/// Names that are taken for the time, if the command line names none.
const TIME_NAMES: &[&str] = &["Epoch", "time", "timestamp", "datetime", "date"];

fn time_source(
    has_control: bool,
    names: &[String],
    wanted: Option<&str>,
    format: &mut TimeFormat,
) -> Result<TimeSource, String> {
    if let Some(wanted) = wanted {
        return find(names, wanted).map(TimeSource::One).ok_or_else(|| {
            format!(
                "there is no column \"{wanted}\"; the file has {}",
                list(names.iter())
            )
        });
    }
    if let (Some(date), Some(time)) = (find(names, "Epoch-date"), find(names, "Epoch-time")) {
        if *format == TimeFormat::Auto {
            *format = TimeFormat::Iso;
        }
        return Ok(TimeSource::Two(date, time));
    }
    if has_control {
        let at = find(names, "Epoch").ok_or_else(|| unmatched("Epoch", names))?;
        return Ok(TimeSource::One(at));
    }
    TIME_NAMES
        .iter()
        .find_map(|name| find(names, name))
        .map(TimeSource::One)
        .ok_or_else(|| {
            format!(
                "no column looks like the time; name it with --epoch-column. The file has {}",
                list(names.iter())
            )
        })
}

/// The columns to load: those of the bucket if it is there, else all that have a name.
fn sources(
    has_control: bool,
    names: &[String],
    time: TimeSource,
    nanoseconds: Option<usize>,
    bucket: Option<&Schema>,
) -> Result<Vec<(usize, String)>, String> {
    if let Some(schema) = bucket {
        return schema
            .columns()
            .iter()
            .map(|column| match find(names, &column.name) {
                Some(at) => Ok((at, column.name.clone())),
                None if has_control => Err(unmatched(&column.name, names)),
                None => Err(format!(
                    "the bucket has a column \"{}\", the file has {}; map one with --columns \
                     {}=NAME",
                    column.name,
                    list(names.iter()),
                    column.name
                )),
            })
            .collect();
    }
    let is_time = |at: usize| match time {
        TimeSource::One(one) => at == one,
        TimeSource::Two(date, time) => at == date || at == time,
    };
    let rest: Vec<(usize, String)> = names
        .iter()
        .enumerate()
        .filter(|(at, name)| !is_time(*at) && nanoseconds != Some(*at) && !skipped(name))
        .map(|(at, name)| (at, name.clone()))
        .collect();
    match rest.is_empty() {
        true => Err("the file has no column beside the time".into()),
        false => Ok(rest),
    }
}

/// `-` as a name leaves a column out.
fn skipped(name: &str) -> bool {
    name.is_empty() || name == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, options: Options) -> Result<(Vec<ColumnBatch>, Rejects), String> {
        load_bytes(text.as_bytes(), options, None)
    }

    fn load_bytes(
        bytes: &[u8],
        options: Options,
        bucket: Option<Schema>,
    ) -> Result<(Vec<ColumnBatch>, Rejects), String> {
        let mut table = Table::open(bytes, options, bucket)?;
        let mut batches = Vec::new();
        while let Some(batch) = table.next_batch()? {
            batches.push(batch);
        }
        Ok((batches, table.rejects))
    }

    fn f64s(batch: &ColumnBatch, name: &str) -> Vec<f64> {
        batch
            .column(name)
            .unwrap()
            .values::<f64>()
            .unwrap()
            .to_vec()
    }

    const BARS: &str = "Epoch,Open,Volume\n60,1.5,10\n120,2.5,20\n";

    #[test]
    fn a_plain_file_needs_no_options() {
        let (batches, rejects) = load(BARS, Options::default()).unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(
            batches[0].times(),
            [60 * NANOS_PER_SECOND, 120 * NANOS_PER_SECOND]
        );
        assert_eq!(f64s(&batches[0], "Open"), [1.5, 2.5]);
        assert_eq!(
            batches[0].column("Volume").unwrap().values::<i64>(),
            Some(&[10, 20][..])
        );
        assert_eq!(rejects.count, 0);
    }

    #[test]
    fn columns_are_mapped_by_name_number_or_position() {
        let text = "when,o,v\n60,1.5,10\n";
        let columns = |list: &[&str]| Options {
            columns: list.iter().map(ToString::to_string).collect(),
            epoch_column: Some("when".into()),
            ..Options::default()
        };
        let (by_name, _) = load(text, columns(&["Open=o", "Volume=#3"])).unwrap();
        assert_eq!(f64s(&by_name[0], "Open"), [1.5]);
        assert!(by_name[0].column("Volume").is_some());
        let (by_position, _) = load(text, columns(&["", "Open", "-"])).unwrap();
        assert_eq!(by_position[0].schema().len(), 1);
        let bare = Options {
            header: false,
            columns: vec!["Epoch".into(), "Open".into()],
            ..Options::default()
        };
        let (rows, _) = load("60,1.5\n120,2\n", bare).unwrap();
        assert_eq!(f64s(&rows[0], "Open"), [1.5, 2.0]);
    }

    #[test]
    fn a_bucket_that_is_there_gives_names_and_types() {
        let schema = Schema::new(vec![
            ColumnDef::new("Volume", ColumnType::I32),
            ColumnDef::new("Open", ColumnType::F32),
        ]);
        let text = "epoch,open,extra,volume\n60,1.5,x,10\n";
        let schema = schema.unwrap();
        let (batches, _) =
            load_bytes(text.as_bytes(), Options::default(), Some(schema.clone())).unwrap();
        assert_eq!(batches[0].schema(), &schema);
        assert_eq!(
            batches[0].column("Volume").unwrap().values::<i32>(),
            Some(&[10][..])
        );
        let error =
            load_bytes(b"Epoch,Open\n60,1\n", Options::default(), Some(schema)).unwrap_err();
        assert!(
            error.contains("a column \"Volume\"") && error.contains("--columns"),
            "{error}"
        );
    }

    #[test]
    fn bad_lines_are_listed_and_the_rest_is_loaded() {
        let text = "Epoch,Open,Volume\n60,1,1\nx,1,1\n120,1\n180,oops,1\n\n240,4,4\n300,5,1.5\n";
        let types = vec![
            ("Volume".into(), ColumnType::I64),
            ("Open".into(), ColumnType::F64),
        ];
        let options = Options {
            types,
            rejects_listed: 3,
            ..Options::default()
        };
        let (batches, rejects) = load(text, options).unwrap();
        assert_eq!(
            batches[0].times(),
            [60 * NANOS_PER_SECOND, 240 * NANOS_PER_SECOND]
        );
        assert_eq!(f64s(&batches[0], "Open"), [1.0, 4.0]);
        assert_eq!(rejects.count, 4);
        let lines: Vec<u64> = rejects.listed.iter().map(|r| r.line).collect();
        // Short lines are found while reading, before the values of the lines around them.
        assert_eq!(lines, [4, 3, 5]);
        assert_eq!(rejects.listed[0].reason, "2 fields, wanted 3");
        assert_eq!(rejects.listed[2].reason, "Open: \"oops\" is not a number");
    }

    #[test]
    fn text_that_is_not_utf8_is_one_bad_line() {
        let (batches, rejects) = load_bytes(
            b"Epoch,Open\n60,1\n120,\xff\n180,3\n",
            Options::default(),
            None,
        )
        .unwrap();
        assert_eq!(batches[0].rows(), 2);
        assert_eq!((rejects.count, rejects.listed[0].line), (1, 3));
    }

    #[test]
    fn ticks_keep_their_nanoseconds() {
        let text = "Epoch,Nanoseconds,Price,Cond\n60,5,1.5,A1\n60,999999999,1.5,B\n60,-1,1,C\n";
        let (batches, rejects) = load(text, Options::default()).unwrap();
        assert_eq!(batches[0].times(), [60_000_000_005, 60_999_999_999]);
        assert_eq!(batches[0].schema().columns()[1].ty, ColumnType::Str16);
        assert!(rejects.listed[0].reason.starts_with("Nanoseconds: \"-1\""));
    }

    #[test]
    fn date_and_time_may_be_two_columns() {
        let text = "Epoch-date,Epoch-time,Open\n2020-01-31,14:57:25,1\n";
        let (batches, _) = load(text, Options::default()).unwrap();
        assert_eq!(batches[0].times(), [1_580_482_645 * NANOS_PER_SECOND]);
    }

    #[test]
    fn a_file_is_cut_into_batches() {
        let options = Options {
            batch_rows: 1,
            ..Options::default()
        };
        let (batches, _) = load(BARS, options).unwrap();
        assert_eq!(batches.len(), 2);
    }

    #[test]
    fn files_that_cannot_be_mapped_say_what_is_missing() {
        let default = Options::default;
        for (text, options, part) in [
            ("", default(), "is empty"),
            ("a,b\n1,2\n", default(), "--epoch-column"),
            ("Epoch\n1\n", default(), "no column beside the time"),
            (
                BARS,
                Options {
                    header: false,
                    ..default()
                },
                "needs --columns",
            ),
            (
                BARS,
                Options {
                    columns: vec!["X=nope".into()],
                    ..default()
                },
                "no column \"nope\"",
            ),
            (
                BARS,
                Options {
                    columns: vec!["X=#9".into()],
                    ..default()
                },
                "no column #9",
            ),
            (
                BARS,
                Options {
                    columns: vec![String::new(); 9],
                    ..default()
                },
                "names 9 columns",
            ),
            (
                BARS,
                Options {
                    types: vec![("Opne".into(), ColumnType::F32)],
                    ..default()
                },
                "\"Opne\"",
            ),
        ] {
            let error = load(text, options).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
