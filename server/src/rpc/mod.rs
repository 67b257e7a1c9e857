//! The RPC: bytes in, bytes out. One method, one file: decode, do, encode. Runs on blocking
//! threads; a panic of a method ends its call and is counted.

mod alter;
pub(crate) mod create;
mod delete;
mod destroy;
mod functions;
mod info;
mod list;
mod pieces;
mod query;
#[cfg(feature = "sql")]
mod sql;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bytes::Bytes;
use client::wire::{Body, Call, Codec, Counted, Entry, Reply, Request, RpcError};

pub(crate) use query::Parts;

use crate::auth::{Caller, Denied};
use crate::http::App;
use crate::room::Held;

/// Answers one body of a caller. Every outcome is a reply: errors are in it.
pub fn answer(app: &App, caller: &Caller, codec: Codec, body: &Bytes) -> Answer {
    let start = Instant::now();
    let call = match Call::decode(codec, body) {
        Ok(call) => call,
        Err((id, error)) => return Answer::error(&error, codec, &id),
    };
    let answer = contained(codec, &call, || run(app, caller, codec, &call));
    let seconds = start.elapsed().as_secs_f64();
    metrics::histogram!("alpaca_marketstore_rpc_total_request_duration_seconds").record(seconds);
    if answer.ran {
        metrics::histogram!(
            "alpaca_marketstore_rpc_successful_request_duration_seconds",
            "method" => call.method
        )
        .record(seconds);
    }
    answer
}

/// Runs a method; a panic ends its call alone.
fn contained(codec: Codec, call: &Call, run: impl FnOnce() -> Answer) -> Answer {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        metrics::counter!("mkts_panics_total").increment(1);
        tracing::error!(method = call.method, "a method panicked");
        let error = RpcError::server("internal error: the call was given up, see the server's log");
        Answer::error(&error, codec, &call.id)
    })
}

/// A reply, and whether a method ran to its end.
#[derive(Debug)]
pub struct Answer {
    /// The reply.
    pub body: Body,
    /// Its part of the memory of results.
    pub(crate) held: Held,
    /// False for envelopes and parameters that were not understood.
    pub understood: bool,
    ran: bool,
}

impl Answer {
    fn error(error: &RpcError, codec: Codec, id: &Bytes) -> Self {
        metrics::counter!("mkts_rejected_total", "reason" => reason(error.code)).increment(1);
        Self {
            body: error.encode(codec, id),
            held: Held::default(),
            understood: false,
            ran: false,
        }
    }
}

fn reason(code: i64) -> &'static str {
    match code {
        client::wire::PARSE_ERROR => "parse",
        client::wire::REQUEST_ERROR => "request",
        _ => "method",
    }
}

fn run(app: &App, caller: &Caller, codec: Codec, call: &Call) -> Answer {
    let request = match call.request(app.limits().requests_per_call) {
        Ok(request) => request,
        Err(error) => return Answer::error(&error, codec, &call.id),
    };
    let mut held = Held::default();
    match carry_out(app, caller, &request, &mut held) {
        Ok(reply) => Answer {
            body: reply.encode(codec, &call.id),
            held,
            understood: true,
            ran: true,
        },
        Err(failure) => Answer {
            understood: true,
            ..Answer::error(&RpcError::server(failure.text), codec, &call.id)
        },
    }
}

/// Why a whole call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// Whether the caller may not do it.
    pub(crate) denied: bool,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self {
            text,
            denied: false,
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self {
            text: denied.to_string(),
            denied: true,
        }
    }
}

/// Does what was asked for, whatever door it came through, as far as the caller may: each method asks
/// for each bucket. An error is that of the whole call; those of single requests are in the reply.
/// `held` is the reply's part of the memory of results.
pub(crate) fn carry_out(
    app: &App,
    caller: &Caller,
    request: &Request,
    held: &mut Held,
) -> Result<Reply, Failure> {
    match request {
        Request::Query(requests) => query::run(app, caller, requests, held),
        Request::Write(requests) => Ok(write::run(app, caller, requests)),
        Request::Create(requests) => Ok(create::run(app, caller, requests)),
        Request::Destroy(requests) => Ok(destroy::run(app, caller, requests)),
        Request::GetInfo(requests) => Ok(info::run(app, caller, requests)),
        Request::ListSymbols(request) => Ok(list::run(app, caller, request)?),
        Request::Delete(requests) => Ok(delete::run(app, caller, requests)),
        Request::Alter(requests) => Ok(alter::run(app, caller, requests)),
    }
}

/// How one request of a call went.
fn entry(app: &App, result: Result<(), String>) -> Entry {
    Entry {
        error: result.err().unwrap_or_default(),
        version: app.version.clone(),
    }
}

/// One entry for each request.
fn entries(app: &App, results: impl Iterator<Item = Result<(), String>>) -> Reply {
    Reply::Entries(results.map(|r| entry(app, r)).collect())
}

/// How one request of a call went that counts something.
fn counted(key: &str, result: Result<u64, String>) -> Counted {
    let (count, error) = match result {
        Ok(count) => (count, String::new()),
        Err(error) => (0, error),
    };
    Counted {
        key: key.to_owned(),
        count,
        error,
    }
}

/// The text of a timeframe that cannot be stored.
fn timeframe_error(timeframe: &str) -> String {
    format!("error: Unable to get timeframe from key: \"{timeframe}\" is no timeframe like 1Min")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_answered_with_an_error() {
        let call = Call {
            id: Bytes::from_static(b"\x07"),
            method: "DataService.Query".into(),
            params: Bytes::new(),
        };
        let answer = contained(Codec::Json, &call, || panic!("on purpose"));
        let text = String::from_utf8_lossy(&answer.body.concat()).into_owned();
        assert!(text.contains("\"code\":-32000"), "{text}");
        assert!(
            text.contains("internal error") && text.contains("\"id\":7"),
            "{text}"
        );
    }
}
