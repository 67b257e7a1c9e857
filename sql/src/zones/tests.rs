//! Zone maps in SQL: what they pass by, and that nothing is missing.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};
use engine::{DeleteRange, Scan};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use proptest::prelude::*;

use crate::tests::{Bench, MINUTE, START};

/// (time, Price, Size).
type Row = (i64, f64, i64);

/// Rows whose Price and Size ascend from `value`; every `nan`th Price is NaN, of either sign.
fn rows(first: i64, count: i64, per_time: i64, value: i64, nan: usize) -> ColumnBatch {
    let defs = vec![
        ColumnDef::new("Price", ColumnType::F64),
        ColumnDef::new("Size", ColumnType::I64),
    ];
    let times: Vec<i64> = (0..count)
        .map(|i| START + (first + i / per_time) * MINUTE)
        .collect();
    let sizes: Vec<i64> = (value..value + count).collect();
    let mut prices: Vec<f64> = sizes.iter().map(|size| *size as f64 / 4.0).collect();
    for (at, price) in prices.iter_mut().step_by(nan).enumerate() {
        *price = if at % 2 == 0 { f64::NAN } else { -f64::NAN };
    }
    let columns = vec![Column::from_values(prices), Column::from_values(sizes)];
    ColumnBatch::new(
        Schema::new(defs).unwrap(),
        Column::from_values(times),
        columns,
    )
    .unwrap()
}

const KEYS: [(&str, RowKind, i64); 2] = [
    ("B/1Min/X", RowKind::Bar, 1),
    ("T/1Sec/X", RowKind::Tick, 5),
];

/// Segments that overlap, a tail over them, NaN in some pages, and a stretch that is deleted.
fn store() -> Bench {
    let bench = Bench::new();
    for (key, kind, per_time) in KEYS {
        bench.write(key, kind, rows(0, 16_384, per_time, 0, 9000));
        bench.engine.checkpoint().unwrap();
        // Over pages of the first, with other values.
        bench.write(
            key,
            kind,
            rows(6000 / per_time, 5000, per_time, 50_000, usize::MAX),
        );
        bench.engine.checkpoint().unwrap();
        bench.write(
            key,
            kind,
            rows(14_000 / per_time, 2500, per_time, 2000, 700),
        );
        let key = key.parse().unwrap();
        let [from, to] = [1000, 5500].map(|at| START + at / per_time * MINUTE);
        bench
            .engine
            .delete(&[DeleteRange { key, from, to }])
            .unwrap();
    }
    bench
}

fn stored(bench: &Bench, key: &str) -> Vec<Row> {
    let info = bench.engine.bucket(&key.parse().unwrap()).unwrap();
    let batch = bench
        .engine
        .snapshot(&[info.id])
        .scan(0, &Scan::all())
        .unwrap();
    let prices = batch.columns()[0].values::<f64>().unwrap();
    let sizes = batch.columns()[1].values::<i64>().unwrap();
    let rows = batch.times().iter().zip(prices).zip(sizes);
    rows.map(|((time, price), size)| (*time, *price, *size))
        .collect()
}

fn selected(bench: &Bench, text: &str) -> Vec<Row> {
    let batches = bench.run(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut rows = Vec::new();
    for batch in batches {
        let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
        let prices = batch.column(1).as_primitive::<Float64Type>();
        let sizes = batch.column(2).as_primitive::<Int64Type>();
        rows.extend(
            (0..batch.num_rows()).map(|at| (times.value(at), prices.value(at), sizes.value(at))),
        );
    }
    rows
}

const OPERATORS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

#[derive(Debug, Clone)]
enum Condition {
    Price(&'static str, i64),
    Size(&'static str, i64),
    PriceIn(Vec<i64>),
    SizeIn(Vec<i64>),
    /// Of Size as a float.
    AsFloat(i64),
    Between(bool, i64, i64),
    Minute(i64),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

fn holds(operator: &str, order: std::cmp::Ordering) -> bool {
    match operator {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn price(quarters: i64) -> f64 {
    quarters as f64 / 4.0
}

fn list(items: &[i64], text: impl Fn(i64) -> String) -> String {
    items
        .iter()
        .map(|item| text(*item))
        .collect::<Vec<_>>()
        .join(", ")
}

impl Condition {
    fn text(&self) -> String {
        match self {
            Self::Price(operator, value) => format!("Price {operator} {:?}", price(*value)),
            Self::Size(operator, value) => format!("Size {operator} {value}"),
            Self::PriceIn(items) => {
                format!("Price IN ({})", list(items, |v| format!("{:?}", price(v))))
            }
            Self::SizeIn(items) => format!("Size IN ({})", list(items, |v| v.to_string())),
            Self::AsFloat(value) => format!("Size > {value}.5"),
            Self::Between(not, a, b) => {
                let not = if *not { "NOT " } else { "" };
                format!("Price {not}BETWEEN {:?} AND {:?}", price(*a), price(*b))
            }
            Self::Minute(at) => format!("Epoch < {}", START / 1_000_000_000 + at * 60),
            Self::And(a, b) => format!("({} AND {})", a.text(), b.text()),
            Self::Or(a, b) => format!("({} OR {})", a.text(), b.text()),
            Self::Not(a) => format!("NOT ({})", a.text()),
        }
    }

    /// As Arrow compares.
    fn holds(&self, row: &Row) -> bool {
        match self {
            Self::Price(operator, value) => holds(operator, row.1.total_cmp(&price(*value))),
            Self::Size(operator, value) => holds(operator, row.2.cmp(value)),
            Self::PriceIn(items) => items.iter().any(|v| row.1.total_cmp(&price(*v)).is_eq()),
            Self::SizeIn(items) => items.contains(&row.2),
            Self::AsFloat(value) => row.2 as f64 > *value as f64 + 0.5,
            Self::Between(not, a, b) => {
                let between =
                    row.1.total_cmp(&price(*a)).is_ge() && row.1.total_cmp(&price(*b)).is_le();
                not ^ between
            }
            Self::Minute(at) => row.0 < START + at * MINUTE,
            Self::And(a, b) => a.holds(row) && b.holds(row),
            Self::Or(a, b) => a.holds(row) || b.holds(row),
            Self::Not(a) => !a.holds(row),
        }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let operator = || proptest::sample::select(&OPERATORS[..]);
    let value = || prop_oneof![-5_i64..20_000, 48_000_i64..56_000];
    let items = || proptest::collection::vec(value(), 1..6);
    let leaf = prop_oneof![
        2 => (operator(), value()).prop_map(|(o, v)| Condition::Price(o, v)),
        2 => (operator(), value()).prop_map(|(o, v)| Condition::Size(o, v)),
        1 => items().prop_map(Condition::PriceIn),
        1 => items().prop_map(Condition::SizeIn),
        1 => value().prop_map(Condition::AsFloat),
        1 => (any::<bool>(), value(), value()).prop_map(|(n, a, b)| Condition::Between(n, a, b)),
        1 => (0_i64..17_000).prop_map(Condition::Minute),
    ];
    leaf.prop_recursive(3, 6, 2, |inner| {
        prop_oneof![
            4 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::And(Box::new(a), Box::new(b))),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::Or(Box::new(a), Box::new(b))),
            1 => inner.prop_map(|a| Condition::Not(Box::new(a))),
        ]
    })
}

fn cases() -> u32 {
    let cases = std::env::var("MKTS_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

/// I24: with zone maps the rows are those of a loop over all of them.
#[test]
fn rows_that_match_are_all_there() {
    let bench = store();
    let all: Vec<Vec<Row>> = KEYS.iter().map(|(key, ..)| stored(&bench, key)).collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let strategy = (condition(), 0_usize..2, any::<bool>());
    let outcome = runner.run(&strategy, |(condition, which, backwards)| {
        let mut expected: Vec<Row> = all[which]
            .iter()
            .filter(|row| condition.holds(row))
            .copied()
            .collect();
        let order = if backwards {
            " ORDER BY Epoch DESC"
        } else {
            ""
        };
        let (key, text) = (KEYS[which].0, condition.text());
        let text = format!("SELECT Epoch, Price, Size FROM \"{key}\" WHERE {text}{order}");
        let mut found = selected(&bench, &text);
        if backwards {
            prop_assert!(found.is_sorted_by(|a, b| a.0 >= b.0));
        }
        // Partitions race, and rows of one time have no order of their own.
        let bits = |row: &Row| (row.0, row.2, row.1.to_bits());
        expected.sort_by_key(bits);
        found.sort_by_key(bits);
        let expected: Vec<_> = expected.iter().map(bits).collect();
        prop_assert_eq!(
            found.iter().map(bits).collect::<Vec<_>>(),
            expected,
            "{}",
            text
        );
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn pages_that_cannot_match_are_passed_by() {
    let bench = store();
    let plan = bench.show(
        "EXPLAIN SELECT Epoch FROM \"B/1Min/X\" WHERE Price > 4090.5 AND Size IN (1, 2, 3, 4, 5)",
    );
    assert!(plan.contains("zones=[Price, Size]"), "{plan}");
    assert!(plan.contains("FilterExec"), "the filter stays: {plan}");
    let text =
        "EXPLAIN ANALYZE SELECT Epoch, Price FROM \"B/1Min/X\" WHERE Size BETWEEN 50000 AND 50010";
    let plan = bench.show(text);
    // The page with them, those it overwrites, and the tail, which is always read.
    let count = |name: &str| -> u32 {
        let behind = plan.split(name).nth(1).unwrap_or_else(|| panic!("{plan}"));
        let digits = behind.split([',', ']']).next().unwrap();
        digits.parse().unwrap()
    };
    let (pages, skipped) = (count(" metrics=[pages="), count("pages_skipped="));
    assert!(0 < skipped && skipped < pages, "{plan}");
    // Nothing is said about what the page tables do not know.
    for text in [
        "Price + 1 > 3",
        "Price = Size",
        "Price <> 3",
        "NOT Price IN (1, 2)",
    ] {
        let plan = bench.show(&format!(
            "EXPLAIN SELECT Epoch FROM \"B/1Min/X\" WHERE {text}"
        ));
        assert!(!plan.contains("zones="), "{text}: {plan}");
    }
}

#[test]
fn counts_do_not_believe_what_was_passed_by() {
    let bench = store();
    let all = stored(&bench, "B/1Min/X");
    let matching = all.iter().filter(|row| row.2 >= 50_000).count();
    let text = "SELECT count(*), min(Epoch) > '2020-01-02', max(Size) FROM \"B/1Min/X\" WHERE Size >= 50000";
    assert_eq!(bench.show(text), format!("{matching},true,54999"));
    let text = "SELECT count(*) FROM (SELECT * FROM \"B/1Min/X\" WHERE Size >= 50000 LIMIT 7)";
    assert_eq!(bench.show(text), "7");
}

#[test]
fn a_bucket_without_the_column_has_no_values_of_it() {
    let bench = store();
    bench.bars("A/1Min/X", 3);
    let count = |condition: &str| {
        bench.show(&format!(
            "SELECT symbol, count(*) FROM \"{{A,B}}/1Min/X\" WHERE {condition} GROUP BY symbol ORDER BY symbol"
        ))
    };
    let rows = stored(&bench, "B/1Min/X").len();
    assert_eq!(count("Price IS NULL"), "A,3");
    assert_eq!(count("Price IS NOT NULL"), format!("B,{rows}"));
    assert_eq!(count("Price < 100000 AND Open IS NULL").lines().count(), 1);
    assert_eq!(count("Open >= 2"), "A,2");
    assert_eq!(count("Open >= 2 OR Size < 0"), "A,2");
    assert_eq!(count("Open IS NULL OR Open = 1"), format!("A,1\nB,{rows}"));
}

#[test]
fn parameters_are_literals_by_then() {
    let bench = store();
    let text = "SELECT Epoch FROM \"B/1Min/X\" WHERE Size = $1";
    let statement = bench.prepare(text);
    let found = bench.execute(&statement, vec![crate::ScalarValue::Int64(Some(50_003))]);
    assert_eq!(found.lines().count(), 1, "{found}");
}
