//! Calls about an instance's state.

use plugin_sdk::StateValue;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bytes;
use super::call::{Answer, Call, Query, Refusal};
use super::plugins::known;

/// Keys in one answer, unless another number is asked for.
const KEYS: u64 = 100;

/// Bytes of values in one answer.
const VALUE_BYTES_MAX: usize = 8 << 20;

/// The first keys with a prefix (`prefix=`, `namespace=`, `limit=`), ascending.
pub(super) fn scan(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    let mut query = call.query()?;
    let prefix = query.bytes("prefix").unwrap_or_default();
    let namespace = query.text("namespace")?;
    let limit = query.number("limit", KEYS)?;
    query.end()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // One more says whether there are more.
    let limit_and_one = limit.saturating_add(1);
    let host = &call.app.host;
    let mut found = host.state_scan(id, &namespace, &prefix, limit_and_one)?;
    let mut more = found.len() > limit;
    found.truncate(limit);
    let mut room = VALUE_BYTES_MAX;
    let fits = found.iter().take_while(|(key, value)| {
        let bytes = key.len() + size(value);
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    let fits = fits.count();
    more |= fits < found.len();
    let entries = found[..fits]
        .iter()
        .map(|(key, value)| json!({ "key": bytes::key(key), "value": bytes::value(value) }));
    Ok(json!({
        "namespace": namespace,
        "entries": entries.collect::<Vec<_>>(),
        "more": more,
    }))
}

fn size(value: &StateValue) -> usize {
    match value {
        StateValue::Bytes(bytes) => bytes.len(),
        StateValue::Counter(_) => 8,
    }
}

/// The namespaces with state.
pub(super) fn namespaces(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    Ok(json!({ "namespaces": call.app.host.state_namespaces(id)? }))
}

/// One value; with `raw=true` as bytes, whatever they read as.
pub(super) fn get(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    let mut query = call.query()?;
    let namespace = query.text("namespace")?;
    let raw = is_raw(&mut query)?;
    query.end()?;
    let key = call.part(1);
    let found = call.app.host.state_get(id, &namespace, key)?;
    let Some(found) = found else {
        let shown = bytes::key(key);
        let what =
            format!("instance \"{id}\" has no state key {shown} in namespace \"{namespace}\"");
        return Err(Refusal::unknown(what));
    };
    let value = match &found {
        StateValue::Bytes(value) if raw => bytes::base64(value),
        value => bytes::value(value),
    };
    Ok(json!({ "namespace": namespace, "key": bytes::key(key), "value": value }))
}

fn is_raw(query: &mut Query) -> Result<bool, Refusal> {
    match query.text("raw")?.as_str() {
        "true" => Ok(true),
        "" | "false" => Ok(false),
        other => Err(Refusal::bad(format!(
            "raw: \"{other}\" is not true or false"
        ))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    /// `null` removes it.
    value: Value,
}

/// Sets a value, or removes it. Only while the instance does not run: it may keep a copy.
pub(super) fn put(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    let mut query = call.query()?;
    let namespace = query.text("namespace")?;
    query.end()?;
    let Put { value } = call.body()?;
    let key = call.part(1);
    let new = match &value {
        Value::Null => None,
        form => Some(bytes::of_json(form).map_err(Refusal::bad)?),
    };
    call.app.host.state_put(id, &namespace, key, new)?;
    tracing::info!(
        instance = id,
        namespace,
        key = %bytes::key(key),
        "an operator changed a value of its state"
    );
    Ok(json!({ "namespace": namespace, "key": bytes::key(key), "value": value }))
}
