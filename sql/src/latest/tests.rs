//! LATEST over buckets: what the engine keeps is what a scan finds, and both are what a loop finds.

use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use engine::{DeleteRange, Scan};
use proptest::prelude::*;

use crate::tests::{Bench, MINUTE, START, lines};

fn bench() -> Bench {
    let bench = Bench::new();
    bench.bars("B/1Min/OHLCV", 7);
    bench.bars("A/1Min/OHLCV", 3);
    bench.bars("A/5Min/OHLCV", 9);
    bench.bars("C/1Min/OHLCV", 1);
    bench
}

#[test]
fn last_rows_of_buckets_need_no_scan() {
    let bench = bench();
    let all = "SELECT symbol, Epoch, Open FROM \"*/1Min/OHLCV\" LATEST BY symbol";
    let plan = bench.show(&format!("EXPLAIN {all}"));
    assert!(plan.contains("LatestScan"), "{plan}");
    let shown = bench.show(all);
    // The same with a filter that only a scan knows.
    let scanned =
        "SELECT symbol, Epoch, Open FROM \"*/1Min/OHLCV\" WHERE Open > 0 LATEST BY symbol";
    let plan = bench.show(&format!("EXPLAIN {scanned}"));
    assert!(!plan.contains("LatestScan"), "{plan}");
    let scanned = bench.show(scanned);
    let mut scanned: Vec<&str> = scanned.lines().collect();
    scanned.sort_unstable();
    assert_eq!(scanned, shown.lines().collect::<Vec<_>>());
    let symbols = shown.lines().map(|row| row.split(',').next());
    assert!(symbols.eq(["A", "B", "C"].map(Some)), "{shown}");
}

#[test]
fn of_several_buckets_of_a_symbol_the_latest_counts() {
    let bench = bench();
    let shown = bench
        .show("SELECT symbol, timeframe, Open FROM \"*/*/OHLCV\" LATEST BY symbol ORDER BY symbol");
    assert_eq!(shown, "A,5Min,9.0\nB,1Min,7.0\nC,1Min,1.0");
}

#[test]
fn a_range_of_time_is_read_from_its_end() {
    let bench = bench();
    let until = "WHERE Epoch <= '2020-01-02 00:04'";
    let text = format!("SELECT symbol, Open FROM \"*/1Min/OHLCV\" {until} LATEST BY symbol");
    let plan = bench.show(&format!("EXPLAIN {text}"));
    assert!(plan.contains("LatestScan"), "{plan}");
    let shown = bench.show(&text);
    assert_eq!(shown, "A,3.0\nB,5.0\nC,1.0");
}

#[test]
fn buckets_of_several_schemas_have_nulls() {
    let bench = bench();
    let defs = vec![ColumnDef::new("Price", ColumnType::F64)];
    let times = Column::from_values(vec![START, START + MINUTE]);
    let prices = vec![Column::from_values(vec![1.5, 2.5])];
    let batch = ColumnBatch::new(Schema::new(defs).unwrap(), times, prices).unwrap();
    bench.write("D/1Min/OHLCV", RowKind::Bar, batch);
    for until in ["", "WHERE Epoch < '2020-01-03'"] {
        let text =
            format!("SELECT symbol, Open, Price FROM \"*/1Min/OHLCV\" {until} LATEST BY symbol");
        assert_eq!(bench.show(&text), "A,3.0,\nB,7.0,\nC,1.0,\nD,,2.5");
    }
}

#[test]
fn quotes_of_many_symbols_join_without_a_sort() {
    let bench = bench();
    let text = "SELECT t.symbol, t.Epoch, t.Open, q.Open FROM \"*/1Min/OHLCV\" t ASOF JOIN \"*/5Min/OHLCV\" q \
                MATCH_CONDITION (t.Epoch > q.Epoch) ON t.symbol = q.symbol";
    let plan = bench.show(&format!("EXPLAIN {text}"));
    assert!(
        plan.contains("AsofExec") && !plan.contains("Sort"),
        "{plan}"
    );
    let shown = bench.show(text);
    assert_eq!(shown.lines().count(), 11, "{shown}");
    assert!(
        shown.starts_with("A,2020-01-02T00:00:00Z,1.0,\nA,2020-01-02T00:01:00Z,2.0,5.0\n"),
        "{shown}"
    );
}

/// Bucket and kind. Of ticks some have equal times.
const BUCKETS: [(&str, RowKind); 5] = [
    ("A/1Min/X", RowKind::Bar),
    ("A/5Min/X", RowKind::Bar),
    ("A/1Sec/T", RowKind::Tick),
    ("B/1Min/X", RowKind::Bar),
    ("C/1Sec/T", RowKind::Tick),
];

#[derive(Debug, Clone)]
enum Step {
    /// Bucket, minutes.
    Write(usize, Vec<i64>),
    Checkpoint,
    Delete(usize, i64, i64),
}

/// (bucket, time, Number), in the order of storage.
type Row = (usize, i64, i64);

fn step() -> impl Strategy<Value = Step> {
    let minutes = proptest::collection::vec(0_i64..60, 1..12);
    prop_oneof![
        4 => (0_usize..5, minutes).prop_map(|(bucket, minutes)| Step::Write(bucket, minutes)),
        1 => Just(Step::Checkpoint),
        1 => (0_usize..5, 0_i64..60, 0_i64..30).prop_map(|(b, from, len)| Step::Delete(b, from, from + len)),
    ]
}

fn run(bench: &Bench, steps: &[Step]) {
    let mut number = 0;
    for step in steps {
        match step {
            Step::Write(bucket, minutes) => {
                // Each bucket has seconds of its own, so that of several buckets one is the latest.
                let (key, kind) = BUCKETS[*bucket];
                let times = minutes.iter().map(|m| START + m * 5 * MINUTE);
                let times: Vec<i64> = match kind {
                    RowKind::Tick => times
                        .map(|time| time + (*bucket as i64 + 1) * 1_000_000_000)
                        .collect(),
                    RowKind::Bar if *bucket == 0 => times.map(|time| time + MINUTE).collect(),
                    RowKind::Bar => times.collect(),
                };
                let numbers: Vec<i64> = times
                    .iter()
                    .map(|_| {
                        number += 1;
                        number
                    })
                    .collect();
                let schema = Schema::new(vec![ColumnDef::new("Number", ColumnType::I64)]).unwrap();
                let columns = vec![Column::from_values(numbers)];
                let batch = ColumnBatch::new(schema, Column::from_values(times), columns).unwrap();
                bench.write(key, kind, batch);
            }
            Step::Checkpoint => bench.engine.checkpoint().unwrap(),
            Step::Delete(bucket, from, to) => {
                let key: model::BucketKey = BUCKETS[*bucket].0.parse().unwrap();
                if bench.engine.bucket(&key).is_some() {
                    let (from, to) = (START + from * 5 * MINUTE, START + to * 5 * MINUTE);
                    bench
                        .engine
                        .delete(&[DeleteRange { key, from, to }])
                        .unwrap();
                }
            }
        }
    }
}

fn stored(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, (key, _)) in BUCKETS.iter().enumerate() {
        let Some(info) = bench.engine.bucket(&key.parse().unwrap()) else {
            continue;
        };
        let batch = bench
            .engine
            .snapshot(&[info.id])
            .scan(0, &Scan::all())
            .unwrap();
        let numbers = batch.columns()[0].values::<i64>().unwrap();
        rows.extend(
            batch
                .times()
                .iter()
                .zip(numbers)
                .map(|(time, number)| (at, *time, *number)),
        );
    }
    rows
}

fn cases() -> u32 {
    let cases = std::env::var("MKTS_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Any rows, written over, deleted and checkpointed; any keys, range and condition.
    #[test]
    fn the_latest_rows_are_those_that_a_loop_finds(
        steps in proptest::collection::vec(step(), 1..16),
        keys in 0_usize..3,
        range in proptest::option::of((0_i64..60, 0_i64..60)),
        odd in any::<bool>(),
        after in any::<bool>(),
    ) {
        let bench = Bench::new();
        run(&bench, &steps);
        let mut rows = stored(&bench);
        if rows.is_empty() && bench.engine.buckets().is_empty() {
            return Ok(());
        }
        let key = |row: &Row| -> String {
            let parts: Vec<&str> = BUCKETS[row.0].0.split('/').collect();
            match keys {
                0 => parts[0].to_owned(),
                1 => parts[1].to_owned(),
                _ => parts.join("/"),
            }
        };
        let by = ["symbol", "timeframe", "symbol, timeframe, attribute_group"][keys];
        let mut conditions = Vec::new();
        if let Some((from, len)) = range {
            let (from, to) = (START + from * 5 * MINUTE, START + (from + len) * 5 * MINUTE);
            rows.retain(|row| from <= row.1 && row.1 <= to);
            conditions.push(format!("Epoch BETWEEN {from} AND {to}"));
        }
        let is_odd = |row: &Row| row.2 % 2 == 1;
        if odd && !after {
            rows.retain(is_odd);
            conditions.push("Number % 2 = 1".to_owned());
        }
        let mut latest: std::collections::BTreeMap<String, Row> = Default::default();
        for row in &rows {
            let known = latest.entry(key(row)).or_insert(*row);
            if known.1 <= row.1 {
                *known = *row;
            }
        }
        let mut latest: Vec<Row> = latest.into_values().collect();
        let mut text = "SELECT CAST(Epoch AS BIGINT), Number FROM \"*/*/*\"".to_owned();
        if !conditions.is_empty() {
            text += &format!(" WHERE {}", conditions.join(" AND "));
        }
        text += &format!(" LATEST BY {by}");
        if odd && after {
            // Behind LATEST it chooses among the latest rows.
            latest.retain(is_odd);
            text = format!("SELECT * FROM ({text}) WHERE Number % 2 = 1");
        }
        let mut wanted: Vec<String> = latest.iter().map(|row| format!("{},{}", row.1, row.2)).collect();
        wanted.sort();
        let found = lines(&bench.run(&text).unwrap_or_else(|error| panic!("{text}: {error}")));
        let mut found: Vec<String> = found.lines().map(str::to_owned).collect();
        found.sort();
        prop_assert_eq!(found, wanted, "{}", text);
    }
}
