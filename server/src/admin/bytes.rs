//! Bytes of plugins as JSON: keys, values and payloads need not be text.
//!
//! | form | stands for |
//! |---|---|
//! | `"text"` (a key) or `{"text": "text"}` (a value) | text without control characters |
//! | `{"base64": "//8="}` | bytes |
//! | `{"msgpack": {"n": 5}}` | bytes that read as one value of MessagePack and nothing else |
//! | `{"counter": 5}` | a sum |
//!
//! A value that can be read in two ways is shown in both; whoever writes one says which is meant.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plugin_sdk::StateValue;
use rmpv::Value as Packed;
use serde_json::{Map, Value, json};

/// Deeper values are shown as bytes.
const DEPTH_MAX: usize = 64;

/// A key: text, or an object of bytes.
pub(super) fn key(bytes: &[u8]) -> Value {
    match readable(bytes) {
        Some(text) => text.into(),
        None => base64(bytes),
    }
}

/// A value, in every way that it reads.
pub(super) fn value(value: &StateValue) -> Value {
    match value {
        StateValue::Counter(sum) => json!({ "counter": sum }),
        StateValue::Bytes(bytes) => payload(bytes),
    }
}

/// Bytes, in every way that they read.
pub(super) fn payload(bytes: &[u8]) -> Value {
    let mut shown = Map::new();
    if let Some(text) = readable(bytes) {
        shown.insert("text".into(), text.into());
    }
    if let Some(packed) = unpack(bytes) {
        shown.insert("msgpack".into(), packed);
    }
    match shown.is_empty() {
        true => base64(bytes),
        false => shown.into(),
    }
}

/// Bytes as bytes.
pub(super) fn base64(bytes: &[u8]) -> Value {
    json!({ "base64": STANDARD.encode(bytes) })
}

/// The bytes that [`base64`] shows.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// What a form stands for.
pub(super) fn of_json(form: &Value) -> Result<StateValue, String> {
    const FORMS: &str =
        "one of {\"text\": ..}, {\"msgpack\": ..}, {\"base64\": ..}, {\"counter\": ..}";
    let fields = form.as_object().filter(|fields| fields.len() == 1);
    let field = fields.and_then(|fields| fields.iter().next());
    let Some((form, value)) = field else {
        return Err(format!("value: use {FORMS}"));
    };
    let text = || {
        let text = value.as_str();
        text.ok_or_else(|| format!("{form}: {value} is no text"))
    };
    let bytes = match form.as_str() {
        "counter" => {
            let sum = value.as_i64();
            let sum = sum.ok_or_else(|| format!("counter: {value} is no 64-bit integer"))?;
            return Ok(StateValue::Counter(sum));
        }
        "text" => text()?.as_bytes().to_vec(),
        "base64" => {
            let bytes = STANDARD.decode(text()?);
            bytes.map_err(|error| format!("base64: {error}"))?
        }
        "msgpack" => {
            let packed = rmpv::ext::to_value(value).map_err(|error| format!("msgpack: {error}"))?;
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, &packed)
                .map_err(|error| format!("msgpack: {error}"))?;
            bytes
        }
        other => return Err(format!("value: \"{other}\" is no form, use {FORMS}")),
    };
    Ok(StateValue::Bytes(bytes.into()))
}

fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// The one value of MessagePack that bytes are.
fn unpack(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let packed = rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH_MAX).ok()?;
    // The only byte that begins nothing reads as none.
    let is_one = rest.is_empty() && bytes != [0xc1];
    is_one.then(|| packed_json(&packed))
}

fn packed_json(packed: &Packed) -> Value {
    match packed {
        Packed::Nil => Value::Null,
        Packed::Boolean(yes) => (*yes).into(),
        Packed::Integer(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (_, Some(number)) => number.into(),
            _ => Value::Null,
        },
        Packed::F32(number) => float(f64::from(*number)),
        Packed::F64(number) => float(*number),
        Packed::String(text) => match text.as_str() {
            Some(text) => text.into(),
            None => base64(text.as_bytes()),
        },
        Packed::Binary(bytes) => base64(bytes),
        Packed::Array(list) => list.iter().map(packed_json).collect(),
        Packed::Map(pairs) => {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(key, value)| (name(key), packed_json(value)));
            Value::Object(pairs.collect())
        }
        Packed::Ext(kind, bytes) => json!({ "ext": kind, "base64": STANDARD.encode(bytes) }),
    }
}

/// JSON has no number that is none, so its name is shown.
pub(super) fn float(number: f64) -> Value {
    match serde_json::Number::from_f64(number) {
        Some(number) => number.into(),
        None => number.to_string().into(),
    }
}

/// A key of a map, which is text in JSON.
fn name(key: &Packed) -> String {
    match key.as_str() {
        Some(text) => text.to_owned(),
        None => packed_json(key).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &StateValue) -> Vec<u8> {
        match value {
            StateValue::Bytes(bytes) => bytes.to_vec(),
            StateValue::Counter(_) => panic!("a sum"),
        }
    }

    #[test]
    fn bytes_are_shown_as_they_read() {
        for (bytes, shown) in [
            (&b"plain"[..], json!({"text": "plain"})),
            (b"5", json!({"text": "5", "msgpack": 53})),
            (b"\x05", json!({"msgpack": 5})),
            (b"\x81\xa1n\x05", json!({"msgpack": {"n": 5}})),
            (
                b"\x81\x01\xc4\x01\xff",
                json!({"msgpack": {"1": {"base64": "/w=="}}}),
            ),
            (b"\x81\xa1n\x05\x05", json!({"base64": "gaFuBQU="})),
            (b"\xcb\x7f\xf8\0\0\0\0\0\0", json!({"msgpack": "NaN"})),
            (b"\xc1", json!({"base64": "wQ=="})),
            (b"", json!({"text": ""})),
            (b"a\nb", json!({"base64": "YQpi"})),
        ] {
            assert_eq!(payload(bytes), shown);
        }
        assert_eq!(key(b"k"), json!("k"));
        assert_eq!(key(b"\xff"), json!({"base64": "/w=="}));
        assert_eq!(value(&StateValue::Counter(-3)), json!({"counter": -3}));
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for form in [
            json!({"text": "plain"}),
            json!({"base64": "//8="}),
            json!({"msgpack": {"n": [1, 2.5, null, "x"]}}),
        ] {
            let written = bytes(&of_json(&form).unwrap());
            assert_eq!(payload(&written), form);
        }
        let written = of_json(&json!({"counter": 7})).unwrap();
        assert_eq!(value(&written), json!({"counter": 7}));
    }

    #[test]
    fn a_form_that_is_none_says_what_to_use() {
        for (form, part) in [
            (json!("x"), "use one of"),
            (json!({"text": "5", "msgpack": 53}), "use one of"),
            (json!({"hex": "ff"}), "\"hex\" is no form"),
            (json!({"text": 5}), "text: 5 is no text"),
            (json!({"base64": "?"}), "base64: "),
            (json!({"counter": 1.5}), "counter: 1.5 is no 64-bit integer"),
        ] {
            let error = of_json(&form).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn deep_values_stay_bytes() {
        let mut deep = vec![0x91; 2 * DEPTH_MAX];
        deep.push(0xc0);
        assert!(payload(&deep)["base64"].is_string());
    }
}
