//! `mkts load`: a CSV file into a bucket, through the public protocol.

pub(crate) mod table;
pub(super) mod times;
mod values;

pub(super) use values::type_code;

use std::fs::File;
use std::io::{BufReader, Chain, Cursor, IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use engine::{Commit, Origin, Rows};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use model::{BucketKey, ColumnBatch, RowKind, Schema, Zone};
use serde_json::json;

use super::place::{Opened, Place};
use super::{Failure, remote, start};
use crate::config;
use table::{Options, Rejects, Table};
use times::TimeFormat;

/// Arguments of `mkts load`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0 if every line was loaded, 3 if some were rejected, 1 if the load failed.\n\
Loading the same bars twice changes nothing; loading the same ticks twice doubles them.")]
pub(super) struct Args {
    /// CSV file, plain or gzip; `-` is standard input.
    file: PathBuf,
    /// Bucket: symbol/timeframe/attribute group.
    key: String,
    /// Control file of MarketStore's loader; it says how the file is read, instead of the options.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["columns", "no_header", "epoch_column",
        "time_format", "time_zone"])]
    control: Option<PathBuf>,
    #[command(flatten)]
    csv: CsvArgs,
    /// Keep every row of a time (a new bucket of trades or quotes).
    #[arg(long)]
    ticks: bool,
    /// Rows in one request.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    batch: u32,
    #[command(flatten)]
    place: Place,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// How a CSV file is read.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CsvArgs {
    /// Names by position (`Epoch,Open,-`; empty keeps the header's, `-` leaves out) or
    /// `COLUMN=NAME` and `COLUMN=#NUMBER` by header or number.
    #[arg(long, value_delimiter = ',')]
    pub(super) columns: Vec<String>,
    /// The first line is data.
    #[arg(long)]
    no_header: bool,
    /// Column of the time; else the first that is called Epoch, time, timestamp, datetime or date.
    #[arg(long)]
    epoch_column: Option<String>,
    /// auto, s, ms, us, ns, rfc3339, a strftime pattern, or a Go layout.
    #[arg(long, default_value = "auto")]
    time_format: String,
    /// IANA zone of times without an offset.
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// Types of columns of a new bucket: `Open=f4,Volume=i8`; else whole numbers become i8, other
    /// numbers f8, text U16.
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// Field separator.
    #[arg(long, default_value = ",")]
    delimiter: String,
    /// Rejected lines to list; all are counted.
    #[arg(long, default_value_t = 20)]
    rejects: usize,
}

/// Some lines were rejected.
pub(super) const REJECTED: u8 = 3;

/// A file on its way into a bucket.
pub(super) struct Job<'a> {
    pub(super) file: &'a Path,
    pub(super) key: &'a BucketKey,
    pub(super) options: Options,
    /// A new bucket keeps every row.
    pub(super) ticks: bool,
    pub(super) json: bool,
}

/// Loads the file and prints what happened.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = BucketKey::parse(&args.key).map_err(|error| Failure::new(error.to_string()))?;
    let batch = args.batch as usize;
    let mut options = args.csv.options(batch).map_err(Failure::new)?;
    if let Some(file) = &args.control {
        options = Options {
            types: options.types,
            delimiter: options.delimiter,
            rejects_listed: options.rejects_listed,
            ..by_control(file, batch)?
        };
    }
    let mut opened = args.place.open(false)?;
    let job = Job {
        file: &args.file,
        key: &key,
        options,
        ticks: args.ticks,
        json: args.json,
    };
    let loaded = load(&mut opened, job);
    if let Opened::Store(engine) = &opened {
        let closed = engine.close();
        closed.map_err(|error| start::engine_failure(&error))?;
    }
    loaded
}

/// How a control file says that a file is read.
pub(super) fn by_control(file: &Path, batch_rows: usize) -> Result<Options, Failure> {
    let control = config::load_control(file).map_err(Failure::new)?;
    let zone = Zone::parse(&control.time_zone);
    let zone = zone.map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    Ok(Options {
        header: control.has_header,
        time_format: TimeFormat::of_control(&control.time_format),
        zone,
        batch_rows,
        control_names: Some(control.names),
        ..Options::default()
    })
}

/// Loads a file into an open place and prints what happened.
pub(super) fn load(opened: &mut Opened, job: Job<'_>) -> Result<(), Failure> {
    let fail = |what: String| Failure::new(format!("{}: {what}", job.file.display()));
    let bucket = bucket(opened, &job)?;
    let kind = match &bucket {
        Some((kind, _)) => *kind,
        None if job.ticks => RowKind::Tick,
        None => RowKind::Bar,
    };
    let bar = progress(job.file);
    let input = open(job.file, &bar).map_err(|error| fail(error.to_string()))?;
    let schema = bucket.map(|(_, schema)| schema);
    let mut table = Table::open(input, job.options.clone(), schema).map_err(fail)?;
    let began = Instant::now();
    let sent = send_all(&mut table, opened, job.key, kind, &bar);
    bar.finish_and_clear();
    report(&job, &sent, &table.rejects, began.elapsed());
    if let Some(error) = sent.failure {
        return Err(fail(format!("stopped after {} rows: {error}", sent.rows)));
    }
    if table.rejects.count > 0 {
        return Err(Failure {
            code: REJECTED,
            text: format!("{} lines were rejected", table.rejects.count),
        });
    }
    Ok(())
}

impl CsvArgs {
    /// What the arguments mean, for batches of so many rows.
    pub(super) fn options(&self, batch_rows: usize) -> Result<Options, String> {
        let types = self.types.iter().map(|text| match text.split_once('=') {
            Some((name, ty)) => Ok((name.trim().to_string(), values::parse_type(ty.trim())?)),
            None => Err(format!("--types: \"{text}\" is not NAME=TYPE")),
        });
        let delimiter = match self.delimiter.as_str() {
            "\\t" | "tab" => b'\t',
            text if text.len() == 1 => text.as_bytes()[0],
            text => return Err(format!("--delimiter: \"{text}\" is not one character")),
        };
        Ok(Options {
            header: !self.no_header,
            delimiter,
            columns: self.columns.clone(),
            epoch_column: self.epoch_column.clone(),
            time_format: TimeFormat::parse(&self.time_format)?,
            zone: Zone::parse(&self.time_zone).map_err(|error| error.to_string())?,
            types: types.collect::<Result<_, _>>()?,
            batch_rows,
            rejects_listed: self.rejects,
            control_names: None,
        })
    }
}

/// Kind and columns of the bucket, if it is there.
fn bucket(opened: &mut Opened, job: &Job<'_>) -> Result<Option<(RowKind, Schema)>, Failure> {
    let key = job.key;
    let found = match opened {
        Opened::Store(engine) => engine
            .bucket(key)
            .map(|info| (info.kind, info.schema.clone())),
        Opened::Server(client) => match client.get_info(key) {
            Ok(info) => {
                // Nanoseconds are part of the time of a tick, not a column of its own.
                let columns = info.columns.into_iter().filter(|c| c.name != "Nanoseconds");
                let schema = Schema::new(columns.collect());
                Some((
                    info.kind,
                    schema.map_err(|error| Failure::new(error.to_string()))?,
                ))
            }
            Err(client::Error::Rpc(_)) => None,
            Err(error) => return Err(remote::failure(&error)),
        },
    };
    match found {
        Some((RowKind::Bar, _)) if job.ticks => Err(Failure::new(format!(
            "{key} is there already and holds bars, not ticks"
        ))),
        other => Ok(other),
    }
}

fn progress(file: &Path) -> ProgressBar {
    if !std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match std::fs::metadata(file) {
        Ok(meta) if meta.is_file() => ProgressBar::new(meta.len()),
        _ => ProgressBar::no_length(),
    };
    let style = ProgressStyle::with_template("{wide_bar} {percent}%  {msg}  {eta} left");
    bar.set_style(style.expect("the template is a constant"));
    bar
}

pub(super) type Input = Box<dyn Read + Send>;

/// Opens a file, plain or gzip by its first bytes.
pub(super) fn open(file: &Path, bar: &ProgressBar) -> std::io::Result<Input> {
    if file == Path::new("-") {
        return decoded(std::io::stdin());
    }
    let mut opened = File::open(file)?;
    opened.rewind()?;
    decoded(bar.wrap_read(opened))
}

fn decoded<R: Read + Send + 'static>(mut input: R) -> std::io::Result<Input> {
    let mut magic = Vec::new();
    input.by_ref().take(2).read_to_end(&mut magic)?;
    let gzip = magic == [0x1f, 0x8b];
    let whole: Chain<Cursor<Vec<u8>>, R> = Cursor::new(magic).chain(input);
    Ok(match gzip {
        true => Box::new(BufReader::with_capacity(
            1 << 18,
            MultiGzDecoder::new(BufReader::new(whole)),
        )),
        false => Box::new(BufReader::with_capacity(1 << 18, whole)),
    })
}

/// What became of the rows.
#[derive(Debug, Default)]
struct Sent {
    rows: u64,
    requests: u64,
    failure: Option<String>,
}

/// Reads the next batch while the one before it is on its way.
fn send_all(
    table: &mut Table<Input>,
    opened: &mut Opened,
    key: &BucketKey,
    kind: RowKind,
    bar: &ProgressBar,
) -> Sent {
    // One batch waits: more would only use memory.
    let (to_writer, batches) = sync_channel(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write_batches(&batches, opened, key, kind, bar));
        let read = read_batches(table, &to_writer);
        drop(to_writer);
        let mut sent = writer.join().unwrap_or_else(|_| Sent {
            failure: Some("the writer thread panicked".into()),
            ..Sent::default()
        });
        sent.failure = sent.failure.or(read.err());
        sent
    })
}

fn read_batches(table: &mut Table<Input>, to: &SyncSender<ColumnBatch>) -> Result<(), String> {
    while let Some(batch) = table.next_batch()? {
        if to.send(batch).is_err() {
            // The writer has failed and says why.
            return Ok(());
        }
    }
    Ok(())
}

fn write_batches(
    batches: &Receiver<ColumnBatch>,
    opened: &mut Opened,
    key: &BucketKey,
    kind: RowKind,
    bar: &ProgressBar,
) -> Sent {
    let began = Instant::now();
    let mut sent = Sent::default();
    for batch in batches {
        let rows = batch.rows() as u64;
        if let Err(what) = write(opened, key, kind, batch) {
            sent.failure = Some(what);
            break;
        }
        sent.rows += rows;
        sent.requests += 1;
        let rate = sent.rows as f64 / began.elapsed().as_secs_f64();
        bar.set_message(format!("{} rows, {rate:.0} rows/s", sent.rows));
    }
    sent
}

/// One durable write.
fn write(
    opened: &mut Opened,
    key: &BucketKey,
    kind: RowKind,
    batch: ColumnBatch,
) -> Result<(), String> {
    match opened {
        Opened::Server(client) => client
            .write(&[(key.clone(), batch)], kind)
            .map_err(|error| error.to_string()),
        Opened::Store(engine) => {
            let rows = Rows {
                key: key.clone(),
                batch,
                create: Some(kind),
            };
            let commit = Commit {
                origin: Origin::CLIENT,
                hops: 0,
                rows: vec![rows],
                section: None,
            };
            let written = engine.write(commit).and_then(|ticket| ticket.wait());
            written.map(|_| ()).map_err(|error| error.to_string())
        }
    }
}

fn report(job: &Job<'_>, sent: &Sent, rejects: &Rejects, took: Duration) {
    let seconds = took.as_secs_f64().max(1e-9);
    let rate = sent.rows as f64 / seconds;
    if job.json {
        let list: Vec<_> = rejects
            .listed
            .iter()
            .map(|reject| json!({"line": reject.line, "reason": reject.reason}))
            .collect();
        let result = json!({
            "key": job.key.as_str(), "rows": sent.rows, "requests": sent.requests, "seconds": seconds,
            "rows_per_second": rate.round(), "rejected": rejects.count, "rejects": list,
            "error": sent.failure,
        });
        println!("{result}");
        return;
    }
    for reject in &rejects.listed {
        eprintln!("{}:{}: {}", job.file.display(), reject.line, reject.reason);
    }
    let hidden = rejects.count - rejects.listed.len() as u64;
    if hidden > 0 {
        eprintln!("... and {hidden} more");
    }
    println!(
        "{}: {} rows in {} requests, {seconds:.2} s, {rate:.0} rows/s, {} lines rejected",
        job.key, sent.rows, sent.requests, rejects.count
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn gzip_is_known_by_its_bytes() {
        let text = b"Epoch,Open\n60,1\n";
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(text).unwrap();
        for bytes in [
            text.to_vec(),
            zip.finish().unwrap(),
            b"x".to_vec(),
            Vec::new(),
        ] {
            let plain = if bytes.starts_with(&[0x1f]) {
                text.to_vec()
            } else {
                bytes.clone()
            };
            let mut out = Vec::new();
            decoded(Cursor::new(bytes))
                .unwrap()
                .read_to_end(&mut out)
                .unwrap();
            assert_eq!(out, plain);
        }
    }
}
