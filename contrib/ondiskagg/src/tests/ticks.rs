//! Ticks of a bucket to bars, on real trades.

use std::io::Read;

use model::{Column, ColumnBatch, NANOS_PER_SECOND, RowKind, Timeframe, Zone};
use serde_json::json;

use super::host::{Host, rows};

/// The trades of a day: time, price, size.
fn trades() -> Vec<(i64, f64, i32)> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../data/IBM_Tick_TRADE.csv.gz"
    );
    let mut text = String::new();
    let file = std::fs::File::open(file).unwrap();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let parse = |row: csv::StringRecord| {
        let time =
            row[0].parse::<i64>().unwrap() * NANOS_PER_SECOND + row[1].parse::<i64>().unwrap();
        (time, row[2].parse().unwrap(), row[3].parse().unwrap())
    };
    reader.records().map(|row| parse(row.unwrap())).collect()
}

fn batch(trades: &[(i64, f64, i32)]) -> ColumnBatch {
    rows(
        trades.iter().map(|t| t.0).collect(),
        vec![
            (
                "Price",
                Column::from_values(trades.iter().map(|t| t.1).collect::<Vec<f64>>()),
            ),
            (
                "Size",
                Column::from_values(trades.iter().map(|t| t.2).collect::<Vec<i32>>()),
            ),
        ],
    )
}

#[test]
fn trades_in_any_order_make_bars_of_every_timeframe() {
    let trades = trades();
    assert_eq!(trades.len(), 24_293);
    let destinations = ["1Sec", "1Min", "5Min", "1H", "1D", "1W"];
    for base in ["1Sec", "1Min", "1H"] {
        let mut host = Host::new("America/New_York");
        let mut trigger = host.trigger(json!({ "destinations": destinations }));
        trigger.part_rows_max = 5000;
        let key = format!("IBM/{base}/TRADE");
        // The second half first, then the rest in two pieces.
        for part in [&trades[12_000..], &trades[..5000], &trades[5000..12_000]] {
            host.write(&mut trigger, &key, RowKind::Tick, batch(part))
                .unwrap();
        }
        for destination in destinations {
            check(&host, &trades, destination);
        }
    }
}

fn check(host: &Host, trades: &[(i64, f64, i32)], destination: &str) {
    let timeframe = Timeframe::parse(destination).unwrap();
    let zone = Zone::parse("America/New_York").unwrap();
    let key = format!("IBM/{destination}/OHLCV");
    let times = host.rows(&key).unwrap().times().to_vec();
    let mut expected: Vec<(i64, [f64; 4], u64)> = Vec::new();
    for (time, price, size) in trades {
        let start = timeframe.window(*time, &zone).start;
        if expected.last().is_none_or(|bar| bar.0 != start) {
            expected.push((start, [*price; 4], 0));
        }
        let (_, prices, volume) = expected.last_mut().unwrap();
        prices[1] = prices[1].max(*price);
        prices[2] = prices[2].min(*price);
        prices[3] = *price;
        *volume += *size as u64;
    }
    expected.retain(|bar| bar.2 > 0);
    assert_eq!(
        times,
        expected.iter().map(|b| b.0).collect::<Vec<_>>(),
        "{key}"
    );
    for (at, name) in ["Open", "High", "Low", "Close"].iter().enumerate() {
        let prices: Vec<f64> = expected.iter().map(|b| b.1[at]).collect();
        assert_eq!(host.values::<f64>(&key, name), prices, "{key} {name}");
    }
    let volumes: Vec<u64> = expected.iter().map(|b| b.2).collect();
    assert_eq!(host.values::<u64>(&key, "Volume"), volumes, "{key}");
}
