//! CSV files into buckets, with the reader of `mkts load`.

use std::time::Instant;

use model::RowKind;

use super::files::{self, Input};
use super::sink::Sink;
use super::{Target, kind, progress, report};
use crate::cli::Failure;
use crate::cli::load::table::{Options, Table};
use crate::cli::load::{CsvArgs, REJECTED, open};

/// Arguments of `mkts import csv`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
--columns also takes SOURCE:TARGET, and SOURCE:- to leave one out. Exit code 3 if some lines were \
rejected.")]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    csv: CsvArgs,
}

/// Rows that become values together.
pub(super) const BATCH_ROWS: usize = 100_000;

/// Imports the files and prints what happened.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = args.target.key()?;
    let mut csv = args.csv.clone();
    csv.columns = csv.columns.iter().map(|c| renamed(c)).collect();
    let options = csv.options(BATCH_ROWS).map_err(Failure::new)?;
    let mut found = files::find(&args.target.files, &["csv", "csv.gz"]).map_err(Failure::new)?;
    for input in &mut found.inputs {
        input.key = key.clone().or(input.key.take());
        if input.key.is_none() {
            return Err(Failure::new(format!(
                "{}: which bucket? Its path does not end in SYMBOL/TIMEFRAME/GROUP.csv; say --key",
                input.path.display()
            )));
        }
    }
    if let Some(warning) = found.warning() {
        eprintln!("mkts: {warning}");
    }
    let mut sink = Sink::open(&args.target.place)?;
    let bar = progress(found.inputs.len());
    let began = Instant::now();
    let mut rejected = 0;
    for input in &found.inputs {
        let name = input.path.display().to_string();
        rejected += import(input, &name, options.clone(), args.target.ticks, &mut sink)?;
        bar.inc(1);
    }
    let loaded = sink.finish()?;
    bar.finish_and_clear();
    report(&args.target, found.inputs.len(), &loaded, rejected, began);
    match rejected {
        0 => Ok(()),
        _ => Err(Failure {
            code: REJECTED,
            text: format!("{rejected} lines were rejected"),
        }),
    }
}

/// `SOURCE:TARGET` as the reader says it, `TARGET=SOURCE`.
fn renamed(column: &str) -> String {
    match column.rsplit_once(':') {
        Some((source, target)) if !column.contains('=') => format!("{target}={source}"),
        _ => column.to_owned(),
    }
}

/// Imports one file, which people call `name`; returns how many lines were rejected.
pub(super) fn import(
    input: &Input,
    name: &str,
    options: Options,
    ticks: bool,
    sink: &mut Sink,
) -> Result<u64, Failure> {
    let fail = |what: String| Failure::new(format!("{name}: {what}"));
    let key = input.key.as_ref().expect("every file has a key by now");
    let (stored, schema) = sink.bucket(key)?.unzip();
    let kind = kind(key, stored, ticks.then_some(RowKind::Tick))?;
    let reader = open(&input.path, &indicatif::ProgressBar::hidden())
        .map_err(|error| fail(error.to_string()))?;
    let mut table = Table::open(reader, options, schema).map_err(fail)?;
    while let Some(batch) = table.next_batch().map_err(fail)? {
        sink.add(key, kind, batch)?;
    }
    for reject in &table.rejects.listed {
        eprintln!("{name}:{}: {}", reject.line, reject.reason);
    }
    Ok(table.rejects.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_rename_are_understood() {
        assert_eq!(renamed("o:Open"), "Open=o");
        assert_eq!(renamed("note:-"), "-=note");
        assert_eq!(renamed("Open=a:b"), "Open=a:b");
        assert_eq!(renamed("Open"), "Open");
    }
}
