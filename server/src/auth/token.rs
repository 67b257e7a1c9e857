//! One token and its hash.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Random bytes of a token: more than anybody will ever guess.
const TOKEN_BYTES: usize = 32;

/// How a token begins, so that one in a log or a repository is recognized.
const PREFIX: &str = "mkts_";

/// A new token. Shown once; only its hash is kept.
pub struct Token(String);

impl Token {
    /// A token of the system's random bytes.
    ///
    /// # Errors
    /// If the system has none.
    pub fn new() -> io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// What the client shows.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What the server keeps.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// SHA-256 of a token: `sha256:` and 64 hexadecimal digits.
#[derive(Clone)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of what a client showed.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether both are one, in a time that does not say where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

const SCHEME: &str = "sha256:";

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(***)")
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be {SCHEME} and 64 hexadecimal digits");
        let digits = text.strip_prefix(SCHEME).ok_or_else(wrong)?.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_its_hash_reads_back() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_eq!(one.text().len(), PREFIX.len() + 43);
        let hash: Hash = one.hash().to_string().parse().unwrap();
        assert!(hash.is(&Hash::of(one.text())));
        assert!(!hash.is(&other.hash()));
        // echo -n abc | sha256sum
        assert!(
            Hash::of("abc")
                .to_string()
                .starts_with("sha256:ba7816bf8f01cfea")
        );
        assert_eq!(format!("{one:?} {hash:?}"), "Token(***) Hash(***)");
        for bad in [
            "",
            "sha256:",
            "sha1:00",
            &format!("sha256:{}", "+1".repeat(32)),
        ] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
