//! `mkts ls`: which buckets there are.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use engine::Limit;
use model::{KeyPattern, RowKind};

use super::Failure;
use super::load::type_code;
use super::output::OutputArgs;
use super::place::{Opened, Place};
use super::remote;
use super::source::Bucket;

/// Arguments of `mkts ls`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only buckets that match: `AAPL/*/*`, `*/1Min/*`.
    #[arg(default_value = "*/*/*")]
    pattern: String,
    /// Kind, columns and newest row, too.
    #[arg(short, long)]
    long: bool,
    /// Symbols, each once, instead of buckets.
    #[arg(long, conflicts_with = "long")]
    symbols: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: Place,
}

/// Prints the buckets, one a line; without a match nothing.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let on = KeyPattern::parse(&args.pattern).map_err(|error| Failure::new(error.to_string()))?;
    let mut opened = args.place.open(false)?;
    if args.long {
        let mut source = opened;
        let buckets = source.buckets(&on, &[])?;
        print(args, long(&mut source, &buckets)?)?;
        return source.close();
    }
    let keys = keys(&mut opened)?;
    let matching = keys.into_iter().filter(|key| on.matches(key));
    let mut names: Vec<String> = match args.symbols {
        true => matching.map(|key| key.symbol().to_owned()).collect(),
        false => matching.map(|key| key.to_string()).collect(),
    };
    names.sort();
    names.dedup();
    let column = if args.symbols { "symbol" } else { "key" };
    let plain = args.output.is_plain();
    if plain {
        // For scripts: nothing but the names.
        for name in names {
            println!("{name}");
        }
    } else {
        print(args, texts(&[column], vec![names])?)?;
    }
    opened.close()
}

/// All keys of a place.
pub(super) fn keys(opened: &mut Opened) -> Result<Vec<model::BucketKey>, Failure> {
    match opened {
        Opened::Store(engine) => Ok(engine.buckets().iter().map(|b| b.key.clone()).collect()),
        Opened::Server(client) => {
            let names = client.buckets().map_err(|error| remote::failure(&error))?;
            let keys = names.iter().map(|name| model::BucketKey::parse(name));
            keys.collect::<Result<_, _>>()
                .map_err(|error| Failure::new(error.to_string()))
        }
    }
}

fn print(args: &Args, batch: RecordBatch) -> Result<(), Failure> {
    let mut rows = args.output.open(&batch.schema())?;
    rows.write(&batch)?;
    rows.finish().map(|_| ())
}

fn texts(names: &[&str], columns: Vec<Vec<String>>) -> Result<RecordBatch, Failure> {
    let field = |name: &&str| Field::new(*name, DataType::Utf8, false);
    let fields: Vec<Field> = names.iter().map(field).collect();
    let arrays = columns.into_iter();
    let arrays: Vec<ArrayRef> = arrays
        .map(|values| Arc::new(StringArray::from(values)) as ArrayRef)
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| Failure::new(error.to_string()))
}

fn long(source: &mut Opened, buckets: &[Bucket]) -> Result<RecordBatch, Failure> {
    let (mut kinds, mut columns, mut newest) = (Vec::new(), Vec::new(), Vec::new());
    for bucket in buckets {
        kinds.push(match bucket.kind {
            RowKind::Bar => "bar".to_owned(),
            RowKind::Tick => "tick".to_owned(),
        });
        let names = bucket.columns.columns().iter();
        let names: Vec<String> = names
            .map(|c| format!("{}:{}", c.name, type_code(c.ty)))
            .collect();
        columns.push(names.join(","));
        let last = source.limited(bucket, (i64::MIN, i64::MAX), Limit::Last(1))?;
        newest.push(last.times().last().copied());
    }
    let keys = buckets.iter().map(|bucket| bucket.key.to_string());
    let head = texts(
        &["key", "kind", "columns"],
        vec![keys.collect(), kinds, columns],
    )?;
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let mut fields: Vec<Arc<Field>> = head.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("newest", time, true)));
    let mut arrays = head.columns().to_vec();
    let newest = TimestampNanosecondArray::from(newest).with_timezone("UTC");
    arrays.push(Arc::new(newest));
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, arrays).map_err(|error| Failure::new(error.to_string()))
}
