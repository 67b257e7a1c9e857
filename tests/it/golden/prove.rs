//! The replay itself under test: nothing is left out, and every comparison can fail.

use super::rulings::{Expect, RULINGS, Why, ruling};
use super::{SCENARIOS, replay};
use rmpv::Value;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use tests::wire;

/// The area that `grpc.rs` plays.
const ELSEWHERE: &str = "grpc";

#[test]
fn every_scenario_of_http_is_replayed() {
    let index = replay::recorded("index.json");
    let wanted: BTreeSet<String> = index["scenarios"]
        .as_array()
        .expect("scenarios")
        .iter()
        .filter(|s| s["area"] != ELSEWHERE)
        .map(|s| s["scenario"].as_str().expect("name").to_string())
        .collect();
    let played: BTreeSet<String> = SCENARIOS.iter().map(|s| s.to_string()).collect();
    assert_eq!(wanted, played);
}

#[test]
fn every_step_is_compared_or_ruled_on() {
    let (mut steps, mut compared, mut faults, mut different) = (0, 0, 0, 0);
    let mut varying = 0;
    for name in SCENARIOS {
        let scenario = replay::recorded(&format!("scenarios/{name}.json"));
        for step in scenario["steps"].as_array().expect("steps") {
            let number = step["step"].as_u64().expect("step");
            let marked = step.get("reference_fault").is_some();
            let ruled = ruling(name, number);
            steps += 1;
            match ruled.map(|r| r.2) {
                Some(Why::Fault) => faults += 1,
                Some(Why::Different) => different += 1,
                Some(Why::Varies) => varying += 1,
                None => compared += 1,
            }
            let is_fault = ruled.is_some_and(|r| r.2 == Why::Fault);
            assert_eq!(
                marked, is_fault,
                "{name} step {number}: marked fault and ruling differ"
            );
        }
    }
    for (name, number, ..) in RULINGS {
        let rulings = RULINGS
            .iter()
            .filter(|r| r.0 == *name && r.1 == *number)
            .count();
        assert_eq!(rulings, 1, "{name} step {number}");
        assert!(SCENARIOS.contains(name), "{name}");
    }
    assert_eq!(
        faults + different + varying,
        RULINGS.len(),
        "a ruling on a step that is not there"
    );
    assert_eq!(
        (steps, compared, faults, different, varying),
        (452, 380, 46, 17, 9)
    );
}

#[test]
fn the_recording_agrees_with_itself_and_a_ruling_never_with_a_fault() {
    for_each_reply(|name, step, reply| {
        let number = step["step"].as_u64().expect("step");
        let result = replay::check(name, step, reply);
        match ruling(name, number).map(|r| r.3) {
            None | Some(Expect::Recorded) => {
                assert_eq!(result, Ok(()), "{name} step {number}");
            }
            // Right by chance while the recording is of this year.
            Some(Expect::ThisYear) => {}
            Some(_) => assert!(
                result.is_err(),
                "{name} step {number}: the ruling asks for nothing"
            ),
        }
    });
}

#[test]
fn every_changed_value_is_noticed() {
    let mut changes = 0;
    for_each_reply(|name, step, reply| {
        let number = step["step"].as_u64().expect("step");
        if ruling(name, number).is_some() || reply.media_type() != "application/x-msgpack" {
            return;
        }
        let value = wire::decode(&reply.body).expect("recorded replies decode");
        for changed in changed(&value, &mut Vec::new()) {
            let mut other = reply.clone();
            other.body = wire::encode(&changed);
            let result = replay::check(name, step, &other);
            assert!(
                result.is_err(),
                "{name} step {number}: not noticed: {changed}"
            );
            changes += 1;
        }
        let mut other = reply.clone();
        other.status += 1;
        assert!(replay::check(name, step, &other).is_err());
        other = reply.clone();
        other.headers.retain(|(k, _)| k != "marketstore-version");
        assert!(replay::check(name, step, &other).is_err());
    });
    assert!(changes > 5_000, "only {changes} changes were tried");
}

/// All values that differ from `value` in one place that counts.
fn changed(value: &Value, path: &mut Vec<String>) -> Vec<Value> {
    let mut out = Vec::new();
    match value {
        Value::Map(entries) => {
            for (i, (key, inner)) in entries.iter().enumerate() {
                let key = key.as_str().unwrap_or("").to_string();
                if ignored(&key, path) {
                    continue;
                }
                path.push(key);
                for inner in changed(inner, path) {
                    let mut entries = entries.clone();
                    entries[i].1 = inner;
                    out.push(Value::Map(entries));
                }
                path.pop();
                let mut entries = entries.clone();
                entries.remove(i);
                out.push(Value::Map(entries));
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                for inner in changed(inner, path) {
                    let mut items = items.clone();
                    items[i] = inner;
                    out.push(Value::Array(items));
                }
            }
            if !items.is_empty() {
                out.push(Value::Array(items[1..].to_vec()));
            }
        }
        Value::Binary(bytes) => {
            for i in 0..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[i] ^= 1 << (i % 8);
                out.push(Value::Binary(bytes));
            }
        }
        Value::Integer(i) => out.push(Value::from(i.as_i64().unwrap_or(0) ^ 1)),
        Value::String(s) => out.push(Value::from(format!("{}x", s.as_str().unwrap_or("")))),
        Value::Nil => out.push(Value::from(1)),
        _ => out.push(Value::Nil),
    }
    out
}

/// What may differ: the build's version, and the wording of errors (a changed word in a text is
/// free; its kind is covered by `an_error_of_another_kind_is_noticed`).
fn ignored(key: &str, path: &[String]) -> bool {
    match key {
        "version" => true,
        "message" => path.last().is_some_and(|p| p == "error"),
        // Texts of failed entries. An empty one must stay empty: see the test below.
        "error" => path.iter().any(|p| p == "responses"),
        // A protocol error's data is the request as the codec saw it.
        "data" => path.last().is_some_and(|p| p == "error"),
        _ => false,
    }
}

#[test]
fn an_error_of_another_kind_is_noticed() {
    let cases = [
        (
            "errors",
            9,
            "rpc: can't find method",
            "rpc: can't find service",
        ),
        ("errors", 7, "jsonrpc must be 2.0", "jsonrpc must be 3.0"),
        (
            "multi_symbol",
            7,
            "no files returned from query parse",
            "there is nothing",
        ),
        (
            "dtype_unsupported",
            1,
            "unsupported type string",
            "something is wrong, string",
        ),
        (
            "schema_mismatch",
            4,
            "unable to match data columns",
            "everything is fine, columns",
        ),
        (
            "fixed_timeframes",
            17,
            "Unable to get timeframe",
            "Able to get timeframe",
        ),
        ("admin", 24, "removal of catalog entry failed", "gone"),
    ];
    for (name, number, from, to) in cases {
        let scenario = replay::recorded(&format!("scenarios/{name}.json"));
        let step = &scenario["steps"][number as usize - 1];
        let mut reply = replay::recorded_reply(step);
        let changed = replace_text(&wire::decode(&reply.body).expect("decodes"), from, to);
        reply.body = wire::encode(&changed);
        let result = replay::check(name, step, &reply);
        assert!(result.is_err(), "{name} step {number}");
    }
}

fn replace_text(value: &Value, from: &str, to: &str) -> Value {
    match value {
        Value::Map(entries) => {
            let entry = |(k, v): &(Value, Value)| (k.clone(), replace_text(v, from, to));
            Value::Map(entries.iter().map(entry).collect())
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|v| replace_text(v, from, to)).collect())
        }
        Value::String(s) => Value::from(s.as_str().unwrap_or("").replace(from, to)),
        other => other.clone(),
    }
}

fn for_each_reply(mut act: impl FnMut(&str, &Json, &tests::http::Response)) {
    for name in SCENARIOS {
        let scenario = replay::recorded(&format!("scenarios/{name}.json"));
        for step in scenario["steps"].as_array().expect("steps") {
            if step["op"] == "http" {
                act(name, step, &replay::recorded_reply(step));
            }
        }
    }
}
