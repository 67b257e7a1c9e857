//! A call: what was asked, its parameters, its refusal.

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::http::App;
use crate::percent;

/// What came in, as it was written.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Behind the prefix.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: bytes::Bytes,
}

/// A request that a route was found for.
pub(super) struct Call<'a> {
    pub(super) app: &'a App,
    request: &'a Request,
    /// Parts of the path that the route leaves open, decoded.
    parts: Vec<Vec<u8>>,
}

/// What a call comes to.
pub(super) type Answer = Result<Value, Refusal>;

/// What a call gives that is no JSON.
#[derive(Debug)]
pub(super) struct File {
    /// Its media type.
    pub(super) kind: &'static str,
    pub(super) body: bytes::Bytes,
}

/// Why a call is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) text: String,
    /// What a command that asked exits with.
    pub(super) exit: u8,
}

impl Refusal {
    pub(super) fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            exit: 1,
        }
    }

    /// 400.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404.
    pub(super) fn unknown(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Self {
        use engine::Error;
        let (code, exit) = match &error {
            Error::Poisoned(_) => (StatusCode::SERVICE_UNAVAILABLE, 2),
            Error::Corrupt { .. } => (StatusCode::INTERNAL_SERVER_ERROR, 4),
            Error::Invalid(_) => (StatusCode::BAD_REQUEST, 1),
            Error::DiskFull(_) => (StatusCode::INSUFFICIENT_STORAGE, 1),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, 1),
        };
        let text = error.to_string();
        Self { code, text, exit }
    }
}

impl From<plugin_host::Error> for Refusal {
    fn from(error: plugin_host::Error) -> Self {
        use plugin_host::Error;
        let text = error.to_string();
        match error {
            Error::Engine(error) => error.into(),
            Error::NoInstance { .. } => Self::new(StatusCode::NOT_FOUND, text),
            Error::Invalid { .. } => Self::new(StatusCode::BAD_REQUEST, text),
            Error::Thread(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text),
            // It is there, and not as the call needs it.
            _ => Self::new(StatusCode::CONFLICT, text),
        }
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(app: &'a App, request: &'a Request, parts: Vec<Vec<u8>>) -> Self {
        Self {
            app,
            request,
            parts,
        }
    }

    /// Whether the path has so many open parts.
    pub(super) fn has_part(&self, index: usize) -> bool {
        index < self.parts.len()
    }

    /// An open part of the path.
    pub(super) fn part(&self, index: usize) -> &[u8] {
        &self.parts[index]
    }

    /// An open part of the path that must be text.
    pub(super) fn text(&self, index: usize) -> Result<&str, Refusal> {
        std::str::from_utf8(self.part(index))
            .map_err(|_| Refusal::bad("the path names something that is not UTF-8"))
    }

    /// The body as JSON; no body has no parameters.
    pub(super) fn body<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Refusal> {
        let body: &[u8] = match &*self.request.body {
            [] => b"{}",
            body => body,
        };
        serde_json::from_slice(body)
            .map_err(|error| Refusal::bad(format!("the body is not understood: {error}")))
    }

    /// The parameters behind `?`.
    pub(super) fn query(&self) -> Result<Query, Refusal> {
        let pairs = self
            .request
            .query
            .split('&')
            .filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((name.to_owned(), percent::decode(value)?))
        });
        let pairs: Result<Vec<_>, String> = pairs.collect();
        Ok(Query {
            pairs: pairs.map_err(Refusal::bad)?,
            known: Vec::new(),
        })
    }
}

/// Parameters without a value that is understood differently than it is written: one that is asked
/// for is taken out, and [`Query::end`] refuses what is left.
pub(super) struct Query {
    pairs: Vec<(String, Vec<u8>)>,
    known: Vec<&'static str>,
}

impl Query {
    /// A value as bytes.
    pub(super) fn bytes(&mut self, name: &'static str) -> Option<Vec<u8>> {
        self.known.push(name);
        let at = self.pairs.iter().position(|(given, _)| given == name)?;
        Some(self.pairs.remove(at).1)
    }

    /// A value as text; empty if it is not given.
    pub(super) fn text(&mut self, name: &'static str) -> Result<String, Refusal> {
        let bytes = self.bytes(name).unwrap_or_default();
        String::from_utf8(bytes).map_err(|_| Refusal::bad(format!("{name}: this is not UTF-8")))
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &'static str, default: u64) -> Result<u64, Refusal> {
        let Some(bytes) = self.bytes(name) else {
            return Ok(default);
        };
        let text = String::from_utf8_lossy(&bytes);
        let number = text.parse();
        number.map_err(|_| Refusal::bad(format!("{name}: \"{text}\" is no whole number from 0")))
    }

    /// Everything given was asked for.
    pub(super) fn end(self) -> Result<(), Refusal> {
        match (self.pairs.first(), &*self.known) {
            (None, _) => Ok(()),
            (Some((name, _)), []) => {
                Err(Refusal::bad(format!("{name}: this call has no parameters")))
            }
            (Some((name, _)), known) => Err(Refusal::bad(format!(
                "{name}: no such parameter, or given twice: known are {}",
                known.join(", ")
            ))),
        }
    }
}

/// A body without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
