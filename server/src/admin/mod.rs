//! `/admin/v1`: what an operator asks of a running server, on loopback only. `routes.rs` has the
//! calls.
//!
//! Whoever asks is on this machine, and shows a token with the right `admin` if there are tokens. A
//! request that a proxy passed on comes from elsewhere, whatever its address says.
//!
//! Every answer but stacks is JSON and passes [`answer`], which hides the secrets of all instances in every
//! text of it: no call has to think of them.

mod bytes;
mod call;
mod control;
mod letters;
mod plugins;
mod profile;
mod replay;
mod routes;
#[cfg(feature = "profile")]
mod stack_formats;
#[cfg(feature = "profile")]
mod stacks;
mod state;
mod store;

use std::net::IpAddr;

use ::bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use plugin_host::Secrets;
use serde_json::{Value, json};

use crate::http::App;
pub(crate) use call::Request;
pub(crate) use plugins::summary;
use routes::Given;

/// Where the calls begin.
pub(crate) const PREFIX: &str = "/admin/v1/";

/// Headers that a proxy adds.
const PROXIED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Whether a request comes from this machine.
pub(crate) fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    let proxied = PROXIED.iter().any(|name| headers.contains_key(*name));
    peer.to_canonical().is_loopback() && !proxied
}

/// A refusal of a call that is not looked at.
pub(crate) fn refusal(text: &str) -> String {
    format!("{}\n", json!({ "error": text, "exit_code": 1 }))
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) code: StatusCode,
    /// Its media type.
    pub(crate) kind: &'static str,
    pub(crate) body: Bytes,
}

/// Answers a call; blocks as long as it takes.
pub(crate) fn answer(app: &App, request: &Request) -> Answered {
    let (code, mut value) = match routes::run(app, request) {
        Ok(Given::Json(value)) => (StatusCode::OK, value),
        // Names of functions: nothing to hide.
        Ok(Given::File(file)) => {
            return Answered {
                code: StatusCode::OK,
                kind: file.kind,
                body: file.body,
            };
        }
        Err(refusal) => {
            let value = json!({ "error": refusal.text, "exit_code": refusal.exit });
            (refusal.code, value)
        }
    };
    let secrets = app.host.secrets();
    if !secrets.is_empty() {
        hide(&secrets, &mut value);
    }
    Answered {
        code,
        kind: "application/json",
        body: format!("{value}\n").into(),
    }
}

/// Hides secrets in every text, also where the text is in base64. Not in the JSON as a whole: a
/// secret number would break it.
fn hide(secrets: &Secrets, value: &mut Value) {
    match value {
        Value::Object(map) if map.contains_key("base64") => {
            let held = map["base64"].as_str().and_then(bytes::decode);
            let text = held.map(|held| String::from_utf8_lossy(&held).into_owned());
            if text.is_some_and(|text| secrets.scrub(text.as_str()) != text) {
                *value = "***".into();
            }
        }
        Value::String(text) => *text = secrets.scrub(std::mem::take(text)),
        Value::Array(list) => list.iter_mut().for_each(|item| hide(secrets, item)),
        Value::Object(map) => map.values_mut().for_each(|item| hide(secrets, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
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

    #[test]
    fn texts_are_hidden_at_any_depth_and_json_stays_json() {
        let secrets = Secrets::of(&json!({"pin": 123_456}), &["pin".to_owned()]);
        let mut value = json!({"a": [{"b": "is 123456"}], "n": 11_234_567,
            "of": bytes::base64(b"\xff123456"), "raw": bytes::base64(b"\xff")});
        hide(&secrets, &mut value);
        let shown = json!({"a": [{"b": "is ***"}], "n": 11_234_567, "of": "***",
            "raw": {"base64": "/w=="}});
        assert_eq!(value, shown);
    }
}
