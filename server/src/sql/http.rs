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
use crate::auth::Caller;
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
    let tally = Tally::start("http");
    match begin(&app, request, peer, &tally).await {
        Ok(begun) => begun.reply(tally),
        Err(refused) => *refused,
    }
}

/// A result whose first rows are there.
struct Begun {
    rows: Rows,
    first: Option<RecordBatch>,
    format: Format,
}

/// Up to the first rows, which decide the status.
async fn begin(
    app: &App,
    request: Request<Incoming>,
    peer: IpAddr,
    tally: &Tally,
) -> Result<Begun, Box<Reply>> {
    let (who, request) = admit(app, request, peer).await?;
    let Some(sql) = app.sql.clone() else {
        let what = "SQL is switched off (sql.enabled)";
        return Err(plain_error(StatusCode::NOT_FOUND, "off", what).into());
    };
    let Some(format) = Format::accepted(text_of(request.headers(), header::ACCEPT)) else {
        let what = "Accept names none of application/json, application/x-ndjson, text/csv, \
                    application/vnd.apache.arrow.stream";
        return Err(plain_error(StatusCode::NOT_ACCEPTABLE, "request", what).into());
    };
    let kind = media_type(request.headers());
    // Held until the statement is planned: its text is bounded by `sql.statement_bytes`.
    let body = app.read_body(request.into_body()).await;
    let (body, _room) = body.map_err(|error| http::refused(&error))?;
    let refused = |(code, what): (_, String)| plain_error(code, "request", &what);
    let bad = |what: String| refused((StatusCode::BAD_REQUEST, what));
    let asked = asked(&kind, body).map_err(refused)?;
    let zone = asked.zone.as_deref().map(Zone::parse).transpose();
    let zone = zone.map_err(|error| bad(format!("zone: {error}")))?;
    let caller = caller(&who, false, zone);
    let failed = |error: Error| failed(&error, tally);
    let prepared = sql.prepare(&asked.sql, &caller).await.map_err(failed)?;
    let values = parameters::scalars(&asked.parameters, &prepared.parameters());
    let mut rows = prepared
        .execute(values.map_err(bad)?)
        .await
        .map_err(failed)?;
    let first = rows.next().await.transpose().map_err(failed)?;
    Ok(Begun {
        rows,
        first,
        format,
    })
}

/// Who asks, if the request is one for a statement and he may ask.
async fn admit(
    app: &App,
    request: Request<Incoming>,
    peer: IpAddr,
) -> Result<(Caller, Request<Incoming>), Box<Reply>> {
    if request.method() != Method::POST {
        let code = StatusCode::METHOD_NOT_ALLOWED;
        let mut reply = plain_error(code, "request", "POST a statement");
        let allow = HeaderValue::from_static("POST");
        reply.headers_mut().insert(header::ALLOW, allow);
        return Err(reply.into());
    }
    if !http::origin_is_allowed(app, request.headers()) {
        return Err(http::foreign().into());
    }
    match http::login(app, "sql", &request, peer).await {
        Ok(who) => Ok((who, request)),
        Err(refused) => {
            app.discard_body(request.into_body()).await;
            let reply = plain_error(StatusCode::UNAUTHORIZED, "denied", &refused.to_string());
            Err(http::as_unauthorized(reply, &refused).into())
        }
    }
}

impl Begun {
    /// The reply; a thread encodes the rows as the client takes them.
    fn reply(self, mut tally: Tally) -> Reply {
        let format = self.format;
        let (sender, pieces) = Pieces::new();
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || match send(&runtime, self, &sender, &mut tally) {
            Ok(()) => {}
            Err(Stopped::Gone) => {
                metrics::counter!("mkts_sql_cancelled_total", "door" => "http").increment(1);
            }
            Err(Stopped::Failed(error)) => {
                tally.failed(&error);
                tracing::warn!("a statement failed while its result was sent: {error}");
            }
        });
        let mut reply = Response::new(Out::Stream(pieces));
        for (name, value) in [
            (header::CONTENT_TYPE, format.media_type()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            let value = HeaderValue::from_static(value);
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

/// The type of a body, without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let text = text_of(headers, header::CONTENT_TYPE).unwrap_or("");
    let kind = text.split(';').next().unwrap_or("");
    kind.trim().to_ascii_lowercase()
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
    begun: Begun,
    sender: &mpsc::Sender<Piece>,
    tally: &mut Tally,
) -> Result<(), Stopped> {
    let Begun {
        mut rows,
        first,
        format,
    } = begun;
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
