//! Percent-encoding of parts of a path and of a query: any bytes, as text of a URL.

use std::fmt::Write as _;

/// The bytes that a text stands for; an error names the place that does not read.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        // `from_str_radix` takes a sign.
        let Some(byte) = byte.filter(|_| tail[0] != b'+') else {
            return Err(format!(
                "\"{text}\": after % two hexadecimal digits are expected"
            ));
        };
        out.push(byte);
        rest = &tail[2..];
    }
    Ok(out)
}

/// Bytes as a part of a path or a query, without anything that means something there.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"%-_.~".contains(&b))
        );
        assert_eq!(decode(&text).unwrap(), all);
        assert_eq!(decode("a+b%2fc").unwrap(), b"a+b/c");
    }

    #[test]
    fn half_an_escape_is_named() {
        for text in ["%", "a%4", "%zz", "%+1", "%4\u{e9}"] {
            let error = decode(text).unwrap_err();
            assert!(
                error.contains(text) && error.contains("hexadecimal"),
                "{error}"
            );
        }
    }
}
