//! Grids of a function against what they are known to be. The clause itself: `clauses/tests.rs`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;

use super::grid::{Grid, TIME};

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
