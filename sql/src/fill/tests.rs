//! Grids of a function against what they are known to be, and any rows against a plain loop. The clause
//! itself: `clauses/tests.rs`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;

use super::grid::{Grid, TIME};
use crate::tests::{Bench, MINUTE, START, bars, lines};
use model::functions::{Grid as Windows, Step};
use model::{Column, ColumnBatch, RowKind, Zone};
use proptest::prelude::*;
use std::collections::BTreeMap;

const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;

/// The grid of date_trunc, which has months.
fn grid(unit: &str) -> Grid {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let field = datafusion::arrow::datatypes::Field::new(TIME, time.clone(), false);
    let schema = DFSchema::from_unqualified_fields(vec![field].into(), Default::default()).unwrap();
    let context = SessionContext::new();
    let function = context.state().scalar_functions()["date_trunc"].clone();
    let call = function.call(vec![lit(ScalarValue::from(unit)), col(TIME)]);
    let function = context.create_physical_expr(call, &schema).unwrap();
    Grid::new(Arc::clone(&function), time)
}

#[test]
fn equal_buckets_are_found_to_the_end_and_no_further() {
    let mut grid = grid("hour");
    assert_eq!(
        grid.between(0, 4 * HOUR, 10).unwrap(),
        [HOUR, 2 * HOUR, 3 * HOUR]
    );
    assert_eq!(grid.between(0, 4 * HOUR, 2).unwrap(), [HOUR, 2 * HOUR]);
    assert!(grid.between(5 * HOUR, 6 * HOUR, 10).unwrap().is_empty());
    assert_eq!(
        grid.between(5 * HOUR, 6 * HOUR + 1, 10).unwrap(),
        [6 * HOUR]
    );
}

#[test]
fn unequal_buckets_are_found_too() {
    // January to June 1970.
    let days = [31, 59, 90, 120];
    let months: Vec<i64> = days.iter().map(|day| day * DAY).collect();
    assert_eq!(grid("month").between(0, 151 * DAY, 100).unwrap(), months);
}

/// Length, zone, anchor.
type Window = (&'static str, Option<(&'static str, &'static str)>);

const WINDOWS: [Window; 6] = [
    ("1Min", None),
    ("7Min", None),
    ("1H", None),
    ("4H", Some(("America/New_York", "09:30"))),
    ("1D", Some(("America/New_York", "00:00"))),
    ("1M", None),
];

const MODES: [&str; 5] = ["none", "null", "prev", "linear", "-3"];

/// Minutes of rows of a symbol; their volumes are 10, 20, ... in the order of time.
type Minutes = std::collections::BTreeSet<u32>;

fn minutes() -> impl Strategy<Value = Minutes> {
    // In March clocks change in New York.
    let near = proptest::collection::btree_set(0_u32..300, 1..12);
    let far = proptest::collection::btree_set(0_u32..150_000, 1..5);
    (near, far, any::<bool>()).prop_map(|(near, far, both)| match both {
        true => near.union(&far).copied().collect(),
        false => near,
    })
}

const FIRST: i64 = START + 55 * 24 * 60 * MINUTE;

fn written(bench: &Bench, symbol: &str, minutes: &Minutes) -> Vec<(i64, i64)> {
    let times: Vec<i64> = minutes
        .iter()
        .map(|m| FIRST + i64::from(*m) * MINUTE)
        .collect();
    let plain = bars(times.len());
    let rows = ColumnBatch::new(
        plain.schema().clone(),
        Column::from_values(times.clone()),
        plain.columns().to_vec(),
    );
    bench.write(&format!("{symbol}/1Min/X"), RowKind::Bar, rows.unwrap());
    times.into_iter().zip((1..).map(|n| n * 10)).collect()
}

/// Sums by window, with the windows that have no rows, one after the other.
fn filled(rows: &[(i64, i64)], grid: &Windows, mode: &str) -> Vec<(i64, Option<i64>)> {
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for (time, volume) in rows {
        *sums.entry(grid.window(*time).start).or_default() += volume;
    }
    let known: Vec<(i64, i64)> = sums.into_iter().collect();
    let mut all = Vec::new();
    for (at, (start, sum)) in known.iter().enumerate() {
        all.push((*start, Some(*sum)));
        let Some((next, next_sum)) = known.get(at + 1) else {
            continue;
        };
        let mut time = grid.window(*start).end;
        while time < *next && mode != "none" {
            let share = (time - start) as f64 / (next - start) as f64;
            let value = match mode {
                "null" => None,
                "prev" => Some(*sum),
                "linear" => Some((*sum as f64 + (next_sum - sum) as f64 * share).round() as i64),
                constant => Some(constant.parse().unwrap()),
            };
            all.push((time, value));
            time = grid.window(time).end;
        }
    }
    all
}

fn cases() -> u32 {
    let cases = std::env::var("MKTS_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Any rows of two symbols, any window, any mode.
    #[test]
    fn what_is_filled_is_what_a_loop_fills(
        a in minutes(),
        b in minutes(),
        window in proptest::sample::select(&WINDOWS[..]),
        mode in proptest::sample::select(&MODES[..]),
    ) {
        // A minute a row over a hundred days would be a hundred thousand rows.
        let far = a.iter().chain(&b).any(|minute| *minute >= 300);
        let window = if far && window.0.ends_with("Min") { WINDOWS[3] } else { window };
        let bench = Bench::new();
        let step = Step::parse(window.0).unwrap();
        let (grid, call) = match window.1 {
            None => (Windows::new(step, Zone::utc()), format!("time_bucket('{}', Epoch)", window.0)),
            Some((zone, anchor)) => (
                Windows::anchored(step, Zone::parse(zone).unwrap(), anchor).unwrap(),
                format!("time_bucket('{}', Epoch, '{zone}', '{anchor}')", window.0),
            ),
        };
        let mut wanted = Vec::new();
        for (symbol, minutes) in [("A", &a), ("B", &b)] {
            let rows = written(&bench, symbol, minutes);
            for (time, sum) in filled(&rows, &grid, mode) {
                let sum = sum.map(|sum| sum.to_string()).unwrap_or_default();
                wanted.push(format!("{symbol},{},{sum}", time / 1_000_000_000));
            }
        }
        let text = format!(
            "SELECT symbol, CAST(t AS BIGINT) / 1000000000, v FROM (SELECT symbol, {call} AS t, sum(Volume) AS v \
             FROM \"*/1Min/X\" GROUP BY symbol, t FILL({mode})) ORDER BY 1, 2"
        );
        let found = bench.run(&text).unwrap();
        prop_assert_eq!(lines(&found), wanted.join("\n"), "{}", text);
    }
}
