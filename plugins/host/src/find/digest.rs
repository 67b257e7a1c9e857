//! SHA-256 as text.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Bytes that are hashed while they are read.
pub(super) struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    pub(super) fn hex(self) -> String {
        hex(&self.hash.finalize())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Digest of a file.
pub(super) fn of_file(path: &Path) -> io::Result<String> {
    let mut hashed = Hashed::new(std::fs::File::open(path)?);
    io::copy(&mut hashed, &mut io::sink())?;
    Ok(hashed.hex())
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// A digest as people write it: 64 digits, perhaps behind `sha256:`.
pub(super) fn parse(text: &str) -> Option<String> {
    let digits = text.trim().strip_prefix("sha256:").unwrap_or(text.trim());
    let good = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    good.then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        let mut hashed = Hashed::new(&b"abc"[..]);
        io::copy(&mut hashed, &mut io::sink()).unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hashed.hex(), expected);
        let shouted = format!("sha256:{}", expected.to_uppercase());
        assert_eq!(parse(&shouted).as_deref(), Some(expected));
        assert_eq!(parse("abc"), None);
    }
}
