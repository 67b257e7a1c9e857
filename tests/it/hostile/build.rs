//! Parts of requests.

use rmpv::Value;
use tests::wire::{dataset, map};

/// Params with one request.
pub(super) fn one(entries: Vec<(&str, Value)>) -> Value {
    map(vec![("requests", Value::Array(vec![map(entries)]))])
}

pub(super) fn create_params(key: &str, types: &[&str], names: &[&str]) -> Value {
    let texts = |list: &[&str]| Value::Array(list.iter().map(|t| Value::from(*t)).collect());
    one(vec![
        ("key", key.into()),
        ("column_types", texts(types)),
        ("column_names", texts(names)),
        ("is_variable_length", false.into()),
    ])
}

pub(super) fn times() -> Value {
    let times = [1_583_159_400i64, 1_583_159_460];
    Value::Binary(times.iter().flat_map(|t| t.to_le_bytes()).collect())
}

pub(super) fn good() -> Value {
    let table = tests::wire::Table::default()
        .i8("Epoch", &[1_583_159_400, 1_583_159_460])
        .f4("V", &[1.0, 2.0]);
    dataset(&[("EVIL/1Min/X", &table)])
}

/// A good write of two rows to `key`, changed.
pub(super) fn write_params(key: &str, change: impl Fn(Value) -> Value) -> Value {
    let slices = |n: i64| map(vec![(key, n.into())]);
    let dataset = set(set(good(), "startindex", slices(0)), "lengths", slices(2));
    one(vec![
        ("dataset", change(dataset)),
        ("is_variable_length", false.into()),
    ])
}

/// The map with one entry replaced.
pub(super) fn set(value: Value, key: &str, to: Value) -> Value {
    let Value::Map(mut entries) = value else {
        return value;
    };
    for (k, v) in &mut entries {
        if k.as_str() == Some(key) {
            *v = to.clone();
        }
    }
    Value::Map(entries)
}

/// The dataset with a third column.
pub(super) fn three(dataset: Value, names: &[&str]) -> Value {
    let texts = |list: &[&str]| Value::Array(list.iter().map(|t| Value::from(*t)).collect());
    let dataset = set(dataset, "names", texts(names));
    set(set(dataset, "types", texts(&["i8", "f4", "f4"])), "data", {
        Value::Array(vec![
            times(),
            Value::Binary(vec![0; 8]),
            Value::Binary(vec![0; 8]),
        ])
    })
}

/// Zeroed buffers of those lengths, the first one a time column where it fits.
pub(super) fn buffers(lengths: &[usize]) -> Value {
    Value::Array(lengths.iter().map(|n| Value::Binary(vec![0; *n])).collect())
}
