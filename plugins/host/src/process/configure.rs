//! The state that travels with `Configure`, and what is read of it later.

use plugin_proto::v1;
use plugin_proto::v1::state_value::Value;
use plugin_sdk::{Code, Description, PluginError, StateCalls, StateScope, StateValue};

/// Most bytes of state that a child is given at its start.
const STATE_BYTES_MAX: usize = 1 << 20;

/// Most entries of it.
const STATE_ENTRIES_MAX: usize = 8192;

/// Adds the state if it is small; otherwise the child asks.
pub(super) fn add_state(
    configure: &mut v1::Configure,
    description: &Description,
    state: Option<&mut dyn StateCalls>,
) {
    if description.state_scope == StateScope::Key {
        return;
    }
    let Some(state) = state else {
        // There is none, or it cannot be read yet: a child that asks is told.
        return;
    };
    let Ok(entries) = state.scan(b"", STATE_ENTRIES_MAX + 1) else {
        return;
    };
    let bytes: usize = entries.iter().map(|(k, v)| k.len() + value_bytes(v)).sum();
    if entries.len() <= STATE_ENTRIES_MAX && bytes <= STATE_BYTES_MAX {
        configure.state = entries.into_iter().map(entry).collect();
        configure.state_complete = true;
    }
}

fn value_bytes(value: &StateValue) -> usize {
    match value {
        StateValue::Bytes(bytes) => bytes.len(),
        StateValue::Counter(_) => 8,
    }
}

pub(super) fn entry((key, value): (bytes::Bytes, StateValue)) -> v1::StateEntry {
    v1::StateEntry {
        key,
        value: Some(message(value)),
    }
}

fn message(value: StateValue) -> v1::StateValue {
    let value = match value {
        StateValue::Bytes(bytes) => Value::Bytes(bytes),
        StateValue::Counter(number) => Value::Counter(number),
    };
    v1::StateValue { value: Some(value) }
}

fn missing() -> PluginError {
    PluginError::unsupported("the state store")
}

pub(super) fn state_get(
    request: &v1::StateGetRequest,
    state: Option<&mut dyn StateCalls>,
) -> v1::StateGetAnswer {
    let found = state
        .ok_or_else(missing)
        .and_then(|state| read(state, &request.key));
    match found {
        Ok(value) => v1::StateGetAnswer {
            value: value.map(message),
            ..v1::StateGetAnswer::default()
        },
        Err(error) => v1::StateGetAnswer {
            code: error.code as i32,
            message: error.text,
            value: None,
        },
    }
}

/// A value of either kind.
fn read(state: &mut dyn StateCalls, key: &[u8]) -> Result<Option<StateValue>, PluginError> {
    match state.get(key) {
        Ok(bytes) => Ok(bytes.map(StateValue::Bytes)),
        Err(error) if error.code == Code::Type => {
            state.counter(key).map(|n| Some(StateValue::Counter(n)))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn state_scan(
    request: &v1::StateScanRequest,
    state: Option<&mut dyn StateCalls>,
) -> v1::StateScanAnswer {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let found = state
        .ok_or_else(missing)
        .and_then(|state| state.scan(&request.prefix, limit));
    match found {
        Ok(entries) => v1::StateScanAnswer {
            entries: entries.into_iter().map(entry).collect(),
            ..v1::StateScanAnswer::default()
        },
        Err(error) => v1::StateScanAnswer {
            code: error.code as i32,
            message: error.text,
            entries: Vec::new(),
        },
    }
}
