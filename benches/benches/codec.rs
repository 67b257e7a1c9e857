//! Pages of real columns: bytes a row of each file (printed first), then the speed of each codec.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use benches::{YEAR_ROWS, bars, minutes, quotes, taped_trades, trades};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::bench::Pages;
use model::{Column, ColumnBatch, NANOS_PER_SECOND};

const CODECS: [&str; 6] = ["raw", "grid", "blocks", "decimal", "pco", "dictionary"];
/// Step and anchor of the times of bars.
type Grid = Option<(i64, i64)>;

const MINUTE: Grid = Some((60 * NANOS_PER_SECOND, 0));

/// One line a file: bytes a row of each column, and the codecs of its pages.
fn sizes(name: &str, rows: &ColumnBatch, grid: Grid, dense: bool) {
    let names = rows.schema().columns().iter().map(|def| def.name.as_str());
    let columns = std::iter::once(rows.time_column()).chain(rows.columns());
    let (mut total, mut raw) = (0.0, 0);
    let mut line = String::new();
    for (index, (name, column)) in std::iter::once("Epoch")
        .chain(names)
        .zip(columns)
        .enumerate()
    {
        let pages = Pages::encode(column, grid.filter(|_| index == 0), dense);
        assert!(pages.decode().as_ref() == Some(column), "lossless");
        let bytes = pages.bytes() as f64 / rows.rows() as f64;
        total += bytes;
        raw += column.ty().size();
        let mut codecs = pages.codecs();
        codecs.dedup();
        let codecs: Vec<&str> = codecs
            .iter()
            .map(|code| CODECS[usize::from(*code)])
            .collect();
        line += &format!(", {name} {bytes:.2} {}", codecs.join("/"));
    }
    println!(
        "{name}: {} rows, {total:.2} bytes a row of {raw}{line}",
        rows.rows()
    );
}

fn codec(criterion: &mut Criterion) {
    for name in [
        "SPY_1Min_OHLCV",
        "AAPL_1Min_OHLCV",
        "IBM_1Min_OHLCV",
        "BTC-USD_1Min_OHLCV",
    ] {
        sizes(name, &bars(name), MINUTE, false);
    }
    sizes(
        "SPY_1Sec_OHLCV",
        &bars("SPY_1Sec_OHLCV"),
        Some((NANOS_PER_SECOND, 0)),
        false,
    );
    let ticks = taped_trades(24_293);
    sizes("IBM_Tick_TRADE", &ticks, None, true);
    sizes("IBM_Tick_QUOTE", &quotes(), None, true);

    let year = minutes::<f64>(YEAR_ROWS);
    let narrow = minutes::<f32>(YEAR_ROWS);
    let column = |name: &str| year.column(name).expect("a column of bars");
    let volumes = column("Volume")
        .cast(model::ColumnType::I64)
        .expect("numbers");
    let ramp: Vec<i64> = (0..YEAR_ROWS as i64)
        .map(|i| i * 1000 + i * i % 7)
        .collect();
    let thirds = column("Close")
        .values::<f64>()
        .expect("f64")
        .iter()
        .map(|v| v / 3.0);
    let taped = taped_trades(YEAR_ROWS);
    let text = |name: &str| taped.column(name).expect("a column of trades").clone();
    let columns: [(&str, Column, Grid, bool); 10] = [
        (
            "raw",
            Column::from_values(thirds.collect::<Vec<f64>>()),
            None,
            false,
        ),
        ("grid", year.time_column().clone(), MINUTE, false),
        ("blocks_plain", volumes, None, false),
        ("blocks_delta", Column::from_values(ramp), None, false),
        ("decimal_f64", column("Close").clone(), None, false),
        (
            "decimal_f32",
            narrow.column("Close").expect("a column").clone(),
            None,
            false,
        ),
        (
            "pco_times",
            trades(YEAR_ROWS).time_column().clone(),
            None,
            true,
        ),
        (
            "decimal_pco",
            trades(YEAR_ROWS).column("Price").expect("a column").clone(),
            None,
            true,
        ),
        ("dictionary_blocks", text("Exchange"), None, false),
        ("dictionary_pco", text("Exchange"), None, true),
    ];
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(YEAR_ROWS as u64));
    for (name, values, grid, dense) in &columns {
        let pages = Pages::encode(values, *grid, *dense);
        let codec = CODECS[usize::from(pages.codecs()[0])];
        assert!(name.starts_with(codec), "{name} became {codec}");
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| Pages::encode(black_box(values), *grid, *dense));
        });
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| black_box(&pages).decode().expect("just encoded"));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300));
    targets = codec
}
criterion_main!(benches);
