//! Single fires: columns and types, keys, what is read, what is refused.

use model::{Column, ColumnBatch, RowKind, Value};
use plugin_sdk::FireError;
use serde_json::json;

use super::host::{Host, rows};

const MINUTE: i64 = 60_000_000_000;
/// 2020-03-02 14:30 UTC, 09:30 in New York.
const OPENING: i64 = 1_583_159_400_000_000_000;

/// Minutes from the opening on: Open 100, 101, ... High +2, Low -1.5, Close +0.5.
fn minutes(count: i64, volume: Option<Column>) -> ColumnBatch {
    let price = |add: f32| {
        let values = (0..count).map(|i| 100.0 + i as f32 + add);
        Column::from_values(values.collect::<Vec<f32>>())
    };
    let mut columns = vec![
        ("Open", price(0.0)),
        ("High", price(2.0)),
        ("Low", price(-1.5)),
        ("Close", price(0.5)),
    ];
    columns.extend(volume.map(|volume| ("Volume", volume)));
    rows((0..count).map(|i| OPENING + i * MINUTE).collect(), columns)
}

fn count_up<T: Value>(to: impl Fn(u8) -> T, count: u8) -> Option<Column> {
    Some(Column::from_values(
        (0..count).map(|i| to(10 + i)).collect::<Vec<T>>(),
    ))
}

/// The volumes that seven minutes make in five.
fn five_of_seven<T: Value>(to: impl Fn(u8) -> T) -> Vec<T> {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["5Min"]}));
    let batch = minutes(7, count_up(to, 7));
    host.write(&mut trigger, "A/1Min/OHLCV", RowKind::Bar, batch)
        .unwrap();
    assert_eq!(host.values::<f32>("A/5Min/OHLCV", "Open"), [100.0, 105.0]);
    assert_eq!(host.values::<f32>("A/5Min/OHLCV", "High"), [106.0, 108.0]);
    assert_eq!(host.values::<f32>("A/5Min/OHLCV", "Low"), [98.5, 103.5]);
    assert_eq!(host.values::<f32>("A/5Min/OHLCV", "Close"), [104.5, 106.5]);
    let times = host.rows("A/5Min/OHLCV").unwrap().times();
    assert_eq!(times, [OPENING, OPENING + 5 * MINUTE]);
    host.values("A/5Min/OHLCV", "Volume")
}

#[test]
fn types_stay_what_they_are() {
    assert_eq!(five_of_seven(f32::from), [60.0_f32, 31.0]);
    assert_eq!(five_of_seven(i32::from), [60_i32, 31]);
    assert_eq!(five_of_seven(i64::from), [60_i64, 31]);
    assert_eq!(five_of_seven(u32::from), [60_u32, 31]);
    assert_eq!(five_of_seven(f64::from), [60.0_f64, 31.0]);
}

#[test]
fn without_volume_there_is_none() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["5Min"]}));
    host.write(&mut trigger, "A/1Min/OHLCV", RowKind::Bar, minutes(3, None))
        .unwrap();
    let names: Vec<&str> = host
        .rows("A/5Min/OHLCV")
        .unwrap()
        .schema()
        .columns()
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(names, ["Open", "High", "Low", "Close"]);
}

#[test]
fn large_volumes_are_limited_and_reported() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["5Min"]}));
    let volume = Column::from_values(vec![i32::MAX, 1, 1]);
    host.write(
        &mut trigger,
        "A/1Min/OHLCV",
        RowKind::Bar,
        minutes(3, Some(volume)),
    )
    .unwrap();
    assert_eq!(host.values::<i32>("A/5Min/OHLCV", "Volume"), [i32::MAX]);
    assert_eq!(host.logs.len(), 1);
    assert!(
        host.logs[0].starts_with("Warn A/5Min/OHLCV: 1 volumes"),
        "{:?}",
        host.logs
    );
    let volume = Column::from_values(vec![1.5e9_f64, 1.5e9]);
    host.write(
        &mut trigger,
        "B/1Min/OHLCV",
        RowKind::Bar,
        minutes(2, Some(volume)),
    )
    .unwrap();
    assert_eq!(host.values::<f64>("B/5Min/OHLCV", "Volume"), [3.0e9]);
    assert_eq!(host.logs.len(), 1);
}

#[test]
fn one_row_reads_its_largest_window_alone() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["5Min", "1H"]}));
    let week = minutes(7 * 1440, None);
    host.store(&"A/1Min/OHLCV".parse().unwrap(), RowKind::Bar, week.clone());
    let one = week.slice(5000..5001);
    host.write(&mut trigger, "A/1Min/OHLCV", RowKind::Bar, one)
        .unwrap();
    assert_eq!(host.rows_read, 60);
    assert_eq!(host.rows("A/5Min/OHLCV").unwrap().rows(), 1);
    // Two rows far apart do not make everything between them be read.
    let two = week.take(&[9000, 30]);
    host.write(&mut trigger, "A/1Min/OHLCV", RowKind::Bar, two)
        .unwrap();
    assert_eq!(host.rows_read, 180);
}

#[test]
fn a_destination_may_not_be_its_base_or_finer() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["1Sec", "1Min", "60Sec", "1H"]}));
    for _ in 0..2 {
        host.write(&mut trigger, "A/1Min/OHLCV", RowKind::Bar, minutes(3, None))
            .unwrap();
    }
    let keys: Vec<&str> = host.buckets.keys().map(|k| k.as_str()).collect();
    assert_eq!(keys, ["A/1H/OHLCV", "A/1Min/OHLCV", "A/60Sec/OHLCV"]);
    assert_eq!(
        host.logs,
        ["Warn A/1Sec/OHLCV is finer than A/1Min/OHLCV and is not made of it"]
    );
}

#[test]
fn what_is_no_bar_is_refused_once() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["5Min"]}));
    let quote = || {
        rows(
            vec![OPENING],
            vec![("Bid", Column::from_values(vec![1.0_f32]))],
        )
    };
    let mut write = || host.write(&mut trigger, "A/1Min/QUOTE", RowKind::Tick, quote());
    let Err(FireError::Skip(why)) = write() else {
        panic!("rows without prices were taken");
    };
    assert!(
        why.contains("A/1Min/QUOTE") && why.contains("it has Bid"),
        "{why}"
    );
    assert_eq!(write(), Ok(()));
    assert_eq!(host.buckets.len(), 1);
}

#[test]
fn aggregates_go_with_the_last_of_their_rows() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["5Min", "1H"]}));
    let key = "A/1Min/OHLCV";
    host.write(
        &mut trigger,
        key,
        RowKind::Bar,
        minutes(15, count_up(i32::from, 15)),
    )
    .unwrap();
    let (from, to) = (OPENING + 3 * MINUTE, OPENING + 11 * MINUTE);
    host.delete(key, from, to);
    host.gap(&mut trigger, key, from, to).unwrap();
    assert_eq!(host.values::<i32>("A/5Min/OHLCV", "Volume"), [33, 69]);
    assert_eq!(host.values::<i32>("A/1H/OHLCV", "Volume"), [33 + 69]);
    assert!(host.logs.is_empty(), "{:?}", host.logs);
    // All of them.
    host.delete(key, i64::MIN, i64::MAX);
    host.gap(&mut trigger, key, from, to).unwrap();
    host.gap(&mut trigger, key, OPENING, OPENING + 60 * MINUTE)
        .unwrap();
    for target in ["A/5Min/OHLCV", "A/1H/OHLCV"] {
        assert!(host.rows(target).unwrap().is_empty(), "{target}");
    }
}

/// Rows that this trigger never made are not its to delete.
#[test]
fn what_is_not_made_of_a_bucket_stays_when_its_rows_go() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["30Sec", "5Min"]}));
    let bars = || minutes(3, count_up(i32::from, 3));
    let bid = Column::from_values(vec![1.0_f32; 3]);
    let quotes = rows(vec![1, 2, 3], vec![("Bid", bid)]);
    let parsed = |text: &str| model::BucketKey::parse(text).unwrap();
    for target in ["A/30Sec/OHLCV", "Q/5Min/OHLCV", "D/5Min/OHLCV"] {
        host.store(&parsed(target), RowKind::Bar, bars());
    }
    // Bars finer than the base, a base that is none, a base that is gone.
    host.store(&parsed("A/1Min/OHLCV"), RowKind::Bar, bars());
    host.store(&parsed("Q/1Min/OHLCV"), RowKind::Tick, quotes);
    for base in ["A/1Min/OHLCV", "Q/1Min/OHLCV"] {
        host.delete(base, i64::MIN, i64::MAX);
        let _ = host.gap(&mut trigger, base, i64::MIN, i64::MAX);
    }
    host.gap(&mut trigger, "D/1Min/OHLCV", i64::MIN, i64::MAX)
        .unwrap();
    for target in ["A/30Sec/OHLCV", "Q/5Min/OHLCV", "D/5Min/OHLCV"] {
        assert!(!host.rows(target).unwrap().is_empty(), "{target}");
    }
}

#[test]
fn the_filter_counts_the_session_in_any_zone() {
    for zone in ["UTC", "America/New_York", "Asia/Tokyo"] {
        let mut host = Host::new(zone);
        let config = json!({"destinations": ["1H", "1D"], "filter": "nasdaq"});
        let mut trigger = host.trigger(config);
        // From Sunday 2020-03-01 14:30 UTC, one row a minute for 28 hours: Sunday counts nothing,
        // Monday from 14:30 UTC on.
        let count = 28 * 60;
        let times: Vec<i64> = (0..count).map(|i| OPENING + (i - 1440) * MINUTE).collect();
        let batch = minutes(
            count,
            Some(Column::from_values(vec![1_i32; count as usize])),
        );
        let batch = batch.with_times(times).unwrap();
        host.write(&mut trigger, "A/1Min/OHLCV", RowKind::Bar, batch)
            .unwrap();
        let volumes = host.values::<i32>("A/1D/OHLCV", "Volume");
        // In Tokyo the day ends at 15:00 UTC, half an hour after the opening.
        let expected = if zone == "Asia/Tokyo" {
            vec![30, 210]
        } else {
            vec![240]
        };
        assert_eq!(volumes, expected, "{zone}");
        let hours: i32 = host.values::<i32>("A/1H/OHLCV", "Volume").iter().sum();
        assert_eq!(i64::from(hours), count, "shorter bars hold all rows");
        assert_eq!(host.values::<f32>("A/1D/OHLCV", "Open")[0], 100.0 + 1440.0);
    }
}

#[test]
fn daily_bases_are_filtered_by_date() {
    let mut host = Host::new("UTC");
    let mut trigger = host.trigger(json!({"destinations": ["1W"], "filter": "nasdaq"}));
    // Monday 2019-12-23 to Sunday: Christmas and the weekend do not count.
    let monday = 1_577_059_200_000_000_000;
    let times: Vec<i64> = (0..7).map(|d| monday + d * 1440 * MINUTE).collect();
    let batch = minutes(7, count_up(i32::from, 7))
        .with_times(times)
        .unwrap();
    host.write(&mut trigger, "A/1D/OHLCV", RowKind::Bar, batch)
        .unwrap();
    assert_eq!(
        host.values::<i32>("A/1W/OHLCV", "Volume"),
        [10 + 11 + 13 + 14]
    );
}
