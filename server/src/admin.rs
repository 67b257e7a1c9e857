//! `/admin/v1`: what an operator asks of a running server, on loopback only.
//!
//! | request | |
//! |---|---|
//! | `GET status` | sizes, marks, triggers, damage, limits hit, as JSON |
//! | `POST checkpoint` | writes tails into a segment now |
//! | `POST merge` `{"full": bool}` | merges that are due, or everything |
//! | `POST backup` `{"directory": text}` | a consistent copy in an empty directory |
//!
//! There is no login yet, so the address is the right: whoever is on this machine. A request that a
//! proxy passed on comes from elsewhere, whatever its address says.

use std::net::IpAddr;
use std::path::Path;

use engine::Error;
use hyper::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::App;
use crate::status;

/// Where the calls begin.
pub(crate) const PREFIX: &str = "/admin/v1/";

/// Headers that a proxy adds.
const PROXIED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Whether a request comes from this machine.
pub(crate) fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    let proxied = PROXIED.iter().any(|name| headers.contains_key(*name));
    peer.to_canonical().is_loopback() && !proxied
}

/// Answers a call; blocks as long as it takes.
pub(crate) fn answer(app: &App, method: &Method, call: &str, body: &[u8]) -> (StatusCode, String) {
    let (code, value) = match run(app, method, call, body) {
        Ok(value) => (StatusCode::OK, value),
        Err((code, text, exit)) => (code, json!({ "error": text, "exit_code": exit })),
    };
    (code, format!("{value}\n"))
}

type Refusal = (StatusCode, String, u8);

fn run(app: &App, method: &Method, call: &str, body: &[u8]) -> Result<Value, Refusal> {
    let known = ["status", "checkpoint", "merge", "backup"];
    if !known.contains(&call) {
        let what = format!("no such call: known are {}", known.join(", "));
        return Err((StatusCode::NOT_FOUND, what, 1));
    }
    let wanted = if call == "status" {
        Method::GET
    } else {
        Method::POST
    };
    if *method != wanted {
        let what = format!("{call} is called with {wanted}, not {method}");
        return Err((StatusCode::METHOD_NOT_ALLOWED, what, 1));
    }
    match call {
        "status" => Ok(status::json(app)),
        "checkpoint" => {
            let _: Nothing = parameters(body)?;
            app.engine.checkpoint().map_err(refusal)?;
            Ok(json!({ "checkpoint": app.engine.marks().checkpoint.to_string() }))
        }
        "merge" => {
            let Merge { full } = parameters(body)?;
            let done = if full {
                app.engine.compact()
            } else {
                app.engine.merge()
            };
            let status = app.engine.status();
            Ok(json!({
                "written": done.map_err(refusal)?,
                "segments": status.segments,
                "segment_bytes": status.segment_bytes,
            }))
        }
        _ => backup(app, body),
    }
}

fn backup(app: &App, body: &[u8]) -> Result<Value, Refusal> {
    let Backup { directory } = parameters(body)?;
    if !Path::new(&directory).is_absolute() {
        let what = format!("directory: \"{directory}\" is not an absolute path");
        return Err((StatusCode::BAD_REQUEST, what, 1));
    }
    let backup = app.engine.backup(Path::new(&directory)).map_err(refusal)?;
    tracing::info!(
        directory,
        files = backup.files,
        linked_bytes = backup.linked_bytes,
        copied_bytes = backup.copied_bytes,
        "backup made"
    );
    Ok(json!({
        "directory": directory,
        "visible": backup.visible.to_string(),
        "files": backup.files,
        "linked_bytes": backup.linked_bytes,
        "copied_bytes": backup.copied_bytes,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    #[serde(default)]
    full: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    directory: String,
}

/// Parameters as JSON; no body has none.
fn parameters<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let what = format!("the body is not understood: {error}");
        (StatusCode::BAD_REQUEST, what, 1)
    })
}

fn refusal(error: Error) -> Refusal {
    let (code, exit) = match &error {
        Error::Poisoned(_) => (StatusCode::SERVICE_UNAVAILABLE, 2),
        Error::Corrupt { .. } => (StatusCode::INTERNAL_SERVER_ERROR, 4),
        Error::Invalid(_) => (StatusCode::BAD_REQUEST, 1),
        Error::DiskFull(_) => (StatusCode::INSUFFICIENT_STORAGE, 1),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, 1),
    };
    (code, error.to_string(), exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        let local = |peer: &str, headers: &HeaderMap| is_local(peer.parse().unwrap(), headers);
        let mut headers = HeaderMap::new();
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(local(peer, &headers), "{peer}");
        }
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0", "fe80::1"] {
            assert!(!local(peer, &headers), "{peer}");
        }
        headers.insert("x-forwarded-for", "127.0.0.1".parse().unwrap());
        assert!(!local("127.0.0.1", &headers));
    }
}
