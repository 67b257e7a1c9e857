//! Whatever is written in whatever order: at the end every aggregate equals recomputation.

use std::collections::BTreeMap;

use model::{BucketKey, Column, ColumnBatch, NANOS_PER_SECOND, RowKind, Timeframe, Zone};
use proptest::prelude::*;
use serde_json::json;

use super::host::{Host, rows};

const BASE_SECONDS: i64 = 1_583_000_000;

/// Begins of stretches of rows where something special is: ends of years, changes of clocks in New
/// York and Sao Paulo (at midnight), an ordinary day.
const PLACES: [i64; 6] = [
    1_577_836_800,
    1_583_650_800,
    1_604_210_400,
    1_541_300_400,
    1_609_459_200,
    BASE_SECONDS,
];

type Bar = (f32, f32, f32, f32, i64);

/// The slow and obvious way.
fn recompute(base: &ColumnBatch, timeframe: Timeframe, zone: &Zone) -> BTreeMap<i64, Bar> {
    let price = |name| base.column(name).unwrap().values::<f32>().unwrap();
    let volumes = base.column("Volume").unwrap().values::<i64>().unwrap();
    let mut bars: BTreeMap<i64, Bar> = BTreeMap::new();
    for (i, time) in base.times().iter().enumerate() {
        let (open, high) = (price("Open")[i], price("High")[i]);
        let (low, close) = (price("Low")[i], price("Close")[i]);
        let window = timeframe.window(*time, zone).start;
        let bar = bars.entry(window).or_insert((open, high, low, close, 0));
        bar.1 = bar.1.max(high);
        bar.2 = bar.2.min(low);
        bar.3 = close;
        bar.4 = bar.4.saturating_add(volumes[i]);
    }
    bars
}

fn stored(host: &Host, key: &str) -> BTreeMap<i64, Bar> {
    let Some(rows) = host.rows(key) else {
        return BTreeMap::new();
    };
    let price = |name| rows.column(name).unwrap().values::<f32>().unwrap();
    let volumes = rows.column("Volume").unwrap().values::<i64>().unwrap();
    let bar = |i: usize| {
        let prices = (
            price("Open")[i],
            price("High")[i],
            price("Low")[i],
            price("Close")[i],
        );
        (prices.0, prices.1, prices.2, prices.3, volumes[i])
    };
    rows.times()
        .iter()
        .enumerate()
        .map(|(i, t)| (*t, bar(i)))
        .collect()
}

/// (place, steps after it, price, volume) of one row.
type Row = (usize, i64, u16, i64);

fn batch(written: &[Row], step: i64) -> ColumnBatch {
    let time = |r: &Row| (PLACES[r.0] + r.1 * step) * NANOS_PER_SECOND;
    let price = |add: f32| {
        let values = written.iter().map(|r| f32::from(r.2) / 4.0 + add);
        Column::from_values(values.collect::<Vec<f32>>())
    };
    rows(
        written.iter().map(time).collect(),
        vec![
            ("Open", price(0.0)),
            ("High", price(2.0)),
            ("Low", price(-1.0)),
            ("Close", price(0.5)),
            (
                "Volume",
                Column::from_values(written.iter().map(|r| r.3).collect::<Vec<i64>>()),
            ),
        ],
    )
}

fn row() -> impl Strategy<Value = Row> {
    let volume = prop_oneof![4 => 0..10_000_i64, 1 => Just(i64::MAX / 3)];
    (0..PLACES.len(), -200..200_i64, any::<u16>(), volume)
}

fn check(host: &Host, base: &str, destinations: &[&str]) -> Result<(), TestCaseError> {
    let key = BucketKey::parse(base).unwrap();
    for destination in destinations {
        let timeframe = Timeframe::parse(destination).unwrap();
        let expected = recompute(host.rows(base).unwrap(), timeframe, &host.zone);
        let target = format!("{}/{destination}/OHLCV", key.symbol());
        prop_assert_eq!(
            stored(host, &target),
            expected,
            "{} {:?}",
            target,
            host.zone
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Late rows, corrections, batches over windows, ends of years and changes of clocks, large
    /// volumes; bases of a second and a minute; parts of a few rows.
    #[test]
    fn aggregates_equal_recomputation(
        writes in prop::collection::vec(prop::collection::vec(row(), 1..30), 1..12),
        zone in prop::sample::select(vec![
            "UTC", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo",
        ]),
        base in prop::sample::select(vec!["1Sec", "1Min", "7Min"]),
        part_rows_max in prop::sample::select(vec![1, 2, 7, 1 << 20]),
    ) {
        let destinations = ["5Min", "7Min", "1H", "4H", "1D", "2D", "1W", "1Y"];
        let mut host = Host::new(zone);
        let mut trigger = host.trigger(json!({ "destinations": destinations }));
        trigger.part_rows_max = part_rows_max;
        let key = format!("A/{base}/OHLCV");
        let step = Timeframe::parse(base).unwrap().nanos() / NANOS_PER_SECOND;
        for written in &writes {
            host.write(&mut trigger, &key, RowKind::Bar, batch(written, step)).unwrap();
        }
        let made: Vec<&str> = destinations
            .into_iter()
            .filter(|d| *d != base && !(base == "7Min" && *d == "5Min"))
            .collect();
        check(&host, &key, &made)?;
    }

    /// Whatever is deleted between the writes, its gap makes the aggregates those of what is left.
    #[test]
    fn aggregates_follow_deletes(
        steps in prop::collection::vec(
            (prop::collection::vec(row(), 1..30), 0_usize..40, 0_usize..40),
            1..8,
        ),
        zone in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kolkata"]),
        part_rows_max in prop::sample::select(vec![1, 3, 1 << 20]),
    ) {
        let destinations = ["5Min", "1H", "1D", "1W"];
        let mut host = Host::new(zone);
        let mut trigger = host.trigger(json!({ "destinations": destinations }));
        trigger.part_rows_max = part_rows_max;
        let key = "A/1Min/OHLCV";
        for (written, from, len) in &steps {
            // Some are told by the gap only.
            let is_backlog = from % 2 == 1;
            match is_backlog {
                true => host.store(&BucketKey::parse(key).unwrap(), RowKind::Bar, batch(written, 60)),
                false => host.write(&mut trigger, key, RowKind::Bar, batch(written, 60)).unwrap(),
            }
            let times = host.rows(key).unwrap().times().to_vec();
            let Some(first) = times.get(*from).copied() else {
                host.gap(&mut trigger, key, i64::MIN, i64::MAX).unwrap();
                continue;
            };
            let last = times.get(from + len).copied().unwrap_or(i64::MAX);
            host.delete(key, first, last);
            let (first, last) = if is_backlog { (i64::MIN, i64::MAX) } else { (first, last) };
            host.gap(&mut trigger, key, first, last).unwrap();
            check(&host, key, &destinations)?;
        }
    }

    /// One gap over everything does what all the fires would have done.
    #[test]
    fn a_gap_stands_for_all_fires(
        written in prop::collection::vec(row(), 1..120),
        zone in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kolkata"]),
        part_rows_max in prop::sample::select(vec![1, 3, 50, 1 << 20]),
    ) {
        let destinations = ["5Min", "1H", "1D", "1W"];
        let mut host = Host::new(zone);
        let mut trigger = host.trigger(json!({ "destinations": destinations }));
        trigger.part_rows_max = part_rows_max;
        let key = BucketKey::parse("A/1Min/OHLCV").unwrap();
        host.store(&key, RowKind::Bar, batch(&written, 60));
        host.gap(&mut trigger, key.as_str(), i64::MIN, i64::MAX).unwrap();
        check(&host, key.as_str(), &destinations)?;
        prop_assert!(host.logs.iter().all(|l| l.contains("too large")), "{:?}", host.logs);
    }
}
