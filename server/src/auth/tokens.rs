//! The file of tokens: one line of JSON for each, comments begin with `#`.
//!
//! ```text
//! {"name":"ci","right":"read","keys":["AAPL/**"],"expires":"2027-01-01T00:00:00Z","hash":"sha256:..."}
//! ```

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use model::KeyPattern;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::caller::Right;
use super::token::Hash;

/// What one token gives.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What logs and refusals call it; once in a file.
    pub name: String,
    /// What may be done.
    pub right: Right,
    /// To which buckets; empty is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Keys>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub expires: Option<Timestamp>,
    /// Of the token; `None` is nobody's.
    pub hash: Option<Hash>,
}

impl Grant {
    pub(super) fn anyone() -> Self {
        Self {
            name: "anyone".into(),
            right: Right::Admin,
            keys: Vec::new(),
            expires: None,
            hash: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() || name.len() > 64 || name.contains(|c: char| c.is_control() || c == '"')
        {
            return Err("name: use 1 to 64 bytes without quotes and control characters".into());
        }
        if self.hash.is_none() {
            return Err("hash is missing; `mkts token new` makes a token".into());
        }
        if self.right == Right::Admin && !self.keys.is_empty() {
            return Err("keys: admin is about the server, keys cannot bound it".into());
        }
        Ok(())
    }
}

/// A pattern over keys, as text in the file.
#[derive(Debug, Clone)]
pub struct Keys(pub KeyPattern);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        KeyPattern::parse(&text)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_str())
    }
}

/// Times are text.
mod time {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, de};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let parse = |text: String| {
            text.parse()
                .map_err(|e| de::Error::custom(format!("expires: {e}")))
        };
        text.map(parse).transpose()
    }
}

/// Largest file: tokens are looked through one by one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All tokens of a file.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Arc<Grant>>);

impl Tokens {
    /// Reads a file, which nobody else may write and not everybody may read.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn load(file: &Path) -> Result<Self, String> {
        let wrong = |what: String| format!("{}: {what}", file.display());
        let text = read(file).map_err(wrong)?;
        Self::parse(&text).map_err(|(line, what)| format!("{}:{line}: {what}", file.display()))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut grants: Vec<Arc<Grant>> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some(grant) = Self::line(line) else {
                continue;
            };
            let grant = grant.map_err(|what| (index + 1, what))?;
            let same = |g: &Arc<Grant>| g.name == grant.name;
            if grants.iter().any(same) {
                let what = format!(
                    "the name \"{}\" stands here for the second time",
                    grant.name
                );
                return Err((index + 1, what));
            }
            grants.push(Arc::new(grant));
        }
        Ok(Self(grants))
    }

    /// One line; `None` if it holds no token.
    pub fn line(line: &str) -> Option<Result<Grant, String>> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let grant = serde_json::from_str::<Grant>(line).map_err(|error| {
            let what = error.to_string();
            // Each line is a text of its own: the parser's line is always the first.
            what.split(" at line ")
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        Some(grant.and_then(|grant| grant.check().map(|()| grant)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody may do anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter().map(|grant| &**grant)
    }

    /// The grant of a token. All are looked at, wherever it stands.
    pub(super) fn find(&self, hash: &Hash) -> Option<Arc<Grant>> {
        let mut found = None;
        for grant in &self.0 {
            if grant.hash.as_ref().is_some_and(|h| h.is(hash)) {
                found = Some(grant);
            }
        }
        found.cloned()
    }
}

/// The text of a file with its mode checked: of the file that was opened, whatever lies there later.
fn read(file: &Path) -> Result<String, String> {
    let open = OpenOptions::new()
        .read(true)
        // A pipe would hold the start for ever.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(file)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{error}; `mkts token new --name NAME --right read` makes one")
            }
            _ => error.to_string(),
        })?;
    let meta = open.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("is not a file".into());
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(format!(
            "others may read or change it (mode {mode:o}); run `chmod 600` on it"
        ));
    }
    let mut text = String::new();
    let read = open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err("is larger than 1 MiB".into()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    // Files of tests are not files of the store.
    #![allow(clippy::disallowed_methods)]

    use std::fs::Permissions;

    use super::*;

    fn hash() -> String {
        Hash::of("x").to_string()
    }

    #[test]
    fn lines_are_read_and_what_is_wrong_is_named() {
        let hash = hash();
        let good = format!(
            "# of the office\n\n{{\"name\":\"a\",\"right\":\"read\",\"keys\":[\"A/**\"],\"hash\":\"{hash}\"}}\n"
        );
        let tokens = Tokens::parse(&good).unwrap();
        assert_eq!(tokens.len(), 1);
        let written = serde_json::to_string(tokens.iter().next().unwrap()).unwrap();
        assert_eq!(good.lines().last().unwrap(), written);
        let line = |rest: &str| format!("{{\"name\":\"a\",\"hash\":\"{hash}\",{rest}}}");
        for (bad, expected) in [
            ("x".to_owned(), "expected value"),
            (line("\"right\":\"all\""), "unknown variant `all`"),
            (line("\"right\":\"read\",\"key\":[]"), "unknown field `key`"),
            (line("\"right\":\"read\",\"keys\":[\"[\"]"), "pattern \"[\""),
            (
                line("\"right\":\"admin\",\"keys\":[\"A/**\"]"),
                "keys cannot bound it",
            ),
            (line("\"right\":\"read\",\"expires\":\"soon\""), "expires: "),
            (
                "{\"name\":\"a\",\"right\":\"read\"}".to_owned(),
                "hash is missing",
            ),
            (format!("{good}{good}"), "for the second time"),
            (
                format!("{{\"name\":\"\",\"right\":\"read\",\"hash\":\"{hash}\"}}"),
                "name: use",
            ),
            (
                "{\"name\":\"a\",\"right\":\"read\",\"hash\":\"abc\"}".to_owned(),
                "must be sha256:",
            ),
        ] {
            let (_, error) = Tokens::parse(&bad).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn a_file_that_others_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let error = Tokens::load(&file).unwrap_err();
        assert!(error.contains("mkts token new"), "{error}");
        std::fs::write(&file, "").unwrap();
        for (mode, fits) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o620, false),
        ] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let loaded = Tokens::load(&file);
            assert_eq!(loaded.is_ok(), fits, "{mode:o}: {loaded:?}");
        }
        assert!(
            Tokens::load(dir.path())
                .unwrap_err()
                .contains("is not a file")
        );
    }
}
