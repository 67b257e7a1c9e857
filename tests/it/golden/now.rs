//! Answers that hold the time at which they were made.

use crate::golden::canon;
use crate::golden::replay::require;
use rmpv::Value;
use serde_json::Value as Json;
use tests::http::Response;
use tests::wire::{self, get};

/// The recorded reply as it would have been now: with the time of the reply, which must be of the
/// last minute.
pub(crate) fn wanted(recorded: &Response, reply: &Response) -> Result<Json, String> {
    let of_now = now_row(&wire::decode(&reply.body)?)?;
    let mut wanted = wire::decode(&recorded.body)?;
    set_epoch(&mut wanted, &of_now)?;
    Ok(canon::reply(&Response {
        body: wire::encode(&wanted),
        ..recorded.clone()
    }))
}

/// The bytes of `Epoch` of a result of one row that was made in the last minute.
fn now_row(reply: &Value) -> Result<Vec<u8>, String> {
    let epoch = epoch_column(reply).ok_or("no column of times")?;
    let Value::Binary(bytes) = epoch else {
        return Err(format!("{epoch} are no times"));
    };
    let bytes: [u8; 8] = bytes[..].try_into().map_err(|_| "not one time")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("the clock is past 1970").as_secs() as i64;
    let age = now - i64::from_le_bytes(bytes);
    require((0..60).contains(&age), format!("made {age} s ago"))?;
    Ok(bytes.to_vec())
}

fn epoch_column(reply: &Value) -> Option<&Value> {
    let response = get(get(reply, "result")?, "responses")?
        .as_array()?
        .first()?;
    let result = get(response, "result")?;
    let names = get(result, "names")?.as_array()?;
    let at = names.iter().position(|name| name.as_str() == Some("Epoch"));
    get(result, "data")?.as_array()?.get(at?)
}

fn set_epoch(reply: &mut Value, bytes: &[u8]) -> Result<(), String> {
    let old = epoch_column(reply).cloned().ok_or("no column of times")?;
    let new = Value::Binary(bytes.to_vec());
    let count = replace(reply, &old, &new);
    require(count == 1, format!("{count} columns like that of times"))
}

/// Replaces a value wherever it is.
fn replace(value: &mut Value, old: &Value, new: &Value) -> usize {
    if value == old {
        *value = new.clone();
        return 1;
    }
    match value {
        Value::Map(entries) => entries.iter_mut().map(|(_, v)| replace(v, old, new)).sum(),
        Value::Array(items) => items.iter_mut().map(|v| replace(v, old, new)).sum(),
        _ => 0,
    }
}
