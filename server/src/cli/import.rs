//! `mkts import`: rows of files into buckets.
//!
//! Every file is read batch by batch, checked, and written in pieces; an import that fails leaves
//! the rows before the failure. Importing bars again changes nothing, importing ticks again doubles
//! them.

mod arrow;
mod cast;
mod csv;
mod files;
mod marketstore;
pub(super) mod one;
mod parquet;
mod plan;
mod sink;
mod tables;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use model::{BucketKey, RowKind};
use serde_json::json;

use super::Failure;
use super::place::Place;
use sink::Loaded;

/// Arguments of `mkts import`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// CSV files, plain or gzip.
    Csv(csv::Args),
    /// Parquet files.
    Parquet(tables::Args),
    /// Arrow IPC files and streams, also called Feather 2.
    Arrow(tables::Args),
    /// A directory of MarketStore, version 2, 3 or 4.
    #[command(name = "marketstore")]
    MarketStore(marketstore::Args),
}

/// What all formats have in common.
#[derive(Debug, clap::Args)]
struct Target {
    /// Files, or directories that are searched for files named SYMBOL/TIMEFRAME/GROUP.EXTENSION.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Bucket of the rows; else as the file says, in its columns, its metadata or its path.
    #[arg(long, value_name = "SYM/TF/GROUP")]
    key: Option<String>,
    /// Keep every row of a time in a new bucket (trades or quotes).
    #[arg(long)]
    ticks: bool,
    #[command(flatten)]
    place: Place,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Target {
    fn key(&self) -> Result<Option<BucketKey>, Failure> {
        let key = self.key.as_deref().map(BucketKey::parse).transpose();
        key.map_err(|error| Failure::new(format!("--key: {error}")))
    }
}

/// The kind of rows: what the bucket holds, else what is said, else bars.
fn kind(
    key: &BucketKey,
    bucket: Option<RowKind>,
    said: Option<RowKind>,
) -> Result<RowKind, Failure> {
    let name = |kind| match kind {
        RowKind::Bar => "bars",
        RowKind::Tick => "ticks",
    };
    match (bucket, said) {
        (Some(bucket), Some(said)) if bucket != said => Err(Failure::new(format!(
            "{key} is there already and holds {}, not {}",
            name(bucket),
            name(said)
        ))),
        (bucket, said) => Ok(bucket.or(said).unwrap_or(RowKind::Bar)),
    }
}

/// Imports and prints what happened.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Csv(args) => csv::run(args),
        What::MarketStore(args) => marketstore::run(args),
        What::Parquet(args) => tables::run(args, "Parquet", &["parquet"], parquet::open),
        What::Arrow(args) => tables::run(args, "Arrow", &["arrow", "feather", "ipc"], arrow::open),
    }
}

fn progress(files: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files as u64);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} files  {msg}");
    bar.set_style(style.expect("the template is a constant"));
    bar
}

fn report(target: &Target, files: usize, loaded: &[Loaded], rejected: u64, began: Instant) {
    let took: Duration = began.elapsed();
    let seconds = took.as_secs_f64().max(1e-9);
    let rows: u64 = loaded.iter().map(|l| l.rows).sum();
    if target.json {
        let bucket =
            |l: &Loaded| json!({"key": l.key.as_str(), "rows": l.rows, "stored": l.stored});
        let buckets: Vec<_> = loaded.iter().map(bucket).collect();
        println!(
            "{}",
            json!({"rows": rows, "files": files, "rejected": rejected, "seconds": seconds,
                "buckets": buckets})
        );
        return;
    }
    if let [one] = loaded {
        let stored = one.stored;
        println!(
            "{}: {rows} rows read, {stored} rows there from the first to the last of them, \
             {seconds:.2} s",
            one.key
        );
        return;
    }
    println!(
        "{} buckets from {files} files: {rows} rows, {seconds:.2} s",
        loaded.len()
    );
}
