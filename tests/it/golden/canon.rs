//! The canonical view of a reply: what must agree, and nothing that may differ.
//!
//! * A dataset becomes tables by bucket key: names, types and exact little-endian bytes, so that
//!   map order, slice order and integer widths do not count.
//! * `version` is left out, `Results` are sorted, error texts are cut down to what clients match.

use base64::Engine as _;
use rmpv::Value;
use serde_json::{Map, Value as Json, json};
use tests::http::Response;
use tests::wire::{self, get};

/// Texts that clients look for; an error must be of the same kind, the rest of it is free.
const KINDS: &[(&str, &str)] = &[
    ("no files returned from query parse", "no such bucket"),
    // Which of the two comes depends in the reference on map order.
    ("not in catalog", "no such bucket"),
    ("timeframe not found", "bad query timeframe"),
    ("unable to match data columns", "columns differ"),
    ("unsupported type string", "unsupported type"),
    ("Unable to get timeframe from key", "bad timeframe"),
    ("removal of catalog entry failed", "cannot destroy"),
    ("Can not overwrite file", "exists"),
    ("is an invalid stream", "invalid stream"),
    ("rpc: can't find method", "unknown method"),
    ("rpc: can't find service", "unknown service"),
    (
        "rpc: service/method request ill-formed",
        "ill-formed method",
    ),
    ("jsonrpc must be 2.0", "wrong version"),
];

/// The canonical view of an HTTP reply.
pub(crate) fn reply(reply: &Response) -> Json {
    json!({
        "status": reply.status,
        "type": reply.media_type(),
        "version header": reply.header("marketstore-version").is_some(),
        "body": body(reply.media_type(), &reply.body),
    })
}

/// The canonical view of a body of that media type.
pub(crate) fn body(media_type: &str, bytes: &[u8]) -> Json {
    if bytes.is_empty() {
        return Json::Null;
    }
    match media_type {
        "application/x-msgpack" => match wire::decode(bytes) {
            Ok(value) => msgpack(&value),
            Err(e) => json!({"undecodable": e, "hex": hex(bytes)}),
        },
        "application/json" => match serde_json::from_slice::<Json>(bytes) {
            Ok(value) => json_rpc(value),
            Err(e) => json!({"undecodable": e.to_string(), "hex": hex(bytes)}),
        },
        _ => json!({"text": String::from_utf8_lossy(bytes).trim_end()}),
    }
}

/// The canonical view of a MessagePack value.
pub(crate) fn msgpack(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Boolean(b) => json!(b),
        Value::Integer(i) => match (i.as_i64(), i.as_u64()) {
            (Some(i), _) => json!(i),
            (None, u) => json!(u),
        },
        Value::F32(f) => float(f64::from(*f), "f32"),
        Value::F64(f) => float(*f, "f64"),
        Value::String(s) => match s.as_str() {
            Some(s) => json!(s),
            None => json!({"bad text": hex(s.as_bytes())}),
        },
        Value::Binary(b) => json!({"bin": hex(b)}),
        Value::Ext(kind, b) => json!({"ext": kind, "hex": hex(b)}),
        Value::Array(items) => items.iter().map(msgpack).collect(),
        Value::Map(_) if get(value, "startindex").is_some() => dataset(value),
        Value::Map(entries) => object(entries.iter().map(|(k, v)| match k.as_str() {
            Some(k) => (k.to_string(), msgpack(v)),
            None => (format!("key {k}"), msgpack(v)),
        })),
    }
}

/// Float width is part of the protocol: clients tell f4 from f8 by it.
fn float(value: f64, width: &str) -> Json {
    json!({ width: if value.is_finite() { json!(value) } else { json!(value.to_string()) } })
}

fn json_rpc(value: Json) -> Json {
    match value {
        Json::Array(items) => items.into_iter().map(json_rpc).collect(),
        Json::Object(entries) if entries.contains_key("ColumnTypes") => json_dataset(&entries),
        Json::Object(entries) => object(entries.into_iter().map(|(k, v)| (k, json_rpc(v)))),
        leaf => leaf,
    }
}

/// Drops and reduces the entries that may differ.
fn object(entries: impl Iterator<Item = (String, Json)>) -> Json {
    let mut out = Map::new();
    for (key, mut value) in entries {
        match (key.as_str(), &mut value) {
            ("version" | "Version", _) => continue,
            ("Results", Json::Array(items)) => items.sort_by_key(Json::to_string),
            ("error" | "Error", Json::String(text)) => *text = kind(text),
            ("error", Json::Object(error)) => reduce(error),
            _ => {}
        }
        out.insert(key, value);
    }
    Json::Object(out)
}

fn reduce(error: &mut Map<String, Json>) {
    if let Some(Json::String(text)) = error.get_mut("message") {
        *text = kind(text);
    }
    // `data` of a protocol error is the request as the codec understood it; of a method's error
    // it must be nil, since clients print it behind the message.
    if error.get("code") != Some(&json!(-32000)) {
        error.remove("data");
    }
}

fn kind(text: &str) -> String {
    let known = KINDS.iter().find(|(phrase, _)| text.contains(phrase));
    match known {
        Some((_, kind)) => format!("<{kind}>"),
        None if text.is_empty() => String::new(),
        None => "<some text>".into(),
    }
}

fn dataset(value: &Value) -> Json {
    match wire::tables(value) {
        Ok(tables) => {
            let tables: Map<String, Json> = tables
                .iter()
                .map(|(key, t)| (key.clone(), table(t)))
                .collect();
            json!({ "tables": tables })
        }
        Err(e) => json!({"bad dataset": e, "is": value.to_string()}),
    }
}

/// The canonical view of a table.
pub(crate) fn table(table: &wire::Table) -> Json {
    let columns: Vec<Json> = table
        .columns
        .iter()
        .map(|c| json!([c.name, c.code, hex(&c.data)]))
        .collect();
    json!({"rows": table.rows, "columns": columns})
}

/// The JSON codec has other names and base64 instead of bytes; the dataset is the same.
fn json_dataset(entries: &Map<String, Json>) -> Json {
    let list = |key: &str| -> Vec<Value> {
        let items = entries
            .get(key)
            .and_then(Json::as_array)
            .map(Vec::as_slice)
            .unwrap_or(&[]);
        items
            .iter()
            .map(|i| Value::from(i.as_str().unwrap_or("?")))
            .collect()
    };
    let slices = |key: &str| -> Value {
        let slices = entries
            .get(key)
            .and_then(Json::as_object)
            .into_iter()
            .flatten();
        Value::Map(
            slices
                .map(|(k, v)| (k.as_str().into(), v.as_u64().unwrap_or(u64::MAX).into()))
                .collect(),
        )
    };
    let data = list("ColumnData").into_iter().map(|text| {
        let text = text.as_str().unwrap_or("");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes.map(Value::Binary).unwrap_or(Value::Nil)
    });
    dataset(&wire::map(vec![
        ("types", Value::Array(list("ColumnTypes"))),
        ("names", Value::Array(list("ColumnNames"))),
        ("data", Value::Array(data.collect())),
        (
            "length",
            entries
                .get("Length")
                .and_then(Json::as_u64)
                .unwrap_or(u64::MAX)
                .into(),
        ),
        ("startindex", slices("StartIndex")),
        ("lengths", slices("Lengths")),
    ]))
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Text as bytes.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digit).collect()
}
