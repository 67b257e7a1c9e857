//! What the benchmarks measure with: the bundled real bars and trades, as they are or tiled to the
//! size of a year.
//!
//! `cargo bench -p benches` runs all of them; `--bench aggregate` one.
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use engine::{Commit, Engine, NoHook, Options, Origin, Recovery, Rows};
use model::{BucketKey, Column, ColumnBatch, ColumnDef, NANOS_PER_SECOND, RowKind, Schema, Value};

/// Rows of a year of minutes: 252 sessions of 390 minutes.
pub const YEAR_ROWS: usize = 252 * 390;

const MINUTE_NANOS: i64 = 60 * NANOS_PER_SECOND;
const DAY_NANOS: i64 = 1440 * MINUTE_NANOS;

/// Columns of a bundled file, as text is parsed: seconds, nanoseconds (0 of bars), numbers, texts.
struct Table {
    times: Vec<i64>,
    columns: Vec<(String, Vec<f64>)>,
    texts: Vec<(&'static str, Vec<[u32; 16]>)>,
}

/// Tape letters and bit masks.
const TEXTS: [&str; 2] = ["Exchange", "Cond"];

fn load(name: &str) -> Table {
    let path = format!("{}/../data/{name}.csv.gz", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut text = String::new();
    let read = flate2::read::GzDecoder::new(file).read_to_string(&mut text);
    read.unwrap_or_else(|error| panic!("{path}: {error}"));
    parse(&text)
}

fn parse(text: &str) -> Table {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader
        .headers()
        .expect("bundled files have a header")
        .clone();
    let names: Vec<&str> = headers.iter().collect();
    let mut times = Vec::new();
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    let mut texts = TEXTS.map(|name| (name, Vec::new()));
    for record in reader.records() {
        let record = record.expect("bundled files are whole");
        let mut time = 0;
        for (at, field) in record.iter().enumerate() {
            let whole = || field.parse::<i64>().expect("times are whole numbers");
            match names[at] {
                "Epoch" => time += whole() * NANOS_PER_SECOND,
                "Nanoseconds" => time += whole(),
                name => match texts.iter_mut().find(|(text, _)| *text == name) {
                    Some((_, texts)) => texts.push(text_of(field)),
                    None => values[at].push(field.parse().expect("the rest are numbers")),
                },
            }
        }
        times.push(time);
    }
    let columns = names
        .iter()
        .zip(values)
        .filter(|(_, column)| !column.is_empty());
    Table {
        times,
        columns: columns
            .map(|(name, column)| ((*name).to_owned(), column))
            .collect(),
        texts: texts.into(),
    }
}

fn text_of(field: &str) -> [u32; 16] {
    let mut text = [0; 16];
    for (point, char) in text.iter_mut().zip(field.chars()) {
        *point = char.into();
    }
    text
}

/// A number that a bar can be made of.
pub trait Price: Value {
    /// The nearest value.
    fn of(value: f64) -> Self;
}

impl Price for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }
}

impl Price for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

/// The minutes of SPY, five columns of one type, tiled to `rows`: session after session of 390
/// minutes from 09:30 New York in winter, weekends left out.
pub fn minutes<T: Price>(rows: usize) -> ColumnBatch {
    let table = load("SPY_1Min_OHLCV");
    let first = 1_577_975_400 * NANOS_PER_SECOND; // Thursday 2020-01-02 14:30 UTC.
    let time = |row: usize| {
        let (session, minute) = (row / 390 + 3, row % 390);
        // Five sessions a week, the first of them a Thursday.
        let day = (session / 5 * 7 + session % 5) as i64 - 3;
        first + day * DAY_NANOS + minute as i64 * MINUTE_NANOS
    };
    let times = (0..rows).map(time).collect::<Vec<i64>>();
    let columns = ["Open", "High", "Low", "Close", "Volume"].map(|name| {
        let values = column(&table, name).iter().map(|v| T::of(*v));
        (name, values.cycle().take(rows).collect::<Vec<T>>())
    });
    batch(
        times,
        columns
            .map(|(name, values)| (name, Column::from_values(values)))
            .to_vec(),
    )
}

/// The bars of a bundled file as they are, prices and volume as f64.
pub fn bars(name: &str) -> ColumnBatch {
    let Table { times, columns, .. } = load(name);
    let columns = columns.iter();
    let columns = columns.map(|(name, v)| (name.as_str(), Column::from_values(v.clone())));
    batch(times, columns.collect())
}

/// The same rows, some minutes later.
pub fn minutes_after(rows: &ColumnBatch, minutes: i64) -> ColumnBatch {
    let times = rows
        .times()
        .iter()
        .map(|time| time + minutes * MINUTE_NANOS);
    let later = rows.clone().with_times(times.collect());
    later.expect("there are as many times as rows")
}

/// Opens a store as a server does.
pub fn open(directory: &Path) -> (Engine, Recovery) {
    open_with(directory, Options::default())
}

/// Opens a store that checkpoints and merges only when it is told to.
pub fn open_quiet(directory: &Path) -> Engine {
    let options = Options {
        tail_bytes_max: usize::MAX,
        wal_bytes_max: 4 << 30,
        merge: false,
        ..Options::default()
    };
    open_with(directory, options).0
}

fn open_with(directory: &Path, options: Options) -> (Engine, Recovery) {
    Engine::open(directory, options, Arc::new(NoHook)).expect("a store opens")
}

/// A commit of a client that makes missing buckets as bars.
pub fn commit(rows: Vec<(BucketKey, ColumnBatch)>) -> Commit {
    let rows = rows.into_iter().map(|(key, batch)| Rows {
        key,
        batch,
        create: Some(RowKind::Bar),
    });
    Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: rows.collect(),
        section: None,
    }
}

/// The trades of IBM (Price F64, Size I32), tiled to `rows`, one day after the other.
pub fn trades(rows: usize) -> ColumnBatch {
    let table = load("IBM_Tick_TRADE");
    let day = table.times.len();
    let time = |row: usize| table.times[row % day] + (row / day) as i64 * DAY_NANOS;
    let prices = column(&table, "Price").iter().copied().cycle().take(rows);
    let sizes = column(&table, "Size").iter().map(|size| *size as i32);
    let columns = vec![
        ("Price", Column::from_values(prices.collect::<Vec<f64>>())),
        (
            "Size",
            Column::from_values(sizes.cycle().take(rows).collect::<Vec<i32>>()),
        ),
    ];
    batch((0..rows).map(time).collect(), columns).ordered(RowKind::Tick)
}

/// The trades of IBM with their texts (Exchange, Cond: Str16), tiled to `rows`.
pub fn taped_trades(rows: usize) -> ColumnBatch {
    let table = load("IBM_Tick_TRADE");
    let day = table.times.len();
    let time = |row: usize| table.times[row % day] + (row / day) as i64 * DAY_NANOS;
    let plain = trades(rows);
    let texts = table.texts.iter().map(|(name, texts)| {
        let texts = texts.iter().copied().cycle().take(rows);
        (
            *name,
            Column::from_values(texts.collect::<Vec<[u32; 16]>>()),
        )
    });
    let texts = batch((0..rows).map(time).collect(), texts.collect()).ordered(RowKind::Tick);
    let columns = [&plain, &texts].into_iter().flat_map(|rows| {
        let names = rows.schema().columns().iter().map(|def| def.name.as_str());
        names.zip(rows.columns().iter().cloned())
    });
    batch(plain.times().to_vec(), columns.collect())
}

/// The quotes of IBM as they are: prices F64, sizes I32.
pub fn quotes() -> ColumnBatch {
    let table = load("IBM_Tick_QUOTE");
    let price = |name: &str| Column::from_values(column(&table, name).to_vec());
    let size = |name: &str| {
        let sizes = column(&table, name).iter().map(|size| *size as i32);
        Column::from_values(sizes.collect::<Vec<i32>>())
    };
    let columns = vec![
        ("Bid", price("Bid")),
        ("BidSize", size("BidSize")),
        ("Ask", price("Ask")),
        ("AskSize", size("AskSize")),
    ];
    batch(table.times.clone(), columns).ordered(RowKind::Tick)
}

fn column<'a>(table: &'a Table, name: &str) -> &'a [f64] {
    let found = table.columns.iter().find(|(n, _)| n == name);
    &found
        .unwrap_or_else(|| panic!("the file has no column {name}"))
        .1
}

fn batch(times: Vec<i64>, columns: Vec<(&str, Column)>) -> ColumnBatch {
    let defs = columns
        .iter()
        .map(|(name, column)| ColumnDef::new(*name, column.ty()));
    let schema = Schema::new(defs.collect()).expect("the names are fixed");
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    ColumnBatch::new(schema, Column::from_values(times), columns)
        .expect("the columns are of one length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_minutes_ascends_and_is_real() {
        let year = minutes::<f64>(YEAR_ROWS);
        assert_eq!(year.rows(), 98_280);
        assert!(year.times().is_sorted_by(|a, b| a < b));
        let low = year.column("Low").and_then(|c| c.values::<f64>()).unwrap();
        let high = year.column("High").and_then(|c| c.values::<f64>()).unwrap();
        assert!(
            low.iter()
                .zip(high)
                .all(|(low, high)| 160.0 < *low && low <= high)
        );
        let span = year.times()[YEAR_ROWS - 1] - year.times()[0];
        assert!(
            (345..356).contains(&(span / DAY_NANOS)),
            "{}",
            span / DAY_NANOS
        );
    }

    #[test]
    fn trades_of_several_days_ascend() {
        let trades = trades(60_000);
        assert_eq!(trades.rows(), 60_000);
        assert!(trades.times().is_sorted());
    }

    #[test]
    fn filled_buckets_have_the_rows() {
        let directory = tempfile::tempdir().unwrap();
        let engine = open_quiet(directory.path());
        let rows = minutes::<f64>(5000);
        let keys = ["A", "B", "C"].map(|s| BucketKey::new(s, "1Min", "OHLCV").unwrap());
        for key in &keys {
            let schema = rows.schema().clone();
            engine.create_bucket(key, RowKind::Bar, schema).unwrap();
        }
        engine::bench::fill(&engine, &keys, &rows).unwrap();
        engine.close().unwrap();
        let (engine, _) = open(directory.path());
        let ids = keys.map(|key| engine.bucket(&key).unwrap().id);
        let snapshot = engine.snapshot(&ids);
        for index in 0..ids.len() {
            let found = snapshot.scan(index, &engine::Scan::all()).unwrap();
            assert_eq!(found.times(), rows.times());
            assert_eq!(found.columns(), rows.columns());
        }
    }
}
