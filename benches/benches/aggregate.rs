//! The aggregation kernel on one core: windows and five columns of real minutes, and trades to bars.
//! Target: 100 M rows/s. Ten million rows go
//! through it in parts, as they do in the trigger.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use benches::{Price, YEAR_ROWS, minutes, trades};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::{Aggregation, ColumnBatch, Timeframe, Windows, Zone, roll_up};

const COLUMNS: [(&str, Aggregation); 5] = [
    ("Open", Aggregation::First),
    ("High", Aggregation::Max),
    ("Low", Aggregation::Min),
    ("Close", Aggregation::Last),
    ("Volume", Aggregation::Sum),
];

/// Rows that are rolled up at once, as ondiskagg reads them.
const PART_ROWS: usize = 1 << 20;

fn bars(rows: &ColumnBatch, timeframe: Timeframe, zone: &Zone) -> usize {
    let windows = Windows::of(rows.times(), timeframe, zone);
    for (name, how) in COLUMNS {
        let column = rows.column(name).expect("bars have all five columns");
        black_box(roll_up(column, &windows, how));
    }
    windows.starts.len()
}

fn one_type<T: Price>(criterion: &mut Criterion, name: &str, rows: usize, zone: &Zone) {
    let batch = minutes::<T>(rows);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(rows as u64));
    for timeframe in ["5Min", "15Min", "1H", "1D"] {
        let parsed = Timeframe::parse(timeframe).expect("a timeframe");
        group.bench_function(BenchmarkId::from_parameter(timeframe), |b| {
            b.iter(|| {
                let parts = (0..rows).step_by(PART_ROWS);
                let part = |from| batch.slice(from..rows.min(from + PART_ROWS));
                parts
                    .map(|from| bars(&part(from), parsed, zone))
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

fn aggregate(criterion: &mut Criterion) {
    let new_york = Zone::parse("America/New_York").expect("a bundled zone");
    one_type::<f32>(criterion, "year_f32", YEAR_ROWS, &new_york);
    one_type::<f64>(criterion, "year_f64", YEAR_ROWS, &new_york);
    one_type::<f32>(criterion, "10M_f32", 10_000_000, &Zone::utc());
    one_type::<f64>(criterion, "10M_f64", 10_000_000, &Zone::utc());
}

fn ticks(criterion: &mut Criterion) {
    let rows = 1_000_000;
    let batch = trades(rows);
    let mut group = criterion.benchmark_group("ticks");
    group.throughput(Throughput::Elements(rows as u64));
    for timeframe in ["1Min", "1D"] {
        let parsed = Timeframe::parse(timeframe).expect("a timeframe");
        let zone = Zone::utc();
        group.bench_function(BenchmarkId::from_parameter(timeframe), |b| {
            b.iter(|| {
                let windows = Windows::of(batch.times(), parsed, &zone);
                ondiskagg::tick_bars(&batch, &windows, parsed).expect("trades have prices")
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(12)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = aggregate, ticks
}
criterion_main!(benches);
