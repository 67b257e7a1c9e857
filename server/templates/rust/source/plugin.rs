//! The plugin on a store of its own, and in every form a server runs it in.

use {{crate}}::{{Type}};
use plugin_test::{Harness, Table, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/prices.csv");

#[test]
fn every_line_is_stored_once() {
    let mut plugin = Harness::<{{Type}}>::source(FILE, json!({"into": "X/1Min/PRICE"}));
    plugin.until_ended().power_cut().until_ended();
    let times = [1_700_000_000, 1_700_000_060, 1_700_000_120];
    let prices = Table::seconds(times).column("Price", [12.5, 12.75, 12.25]);
    plugin.assert_rows("X/1Min/PRICE", prices);
}

plugin_test::conformance!({{Type}}: source, params = FILE, config = json!({"into": "X/1Min/PRICE"}));
