//! The sample in C (T3).

use std::path::Path;

use plugin_sdk::CloseReason;
use serde_json::json;

use crate::fake::Fake;
use crate::support::{bars, cc, fire, load, trigger, write};

#[test]
fn a_plugin_in_c_counts_rows_in_its_state_and_writes_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/c/tally.c");
    let source = std::fs::read_to_string(source).unwrap();
    let Some(file) = cc("tally", &source) else {
        return;
    };
    let module = load(&file);
    assert_eq!(module.description().name, "tally");
    module.check(&json!({})).unwrap();
    let error = module.check(&json!({ "x": 1 })).unwrap_err();
    assert_eq!(error.to_string(), "config: tally has no settings");

    let mut object = trigger(&*module, json!(null));
    let mut fake = Fake::new();
    for rows in [bars(3), bars(100)] {
        fire(&mut *object, &mut fake, &write(&rows)).unwrap();
    }
    object.close(CloseReason::Stop);
    assert_eq!(fake.counter("rows"), 103);
    let (key, rows) = fake.written.last().unwrap();
    assert_eq!(key, "TALLY/1Sec/ROWS");
    assert_eq!(rows.times(), [99 * 60_000_000_000]);
    assert_eq!(rows.column("Rows").unwrap().values::<i64>().unwrap(), [103]);
}
