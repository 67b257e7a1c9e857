//! Who may do what: tokens, the rights they give, and the check of both.
//!
//! A client shows a token; [`Auth::caller`] finds what it grants and every door asks the [`Caller`]
//! from then on. Without `auth:` in the configuration everybody is [`Caller::anyone`].
//!
//! Invariants:
//! * The server knows hashes only. A token is 256 random bits, so one SHA-256 is enough: there is
//!   nothing to guess, and nothing to gain by slowing the hash down.
//! * Every line of the file is compared, each in constant time: how long a refusal takes says nothing.
//! * What [`Auth::replace`] takes away is gone for calls that begin later. Connections that live on
//!   ask [`Auth::again`] (before each statement, or when [`Auth::changes`] tells).

mod caller;
mod failures;
mod shown;
mod token;
mod tokens;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

pub use caller::{Caller, Denied, Right};
pub use shown::{of_authorization, of_http};
pub use token::{Hash, Token};
pub use tokens::{Grant, Keys, Tokens};

use failures::Failures;

/// Why a caller is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthorized {
    /// No token was shown.
    #[error(
        "a token is needed: send `Authorization: Bearer TOKEN`, or TOKEN as password, or `?token=TOKEN`"
    )]
    Missing,
    /// The token is not in the file, or not any more.
    #[error("the token is not known, or it was revoked")]
    Unknown,
    /// The token was good until then.
    #[error("the token \"{name}\" expired at {at}")]
    Expired {
        /// What the file calls it.
        name: String,
        /// When.
        at: Timestamp,
    },
}

/// The tokens in force. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    /// `None`: everybody may do everything.
    tokens: RwLock<Option<Arc<Tokens>>>,
    failures: Failures,
    /// Counts [`Auth::replace`].
    changes: watch::Sender<u64>,
}

impl Auth {
    /// Nobody has to show a token.
    pub fn off() -> Self {
        Self::with(None)
    }

    /// These tokens.
    pub fn new(tokens: Tokens) -> Self {
        Self::with(Some(tokens))
    }

    fn with(tokens: Option<Tokens>) -> Self {
        Self(Arc::new(Inner {
            tokens: RwLock::new(tokens.map(Arc::new)),
            failures: Failures::default(),
            changes: watch::Sender::new(0),
        }))
    }

    /// Whether callers have to show a token.
    pub fn is_on(&self) -> bool {
        self.0.tokens.read().is_some()
    }

    /// Other tokens from now on; `None` switches the check off.
    pub fn replace(&self, tokens: Option<Tokens>) {
        *self.0.tokens.write() = tokens.map(Arc::new);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Tells of every [`Auth::replace`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whom a token makes the caller.
    ///
    /// # Errors
    /// If a token is needed and this one does not do.
    pub fn caller(&self, token: Option<&str>) -> Result<Caller, Unauthorized> {
        self.find(token.map(Hash::of).as_ref())
    }

    /// The same caller later: the token may have expired, been revoked or been given other rights.
    ///
    /// # Errors
    /// If the token does not do any more.
    pub fn again(&self, caller: &Caller) -> Result<Caller, Unauthorized> {
        self.find(caller.hash())
    }

    fn find(&self, hash: Option<&Hash>) -> Result<Caller, Unauthorized> {
        let Some(tokens) = self.0.tokens.read().clone() else {
            return Ok(Caller::anyone());
        };
        let hash = hash.ok_or(Unauthorized::Missing)?;
        let grant = tokens.find(hash).ok_or(Unauthorized::Unknown)?;
        match grant.expires {
            Some(at) if at <= Timestamp::now() => Err(Unauthorized::Expired {
                name: grant.name.clone(),
                at,
            }),
            _ => Ok(Caller::of(grant)),
        }
    }

    /// Counts and logs a refusal; how long the answer is to wait. A peer that fails again and again is
    /// answered slowly, and never in the way of others at its address: good tokens are not delayed.
    pub fn refused(
        &self,
        door: &'static str,
        peer: Option<IpAddr>,
        why: &Unauthorized,
    ) -> Duration {
        metrics::counter!("mkts_rejected_total", "reason" => "auth").increment(1);
        let Some(peer) = peer else {
            return Duration::ZERO;
        };
        let seen = self.0.failures.add(peer.to_canonical());
        if seen.is_first {
            tracing::warn!(%peer, door, "a call was refused: {why}");
        }
        match peer.to_canonical().is_loopback() {
            // Whoever is on this machine, or behind its proxy, is not told apart by his address.
            true => Duration::ZERO,
            false => seen.delay,
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.tokens.read().as_ref().map(|tokens| tokens.len());
        f.debug_struct("Auth").field("tokens", &count).finish()
    }
}

#[cfg(test)]
mod tests {
    use model::BucketKey;

    use super::*;

    fn tokens(lines: &[String]) -> Tokens {
        Tokens::parse(&lines.join("\n")).unwrap()
    }

    fn line(token: &Token, rest: &str) -> String {
        format!("{{\"hash\":\"{}\",{rest}}}", token.hash())
    }

    #[test]
    fn only_a_token_of_the_file_that_is_not_over_is_taken() {
        let (good, old, other) = (
            Token::new().unwrap(),
            Token::new().unwrap(),
            Token::new().unwrap(),
        );
        let auth = Auth::new(tokens(&[
            line(&good, r#""name":"good","right":"read""#),
            line(
                &old,
                r#""name":"old","right":"admin","expires":"2001-01-01T00:00:00Z""#,
            ),
        ]));
        assert_eq!(auth.caller(Some(good.text())).unwrap().name(), "good");
        assert_eq!(auth.caller(None).unwrap_err(), Unauthorized::Missing);
        assert_eq!(auth.caller(Some("")).unwrap_err(), Unauthorized::Unknown);
        assert_eq!(
            auth.caller(Some(other.text())).unwrap_err(),
            Unauthorized::Unknown
        );
        let over = auth.caller(Some(old.text())).unwrap_err();
        assert!(
            matches!(over, Unauthorized::Expired { ref name, .. } if name == "old"),
            "{over}"
        );
        assert!(Auth::off().caller(None).unwrap().is_admin());
    }

    #[test]
    fn what_is_taken_out_of_the_file_is_gone_for_those_who_live_on() {
        let token = Token::new().unwrap();
        let auth = Auth::new(tokens(&[line(&token, r#""name":"a","right":"write""#)]));
        let mut changes = auth.changes();
        let caller = auth.caller(Some(token.text())).unwrap();
        let key = BucketKey::parse("A/1Min/X").unwrap();
        assert!(caller.may(Right::Write, &key));
        auth.replace(Some(tokens(&[line(
            &token,
            r#""name":"a","right":"read""#,
        )])));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(!auth.again(&caller).unwrap().may(Right::Write, &key));
        auth.replace(Some(tokens(&[])));
        assert_eq!(auth.again(&caller).unwrap_err(), Unauthorized::Unknown);
        // Whoever came while there was no check has shown nothing.
        let anyone = Auth::off().caller(None).unwrap();
        assert_eq!(auth.again(&anyone).unwrap_err(), Unauthorized::Missing);
    }
}
