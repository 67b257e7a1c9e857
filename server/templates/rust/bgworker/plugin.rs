//! The plugin on a store of its own, and in every form a server runs it in.

use {{crate}}::{{Type}};
use plugin_test::{Harness, Table, json};

#[test]
fn it_goes_on_where_it_was() {
    let config = json!({"into": "BEAT/1Sec/N", "every_ms": 1, "count": 3});
    let mut plugin = Harness::<{{Type}}>::bgworker(config);
    plugin.until_rows("BEAT/1Sec/N", 1).power_cut().until_ended();
    plugin.assert_counter("beats", 3);
    let rows = Table::seconds([1, 2, 3]).column("Beat", [1_i64, 2, 3]);
    plugin.assert_rows("BEAT/1Sec/N", rows);
}

plugin_test::conformance!(
    {{Type}}: bgworker,
    config = json!({"into": "BEAT/1Sec/N", "every_ms": 1, "count": 3}),
);
