//! The source does the same linked in, as a library and as a process.

use lines::Lines;
use plugin_test::json;

plugin_test::conformance!(Lines: source, params = "1,2,3.5,-4,5e3", config = json!({}));
