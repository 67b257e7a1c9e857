//! Whoever called, as the methods ask about him.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use model::BucketKey;

use super::token::Hash;
use super::tokens::Grant;

/// What may be done; each includes those before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Queries, lists, streams.
    Read,
    /// Rows and buckets: write, create, alter, delete, destroy.
    Write,
    /// The server itself; never bounded by keys.
    Admin,
}

impl Right {
    /// `read`, `write`, `admin`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A caller whose token does not give what he asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token \"{name}\" has no right to {} {what}", right.name())]
pub struct Denied {
    name: String,
    right: Right,
    what: String,
}

/// Who is calling. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Grant>);

static ANYONE: LazyLock<Arc<Grant>> = LazyLock::new(|| Arc::new(Grant::anyone()));

impl Caller {
    /// Everybody, where no token is asked for.
    pub fn anyone() -> Self {
        Self(Arc::clone(&ANYONE))
    }

    pub(super) fn of(grant: Arc<Grant>) -> Self {
        Self(grant)
    }

    /// Whether both were let in by the same reading of the same token: with the same rights.
    #[cfg(feature = "sql")]
    pub(crate) fn is_the_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn hash(&self) -> Option<&Hash> {
        self.0.hash.as_ref()
    }

    /// Whether this may be done to a bucket, which need not be there.
    pub fn may(&self, right: Right, key: &BucketKey) -> bool {
        let grant = &self.0;
        let fits = || grant.keys.is_empty() || grant.keys.iter().any(|k| k.0.matches(key));
        grant.right >= right && fits()
    }

    /// The same as an error.
    ///
    /// # Errors
    /// If it may not be done.
    pub fn require(&self, right: Right, key: &BucketKey) -> Result<(), Denied> {
        match self.may(right, key) {
            true => Ok(()),
            false => Err(self.denied(right, key.as_str())),
        }
    }

    /// Whether the token gives a right to any bucket at all.
    pub fn has(&self, right: Right) -> bool {
        self.0.right >= right
    }

    /// The same as an error that names `what`.
    ///
    /// # Errors
    /// If the token does not give it.
    pub fn require_right(&self, right: Right, what: &str) -> Result<(), Denied> {
        match self.has(right) {
            true => Ok(()),
            false => Err(self.denied(right, what)),
        }
    }

    /// A refusal.
    pub(crate) fn denied(&self, right: Right, what: &str) -> Denied {
        metrics::counter!("mkts_rejected_total", "reason" => "denied").increment(1);
        Denied {
            name: self.0.name.clone(),
            right,
            what: what.to_owned(),
        }
    }

    /// Whether every bucket may be read: nothing has to be filtered.
    pub fn sees_all(&self) -> bool {
        self.0.keys.is_empty()
    }

    /// Whether the server itself may be steered.
    pub fn is_admin(&self) -> bool {
        self.0.right == Right::Admin
    }

    /// What the file calls the token; `anyone` if none is asked for.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How long the token is good; `None` for ever.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.0.expires?.duration_since(Timestamp::now());
        Some(Duration::try_from(left).unwrap_or_default())
    }
}

#[cfg(feature = "sql")]
impl sql::Access for Caller {
    fn may_read(&self, key: &BucketKey) -> bool {
        self.may(Right::Read, key)
    }

    fn may_write(&self, key: &BucketKey) -> bool {
        self.may(Right::Write, key)
    }

    fn is_admin(&self) -> bool {
        Self::is_admin(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tokens;
    use super::*;

    fn caller(rest: &str) -> Caller {
        let hash = Hash::of("x");
        let tokens =
            Tokens::parse(&format!("{{\"name\":\"t\",\"hash\":\"{hash}\",{rest}}}")).unwrap();
        Caller::of(tokens.find(&hash).unwrap())
    }

    #[test]
    fn a_right_includes_the_smaller_ones_within_its_keys() {
        let key = |text: &str| BucketKey::parse(text).unwrap();
        let (apple, other) = (key("AAPL/1Min/OHLCV"), key("MSFT/1Min/OHLCV"));
        for (rest, expected) in [
            (r#""right":"read""#, [true, true, false, false]),
            (
                r#""right":"read","keys":["AAPL/**"]"#,
                [true, false, false, false],
            ),
            (
                r#""right":"write","keys":["AAPL/**"]"#,
                [true, false, true, false],
            ),
            (
                r#""right":"write","keys":["A/**","MSFT/1Min/*"]"#,
                [false, true, false, true],
            ),
            (r#""right":"admin""#, [true; 4]),
        ] {
            let caller = caller(rest);
            let found = [
                caller.may(Right::Read, &apple),
                caller.may(Right::Read, &other),
                caller.may(Right::Write, &apple),
                caller.may(Right::Write, &other),
            ];
            assert_eq!(found, expected, "{rest}");
            assert_eq!(caller.is_admin(), rest.contains("admin"));
        }
        assert_eq!(
            caller(r#""right":"read""#)
                .require(Right::Write, &apple)
                .unwrap_err()
                .to_string(),
            "the token \"t\" has no right to write AAPL/1Min/OHLCV"
        );
    }
}
