//! The counter does the same linked in, as a library and as a process.

use counter::Counter;
use plugin_test::json;

plugin_test::conformance!(
    Counter,
    config = json!({"remind_after": 3_600_000_000_000_i64})
);
