//! Rows of a result as a person or a program wants them.
//!
//! A result is a sequence of record batches of one schema, of any types that SQL has. Nothing is
//! held back but what a table needs for its widths: memory does not grow with the rows.

mod cell;
mod files;
mod json;
mod table;
mod text;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use clap::ValueEnum;

use super::Failure;
use super::export::output::{Output, Target};

pub(super) use cell::{Look, go_time};
pub(super) use table::TableWriter;
pub(super) use text::CsvWriter;

/// A format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns, for people.
    Table,
    /// RFC 4180 with a header; times are RFC 3339.
    Csv,
    /// One list of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// Arrow IPC: a file with --output, else a stream.
    Arrow,
    /// Parquet.
    Parquet,
}

/// `--format`, `--output` and `--force`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct OutputArgs {
    /// Format; else by the end of --output, else a table.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Writes to this file instead of standard output; it appears whole or not at all.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrites a file that is there.
    #[arg(long)]
    force: bool,
    /// Short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl OutputArgs {
    /// The format asked for.
    pub(super) fn format(&self) -> Format {
        let by_name = || self.output.as_deref().and_then(by_name);
        match self.json {
            true => Format::Json,
            false => self.format.or_else(by_name).unwrap_or(Format::Table),
        }
    }

    /// Whether rows go to a file, so that the terminal is free for a bar.
    pub(super) fn is_file(&self) -> bool {
        self.output
            .as_deref()
            .is_some_and(|path| path != Path::new("-"))
    }

    /// Whether nothing was asked for: a list may be bare lines.
    pub(super) fn is_plain(&self) -> bool {
        self.format.is_none() && self.output.is_none() && !self.json
    }

    /// Opens the output for rows of a schema.
    pub(super) fn open(&self, schema: &SchemaRef) -> Result<Rows, Failure> {
        let format = self.format();
        let target = match &self.output {
            Some(path) if path != Path::new("-") => Target::named(path),
            _ => Target::Stdout,
        };
        let to_file = matches!(target, Target::File(_));
        let binary = matches!(format, Format::Arrow | Format::Parquet);
        if binary && target == Target::Stdout && io::stdout().is_terminal() {
            return Err(Failure::new(
                "this format is no text: say --output FILE, or lead standard output elsewhere",
            ));
        }
        let output = Output::create(&target, self.force).map_err(Failure::new)?;
        Rows::new(Watched::new(output), format, to_file, schema)
    }
}

fn by_name(path: &Path) -> Option<Format> {
    Some(match path.extension()?.to_str()? {
        "csv" => Format::Csv,
        "json" => Format::Json,
        "ndjson" | "jsonl" => Format::Ndjson,
        "arrow" | "feather" | "ipc" => Format::Arrow,
        "parquet" => Format::Parquet,
        "txt" => Format::Table,
        _ => return None,
    })
}

/// Writes batches of one schema.
pub(super) trait RowsWriter {
    /// Appends rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), String>;
    /// Ends what was begun and gives the output back.
    fn finish(self: Box<Self>) -> Result<Watched, String>;
}

/// An open result.
pub(super) struct Rows {
    writer: Box<dyn RowsWriter>,
    left: Arc<AtomicBool>,
    /// Rows written.
    pub(super) rows: u64,
}

impl Rows {
    fn new(
        output: Watched,
        format: Format,
        to_file: bool,
        schema: &SchemaRef,
    ) -> Result<Self, Failure> {
        let left = Arc::clone(&output.left);
        let opened: Result<Box<dyn RowsWriter>, String> = match format {
            Format::Table => Ok(Box::new(TableWriter::new(output, schema))),
            Format::Csv => CsvWriter::new(output, schema, Look::Exact, true)
                .map(|writer| Box::new(writer) as Box<dyn RowsWriter>),
            Format::Json => Ok(Box::new(json::JsonWriter::new(output, schema, true))),
            Format::Ndjson => Ok(Box::new(json::JsonWriter::new(output, schema, false))),
            Format::Arrow if to_file => files::arrow_file(output, schema),
            Format::Arrow => files::arrow_stream(output, schema),
            Format::Parquet => files::parquet(output, schema),
        };
        match opened {
            Ok(writer) => Ok(Self {
                writer,
                left,
                rows: 0,
            }),
            Err(what) => Err(told(&left, what)),
        }
    }

    /// Appends rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.rows += batch.num_rows() as u64;
        let written = self.writer.write(batch);
        written.map_err(|what| told(&self.left, what))
    }

    /// Ends the result; a file gets its name.
    pub(super) fn finish(self) -> Result<u64, Failure> {
        let output = self.writer.finish();
        let done = output.and_then(|mut output| {
            // Here, where it is seen whether the reader has left.
            output.flush().map_err(|error| error.to_string())?;
            output.inner.publish()
        });
        done.map_err(|what| told(&self.left, what))?;
        Ok(self.rows)
    }
}

/// A reader who has seen enough (`mkts query ... | head`) is no failure.
fn told(left: &AtomicBool, what: String) -> Failure {
    match left.load(Ordering::Relaxed) {
        true => Failure {
            code: 0,
            text: String::new(),
        },
        false => Failure::new(what),
    }
}

/// An output that remembers whether its reader has left, whatever layers the error goes through.
pub(super) struct Watched {
    inner: Output,
    left: Arc<AtomicBool>,
}

impl Watched {
    fn new(inner: Output) -> Self {
        Self {
            inner,
            left: Arc::default(),
        }
    }

    fn seen<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.left.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.inner.write(bytes);
        self.seen(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.inner.flush();
        self.seen(done)
    }
}
