//! Bucket keys as paths of files: `SYMBOL/TIMEFRAME/GROUP.parquet`.
//!
//! Letters, digits and `-_.` stand for themselves, and a dot not at the beginning; every other
//! byte is `%` and two hexadecimal digits. So no key leaves the directory, hides a file or meets
//! another key.

use std::path::{Path, PathBuf};

use model::{BucketKey, Timeframe};

/// The file of a bucket below a directory.
pub(super) fn path(key: &BucketKey, extension: &str) -> PathBuf {
    let group = encode(key.attribute_group());
    PathBuf::from(encode(key.symbol()))
        .join(encode(key.timeframe()))
        .join(format!("{group}.{extension}"))
}

/// The bucket that a file is named after, if its path ends like one.
pub(super) fn key(file: &Path, extensions: &[&str]) -> Option<BucketKey> {
    let mut parts = file
        .components()
        .rev()
        .map(|part| part.as_os_str().to_str());
    let name = parts.next()??;
    let group = extensions
        .iter()
        .find_map(|extension| name.strip_suffix(extension)?.strip_suffix('.'))?;
    let timeframe = decode(parts.next()??)?;
    let symbol = decode(parts.next()??)?;
    Timeframe::parse(&timeframe).ok()?;
    BucketKey::new(&symbol, &timeframe, &decode(group)?).ok()
}

fn encode(item: &str) -> String {
    let mut out = String::with_capacity(item.len());
    for (at, byte) in item.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            b'.' if at > 0 => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let code = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        out.push(u8::try_from(code).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_back_from_its_path() {
        for (symbol, group) in [
            ("AAPL", "OHLCV"),
            ("BRK.B", "OHLCV"),
            ("BTC-USD", "TRADE"),
            (".hidden", "..a"),
            ("100%", "A B"),
            ("\u{20ac}/"[..3].into(), "x%41"),
            ("C#;'\"$?<>|", "~"),
        ] {
            let key = BucketKey::new(symbol, "1Min", group).unwrap();
            let path = path(&key, "parquet");
            assert_eq!(path.components().count(), 3, "{path:?}");
            let text = path.to_str().unwrap();
            assert!(text.is_ascii(), "{text}");
            assert!(!text.split('/').any(|part| part.starts_with('.')), "{text}");
            let found = super::key(&Path::new("/some/where").join(&path), &["parquet"]);
            assert_eq!(found, Some(key), "{path:?}");
        }
    }

    #[test]
    fn other_paths_name_no_bucket() {
        for path in [
            "AAPL/1Min/OHLCV.csv",
            "AAPL/Minute/OHLCV.parquet",
            "1Min/OHLCV.parquet",
            "A/1Min/%4.parquet",
            "A/1Min/%FF.parquet",
            "A/1Min/.parquet",
            "a%2Fb/1Min/X.parquet",
        ] {
            assert_eq!(key(Path::new(path), &["parquet"]), None, "{path}");
        }
    }
}
