//! The plugin on a store of its own, and in every form a server runs it in.

use {{crate}}::{{Type}};
use plugin_test::{Harness, Table, json};

const BARS: &str = "AAPL/1Min/OHLCV";
const COUNTS: &str = "AAPL/1Min/ABOVE";

fn bars(first: i64, closes: &[f64]) -> Table {
    let times = (0..closes.len() as i64).map(|n| 60 * (first + n));
    Table::seconds(times).column("Close", closes.iter().copied())
}

#[test]
fn bars_above_the_limit_are_counted() {
    let mut plugin = Harness::<{{Type}}>::new(json!({"above": 100.0}));
    plugin.feed(BARS, bars(1, &[99.0, 101.0]));
    plugin.feed(BARS, bars(3, &[98.0]));
    plugin.feed(BARS, bars(4, &[102.0, 103.0]));
    plugin.assert_counter(BARS, 3);
    plugin.assert_rows(COUNTS, Table::seconds([120, 300]).column("Count", [1_i64, 3]));
}

#[test]
fn nothing_is_counted_twice() {
    let mut plugin = Harness::<{{Type}}>::new(json!({"above": 100.0}));
    plugin.fire_twice().feed(BARS, bars(1, &[101.0]));
    plugin.restart().panic_next().feed(BARS, bars(2, &[102.0]));
    plugin.assert_counter(BARS, 2);
}

#[test]
fn a_wrong_config_is_named() {
    let error = Harness::<{{Type}}>::check(&json!({"above": "high"})).unwrap_err();
    assert!(error.to_string().starts_with("config.above: "), "{error}");
}

plugin_test::conformance!({{Type}}, config = json!({"above": 100.0}));
