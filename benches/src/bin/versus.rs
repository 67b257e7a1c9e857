//! Measures a server over MarketStore's own protocol, so that any MarketStore server can be put
//! beside ours: same client, same bytes, same machine.
//!
//! ```text
//! cargo build --release -p server && cargo run --release -p benches --bin versus -- --start
//! cargo run --release -p benches --bin versus -- --url http://127.0.0.1:5993 --name other --pid 42
//! ```
//!
//! It writes buckets whose symbols begin with `VERSUS`; give it a server without data.
#![forbid(unsafe_code)]
// The driver makes files beside the store: a configuration and a file to sync.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use benches::{YEAR_ROWS, minutes};
use clap::Parser;
use client::{Client, Query};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

/// Measures a server over the RPC and prints a table, then one line of JSON for each figure.
#[derive(Debug, Parser)]
struct Args {
    /// Server to measure.
    #[arg(long, required_unless_present = "start")]
    url: Option<String>,
    /// Start this binary on a temporary directory; without a value, `mkts` beside this program.
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    start: Option<String>,
    /// Name in the output.
    #[arg(long, default_value = "mkts")]
    name: String,
    /// Process whose memory is watched; known with --start.
    #[arg(long)]
    pid: Option<u32>,
    /// Directory for temporary files; the bare sync is measured here. Use the server's file system.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Requests of 100 000 rows in each bulk figure.
    #[arg(long, default_value_t = 20)]
    bulk: usize,
    /// Requests of the long load while memory is watched; 0 leaves it out.
    #[arg(long, default_value_t = 300)]
    load: usize,
    /// Seconds for each count of single-row writers.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Print only the lines of JSON.
    #[arg(long)]
    json: bool,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BULK_ROWS: usize = 100_000;
const SYMBOLS: usize = 1000;

/// One measured value.
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    note: String,
}

/// Figures in the order they were taken.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add(&mut self, name: &'static str, value: f64, unit: &'static str, note: impl Into<String>) {
        let note = note.into();
        eprintln!("  {name}: {value:.3} {unit} {note}");
        self.0.push(Figure {
            name,
            value,
            unit,
            note,
        });
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let mut started = match &args.start {
        Some(binary) => Some(Started::new(
            &binary_path(binary)?,
            &dir.path().join("main"),
        )?),
        None => None,
    };
    let addr = match (&started, &args.url) {
        (Some(server), _) => server.addr.clone(),
        (None, Some(url)) => url
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_string(),
        (None, None) => unreachable!("clap wants one of the two"),
    };
    let pid = started
        .as_ref()
        .map(|server| server.child.id())
        .or(args.pid);
    let mut figures = Figures::default();
    let version = Client::new(&addr).version()?;
    eprintln!("{} {version} at {addr}", args.name);

    bulk_writes(&addr, &args, &mut figures)?;
    wide_write(&addr, dir.path(), &mut figures)?;
    single_rows(&addr, args.seconds, &mut figures)?;
    queries(&addr, &mut figures)?;
    if args.load > 0 {
        long_load(&addr, pid, args.load, &mut figures)?;
    }
    if let Some(server) = started.take() {
        let binary = server.binary.clone();
        drop(server);
        restart(&binary, &dir.path().join("restart"), &mut figures)?;
    }
    print(&args, &version, &figures);
    Ok(())
}

fn print(args: &Args, version: &str, figures: &Figures) {
    if !args.json {
        println!("{:<34} {:>14}  unit", args.name, "median");
        for figure in &figures.0 {
            println!(
                "{:<34} {:>14.3}  {:<8} {}",
                figure.name, figure.value, figure.unit, figure.note
            );
        }
    }
    for figure in &figures.0 {
        let line = serde_json::json!({
            "server": args.name, "version": version, "figure": figure.name,
            "value": figure.value, "unit": figure.unit, "note": figure.note,
        });
        println!("{line}");
    }
}

/// OHLC as f4 and Volume as i4: the usual bucket of MarketStore.
fn narrow(rows: usize) -> ColumnBatch {
    let wide = minutes::<f32>(rows);
    let columns = wide.schema().columns().iter().zip(wide.columns());
    let columns = columns.map(|(def, column)| {
        let ty = match def.name.as_str() {
            "Volume" => ColumnType::I32,
            _ => ColumnType::F32,
        };
        let column = column.cast(ty).expect("volumes are whole numbers");
        (ColumnDef::new(def.name.clone(), ty), column)
    });
    let (defs, columns): (Vec<ColumnDef>, Vec<Column>) = columns.unzip();
    let schema = Schema::new(defs).expect("the names are those of a batch");
    ColumnBatch::new(schema, wide.time_column().clone(), columns)
        .expect("the rows are those of a batch")
}

fn key(symbol: &str) -> BucketKey {
    BucketKey::new(symbol, "1Min", "OHLCV").expect("a legal key")
}

fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}

fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    values
        .get((last * at).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// One 4 KiB write and fdatasync into a file that has its blocks: what no durable write can beat.
struct BareSync {
    file: File,
    block: u64,
}

impl BareSync {
    const BLOCKS: u64 = 1024;

    fn new(dir: &Path) -> Result<Self> {
        let mut file = File::create(dir.join("sync"))?;
        file.write_all(&vec![0; 4096 * Self::BLOCKS as usize])?;
        file.sync_all()?;
        Ok(Self { file, block: 0 })
    }

    fn once(&mut self) -> Result<f64> {
        self.file
            .seek(SeekFrom::Start(self.block % Self::BLOCKS * 4096))?;
        self.block += 1;
        let began = Instant::now();
        self.file.write_all(&[1; 4096])?;
        self.file.sync_data()?;
        Ok(millis(began))
    }
}

fn bulk_writes(addr: &str, args: &Args, figures: &mut Figures) -> Result<()> {
    let kinds: [(&'static str, &str, ColumnBatch); 2] = [
        ("bulk write f4 + i4", "VERSUSF4", narrow(BULK_ROWS)),
        ("bulk write f8", "VERSUSF8", minutes::<f64>(BULK_ROWS)),
    ];
    for (name, symbol, batch) in kinds {
        let mut client = Client::new(addr);
        let mut rates = Vec::new();
        for round in 0..args.bulk {
            // A new bucket each time: no rows are overwritten, as in a first load.
            let tables = [(key(&format!("{symbol}N{round}")), batch.clone())];
            let body = Client::write_request(&tables, RowKind::Bar);
            let began = Instant::now();
            client.call_raw(&body)?;
            rates.push(BULK_ROWS as f64 / began.elapsed().as_secs_f64());
            expect_last(&mut client, &tables[0].0, &batch)?;
        }
        let worst = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let note = format!("{} x {BULK_ROWS} rows, slowest {worst:.0}", args.bulk);
        figures.add(name, median(rates), "rows/s", note);
    }
    Ok(())
}

/// Raw replies are not decoded while time is taken; this proves that the writes were good.
fn expect_last(client: &mut Client, key: &BucketKey, batch: &ColumnBatch) -> Result<()> {
    let tables = client.query(&Query::of(key.as_str()).last(1))?;
    let found = tables.first().and_then(|table| table.batch.times().last());
    match found == batch.times().last() {
        true => Ok(()),
        false => Err(format!("{key} does not end with the row written last").into()),
    }
}

fn wide_write(addr: &str, dir: &Path, figures: &mut Figures) -> Result<()> {
    let batch = narrow(60);
    let mut client = Client::new(addr);
    let mut bare = BareSync::new(dir)?;
    let (mut times, mut syncs) = (Vec::new(), Vec::new());
    for minute in 0..60 {
        let row = batch.slice(minute..minute + 1);
        let tables: Vec<(BucketKey, ColumnBatch)> = (0..SYMBOLS)
            .map(|s| (key(&format!("VERSUSW{s}")), row.clone()))
            .collect();
        let body = Client::write_request(&tables, RowKind::Bar);
        let began = Instant::now();
        client.call_raw(&body)?;
        times.push(millis(began));
        // In turn, so that both see the same neighbours on the disk.
        syncs.push(bare.once()?);
        expect_last(&mut client, &tables[SYMBOLS - 1].0, &row)?;
    }
    let first = times.remove(0);
    let (p50, sync) = (median(times), median(syncs));
    figures.add(
        "bare fdatasync",
        sync,
        "ms",
        "4 KiB into a preallocated file",
    );
    let note = format!(
        "{:.2} x the bare sync; the first, which makes the buckets: {first:.1} ms",
        p50 / sync
    );
    figures.add("1000 symbols x 1 row", p50, "ms", note);
    Ok(())
}

fn single_rows(addr: &str, seconds: f64, figures: &mut Figures) -> Result<()> {
    let one = writers(addr, 1, seconds)?;
    figures.add("single-row writes, 1 writer", one, "rows/s", "");
    let many = writers(addr, 16, seconds)?;
    let note = format!("{:.1} x one writer", many / one);
    figures.add("single-row writes, 16 writers", many, "rows/s", note);
    Ok(())
}

/// Acknowledged rows per second of some clients that write one row after the other.
fn writers(addr: &str, count: usize, seconds: f64) -> Result<f64> {
    let batch = Arc::new(narrow(50_000));
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let threads: Vec<_> = (0..count)
        .map(|writer| {
            let (batch, stop, addr) = (batch.clone(), stop.clone(), addr.to_string());
            std::thread::spawn(move || -> std::result::Result<usize, client::Error> {
                let mut client = Client::new(addr);
                let key = key(&format!("VERSUSS{count}N{writer}"));
                let mut rows = 0;
                while !stop.load(Ordering::Relaxed) {
                    let at = rows % batch.rows();
                    client.write(&[(key.clone(), batch.slice(at..at + 1))], RowKind::Bar)?;
                    rows += 1;
                }
                Ok(rows)
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    stop.store(true, Ordering::Relaxed);
    let mut rows = 0;
    for thread in threads {
        rows += thread.join().map_err(|_| "a writer panicked")??;
    }
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}

fn queries(addr: &str, figures: &mut Figures) -> Result<()> {
    let mut client = Client::new(addr);
    client.write(&[(key("VERSUSYEAR"), narrow(YEAR_ROWS))], RowKind::Bar)?;

    let mut round_trips = time_each(500, || client.version().map(drop).map_err(Into::into))?;
    let trip = quantile(&mut round_trips, 0.5);
    figures.add("round trip (HEAD /rpc)", trip, "ms", "");

    let mut client = Client::new(addr);
    let last = Query::of("VERSUSYEAR/1Min/OHLCV").last(1000);
    expect_rows(&client.query(&last)?, 1000)?;
    let body = Client::query_request(&last);
    let mut times = time_each(500, || client.call_raw(&body).map(drop).map_err(Into::into))?;
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let note = format!(
        "{:.3} ms beyond the round trip, p99 {p99:.3} ms",
        p50 - trip
    );
    figures.add("last 1000 bars", p50, "ms", note);

    let all = Query::of("VERSUSYEAR/1Min/OHLCV");
    expect_rows(&client.query(&all)?, YEAR_ROWS)?;
    let body = Client::query_request(&all);
    let times = time_each(20, || client.call_raw(&body).map(drop).map_err(Into::into))?;
    let p50 = median(times);
    let rate = YEAR_ROWS as f64 / (p50 / 1e3);
    figures.add(
        "a year of 1Min bars",
        rate,
        "rows/s",
        format!("{p50:.2} ms for {YEAR_ROWS} rows"),
    );

    let names: Vec<String> = (0..SYMBOLS).map(|s| format!("VERSUSW{s}")).collect();
    let each = Query::of(format!("{}/1Min/OHLCV", names.join(","))).last(1);
    expect_rows(&client.query(&each)?, SYMBOLS)?;
    let body = Client::query_request(&each);
    let times = time_each(50, || client.call_raw(&body).map(drop).map_err(Into::into))?;
    figures.add("last bar of 1000 symbols", median(times), "ms", "one query");
    Ok(())
}

fn time_each(rounds: usize, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        call()?;
        times.push(millis(began));
    }
    Ok(times)
}

fn expect_rows(tables: &[client::Table], wanted: usize) -> Result<()> {
    let rows: usize = tables.iter().map(|table| table.batch.rows()).sum();
    match rows == wanted {
        true => Ok(()),
        false => Err(format!("a query gave {rows} rows, wanted {wanted}").into()),
    }
}

/// Writes for a while and watches the resident memory of the server.
fn long_load(addr: &str, pid: Option<u32>, requests: usize, figures: &mut Figures) -> Result<()> {
    let batch = narrow(BULK_ROWS);
    let mut client = Client::new(addr);
    let mut memory = Vec::new();
    let began = Instant::now();
    for round in 0..requests {
        // Ten buckets in turn, the same rows again and again: what is kept does not grow.
        let tables = [(key(&format!("VERSUSL{}", round % 10)), batch.clone())];
        client.write(&tables, RowKind::Bar)?;
        memory.extend(pid.and_then(resident_mib));
    }
    let rate = (requests * BULK_ROWS) as f64 / began.elapsed().as_secs_f64();
    figures.add(
        "long load",
        rate,
        "rows/s",
        format!("{requests} x {BULK_ROWS} rows, client's work included"),
    );
    if memory.is_empty() {
        eprintln!("  memory: the process is not known, use --pid");
        return Ok(());
    }
    let quarter = |number: usize| {
        let part = memory.len() / 4;
        median(memory[number * part..(number + 1) * part].to_vec())
    };
    let (second, last) = (quarter(1), quarter(3));
    let most = memory.iter().copied().fold(0.0, f64::max);
    let note = format!("second quarter {second:.0}, last quarter {last:.0}");
    figures.add("resident memory during load, most", most, "MiB", note);
    Ok(())
}

/// Anonymous memory only: mapped segments are page cache, which the kernel takes back.
fn resident_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024.0)
}

/// kill -9 with a million rows in the log, and the time until requests are answered again.
fn restart(binary: &Path, dir: &Path, figures: &mut Figures) -> Result<()> {
    let batch = narrow(BULK_ROWS);
    let mut times = Vec::new();
    let mut server = Started::new(binary, dir)?;
    let mut client = Client::new(&server.addr);
    for round in 0..10 {
        client.write(
            &[(key(&format!("VERSUSR{round}")), batch.clone())],
            RowKind::Bar,
        )?;
    }
    for _ in 0..5 {
        server.kill()?;
        let began = Instant::now();
        server.spawn()?;
        times.push(millis(began));
    }
    let mut client = Client::new(&server.addr);
    for round in 0..10 {
        expect_rows(
            &client.query(&Query::of(key(&format!("VERSUSR{round}")).as_str()))?,
            BULK_ROWS,
        )?;
    }
    figures.add(
        "start after kill -9",
        median(times),
        "ms",
        "1 000 000 rows in the log",
    );
    Ok(())
}

fn binary_path(text: &str) -> Result<PathBuf> {
    let path = match text {
        "" => std::env::current_exe()?.with_file_name("mkts"),
        text => text.into(),
    };
    match path.exists() {
        true => Ok(path),
        false => Err(format!(
            "{} is not there: cargo build --release -p server",
            path.display()
        )
        .into()),
    }
}

/// A server of ours on a directory of its own; killed when dropped.
struct Started {
    binary: PathBuf,
    dir: PathBuf,
    child: Child,
    addr: String,
}

impl Started {
    fn new(binary: &Path, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        fs::write(
            dir.join("mkts.yml"),
            "root_directory: data\nlisten_port: 0\nlog_level: warning\n",
        )?;
        let (child, addr) = start(binary, dir)?;
        Ok(Self {
            binary: binary.into(),
            dir: dir.into(),
            child,
            addr,
        })
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn spawn(&mut self) -> Result<()> {
        (self.child, self.addr) = start(&self.binary, &self.dir)?;
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to do about that here.
        let _ = self.kill();
    }
}

fn start(binary: &Path, dir: &Path) -> Result<(Child, String)> {
    let ready = dir.join("ready");
    if ready.exists() {
        fs::remove_file(&ready)?;
    }
    let mut child = Command::new(binary)
        .args(["start", "--config", "mkts.yml", "--ready-file", "ready"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    loop {
        if let Ok(text) = fs::read(&ready) {
            let value: serde_json::Value = serde_json::from_slice(&text)?;
            let addr = value["http"]
                .as_str()
                .ok_or("the ready file names no address")?;
            return Ok((child, addr.into()));
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("the server ended with {status}").into());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
