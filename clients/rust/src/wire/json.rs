//! JSON to MessagePack and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::msgpack::{DEPTH_MAX, Reader, Writer};

/// Transcribes the first value of a JSON text. Texts below a `ColumnData` (or a `data`) list are
/// base64 and become bytes. What comes out is at most a few times as long as what went in: the
/// shortest JSON value with its comma takes two bytes, the longest header of ours five.
pub(crate) fn to_msgpack(text: &[u8]) -> Result<Bytes, String> {
    let mut writer = Writer::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    let seed = Transcribe {
        writer: &mut writer,
        base64: false,
        depth: 0,
    };
    seed.deserialize(&mut json)
        .map_err(|e| format!("the body is not JSON: {e}"))?;
    Ok(writer.out.into())
}

struct Transcribe<'w> {
    writer: &'w mut Writer,
    base64: bool,
    depth: usize,
}

impl Transcribe<'_> {
    fn inner(&mut self, base64: bool) -> Transcribe<'_> {
        Transcribe {
            writer: &mut *self.writer,
            base64,
            depth: self.depth + 1,
        }
    }

    /// The number of items is known at the end; its four bytes are filled in then.
    fn fill(&mut self, at: usize, len: u32) {
        self.writer.out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
}

impl<'de> DeserializeSeed<'de> for Transcribe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.depth > DEPTH_MAX {
            return Err(D::Error::custom(format!(
                "nesting is deeper than {DEPTH_MAX}"
            )));
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcribe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.writer.nil();
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.writer.bool(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.writer.int(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.writer.int(value),
            Err(_) => self.writer.uint(value),
        }
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.writer.f64(value);
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if !self.base64 {
            self.writer.text(text);
            return Ok(());
        }
        let bytes = STANDARD
            .decode(text)
            .map_err(|e| E::custom(format!("column data is not base64: {e}")))?;
        self.writer.bytes(&bytes);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.writer.out.push(0xdd);
        let at = self.writer.out.len();
        self.writer.out.extend_from_slice(&[0; 4]);
        let mut len = 0;
        let base64 = self.base64;
        while items.next_element_seed(self.inner(base64))?.is_some() {
            len += 1;
        }
        self.fill(at, len);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.writer.out.push(0xdf);
        let at = self.writer.out.len();
        self.writer.out.extend_from_slice(&[0; 4]);
        let mut len = 0;
        while let Some(key) = entries.next_key::<std::borrow::Cow<'de, str>>()? {
            self.writer.text(&key);
            let base64 = ["columndata", "column_data", "data"]
                .iter()
                .any(|name| key.eq_ignore_ascii_case(name));
            entries.next_value_seed(self.inner(base64))?;
            len += 1;
        }
        self.fill(at, len);
        Ok(())
    }
}

/// Our names and those of the JSON codec.
const NAMES: [(&str, &str); 13] = [
    ("responses", "Responses"),
    ("result", "Result"),
    ("types", "ColumnTypes"),
    ("names", "ColumnNames"),
    ("data", "ColumnData"),
    ("length", "Length"),
    ("startindex", "StartIndex"),
    ("lengths", "Lengths"),
    ("version", "Version"),
    ("timezone", "Timezone"),
    ("error", "Error"),
    ("key", "Key"),
    ("rows", "Rows"),
];

/// Transcribes a reply of ours. The envelope keeps its names; those inside the result change if
/// `rename` is set.
pub(crate) fn reply(bytes: &Bytes, rename: bool) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() * 3 / 2);
    let mut reader = Reader::new(bytes);
    // Replies are written by us and parts echoed in them were checked: an error cannot happen, and
    // if it did the client would get cut JSON, not a panic.
    let _ = value(&mut reader, rename, 0, &mut out);
    out.push(b'\n');
    out.into()
}

fn value(
    reader: &mut Reader<'_>,
    rename: bool,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), super::msgpack::DecodeError> {
    if depth > DEPTH_MAX + 8 {
        return Err(reader.error("nesting is too deep"));
    }
    if reader.is_map() {
        out.push(b'{');
        for at in 0..reader.map()? {
            if at > 0 {
                out.push(b',');
            }
            let key = reader.text()?;
            let renamed = NAMES.iter().find(|n| rename && depth > 0 && n.0 == key);
            text(renamed.map_or(key, |n| n.1), out);
            out.push(b':');
            value(reader, rename, depth + 1, out)?;
        }
        out.push(b'}');
        return Ok(());
    }
    if reader.is_array() {
        out.push(b'[');
        for at in 0..reader.array()? {
            if at > 0 {
                out.push(b',');
            }
            value(reader, rename, depth + 1, out)?;
        }
        out.push(b']');
        return Ok(());
    }
    scalar(reader, out)
}

fn scalar(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), super::msgpack::DecodeError> {
    if reader.nil() {
        out.extend_from_slice(b"null");
    } else if let Ok(value) = reader.bool() {
        out.extend_from_slice(if value { b"true" } else { b"false" });
    } else if let Ok(value) = reader.clone().int() {
        reader.skip()?;
        out.extend_from_slice(value.to_string().as_bytes());
    } else if let Ok(value) = reader.float() {
        let json = serde_json::Number::from_f64(value);
        out.extend_from_slice(json.map_or("null".into(), |n| n.to_string()).as_bytes());
    } else if reader.is_text() {
        text(reader.text()?, out);
    } else if let Ok(bytes) = reader.bytes() {
        out.push(b'"');
        out.extend_from_slice(STANDARD.encode(&bytes).as_bytes());
        out.push(b'"');
    } else {
        // Numbers over 63 bits and extensions: only in an echoed id.
        reader.skip()?;
        out.extend_from_slice(b"null");
    }
    Ok(())
}

fn text(text: &str, out: &mut Vec<u8>) {
    let json = serde_json::to_string(text).expect("text is always JSON");
    out.extend_from_slice(json.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        let bytes = to_msgpack(text.as_bytes()).unwrap();
        String::from_utf8(reply(&bytes, false).to_vec()).unwrap()
    }

    #[test]
    fn json_survives_the_way_there_and_back() {
        for text in [
            "null",
            "{\"a\":[1,-2,true,null,\"x\\\"y\"],\"b\":{}}",
            "[1.5,9223372036854775807]",
        ] {
            assert_eq!(round(text).trim_end(), text);
        }
    }

    #[test]
    fn column_data_is_base64() {
        let bytes = to_msgpack(b"{\"ColumnData\":[\"AAE=\"]}").unwrap();
        assert!(bytes.ends_with(&[0xc4, 2, 0, 1]));
        assert!(to_msgpack(b"{\"ColumnData\":[\"!!\"]}").is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(to_msgpack(&[b'['; 1_000_000]).is_err());
        assert!(to_msgpack("{\"a\":".repeat(200_000).as_bytes()).is_err());
    }
}
