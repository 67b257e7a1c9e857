//! Files of record batches (Parquet, Arrow IPC) into buckets.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use model::{BucketKey, RowKind, Zone};

use super::files::{self, Input};
use super::plan::Plan;
use super::sink::Sink;
use super::{Target, kind, progress, report};
use crate::cli::{Failure, KEY_METADATA, KIND_METADATA};
use arrow_batch::{TimeRules, ValueRules};

/// Rows that are decoded at once.
pub(super) const BATCH_ROWS: usize = 64 << 10;

/// Arguments of `mkts import parquet` and `mkts import arrow`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Renames `SOURCE:TARGET`; `SOURCE:-` leaves a column out.
    #[arg(long, value_delimiter = ',', value_name = "SOURCE:TARGET")]
    columns: Vec<String>,
    /// Column of the time; else the first that is called Epoch, time, timestamp, datetime or date,
    /// or the only one of a type of time.
    #[arg(long)]
    time_column: Option<String>,
    /// What integers of the time column count since 1970.
    #[arg(long, value_enum)]
    time_unit: Option<TimeUnit>,
    /// IANA zone of dates, and of times without a zone.
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// What becomes of missing integers and texts. Missing floats are NaN.
    #[arg(long, value_enum, default_value_t = Nulls::Error)]
    nulls: Nulls,
    /// Takes decimal numbers as f64.
    #[arg(long, value_enum)]
    decimals: Option<Decimals>,
    /// Casts values that do not fit the columns of the bucket as C does, instead of refusing them.
    #[arg(long)]
    lossy: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TimeUnit {
    S,
    Ms,
    Us,
    Ns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Nulls {
    Error,
    Zero,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Decimals {
    Float,
}

/// How files are read.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) columns: Vec<String>,
    pub(super) time_column: Option<String>,
    pub(super) time: TimeRules,
    pub(super) values: ValueRules,
    pub(super) lossy: bool,
}

impl Args {
    fn rules(&self) -> Result<Rules, Failure> {
        let zone = Zone::parse(&self.time_zone).map_err(|e| Failure::new(e.to_string()))?;
        let unit = self.time_unit.map(|unit| match unit {
            TimeUnit::S => 1_000_000_000,
            TimeUnit::Ms => 1_000_000,
            TimeUnit::Us => 1_000,
            TimeUnit::Ns => 1,
        });
        Ok(Rules {
            columns: self.columns.clone(),
            time_column: self.time_column.clone(),
            time: TimeRules { unit, zone },
            values: ValueRules {
                nulls_zero: self.nulls == Nulls::Zero,
                decimals: self.decimals.is_some(),
            },
            lossy: self.lossy,
        })
    }
}

/// An open file of record batches.
pub(super) struct Table {
    pub(super) schema: SchemaRef,
    pub(super) metadata: HashMap<String, String>,
    pub(super) batches: Box<dyn Iterator<Item = Result<RecordBatch, String>>>,
}

/// Opens a file.
pub(super) type Open = fn(&Path) -> Result<Table, String>;

/// Imports the files and prints what happened.
pub(super) fn run(
    args: &Args,
    format: &str,
    extensions: &[&str],
    open: Open,
) -> Result<(), Failure> {
    let key = args.target.key()?;
    let rules = args.rules()?;
    let found = files::find(&args.target.files, extensions).map_err(Failure::new)?;
    if let Some(warning) = found.warning() {
        eprintln!("mkts: {warning}");
    }
    let files = &found.inputs;
    // Before anything is written: what is wrong with the head of a file is known from here on.
    for input in files {
        let table = guarded(format, || open(&input.path)).map_err(|what| fail(input, what))?;
        bucket_of(&key, input, &table, &rules).map_err(|what| fail(input, what))?;
    }
    let mut sink = Sink::open(&args.target.place)?;
    let bar = progress(files.len());
    let began = Instant::now();
    let ticks = args.target.ticks.then_some(RowKind::Tick);
    for input in files {
        let table = guarded(format, || open(&input.path)).map_err(|what| fail(input, what))?;
        let (key, plan) =
            bucket_of(&key, input, &table, &rules).map_err(|what| fail(input, what))?;
        let said = ticks.or_else(|| kind_of(&table));
        bar.set_message(input.path.display().to_string());
        let file = File {
            format,
            key,
            plan,
            said,
            rules: &rules,
        };
        file.import(table, &mut sink).map_err(|failure| Failure {
            text: format!("{}: {}", input.path.display(), failure.text),
            ..failure
        })?;
        bar.inc(1);
    }
    let loaded = sink.finish()?;
    bar.finish_and_clear();
    report(&args.target, files.len(), &loaded, 0, began);
    Ok(())
}

/// Imports one file into the bucket it is for, by the plain rules.
pub(super) fn one(
    format: &str,
    input: &Input,
    said: Option<RowKind>,
    sink: &mut Sink,
    open: Open,
) -> Result<(), Failure> {
    let rules = Rules {
        columns: Vec::new(),
        time_column: None,
        time: TimeRules {
            unit: None,
            zone: Zone::utc(),
        },
        values: ValueRules::default(),
        lossy: false,
    };
    let table = guarded(format, || open(&input.path)).map_err(|what| fail(input, what))?;
    let (key, plan) =
        bucket_of(&input.key, input, &table, &rules).map_err(|what| fail(input, what))?;
    let said = said.or_else(|| kind_of(&table));
    let file = File {
        format,
        key,
        plan,
        said,
        rules: &rules,
    };
    file.import(table, sink).map_err(|failure| Failure {
        text: format!("{}: {}", input.path.display(), failure.text),
        ..failure
    })
}

fn fail(input: &Input, what: String) -> Failure {
    Failure::new(format!("{}: {what}", input.path.display()))
}

/// The bucket of a file, `None` if its columns name one for each row, and how it is read.
fn bucket_of(
    said: &Option<BucketKey>,
    input: &Input,
    table: &Table,
    rules: &Rules,
) -> Result<(Option<BucketKey>, Plan), String> {
    let of_metadata = table.metadata.get(KEY_METADATA);
    let of_metadata = of_metadata.map(|text| {
        BucketKey::parse(text).map_err(|error| format!("metadata {KEY_METADATA}: {error}"))
    });
    let plan = Plan::new(
        &table.schema,
        rules,
        said.is_none() && of_metadata.is_none(),
    )?;
    let key = match (said, of_metadata) {
        (Some(key), _) => Some(key.clone()),
        (None, Some(key)) => Some(key?),
        (None, None) if plan.is_keyed() => None,
        (None, None) => Some(input.key.clone().ok_or(
            "which bucket? Neither its columns nor its metadata nor its path \
             SYMBOL/TIMEFRAME/GROUP tell; say --key",
        )?),
    };
    Ok((key, plan))
}

fn kind_of(table: &Table) -> Option<RowKind> {
    match table.metadata.get(KIND_METADATA)?.as_str() {
        "bar" => Some(RowKind::Bar),
        "tick" => Some(RowKind::Tick),
        _ => None,
    }
}

/// A file that is being imported.
struct File<'a> {
    format: &'a str,
    key: Option<BucketKey>,
    plan: Plan,
    said: Option<RowKind>,
    rules: &'a Rules,
}

impl File<'_> {
    fn import(&self, mut table: Table, sink: &mut Sink) -> Result<(), Failure> {
        let mut first_row = 1;
        let mut any = false;
        while let Some(batch) =
            guarded(self.format, || table.batches.next().transpose()).map_err(Failure::new)?
        {
            self.add(&batch, first_row, sink)?;
            first_row += batch.num_rows();
            any = true;
        }
        if !any {
            self.add(&RecordBatch::new_empty(table.schema), first_row, sink)?;
        }
        Ok(())
    }

    fn add(&self, batch: &RecordBatch, first_row: usize, sink: &mut Sink) -> Result<(), Failure> {
        let parts = self
            .plan
            .parts(batch, self.key.as_ref(), first_row)
            .map_err(Failure::new)?;
        for part in parts {
            let (stored, schema) = sink.bucket(&part.key)?.unzip();
            let kind = kind(&part.key, stored, self.said)?;
            let rows = self
                .plan
                .rows(batch, &part, schema, self.rules, first_row)
                .map_err(Failure::new)?;
            sink.add(&part.key, kind, rows)?;
        }
        Ok(())
    }
}

thread_local! {
    /// Whether this thread runs a reader whose panics are errors.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a reader of somebody else's bytes. A damaged file may bring it to panic, which is an error
/// of the file.
fn guarded<T>(format: &str, read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                tell(info);
            }
        }));
    });
    GUARDED.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(false);
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let text = text.and_then(|text| text.lines().next());
        Err(format!(
            "is damaged: the reader of {format} gave up on it ({})",
            text.unwrap_or("it does not say why")
        ))
    })
}

#[cfg(test)]
// Files of the test, not of the store.
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampNanosecondArray};
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    use super::*;
    use crate::cli::import::{arrow, parquet};

    fn sample() -> RecordBatch {
        let times = TimestampNanosecondArray::from((0..50).collect::<Vec<i64>>());
        let prices = Float64Array::from((0..50).map(f64::from).collect::<Vec<f64>>());
        let notes = StringArray::from_iter_values((0..50).map(|n| (n % 3).to_string()));
        let columns: [(&str, ArrayRef); 3] = [
            ("Epoch", Arc::new(times)),
            ("Price", Arc::new(prices)),
            ("Note", Arc::new(notes)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn read(open: Open, file: &Path) -> Result<usize, String> {
        let mut rows = 0;
        let mut table = guarded("test", || open(file))?;
        while let Some(batch) = guarded("test", || table.batches.next().transpose())? {
            rows += batch.num_rows();
        }
        Ok(rows)
    }

    /// Whatever byte is wrong, the reader ends: with rows or an error, never a crash.
    #[test]
    fn no_wrong_byte_brings_a_reader_down() {
        let batch = sample();
        let mut in_parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        in_parquet.write(&batch).unwrap();
        let schema = batch.schema();
        let mut file = FileWriter::try_new(Vec::new(), &schema).unwrap();
        file.write(&batch).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD));
        let options = options.unwrap();
        let mut packed = FileWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
        packed.write(&batch).unwrap();
        let mut bare = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        bare.finish().unwrap();
        let temp = tempfile::tempdir().unwrap();
        let empty = temp.path().join("empty");
        fs::write(&empty, bare.into_inner().unwrap()).unwrap();
        assert_eq!(read(arrow::open, &empty), Ok(0));
        let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        stream.write(&batch).unwrap();
        let samples: [(Open, Vec<u8>); 4] = [
            (parquet::open, in_parquet.into_inner().unwrap()),
            (arrow::open, file.into_inner().unwrap()),
            (arrow::open, packed.into_inner().unwrap()),
            (arrow::open, stream.into_inner().unwrap()),
        ];
        for (number, (open, good)) in samples.into_iter().enumerate() {
            let path = temp.path().join(number.to_string());
            fs::write(&path, &good).unwrap();
            assert_eq!(read(open, &path), Ok(50));
            let mut refused = 0;
            for at in (0..good.len()).step_by(3) {
                let mut bad = good.clone();
                bad[at] ^= 0xff;
                fs::write(&path, &bad).unwrap();
                refused += usize::from(read(open, &path).is_err());
            }
            assert!(refused > 0, "some bytes matter");
        }
    }
}
