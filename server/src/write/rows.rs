//! Bodies as rows of buckets.

use std::collections::BTreeMap;
use std::io::Read;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_batch::{EPOCH, KEY_COLUMNS, TimeRules, ValueRules};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use engine::Engine;
use model::{BucketKey, ColumnBatch, ColumnDef, Schema};

use super::Part;
use crate::cli::load::table::{Options, Table};
use crate::ipc;

/// Reads a body: the engine knows the columns of buckets, the key is that of all rows.
pub(super) type Reader = fn(&Engine, Bytes, Option<&BucketKey>) -> Result<Vec<Part>, String>;

/// How bodies of a media type are read.
pub(super) fn reader(kind: &str) -> Option<Reader> {
    match kind.split(';').next().unwrap_or("").trim() {
        "application/vnd.apache.arrow.stream" | "application/x-arrow" => Some(arrow),
        "text/csv" | "application/csv" => Some(csv),
        _ => None,
    }
}

fn arrow(_: &Engine, body: Bytes, key: Option<&BucketKey>) -> Result<Vec<Part>, String> {
    let (schema, batches) = ipc::read(&body[..]).map_err(not_ipc)?;
    let mut gathered = Gathered::new(&schema, key)?;
    for batch in batches {
        gathered.add(&batch.map_err(not_ipc)?)?;
    }
    Ok(gathered.finish())
}

fn not_ipc(what: String) -> String {
    format!("the body is no Arrow IPC stream: {what}")
}

/// The rows of record batches, bucket by bucket.
pub(crate) struct Gathered {
    key: Option<BucketKey>,
    columns: Columns,
    parts: BTreeMap<String, Vec<ColumnBatch>>,
}

/// Where things stand in a record batch.
struct Columns {
    time: usize,
    /// Symbol, timeframe, attribute group.
    key: Option<[usize; 3]>,
    values: Vec<usize>,
    schema: Schema,
}

impl Gathered {
    /// Rows of `key`, or of the buckets that they name.
    pub(crate) fn new(schema: &SchemaRef, key: Option<&BucketKey>) -> Result<Self, String> {
        Ok(Self {
            key: key.cloned(),
            columns: Columns::find(schema, key.is_none())?,
            parts: BTreeMap::new(),
        })
    }

    /// Adds rows; an error is one of the whole body.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let rows = self.columns.rows(batch)?;
        match (self.columns.key, &self.key) {
            (Some(places), None) => {
                for (text, indexes) in by_key(batch, places)? {
                    self.parts
                        .entry(text)
                        .or_default()
                        .push(rows.take(&indexes));
                }
            }
            (_, key) => {
                let text = key.as_ref().map(|key| key.as_str().to_owned());
                self.parts
                    .entry(text.unwrap_or_default())
                    .or_default()
                    .push(rows);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<Part> {
        let whole = |(text, batches): (String, Vec<ColumnBatch>)| {
            let part = BucketKey::parse(&text)
                .map_err(|error| error.to_string())
                .and_then(|key| Ok((key, joined(batches)?)));
            (text, part)
        };
        self.parts.into_iter().map(whole).collect()
    }
}

fn joined(mut batches: Vec<ColumnBatch>) -> Result<ColumnBatch, String> {
    if let [_] = batches[..] {
        return Ok(batches.remove(0));
    }
    let rows = batches.iter().map(ColumnBatch::rows).sum();
    let first = batches.first().ok_or("there are no rows")?;
    let mut builder = model::BatchBuilder::new(first.schema().clone(), rows);
    for batch in &batches {
        builder.append(batch).map_err(|error| error.to_string())?;
    }
    Ok(builder.finish())
}

impl Columns {
    fn find(schema: &SchemaRef, keyed: bool) -> Result<Self, String> {
        let at = |name: &str| {
            let same = |f: &arrow_schema::FieldRef| f.name().eq_ignore_ascii_case(name);
            schema.fields().iter().position(same)
        };
        let time = at(EPOCH).ok_or("there is no column Epoch")?;
        let key = match keyed {
            true => {
                let missing = || {
                    format!(
                        "the path names no bucket, so the rows must: columns {}",
                        KEY_COLUMNS.join(", ")
                    )
                };
                let places: Option<Vec<usize>> = KEY_COLUMNS.iter().map(|name| at(name)).collect();
                let places = places.ok_or_else(missing)?;
                for place in &places {
                    let field = schema.field(*place);
                    if !arrow_batch::is_text(field.data_type()) {
                        return Err(format!("column {} is no text", field.name()));
                    }
                }
                Some([places[0], places[1], places[2]])
            }
            false => None,
        };
        let is_value = |at: &usize| *at != time && !key.is_some_and(|key| key.contains(at));
        let values: Vec<usize> = (0..schema.fields().len()).filter(is_value).collect();
        let rules = ValueRules::default();
        let defs = values.iter().map(|at| {
            let field = schema.field(*at);
            let ty = arrow_batch::column_type(field.data_type(), rules)
                .map_err(|what| format!("column {} {}", field.name(), plain(&what)))?;
            Ok(ColumnDef::new(field.name(), ty))
        });
        let defs: Result<Vec<_>, String> = defs.collect();
        let schema = Schema::new(defs?).map_err(|error| error.to_string())?;
        Ok(Self {
            time,
            key,
            values,
            schema,
        })
    }

    fn rows(&self, batch: &RecordBatch) -> Result<ColumnBatch, String> {
        let rules = TimeRules {
            unit: None,
            zone: model::Zone::utc(),
        };
        let bad = |name: &str, bad: arrow_batch::BadValue| {
            format!("row {}: {name} {}", bad.row + 1, plain(&bad.what))
        };
        let epoch: &ArrayRef = batch.column(self.time);
        let times = match epoch.data_type() {
            // As MarketStore has it: seconds.
            arrow_schema::DataType::Int64 => arrow_batch::times(
                epoch.as_ref(),
                &TimeRules {
                    unit: Some(model::NANOS_PER_SECOND),
                    ..rules
                },
            ),
            _ => arrow_batch::times(epoch.as_ref(), &rules),
        };
        let times = times.map_err(|error| bad("Epoch", error))?;
        let mut columns = Vec::with_capacity(self.values.len());
        for at in &self.values {
            let column = arrow_batch::column(batch.column(*at).as_ref(), ValueRules::default());
            columns.push(column.map_err(|error| bad(batch.schema().field(*at).name(), error))?);
        }
        ColumnBatch::new(self.schema.clone(), times, columns).map_err(|error| error.to_string())
    }
}

/// Options of the command line mean nothing here.
fn plain(what: &str) -> String {
    match what.rsplit_once("; ") {
        Some((what, advice)) if advice.contains("--") => what.to_owned(),
        _ => what.to_owned(),
    }
}

/// The rows of each bucket.
fn by_key(batch: &RecordBatch, places: [usize; 3]) -> Result<Vec<(String, Vec<u32>)>, String> {
    let texts = places.map(|at| {
        let array = batch.column(at).as_ref();
        arrow_batch::strings(array).collect::<Vec<Option<&str>>>()
    });
    let mut found: BTreeMap<[&str; 3], Vec<u32>> = BTreeMap::new();
    let [symbols, timeframes, groups] = &texts;
    let keys = symbols.iter().zip(timeframes).zip(groups);
    for (row, key) in keys.enumerate() {
        let ((Some(symbol), Some(timeframe)), Some(group)) = key else {
            return Err(format!("row {}: the key of its bucket is missing", row + 1));
        };
        let index = u32::try_from(row).map_err(|_| "a batch has too many rows")?;
        found
            .entry([symbol, timeframe, group])
            .or_default()
            .push(index);
    }
    let rows = |(key, rows): ([&str; 3], Vec<u32>)| (key.join("/"), rows);
    Ok(found.into_iter().map(rows).collect())
}

/// One bucket of CSV: as `mkts load` reads it, but a line that is no row refuses the body.
fn csv(engine: &Engine, body: Bytes, key: Option<&BucketKey>) -> Result<Vec<Part>, String> {
    let Some(key) = key else {
        return csv_of_many(engine, &body);
    };
    let schema = engine.bucket(key).map(|info| info.schema.clone());
    let part = csv_rows(&body[..], schema).map(|batch| (key.clone(), batch));
    Ok(vec![(key.as_str().to_owned(), part)])
}

fn csv_rows(body: impl Read, schema: Option<Schema>) -> Result<ColumnBatch, String> {
    let options = Options {
        // All at once: types are inferred from all lines.
        batch_rows: usize::MAX,
        rejects_listed: 1,
        ..Options::default()
    };
    let mut table = Table::open(body, options, schema).map_err(|what| plain(&what))?;
    let batch = table.next_batch()?;
    if let Some(reject) = table.rejects.listed.first() {
        return Err(format!("line {}: {}", reject.line, reject.reason));
    }
    batch.ok_or_else(|| "there are no rows".to_owned())
}

/// Lines with the columns of the key in front of all others are sorted into one text per bucket.
fn csv_of_many(engine: &Engine, body: &Bytes) -> Result<Vec<Part>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(&body[..]);
    let header = reader.byte_headers().map_err(|e| e.to_string())?.clone();
    let at = |name: &str| {
        let same = |field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
        header.iter().position(same)
    };
    let places: Option<Vec<usize>> = KEY_COLUMNS.iter().map(|name| at(name)).collect();
    let places = places.ok_or_else(|| {
        format!(
            "the path names no bucket, so the rows must: columns {}",
            KEY_COLUMNS.join(", ")
        )
    })?;
    let rest = |record: &csv::ByteRecord| {
        let kept = record
            .iter()
            .enumerate()
            .filter(|(at, _)| !places.contains(at));
        csv::ByteRecord::from_iter(kept.map(|(_, field)| field))
    };
    let told = |error: csv::Error| error.to_string();
    let mut texts: BTreeMap<String, csv::Writer<Vec<u8>>> = BTreeMap::new();
    for record in reader.byte_records() {
        let record = record.map_err(told)?;
        let items = places.iter().map(|at| {
            let field = record.get(*at).unwrap_or_default();
            String::from_utf8_lossy(field).into_owned()
        });
        let key = items.collect::<Vec<_>>().join("/");
        if !texts.contains_key(&key) {
            let mut writer = csv::WriterBuilder::new()
                .flexible(true)
                .from_writer(Vec::new());
            writer.write_byte_record(&rest(&header)).map_err(told)?;
            texts.insert(key.clone(), writer);
        }
        if let Some(writer) = texts.get_mut(&key) {
            writer.write_byte_record(&rest(&record)).map_err(told)?;
        }
    }
    let part = |(text, writer): (String, csv::Writer<Vec<u8>>)| {
        let part = BucketKey::parse(&text)
            .map_err(|error| error.to_string())
            .and_then(|key| {
                let lines = writer.into_inner().map_err(|error| error.to_string())?;
                let schema = engine.bucket(&key).map(|info| info.schema.clone());
                Ok((key, csv_rows(&lines[..], schema)?))
            });
        (text, part)
    };
    Ok(texts.into_iter().map(part).collect())
}
