//! I24: SQL over a bucket is the engine's scan, filtered. Random rows in several sources, random
//! conditions, columns, orders and limits against a plain loop over the plain scan.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Float32Type, Int64Type, TimestampNanosecondType};
use engine::Scan;
use model::RowKind;
use proptest::prelude::*;

use crate::tests::{Bench, MINUTE, START, bars};

/// (time, Open, Volume).
type Row = (i64, f32, i64);

fn stored(bench: &Bench, key: &str) -> Vec<Row> {
    let info = bench.engine.bucket(&key.parse().unwrap()).unwrap();
    let snapshot = bench.engine.snapshot(&[info.id]);
    let batch = snapshot.scan(0, &Scan::all()).unwrap();
    let opens = batch.columns()[0].values::<f32>().unwrap();
    let volumes = batch.columns()[1].values::<i64>().unwrap();
    let rows = batch.times().iter().zip(opens).zip(volumes);
    rows.map(|((time, open), volume)| (*time, *open, *volume))
        .collect()
}

fn selected(bench: &Bench, text: &str) -> Vec<Row> {
    let batches = bench.run(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut rows = Vec::new();
    for batch in batches {
        let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
        let opens = batch.column(1).as_primitive::<Float32Type>();
        let volumes = batch.column(2).as_primitive::<Int64Type>();
        assert_eq!(times.null_count(), 0);
        rows.extend(
            (0..batch.num_rows()).map(|at| (times.value(at), opens.value(at), volumes.value(at))),
        );
    }
    rows
}

#[derive(Debug, Clone)]
enum Condition {
    Time(&'static str, i64),
    Between(bool, i64, i64),
    Value(&'static str, i64),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

const OPERATORS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

fn compare(operator: &str, a: i64, b: i64) -> bool {
    match operator {
        "=" => a == b,
        "<>" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        _ => a >= b,
    }
}

fn seconds(minute: i64) -> i64 {
    START / model::NANOS_PER_SECOND + minute * 60
}

impl Condition {
    fn text(&self) -> String {
        match self {
            Self::Time(operator, minute) => format!("Epoch {operator} {}", seconds(*minute)),
            Self::Between(not, a, b) => {
                let not = if *not { "NOT " } else { "" };
                format!("Epoch {not}BETWEEN {} AND {}", seconds(*a), seconds(*b))
            }
            Self::Value(operator, value) => format!("Volume {operator} {value}"),
            Self::And(a, b) => format!("({} AND {})", a.text(), b.text()),
            Self::Or(a, b) => format!("({} OR {})", a.text(), b.text()),
            Self::Not(a) => format!("NOT ({})", a.text()),
        }
    }

    fn holds(&self, row: &Row) -> bool {
        let minute = (row.0 - START) / MINUTE;
        match self {
            Self::Time(operator, at) => compare(operator, minute, *at),
            Self::Between(not, a, b) => not ^ (*a <= minute && minute <= *b),
            Self::Value(operator, value) => compare(operator, row.2, *value),
            Self::And(a, b) => a.holds(row) && b.holds(row),
            Self::Or(a, b) => a.holds(row) || b.holds(row),
            Self::Not(a) => !a.holds(row),
        }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let operator = || proptest::sample::select(&OPERATORS[..]);
    let leaf = prop_oneof![
        3 => (operator(), -2_i64..62).prop_map(|(o, m)| Condition::Time(o, m)),
        2 => (any::<bool>(), -2_i64..62, -2_i64..62).prop_map(|(n, a, b)| Condition::Between(n, a, b)),
        1 => (operator(), 0_i64..600).prop_map(|(o, v)| Condition::Value(o, v)),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            4 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::And(Box::new(a), Box::new(b))),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::Or(Box::new(a), Box::new(b))),
            1 => inner.prop_map(|a| Condition::Not(Box::new(a))),
        ]
    })
}

/// Bars of ticks' shape: some in segments, some overwritten, some in the tail; and ticks with equal times.
fn store() -> Bench {
    let bench = Bench::new();
    let all = bars(60);
    bench.write("B/1Min/X", RowKind::Bar, all.slice(0..30));
    bench.write("T/1Sec/X", RowKind::Tick, all.slice(0..40));
    bench.engine.checkpoint().unwrap();
    bench.write("B/1Min/X", RowKind::Bar, all.slice(20..45));
    bench.write("T/1Sec/X", RowKind::Tick, all.slice(20..60));
    bench.engine.checkpoint().unwrap();
    bench.write("B/1Min/X", RowKind::Bar, all.slice(40..60));
    bench.write("T/1Sec/X", RowKind::Tick, all.slice(10..30));
    bench
}

#[test]
fn sql_is_the_scan_filtered() {
    let bench = store();
    let tables = ["B/1Min/X", "T/1Sec/X"].map(|key| (key, stored(&bench, key)));
    assert_eq!(tables[0].1.len(), 60);
    assert_eq!(tables[1].1.len(), 100);
    let cases = std::env::var("MKTS_SQL_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let config = ProptestConfig {
        cases: cases.unwrap_or(40),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = (
        condition(),
        0_usize..2,
        0_u8..4,
        proptest::option::of(0_usize..12),
    );
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&strategy, |(condition, table, order, limit)| {
        let (key, rows) = &tables[table];
        let mut wanted: Vec<Row> = rows
            .iter()
            .filter(|row| condition.holds(row))
            .copied()
            .collect();
        let order = match order {
            0 => "",
            1 => "ORDER BY Epoch",
            2 => {
                wanted.sort_by_key(|row| -row.0);
                "ORDER BY Epoch DESC"
            }
            _ => {
                wanted.sort_by_key(|row| (row.2, row.0));
                "ORDER BY Volume, Epoch"
            }
        };
        let limited = limit
            .map(|limit| format!("LIMIT {limit}"))
            .unwrap_or_default();
        wanted.truncate(limit.unwrap_or(usize::MAX));
        let text = format!(
            "SELECT Epoch, Open, Volume FROM `{key}` WHERE {} {order} {limited}",
            condition.text()
        );
        let found = selected(&bench, &text);
        prop_assert_eq!(&found, &wanted, "{}", text);
        // The numbers that come from page tables are those of the rows.
        if order.is_empty() && limit.is_none() {
            let text = format!(
                "SELECT count(*), min(Epoch), max(Epoch), sum(Volume) FROM `{key}` WHERE {}",
                condition.text()
            );
            let counted = bench.show(&text);
            let count = wanted.len().to_string();
            prop_assert!(
                counted.starts_with(&format!("{count},")),
                "{}: {}",
                text,
                counted
            );
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
