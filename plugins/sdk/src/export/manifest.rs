//! The bytes of the manifest section, made while the plugin is compiled.

use crate::manifest::{Kind, Manifest};

/// Where the JSON begins: behind the magic, its length and its checksum.
pub const JSON_AT: usize = 16;

/// Refuses, while the plugin is compiled, a name that is not that of its library.
pub const fn check_name(manifest: &str, library: &str) {
    let (a, b) = (manifest.as_bytes(), library.as_bytes());
    assert!(
        !a.is_empty() && a.len() == b.len(),
        "the name in the manifest is not that of the crate; rename one, or write `as \"name\"`"
    );
    let mut at = 0;
    while at < a.len() {
        let legal = a[at].is_ascii_alphanumeric() || a[at] == b'_' || a[at] == b'-';
        assert!(
            legal,
            "the name of a plugin has letters, digits, `_` and `-`"
        );
        assert!(
            symbol(a[at]) == b[at],
            "the name in the manifest is not that of the crate; rename one, or write `as \"name\"` (with _ for -)"
        );
        at += 1;
    }
}

/// A byte of a name as it stands in a symbol.
const fn symbol(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// Length of the JSON.
pub const fn json_len(manifest: &Manifest, kind: Kind, entry: &str) -> usize {
    write(Out::<0>::new(), manifest, kind, entry).at
}

/// The whole section; `N` is [`JSON_AT`] and [`json_len`].
pub const fn section<const N: usize>(manifest: &Manifest, kind: Kind, entry: &str) -> [u8; N] {
    let mut out = Out::<N>::new();
    out.bytes_of(&plugin_abi::MAGIC);
    out.number((N - JSON_AT) as u32);
    out.number(0);
    let mut bytes = write(out, manifest, kind, entry).bytes;
    let crc = crc32(&bytes, JSON_AT).to_le_bytes();
    let mut at = 0;
    while at < 4 {
        bytes[12 + at] = crc[at];
        at += 1;
    }
    bytes
}

/// The JSON in a section.
pub const fn json(section: &'static [u8]) -> &'static [u8] {
    section.split_at(JSON_AT).1
}

/// CRC-32 (IEEE) of what follows `from`.
const fn crc32(bytes: &[u8], from: usize) -> u32 {
    let mut crc = !0_u32;
    let mut at = from;
    while at < bytes.len() {
        crc ^= bytes[at] as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        at += 1;
    }
    !crc
}

/// Bytes so far; those that find no room are counted.
struct Out<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Out<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            at: 0,
        }
    }

    const fn put(&mut self, byte: u8) {
        if self.at < N {
            self.bytes[self.at] = byte;
        }
        self.at += 1;
    }

    const fn bytes_of(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            self.put(bytes[at]);
            at += 1;
        }
    }

    const fn number(&mut self, number: u32) {
        self.bytes_of(&number.to_le_bytes());
    }

    const fn string(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        self.put(b'"');
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                byte @ (b'"' | b'\\') => self.bytes_of(&[b'\\', byte]),
                byte @ 0..0x20 => {
                    self.bytes_of(b"\\u00");
                    self.put(HEX[(byte >> 4) as usize]);
                    self.put(HEX[(byte & 15) as usize]);
                }
                byte => self.put(byte),
            }
            at += 1;
        }
        self.put(b'"');
    }

    const fn digits(&mut self, number: u32) {
        if number > 9 {
            self.digits(number / 10);
        }
        self.put(b'0' + (number % 10) as u8);
    }

    const fn key(&mut self, name: &str) {
        self.put(b',');
        self.string(name);
        self.put(b':');
    }

    const fn list(&mut self, name: &str, texts: &[&str]) {
        self.key(name);
        self.put(b'[');
        let mut at = 0;
        while at < texts.len() {
            if at > 0 {
                self.put(b',');
            }
            self.string(texts[at]);
            at += 1;
        }
        self.put(b']');
    }

    const fn word(&mut self, name: &str, text: &str) {
        self.key(name);
        self.string(text);
    }
}

/// The fields of [`crate::Description`], in its order.
const fn write<const N: usize>(mut out: Out<N>, m: &Manifest, kind: Kind, entry: &str) -> Out<N> {
    out.put(b'{');
    out.string("name");
    out.put(b':');
    out.string(m.name);
    out.word("version", m.version);
    out.word("about", m.about);
    out.word("kind", kind.name());
    out.key("abi");
    out.put(b'[');
    out.digits(plugin_abi::MAJOR);
    out.put(b',');
    out.digits(0);
    out.put(b']');
    out.word("entry", entry);
    out.word("scope", m.scope.name());
    out.word("state_scope", m.state_scope.name());
    out.key("state_version");
    out.digits(m.state_version);
    out.word("delivery", m.delivery.name());
    out.key("accepts_gap");
    out.bytes_of(if m.accepts_gap { b"true" } else { b"false" });
    out.list("writes", m.writes);
    out.list("secrets", m.secrets);
    out.list("metrics", m.metrics);
    out.put(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Delivery, Description, StateScope};

    const ODD: Manifest = Manifest {
        about: "says \"no\" to C:\\x\u{1}\u{1f}",
        delivery: Delivery::Exact,
        accepts_gap: true,
        state_scope: StateScope::Key,
        state_version: 4_294_967_295,
        writes: &["*/5Min/OHLCV", "A/**"],
        secrets: &["token"],
        metrics: &[],
        ..Manifest::new("an-odd_one2", "1.2.3-rc.1")
    };
    const LEN: usize = JSON_AT + json_len(&ODD, Kind::Source, "mkts_plugin_v1_an_odd_one2");
    static BYTES: [u8; LEN] = section(&ODD, Kind::Source, "mkts_plugin_v1_an_odd_one2");

    #[test]
    fn the_section_says_what_the_manifest_says() {
        assert_eq!(BYTES[..8], plugin_abi::MAGIC);
        assert_eq!(BYTES[8..12], ((LEN - JSON_AT) as u32).to_le_bytes());
        assert_eq!(BYTES[12..16], crc32fast::hash(json(&BYTES)).to_le_bytes());
        let read: Description = serde_json::from_slice(json(&BYTES)).unwrap();
        let expected = Description {
            abi: [1, 0],
            entry: "mkts_plugin_v1_an_odd_one2".into(),
            ..ODD.describe(Kind::Source)
        };
        assert_eq!(read, expected);
        // The same fields in the same order as serde writes them: none is forgotten here.
        assert_eq!(
            std::str::from_utf8(json(&BYTES)).unwrap(),
            serde_json::to_string(&expected).unwrap()
        );
    }

    #[test]
    fn a_name_is_that_of_the_library() {
        check_name("a-b", "a_b");
        for (name, library) in [("a", "b"), ("a", "ab"), ("", ""), ("a.b", "a.b")] {
            let refused = std::panic::catch_unwind(|| check_name(name, library));
            assert!(refused.is_err(), "{name} {library}");
        }
    }
}
