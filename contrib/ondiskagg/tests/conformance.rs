//! The trigger does the same linked in, as a library and as a process.

use ondiskagg::OnDiskAgg;
use plugin_test::json;

plugin_test::conformance!(
    OnDiskAgg,
    on = "*/1Min/OHLCV",
    config = json!({"destinations": ["5Min", "1H", "1D"]}),
);
