//! From lines to columns.

use std::borrow::Cow;

use model::{
    BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, time_from_epoch,
};
use plugin_sdk::{Code, PluginError, SourceOut};

use crate::config::Config;
use crate::lines::Lines;

/// Column with the nanoseconds of a second, as in MarketStore's files.
const NANOSECONDS: &str = "Nanoseconds";

/// What the columns of the file are.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Columns of a line.
    width: usize,
    time: usize,
    nanoseconds: Option<usize>,
    bucket: Bucket,
    kind: RowKind,
    schema: Schema,
    /// Where the columns of the schema stand in a line.
    fields: Vec<usize>,
}

#[derive(Debug)]
enum Bucket {
    One(BucketKey),
    /// Text before and after the value of a column.
    ByColumn(String, usize, String),
}

/// One line, as far as its place and time.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) time: i64,
    key: Option<BucketKey>,
    fields: Vec<Cow<'a, str>>,
}

impl Layout {
    /// Reads the names of the columns, and of the first row their types.
    pub(crate) fn read(lines: &mut Lines, config: &Config) -> Result<Self, PluginError> {
        let header = lines.header()?;
        let names: Vec<String> = fields(&header)
            .into_iter()
            .map(|name| name.trim().to_owned())
            .collect();
        let wrong = |what: String| PluginError::new(Code::Config, what);
        let find = |name: &str| {
            let found = names.iter().position(|known| known == name);
            found.ok_or_else(|| {
                wrong(lines.at(&format!(
                    "no column \"{name}\"; there are {}",
                    names.join(", ")
                )))
            })
        };
        let time = find(&config.time)?;
        let nanoseconds = names.iter().position(|name| name == NANOSECONDS);
        let (bucket, by) = match config.bucket.split_once('{') {
            None => (None, None),
            Some((before, rest)) => {
                let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
                let at = find(name)?;
                (
                    Some(Bucket::ByColumn(before.into(), at, after.into())),
                    Some(at),
                )
            }
        };
        let bucket = match bucket {
            Some(bucket) => bucket,
            None => Bucket::One(
                BucketKey::parse(&config.bucket).map_err(|error| wrong(error.to_string()))?,
            ),
        };
        for name in config.columns.keys() {
            find(name)?;
        }
        let first = match lines.read()? {
            true => lines.line()?.to_owned(),
            false => String::new(),
        };
        let first = fields(&first);
        let (mut places, mut defs) = (Vec::new(), Vec::new());
        for (at, name) in names.iter().enumerate() {
            let is_data = at != time && Some(at) != nanoseconds && Some(at) != by;
            let ty = match config.columns.get(name) {
                Some(ty) => (*ty).into(),
                None if is_data && config.columns.is_empty() => {
                    infer(first.get(at).map_or("", |text| text))
                }
                None => continue,
            };
            places.push(at);
            defs.push(ColumnDef::new(name.as_str(), ty));
        }
        let schema = Schema::new(defs).map_err(|error| wrong(error.to_string()))?;
        let kind = match (config.kind, nanoseconds) {
            (Some(kind), _) => kind.into(),
            (None, Some(_)) => RowKind::Tick,
            (None, None) => RowKind::Bar,
        };
        Ok(Self {
            width: names.len(),
            time,
            nanoseconds,
            bucket,
            kind,
            schema,
            fields: places,
        })
    }

    /// A line's time and bucket.
    pub(crate) fn row<'a>(&self, line: &'a str, config: &Config) -> Result<Row<'a>, String> {
        let fields = fields(line);
        if fields.len() != self.width {
            return Err(format!(
                "{} columns, the first line has {}",
                fields.len(),
                self.width
            ));
        }
        let mut time = time(&fields[self.time], config)?;
        if let Some(at) = self.nanoseconds {
            let nanos: i64 = number(NANOSECONDS, &fields[at])?;
            if !(0..1_000_000_000).contains(&nanos) {
                return Err(format!("{NANOSECONDS}: {nanos} is not within a second"));
            }
            time += nanos;
        }
        let key = match &self.bucket {
            Bucket::One(_) => None,
            Bucket::ByColumn(before, at, after) => {
                let text = format!("{before}{}{after}", fields[*at].trim());
                Some(BucketKey::parse(&text).map_err(|error| error.to_string())?)
            }
        };
        Ok(Row { time, key, fields })
    }

    /// No rows yet.
    pub(crate) fn rows(&self) -> Rows {
        Rows {
            parts: Vec::new(),
            kind: self.kind,
            schema: self.schema.clone(),
            len: 0,
        }
    }
}

/// Rows of a batch: neighbours of one bucket are a part.
#[derive(Debug)]
pub(crate) struct Rows {
    parts: Vec<Part>,
    kind: RowKind,
    schema: Schema,
    len: usize,
}

#[derive(Debug)]
struct Part {
    key: BucketKey,
    times: Vec<i64>,
    columns: Vec<Values>,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Text(Vec<[u32; 16]>),
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.len * (8 + self.schema.row_bytes())
    }

    /// Adds a row; an error leaves the rows as they were.
    pub(crate) fn push(&mut self, layout: &Layout, row: &Row<'_>) -> Result<(), String> {
        let key = match (&row.key, &layout.bucket) {
            (Some(key), _) | (None, Bucket::One(key)) => key,
            (None, Bucket::ByColumn(..)) => return Err("the row names no bucket".into()),
        };
        if self.parts.last().is_none_or(|part| part.key != *key) {
            let columns = layout.schema.columns().iter();
            self.parts.push(Part {
                key: key.clone(),
                times: Vec::new(),
                columns: columns.map(|column| Values::new(column.ty)).collect(),
            });
        }
        let part = self.parts.last_mut().expect("made just now");
        let names = layout.schema.columns().iter();
        for ((values, at), column) in part.columns.iter_mut().zip(&layout.fields).zip(names) {
            if let Err(what) = values.push(&column.name, &row.fields[*at]) {
                part.columns
                    .iter_mut()
                    .for_each(|c| c.truncate(part.times.len()));
                return Err(what);
            }
        }
        part.times.push(row.time);
        self.len += 1;
        Ok(())
    }

    /// Hands the rows to the host.
    pub(crate) fn append_to(self, out: &mut SourceOut<'_>) -> Result<(), PluginError> {
        for part in self.parts.into_iter().filter(|part| !part.times.is_empty()) {
            let columns = part.columns.into_iter().map(Values::finish).collect();
            let times = Column::from_values(part.times);
            let batch = ColumnBatch::new(self.schema.clone(), times, columns)
                .map_err(|error| PluginError::from(error.to_string()))?;
            out.append(&part.key, self.kind, batch)?;
        }
        Ok(())
    }
}

impl Values {
    fn new(ty: ColumnType) -> Self {
        match ty {
            ColumnType::F32 => Self::F32(Vec::new()),
            ColumnType::I32 => Self::I32(Vec::new()),
            ColumnType::I64 => Self::I64(Vec::new()),
            ColumnType::Str16 => Self::Text(Vec::new()),
            // The config knows no others.
            _ => Self::F64(Vec::new()),
        }
    }

    fn push(&mut self, name: &str, text: &str) -> Result<(), String> {
        match self {
            Self::F32(list) => list.push(float(name, text, f32::NAN)?),
            Self::F64(list) => list.push(float(name, text, f64::NAN)?),
            Self::I32(list) => list.push(number(name, text)?),
            Self::I64(list) => list.push(number(name, text)?),
            Self::Text(list) => list.push(text16(name, text)?),
        }
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::F32(list) => list.truncate(rows),
            Self::F64(list) => list.truncate(rows),
            Self::I32(list) => list.truncate(rows),
            Self::I64(list) => list.truncate(rows),
            Self::Text(list) => list.truncate(rows),
        }
    }

    fn finish(self) -> Column {
        match self {
            Self::F32(list) => Column::from_values(list),
            Self::F64(list) => Column::from_values(list),
            Self::I32(list) => Column::from_values(list),
            Self::I64(list) => Column::from_values(list),
            Self::Text(list) => Column::from_values(list),
        }
    }
}

/// The fields of a line; quotes may hold commas, and a doubled quote is one.
fn fields(line: &str) -> Vec<Cow<'_, str>> {
    if !line.contains('"') {
        return line.split(',').map(Cow::Borrowed).collect();
    }
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(Cow::Owned(std::mem::take(&mut field))),
            other => field.push(other),
        }
    }
    out.push(Cow::Owned(field));
    out
}

fn infer(text: &str) -> ColumnType {
    let text = text.trim();
    match text.is_empty() || text.parse::<f64>().is_ok() {
        true => ColumnType::F64,
        false => ColumnType::Str16,
    }
}

fn time(text: &str, config: &Config) -> Result<i64, String> {
    let text = text.trim();
    let nanos = config.unit.nanos();
    if let Ok(count) = text.parse::<i64>() {
        let per_second = 1_000_000_000 / nanos;
        let (seconds, rest) = (count.div_euclid(per_second), count.rem_euclid(per_second));
        return time_from_epoch(seconds, rest * nanos).map_err(|error| error.to_string());
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| {
        format!(
            "{}: \"{text}\" is no number and no time like 2024-01-31T09:30:00Z",
            config.time
        )
    })?;
    let (seconds, nanos) = (moment.as_second(), i64::from(moment.subsec_nanosecond()));
    let (seconds, nanos) = match nanos < 0 {
        true => (seconds - 1, nanos + 1_000_000_000),
        false => (seconds, nanos),
    };
    time_from_epoch(seconds, nanos).map_err(|error| error.to_string())
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    let text = text.trim();
    text.parse()
        .map_err(|_| format!("{name}: \"{text}\" is not a whole number of its type"))
}

/// An empty field is a missing value.
fn float<T: std::str::FromStr>(name: &str, text: &str, missing: T) -> Result<T, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(missing);
    }
    text.parse()
        .map_err(|_| format!("{name}: \"{text}\" is not a number"))
}

fn text16(name: &str, text: &str) -> Result<[u32; 16], String> {
    let text = text.trim();
    let mut out = [0; 16];
    for (at, c) in text.chars().enumerate() {
        let place = out
            .get_mut(at)
            .ok_or_else(|| format!("{name}: \"{text}\" is longer than 16 characters"))?;
        *place = u32::from(c);
    }
    Ok(out)
}
