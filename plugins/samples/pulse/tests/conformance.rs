//! The worker does the same linked in, as a library and as a process.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use plugin_test::{Harness, json};
use pulse::Pulse;

plugin_test::conformance!(
    Pulse: bgworker,
    config = json!({"target": "PULSE/1Sec/BEAT", "every_ms": 1, "count": 5, "from": 0}),
);

/// A process has the clock of the machine, and reads it anew for every row.
#[test]
fn a_worker_in_a_process_knows_what_time_it_is() {
    let form = conformance::suite().in_process("conformance::child");
    let config = json!({"target": "PULSE/1Sec/BEAT", "every_ms": 2, "count": 3});
    let mut pulse = Harness::open(&form, config);
    pulse.until_ended();
    let rows = pulse.rows("PULSE/1Sec/BEAT").unwrap();
    let times = rows.times();
    assert!(times[0] > 1_700_000_000_000_000_000, "{times:?}");
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
}
