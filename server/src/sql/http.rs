//! `POST /sql`: a statement in, a result out, streamed.
//!
//! The status is decided by the first batch: what fails before it is an error of HTTP with JSON;
//! what fails later ends the body without its end mark, so that no client takes a part for the
//! whole.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use model::Zone;
use serde::Deserialize;
use serde_json::{Value, json};
use sql::{Error, ErrorKind, Rows};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::output::{Encoder, Format};
use super::{Tally, caller, parameters};
use crate::http::{self, App, Out, Piece, Pieces, Reply};

/// Bytes that are worth a write.
const PIECE_BYTES: usize = 64 << 10;

/// A body of `application/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    #[serde(default)]
    parameters: Vec<Value>,
    /// Zone of times without one.
    #[serde(default)]
    zone: Option<String>,
}

/// Answers one request.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>, peer: IpAddr) -> Reply {
    let mut tally = Tally::start("http");
    if request.method() != Method::POST {
        let mut reply = plain_error(
            StatusCode::METHOD_NOT_ALLOWED,
            "request",
            "POST a statement",
        );
        let allow = HeaderValue::from_static("POST");
        reply.headers_mut().insert(header::ALLOW, allow);
        return reply;
    }
    if !http::origin_is_allowed(&app, request.headers()) {
        return http::foreign();
    }
    let who = match http::login(&app, "sql", &request, peer).await {
        Ok(who) => who,
        Err(refused) => {
            app.discard_body(request.into_body()).await;
            let reply = plain_error(StatusCode::UNAUTHORIZED, "denied", &refused.to_string());
            return http::as_unauthorized(reply, &refused);
        }
    };
    let Some(sql) = app.sql.clone() else {
        let what = "SQL is switched off (sql.enabled)";
        return plain_error(StatusCode::NOT_FOUND, "off", what);
    };
    let Some(format) = Format::accepted(text_of(request.headers(), header::ACCEPT)) else {
        let what = "Accept names none of application/json, application/x-ndjson, text/csv, \
                    application/vnd.apache.arrow.stream";
        return plain_error(StatusCode::NOT_ACCEPTABLE, "request", what);
    };
    let kind = text_of(request.headers(), header::CONTENT_TYPE).unwrap_or("");
    let kind = kind
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    // Held until the statement is planned: its text is bounded by `sql.statement_bytes`.
    let (body, _room) = match app.read_body(request.into_body()).await {
        Ok(read) => read,
        Err(error) => return http::refused(&error),
    };
    let asked = match asked(&kind, body) {
        Ok(asked) => asked,
        Err((code, what)) => return plain_error(code, "request", &what),
    };
    let zone = match asked.zone.as_deref().map(Zone::parse).transpose() {
        Ok(zone) => zone,
        Err(error) => {
            return plain_error(
                StatusCode::BAD_REQUEST,
                "request",
                &format!("zone: {error}"),
            );
        }
    };
    let caller = caller(&who, false, zone);
    let prepared = match sql.prepare(&asked.sql, &caller).await {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error, &tally),
    };
    let values = match parameters::scalars(&asked.parameters, &prepared.parameters()) {
        Ok(values) => values,
        Err(what) => return plain_error(StatusCode::BAD_REQUEST, "request", &what),
    };
    let mut rows = match prepared.execute(values).await {
        Ok(rows) => rows,
        Err(error) => return failed(&error, &tally),
    };
    let first = match rows.next().await.transpose() {
        Ok(first) => first,
        Err(error) => return failed(&error, &tally),
    };
    let (sender, pieces) = Pieces::new();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let sent = send(&runtime, rows, first, format, &sender, &mut tally);
        match sent {
            Ok(()) => {}
            Err(Stopped::Gone) => {
                metrics::counter!("mkts_sql_cancelled_total", "door" => "http").increment(1);
            }
            Err(Stopped::Failed(error)) => {
                tally.failed(&error);
                tracing::warn!("a statement failed while its result was sent: {error}");
            }
        }
    });
    let mut reply = Response::new(Out::Stream(pieces));
    let media_type = HeaderValue::from_static(format.media_type());
    reply.headers_mut().insert(header::CONTENT_TYPE, media_type);
    reply.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    reply
}

/// The statement of a body.
fn asked(kind: &str, body: Bytes) -> Result<Asked, (StatusCode, String)> {
    let bad = |what: String| (StatusCode::BAD_REQUEST, what);
    match kind {
        "application/json" => serde_json::from_slice(&body)
            .map_err(|error| bad(format!("the body is not {{\"sql\": \"...\"}}: {error}"))),
        "" | "text/plain" | "application/sql" | "application/x-www-form-urlencoded" => {
            let text = String::from_utf8(body.into())
                .map_err(|_| bad("the statement is not UTF-8".to_owned()))?;
            Ok(Asked {
                sql: text,
                ..Asked::default()
            })
        }
        other => Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type {other} is not text/plain or application/json"),
        )),
    }
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Why a body is not whole.
enum Stopped {
    /// Nobody takes it any more.
    Gone,
    Failed(Error),
}

/// Encodes batch after batch on this thread, not faster than the client takes them.
fn send(
    runtime: &Handle,
    mut rows: Rows,
    first: Option<RecordBatch>,
    format: Format,
    sender: &mpsc::Sender<Piece>,
    tally: &mut Tally,
) -> Result<(), Stopped> {
    let broken = |error: arrow::error::ArrowError| {
        Stopped::Failed(Error::new(ErrorKind::Failed, error.to_string()))
    };
    let give = |bytes: Vec<u8>| {
        sender
            .blocking_send(Piece::Bytes(bytes.into()))
            .map_err(|_| Stopped::Gone)
    };
    let mut encoder = Encoder::new(format, rows.schema()).map_err(broken)?;
    let mut next = first;
    while let Some(batch) = next {
        encoder.add(&batch).map_err(broken)?;
        tally.add(batch.num_rows() as u64);
        drop(batch);
        if encoder.len() >= PIECE_BYTES {
            give(encoder.take())?;
        }
        let waited = async {
            tokio::select! {
                next = rows.next() => next.transpose().map_err(Stopped::Failed),
                () = sender.closed() => Err(Stopped::Gone),
            }
        };
        next = runtime.block_on(waited)?;
    }
    encoder.end().map_err(broken)?;
    give(encoder.take())?;
    sender.blocking_send(Piece::End).map_err(|_| Stopped::Gone)
}

/// An error of a statement.
fn failed(error: &Error, tally: &Tally) -> Reply {
    tally.failed(error);
    let code = match error.kind {
        ErrorKind::Syntax | ErrorKind::Unknown | ErrorKind::Invalid | ErrorKind::Unsupported => {
            StatusCode::BAD_REQUEST
        }
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Busy | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut body = json!({
        "kind": error.kind.name(),
        "message": error.message,
    });
    if let Some(position) = error.position {
        body["line"] = position.line.into();
        body["column"] = position.column.into();
    }
    if let Some(hint) = &error.hint {
        body["hint"] = hint.as_str().into();
    }
    http::json(code, format!("{}\n", json!({ "error": body })))
}

fn plain_error(code: StatusCode, kind: &str, message: &str) -> Reply {
    metrics::counter!("mkts_rejected_total", "reason" => "sql").increment(1);
    let body = json!({ "error": { "kind": kind, "message": message } });
    http::json(code, format!("{body}\n"))
}
