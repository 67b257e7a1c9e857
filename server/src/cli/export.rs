//! `mkts export`: rows of buckets into CSV, Parquet or Arrow files.

mod arrow;
mod csv;
pub(super) mod output;
mod parquet;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use model::{BucketKey, ColumnBatch, KeyPattern, RowKind, Zone};
use serde_json::json;

use super::Failure;
use super::load::times::TimeFormat;
use super::place::{Opened, Place};
use super::source::Bucket;
use output::{Output, Target};

/// Arguments of `mkts export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
PATH is one file if it ends in .csv, .csv.gz, .parquet, .arrow or .feather, is - (standard output) \
or a pipe; else a directory that gets SYMBOL/TIMEFRAME/GROUP.parquet for each bucket, which \
`mkts import` reads back. One file of several buckets has symbol, timeframe and attribute_group in \
front.\n\
Times are inclusive: 2020-01-31, 2020-01-31T15:04:05.25Z or seconds since 1970.")]
pub(super) struct Args {
    /// Which buckets: `AAPL/1Min/OHLCV`, `*/1Min/*`.
    #[arg(long, value_name = "PATTERN")]
    on: String,
    /// First time.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Last time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only these columns, in this order.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// Format; else by the end of PATH.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// File or directory.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
    /// zstd (the default of Parquet), snappy (Parquet), gzip (CSV) or none.
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// How CSV shows times; all are exact to the nanosecond.
    #[arg(long, value_enum, default_value_t = TimeText::Rfc3339)]
    time: TimeText,
    /// Writes types into the header of CSV (`Open:f4`), for `mkts import` to make the same columns.
    #[arg(long)]
    typed_header: bool,
    /// Overwrites files that are there.
    #[arg(long)]
    force: bool,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Csv,
    Parquet,
    /// Arrow IPC, also called Feather 2.
    Arrow,
}

impl Format {
    /// The end of a file's name.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compression {
    Zstd,
    Snappy,
    Gzip,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimeText {
    /// `2020-01-31T14:57:25.25Z`.
    Rfc3339,
    /// Seconds since 1970, with a fraction if there is one.
    Epoch,
    /// Nanoseconds since 1970.
    #[value(name = "epoch_ns", alias = "epoch-ns")]
    EpochNs,
}

/// What a file of rows is made of.
#[derive(Debug, Clone)]
struct Layout {
    format: Format,
    compression: Compression,
    time: TimeText,
    typed_header: bool,
    /// Rows of several buckets: the key is in columns.
    keyed: bool,
    kind: RowKind,
    columns: model::Schema,
    /// The key of a file of one bucket.
    key: BucketKey,
}

impl Layout {
    /// What `mkts import` has to know and columns do not say.
    fn metadata(&self) -> Vec<(String, String)> {
        let kind = match self.kind {
            RowKind::Bar => "bar",
            RowKind::Tick => "tick",
        };
        let mut pairs = vec![(super::KIND_METADATA.to_owned(), kind.to_owned())];
        if !self.keyed {
            pairs.push((super::KEY_METADATA.to_owned(), self.key.to_string()));
        }
        pairs
    }
}

/// Writes rows into one file.
trait Writer {
    /// Appends rows of a bucket with the layout's columns.
    fn write(&mut self, key: &BucketKey, batch: &ColumnBatch) -> Result<(), String>;
    /// Ends the file and gives the output back.
    fn finish(self: Box<Self>) -> Result<Output, String>;
}

fn writer(output: Output, layout: &Layout) -> Result<Box<dyn Writer>, String> {
    Ok(match layout.format {
        Format::Csv => Box::new(csv::CsvWriter::new(output, layout)?),
        Format::Parquet => Box::new(parquet::ParquetWriter::new(output, layout)?),
        Format::Arrow => Box::new(arrow::IpcWriter::new(output, layout)?),
    })
}

/// What became of a file.
#[derive(Debug)]
struct Written {
    /// The bucket, if the file is of one.
    key: Option<BucketKey>,
    file: PathBuf,
    rows: u64,
    bytes: u64,
}

/// Exports and prints what happened.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let on = KeyPattern::parse(&args.on).map_err(|e| Failure::new(format!("--on: {e}")))?;
    let from = bound("--from", args.from.as_deref(), i64::MIN)?;
    let to = bound("--to", args.to.as_deref(), i64::MAX)?;
    let target = Target::of(&args.out, args.format).map_err(Failure::new)?;
    let format = target.format(&args.out, args.format)?;
    let compression = compression(args, format)?;
    let mut source = args.place.open(false)?;
    let buckets = source.buckets(&on, &args.columns)?;
    let Some(first) = buckets.first() else {
        return Err(Failure::new(format!("no bucket matches \"{}\"", args.on)));
    };
    let layout = Layout {
        format,
        compression,
        time: args.time,
        typed_header: args.typed_header,
        keyed: false,
        kind: first.kind,
        columns: first.columns.clone(),
        key: first.key.clone(),
    };
    let range = (from, to);
    let began = Instant::now();
    let written = match &target {
        Target::Directory => export_each(&mut source, &buckets, range, &layout, args)?,
        _ => vec![export_one(
            &mut source,
            &buckets,
            range,
            &layout,
            args,
            &target,
        )?],
    };
    let took = began.elapsed();
    source.close()?;
    report(args, &target, &written, took);
    Ok(())
}

/// Reads `--from` or `--to`.
pub(super) fn bound(name: &str, text: Option<&str>, default: i64) -> Result<i64, Failure> {
    let Some(text) = text else {
        return Ok(default);
    };
    TimeFormat::Auto
        .read(text, &Zone::utc())
        .map_err(|what| Failure::new(format!("{name}: {what}")))
}

fn compression(args: &Args, format: Format) -> Result<Compression, Failure> {
    let gzip = args.out.extension().is_some_and(|e| e == "gz");
    let default = match format {
        Format::Parquet => Compression::Zstd,
        Format::Csv if gzip => Compression::Gzip,
        _ => Compression::None,
    };
    let wanted = args.compression.unwrap_or(default);
    let possible: &[Compression] = match format {
        Format::Csv => &[Compression::Gzip, Compression::None],
        Format::Parquet => &[Compression::Zstd, Compression::Snappy, Compression::None],
        Format::Arrow => &[Compression::Zstd, Compression::None],
    };
    if possible.contains(&wanted) {
        return Ok(wanted);
    }
    let name = |c: &Compression| c.to_possible_value().map(|v| v.get_name().to_owned());
    let names: Vec<String> = possible.iter().filter_map(name).collect();
    Err(Failure::new(format!(
        "--compression: {} has {}",
        format.extension(),
        names.join(" and ")
    )))
}

/// One file a bucket, below a directory.
fn export_each(
    source: &mut Opened,
    buckets: &[Bucket],
    range: (i64, i64),
    layout: &Layout,
    args: &Args,
) -> Result<Vec<Written>, Failure> {
    let files: Vec<PathBuf> = buckets
        .iter()
        .map(|bucket| {
            args.out
                .join(super::key_path::path(&bucket.key, &ending(layout)))
        })
        .collect();
    // Before anything is written: a second run must not stop half-way.
    for file in &files {
        output::check_free(file, args.force).map_err(Failure::new)?;
    }
    let progress = progress(buckets.len());
    let mut written = Vec::with_capacity(buckets.len());
    for (bucket, file) in buckets.iter().zip(files) {
        let layout = Layout {
            kind: bucket.kind,
            columns: bucket.columns.clone(),
            key: bucket.key.clone(),
            ..layout.clone()
        };
        let target = Target::File(file);
        let one = std::slice::from_ref(bucket);
        written.push(export_file(
            source, one, range, &layout, &target, args.force, &progress,
        )?);
    }
    progress.finish_and_clear();
    Ok(written)
}

fn ending(layout: &Layout) -> String {
    match layout.compression {
        Compression::Gzip => format!("{}.gz", layout.format.extension()),
        _ => layout.format.extension().to_owned(),
    }
}

/// All buckets in one file.
fn export_one(
    source: &mut Opened,
    buckets: &[Bucket],
    range: (i64, i64),
    layout: &Layout,
    args: &Args,
    target: &Target,
) -> Result<Written, Failure> {
    for bucket in buckets {
        let what = if bucket.columns != layout.columns {
            "columns"
        } else if bucket.kind != layout.kind {
            "kinds of rows"
        } else {
            continue;
        };
        return Err(Failure::new(format!(
            "{} and {} have different {what}; export them into a directory, or choose --columns",
            layout.key, bucket.key
        )));
    }
    let layout = Layout {
        keyed: buckets.len() > 1,
        ..layout.clone()
    };
    let progress = progress(buckets.len());
    let written = export_file(
        source, buckets, range, &layout, target, args.force, &progress,
    )?;
    progress.finish_and_clear();
    Ok(written)
}

fn export_file(
    source: &mut Opened,
    buckets: &[Bucket],
    (from, to): (i64, i64),
    layout: &Layout,
    target: &Target,
    force: bool,
    progress: &ProgressBar,
) -> Result<Written, Failure> {
    let fail = |what: String| Failure::new(format!("{target}: {what}"));
    let output = Output::create(target, force).map_err(Failure::new)?;
    let mut writer = writer(output, layout).map_err(fail)?;
    let mut rows = 0;
    for bucket in buckets {
        source.rows(bucket, from, to, &mut |batch| {
            rows += batch.rows() as u64;
            progress.set_message(format!("{}, {rows} rows", bucket.key));
            writer.write(&bucket.key, &batch).map_err(|what| {
                Failure::new(format!("{target}: {what} (while writing {})", bucket.key))
            })
        })?;
        progress.inc(1);
    }
    let output = writer.finish().map_err(fail)?;
    let bytes = output.publish().map_err(Failure::new)?;
    Ok(Written {
        key: (!layout.keyed).then(|| layout.key.clone()),
        file: target.path(),
        rows,
        bytes,
    })
}

fn progress(buckets: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(buckets as u64);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} buckets  {msg}");
    bar.set_style(style.expect("the template is a constant"));
    bar
}

fn report(args: &Args, target: &Target, written: &[Written], took: Duration) {
    let seconds = took.as_secs_f64().max(1e-9);
    let rows: u64 = written.iter().map(|w| w.rows).sum();
    let bytes: u64 = written.iter().map(|w| w.bytes).sum();
    let text = if args.json {
        let file = |w: &Written| {
            json!({"key": w.key.as_ref().map(BucketKey::as_str), "file": w.file.display().to_string(),
                "rows": w.rows, "bytes": w.bytes})
        };
        let files: Vec<_> = written.iter().map(file).collect();
        json!({"rows": rows, "bytes": bytes, "seconds": seconds, "files": files}).to_string()
    } else {
        let files = match written {
            [_] if *target == Target::Stdout => target.to_string(),
            [one] => one.file.display().to_string(),
            many => format!("{} files below {}", many.len(), args.out.display()),
        };
        format!("{files}: {rows} rows, {bytes} bytes, {seconds:.2} s")
    };
    // Standard output may be where the rows went.
    match target {
        Target::Stdout => eprintln!("{text}"),
        _ => println!("{text}"),
    }
}
