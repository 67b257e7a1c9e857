//! `mkts write`: rows of one file, or of standard input, into one bucket.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use model::{BucketKey, RowKind};
use serde_json::{Map, Value, json};

use super::files::Input;
use super::sink::Sink;
use super::{arrow, csv, parquet, tables};
use crate::cli::Failure;
use crate::cli::load::{CsvArgs, REJECTED};
use crate::cli::place::Place;

/// Arguments of `mkts write`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The format is seen from the first bytes; --format says what these cannot. CSV takes the options \
below; in Parquet and Arrow the time is Epoch, time, timestamp, datetime or date, or the only column \
of such a type. Exit code 0 if every row was written, 3 if lines were rejected.\n\
Writing the same bars twice changes nothing; writing the same ticks twice doubles them.")]
pub(in crate::cli) struct Args {
    /// Bucket: symbol/timeframe/attribute group.
    key: String,
    /// File; - is standard input.
    file: PathBuf,
    /// Format of the file.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// A new bucket keeps every row of a time (trades or quotes).
    #[arg(long)]
    ticks: bool,
    #[command(flatten)]
    csv: CsvArgs,
    #[command(flatten)]
    place: Place,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// A format of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    /// An object a line.
    Ndjson,
    Arrow,
    Parquet,
}

/// Writes the rows and prints what happened.
pub(in crate::cli) fn run(args: &Args) -> Result<(), Failure> {
    let key = BucketKey::parse(&args.key).map_err(|error| Failure::new(error.to_string()))?;
    let fail = |what: String| Failure::new(format!("{}: {what}", args.file.display()));
    let mut spooled = None;
    let mut path = args.file.clone();
    if path == Path::new("-") {
        // Not every format can be read from its beginning to its end.
        let file = spool(std::io::stdin().lock()).map_err(|error| fail(error.to_string()))?;
        path = file.path().to_owned();
        spooled = Some(file);
    }
    let format = match args.format {
        Some(format) => format,
        None => seen(&path).map_err(|error| fail(error.to_string()))?,
    };
    if format == Format::Ndjson {
        let lines = std::fs::File::open(&path).map_err(|error| fail(error.to_string()))?;
        let file = csv_of(BufReader::new(lines)).map_err(fail)?;
        path = file.path().to_owned();
        spooled = Some(file);
    }
    let began = Instant::now();
    let mut sink = Sink::open(&args.place)?;
    let input = Input {
        path,
        key: Some(key.clone()),
    };
    let name = args.file.display().to_string();
    let renamed = |failure: Failure| Failure {
        text: failure
            .text
            .replace(&input.path.display().to_string(), &name),
        ..failure
    };
    let ticks = args.ticks.then_some(RowKind::Tick);
    let rejected = match format {
        Format::Csv | Format::Ndjson => {
            let options = args.csv.options(csv::BATCH_ROWS).map_err(Failure::new)?;
            csv::import(&input, &name, options, args.ticks, &mut sink).map_err(renamed)?
        }
        Format::Arrow => {
            tables::one("Arrow", &input, ticks, &mut sink, arrow::open).map_err(renamed)?;
            0
        }
        Format::Parquet => {
            tables::one("Parquet", &input, ticks, &mut sink, parquet::open).map_err(renamed)?;
            0
        }
    };
    let loaded = sink.finish()?;
    drop(spooled);
    let rows: u64 = loaded.iter().map(|l| l.rows).sum();
    let seconds = began.elapsed().as_secs_f64();
    match args.json {
        true => println!(
            "{}",
            json!({"key": key.as_str(), "rows": rows, "rejected": rejected, "seconds": seconds})
        ),
        false => println!("{key}: {rows} rows, {seconds:.2} s"),
    }
    match rejected {
        0 => Ok(()),
        _ => Err(Failure {
            code: REJECTED,
            text: format!("{rejected} lines were rejected"),
        }),
    }
}

/// Standard input in a file that goes when it is dropped.
fn spool(mut from: impl Read) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::copy(&mut from, file.as_file_mut())?;
    Ok(file)
}

/// What the first bytes are the beginning of.
fn seen(path: &Path) -> std::io::Result<Format> {
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(64).read_to_end(&mut head)?;
    let text = head.trim_ascii_start();
    Ok(if head.starts_with(b"PAR1") {
        Format::Parquet
    } else if head.starts_with(b"ARROW1") || head.starts_with(&[0xff; 4]) {
        Format::Arrow
    } else if text.starts_with(b"{") {
        Format::Ndjson
    } else {
        Format::Csv
    })
}

/// Objects as lines of CSV; the first names the columns.
fn csv_of(lines: impl BufRead) -> Result<tempfile::NamedTempFile, String> {
    let io = |error: std::io::Error| error.to_string();
    let file = tempfile::NamedTempFile::new().map_err(io)?;
    let mut out = ::csv::Writer::from_writer(file);
    let mut names: Vec<String> = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(io)?;
        if line.trim().is_empty() {
            continue;
        }
        let fail = |what: &dyn std::fmt::Display| format!("line {}: {what}", number + 1);
        let object: Map<String, Value> =
            serde_json::from_str(&line).map_err(|error| fail(&error))?;
        if names.is_empty() {
            names = object.keys().cloned().collect();
            out.write_record(&names).map_err(|error| fail(&error))?;
        }
        if let Some(new) = object.keys().find(|name| !names.contains(name)) {
            return Err(fail(&format!("\"{new}\" is not in the first line")));
        }
        let fields: Result<Vec<String>, String> = names
            .iter()
            .map(|name| match object.get(name) {
                None | Some(Value::Null) => Ok(String::new()),
                Some(Value::String(text)) => Ok(text.clone()),
                Some(Value::Number(number)) => Ok(number.to_string()),
                Some(Value::Bool(flag)) => Ok(flag.to_string()),
                Some(_) => Err(fail(&format!("\"{name}\" is neither number nor text"))),
            })
            .collect();
        out.write_record(fields?).map_err(|error| fail(&error))?;
    }
    let mut file = out.into_inner().map_err(|error| error.to_string())?;
    file.flush().map_err(io)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_become_lines() {
        let text =
            "{\"Epoch\":60,\"Open\":1.5,\"Note\":\"a,b\"}\n\n{\"Epoch\":120,\"Open\":null}\n";
        let file = csv_of(text.as_bytes()).unwrap();
        let csv = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(csv, "Epoch,Note,Open\n60,\"a,b\",1.5\n120,,\n");
        for (bad, part) in [
            (
                "{\"a\":1}\n{\"b\":1}\n",
                "line 2: \"b\" is not in the first line",
            ),
            ("{\"a\":[1]}\n", "line 1: \"a\" is neither"),
            ("{\"a\":1\n", "line 1: EOF"),
        ] {
            let error = csv_of(bad.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
