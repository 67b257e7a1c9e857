//! `mkts sql`: statements for scripts.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::connect::lines;
use super::interrupts::Interrupts;
use super::output::{OutputArgs, Rows};
use super::place::Place;
use super::statements::{Part, Statements};
use super::{Failure, place};

/// Arguments of `mkts sql`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Buckets are tables: SELECT * FROM \"AAPL/1Min/OHLCV\" WHERE Epoch >= '2020-01-01' LIMIT 5\n\
Several statements are separated by ; and run one after another; the first that fails ends the \
command with exit code 1. With --output there is one statement.")]
pub(super) struct Args {
    /// The statement; - reads standard input.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    statement: Option<String>,
    /// Reads the statements from a file.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: Place,
}

/// Runs the statements and prints their results.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let text = text(args)?;
    let statements = lines::statements(&text);
    if statements.is_empty() {
        return Err(Failure::new("there is no statement"));
    }
    if statements.len() > 1 && args.output.is_file() {
        return Err(Failure::new("--output: one statement has one file"));
    }
    let opened = args.place.open(false)?;
    let mut runner = Statements::default();
    let interrupts = Interrupts::default();
    let done = statements.iter().try_for_each(|statement| {
        let mut rows: Option<Rows> = None;
        runner.run(&opened, statement, &interrupts, &mut |part| {
            match (part, &mut rows) {
                (Part::Schema(schema), _) => rows = Some(args.output.open(schema)?),
                (Part::Rows(batch), Some(rows)) => rows.write(&batch)?,
                (Part::Rows(_), None) => {}
            }
            Ok(())
        })?;
        rows.map_or(Ok(()), |rows| rows.finish().map(|_| ()))
    });
    #[cfg_attr(not(feature = "sql"), allow(clippy::drop_non_drop))]
    drop(runner);
    let closed = place::Opened::close(opened);
    done.and(closed)
}

fn text(args: &Args) -> Result<String, Failure> {
    let fail =
        |name: &Path, error: std::io::Error| Failure::new(format!("{}: {error}", name.display()));
    match (&args.file, args.statement.as_deref()) {
        (Some(file), _) if file != Path::new("-") => {
            std::fs::read_to_string(file).map_err(|error| fail(file, error))
        }
        (Some(_), _) | (None, Some("-")) => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| fail(Path::new("standard input"), error))?;
            Ok(text)
        }
        (None, statement) => Ok(statement.unwrap_or_default().to_owned()),
    }
}
