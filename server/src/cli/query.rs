//! `mkts query`: rows of buckets, for scripts.

use std::collections::HashMap;
use std::io::IsTerminal;

use arrow_schema::SchemaRef;
use engine::Limit;
use indicatif::{ProgressBar, ProgressStyle};
use model::{BucketKey, ColumnBatch, KeyPattern, RowKind};

use super::export::bound;
use super::output::{OutputArgs, Rows};
use super::place::{Opened, Place};
use super::source::Bucket;
use super::{Failure, KEY_METADATA, KIND_METADATA};

mod functions;

/// Arguments of `mkts query`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Times are inclusive: 2020-01-31, 2020-01-31T15:04:05.25Z or seconds since 1970. Rows of several \
buckets have symbol, timeframe and attribute_group in front. Exit code 1 if no bucket matches.\n\
Functions are those of the protocol: --functions \"candlecandler('5Min',Open,High,Low,Close)\".")]
pub(super) struct Args {
    /// Bucket, or a pattern: `AAPL/1Min/OHLCV`, `AAPL,MSFT/1Min/OHLCV`, `*/1D/*`.
    key: String,
    /// First time.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Last time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// At most so many rows of each bucket, the newest.
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// With --limit: the oldest rows.
    #[arg(long, requires = "limit")]
    from_start: bool,
    /// Only these columns, in this order.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// Calls a function on the rows; may be given several times.
    #[arg(long, value_name = "CALL")]
    functions: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: Place,
}

/// Reads the rows and prints them.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let range = (
        bound("--from", args.from.as_deref(), i64::MIN)?,
        bound("--to", args.to.as_deref(), i64::MAX)?,
    );
    let on = KeyPattern::parse(&args.key).map_err(|error| Failure::new(error.to_string()))?;
    if !args.functions.is_empty() {
        return functions::run(args, range);
    }
    let mut source = args.place.open(false)?;
    let buckets = source.buckets(&on, &args.columns)?;
    let Some(first) = buckets.first() else {
        return Err(none(&args.key));
    };
    let keyed = buckets.len() > 1;
    for bucket in &buckets {
        if bucket.columns != first.columns {
            return Err(Failure::new(format!(
                "{} and {} have different columns: choose --columns that agree",
                first.key, bucket.key
            )));
        }
    }
    let schema = schema(&first.columns, keyed, &first.key, first.kind);
    let mut rows = args.output.open(&schema)?;
    let bar = bar(&args.output, buckets.len());
    for bucket in &buckets {
        bar.set_message(format!("{}, {} rows", bucket.key, rows.rows));
        read(args, &mut source, bucket, range, &mut |batch| {
            put(&mut rows, &schema, keyed.then_some(&bucket.key), &batch)
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    rows.finish()?;
    source.close()
}

fn none(pattern: &str) -> Failure {
    Failure::new(format!(
        "no bucket matches \"{pattern}\"; `mkts ls` lists those there are"
    ))
}

fn read(
    args: &Args,
    source: &mut Opened,
    bucket: &Bucket,
    range: (i64, i64),
    each: &mut dyn FnMut(ColumnBatch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let limit = match (args.limit, args.from_start) {
        (None, _) => return source.rows(bucket, range.0, range.1, each),
        (Some(rows), true) => Limit::First(rows),
        (Some(rows), false) => Limit::Last(rows),
    };
    each(source.limited(bucket, range, limit)?)
}

fn schema(columns: &model::Schema, keyed: bool, key: &BucketKey, kind: RowKind) -> SchemaRef {
    let kind = match kind {
        RowKind::Bar => "bar",
        RowKind::Tick => "tick",
    };
    let mut metadata = HashMap::from([(KIND_METADATA.to_owned(), kind.to_owned())]);
    if !keyed {
        metadata.insert(KEY_METADATA.to_owned(), key.to_string());
    }
    arrow_batch::schema(columns, keyed, metadata)
}

fn put(
    rows: &mut Rows,
    schema: &SchemaRef,
    key: Option<&BucketKey>,
    batch: &ColumnBatch,
) -> Result<(), Failure> {
    let batch = arrow_batch::record_batch(schema, key, batch).map_err(Failure::new)?;
    rows.write(&batch)
}

/// A bar over buckets, while the rows go to a file.
fn bar(output: &OutputArgs, buckets: usize) -> ProgressBar {
    if !output.is_file() || !std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} buckets  {msg}");
    ProgressBar::new(buckets as u64).with_style(style.expect("the template is a constant"))
}
