//! `POST /write/<symbol>/<timeframe>/<attribute group>` and `POST /write`: rows as Arrow IPC or CSV.
//!
//! Each bucket is written by itself: what is wrong with one says nothing of the others, and the
//! answer names them all. All commits are queued before the first is waited for, so they share
//! syncs. Rows of one bucket over half of `limits.frame_bytes` become several commits in order.

mod rows;

use std::net::IpAddr;
use std::sync::Arc;

use engine::{Commit, Engine, Origin, Rows, Ticket};
use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, StatusCode};
use model::{BucketKey, ColumnBatch, RowKind};
use serde_json::json;

use crate::auth::{Caller, Right};
use crate::http::{self, App, Reply};
use crate::percent;
#[cfg(feature = "sql")]
pub(crate) use rows::Gathered;

pub(crate) const PATH: &str = "/write";
pub(crate) const PREFIX: &str = "/write/";

/// How a body is to be written.
#[derive(Debug, Clone)]
struct How {
    /// Of all rows; else the rows name their buckets themselves.
    key: Option<BucketKey>,
    /// What a bucket becomes that is not there; `None` refuses it.
    create: Option<RowKind>,
}

/// Rows of one bucket, or why there are none.
pub(crate) type Part = (String, Result<(BucketKey, ColumnBatch), String>);

/// What became of one bucket.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) key: String,
    pub(crate) rows: usize,
    pub(crate) error: Option<String>,
}

/// Answers one request.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>, peer: IpAddr) -> Reply {
    if request.method() != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "POST rows");
    }
    if !http::origin_is_allowed(&app, request.headers()) {
        return http::foreign();
    }
    let who = match http::login(&app, "write", &request, peer).await {
        Ok(who) => who,
        Err(denied) => {
            app.discard_body(request.into_body()).await;
            let reply = refused(StatusCode::UNAUTHORIZED, &denied.to_string());
            return http::as_unauthorized(reply, &denied);
        }
    };
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let Some(read) = rows::reader(&kind) else {
        let what = "Content-Type must be application/vnd.apache.arrow.stream or text/csv";
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, what);
    };
    let how = match how(request.uri().path(), request.uri().query()) {
        Ok(how) => how,
        Err(what) => return refused(StatusCode::BAD_REQUEST, &what),
    };
    let (body, room) = match app.read_body(request.into_body()).await {
        Ok(body) => body,
        Err(error) => return http::refused(&error),
    };
    let work = move || {
        let parts = read(&app.engine, body, how.key.as_ref());
        let written = parts.map(|parts| write(&app.engine, allowed(&who, parts), how.create));
        drop(room);
        written
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(written)) => report(&written),
        Ok(Err(what)) => refused(StatusCode::BAD_REQUEST, &what),
        Err(_) => {
            metrics::counter!("mkts_panics_total").increment(1);
            refused(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

/// The bucket of the path and the words of the query.
fn how(path: &str, query: Option<&str>) -> Result<How, String> {
    let key = match path.strip_prefix(PREFIX) {
        Some(key) if !key.is_empty() => {
            let key = String::from_utf8(percent::decode(key)?);
            let key = key.map_err(|_| "the path is not UTF-8")?;
            Some(BucketKey::parse(&key).map_err(|error| error.to_string())?)
        }
        _ => None,
    };
    let (mut kind, mut create) = (RowKind::Bar, true);
    for pair in query.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
        match pair {
            "kind=bar" => kind = RowKind::Bar,
            "kind=tick" => kind = RowKind::Tick,
            "create=true" => create = true,
            "create=false" => create = false,
            _ => {
                return Err(format!(
                    "\"{pair}\" is not known; write kind=bar or kind=tick, create=true or create=false"
                ));
            }
        }
    }
    let create = create.then_some(kind);
    Ok(How { key, create })
}

/// Only what the caller may write stays rows.
fn allowed(who: &Caller, parts: Vec<Part>) -> Vec<Part> {
    let check = |(text, part): Part| {
        let part = part.and_then(|(key, batch)| match who.require(Right::Write, &key) {
            Ok(()) => Ok((key, batch)),
            Err(denied) => Err(denied.to_string()),
        });
        (text, part)
    };
    parts.into_iter().map(check).collect()
}

/// Writes rows bucket by bucket; one entry for each, in the order given.
pub(crate) fn write(engine: &Engine, parts: Vec<Part>, create: Option<RowKind>) -> Vec<Written> {
    let frame_bytes = engine.options().frame_bytes_max;
    let queued: Vec<_> = parts
        .into_iter()
        .map(|(key, part)| match part {
            Ok((bucket, batch)) => {
                let rows = batch.rows();
                (
                    key,
                    rows,
                    queue(engine, &bucket, &batch, create, frame_bytes),
                )
            }
            Err(what) => (key, 0, Err(what)),
        })
        .collect();
    let wait = |(key, rows, tickets): (String, usize, Result<Vec<Ticket>, String>)| {
        let waited = tickets.and_then(|tickets| {
            let mut ends = tickets.into_iter().map(|ticket| ticket.wait());
            ends.try_for_each(|end| end.map(drop).map_err(|error| error.to_string()))
        });
        let error = waited.err();
        let rows = if error.is_none() { rows } else { 0 };
        Written { key, rows, error }
    };
    queued.into_iter().map(wait).collect()
}

fn queue(
    engine: &Engine,
    key: &BucketKey,
    batch: &ColumnBatch,
    create: Option<RowKind>,
    frame_bytes: usize,
) -> Result<Vec<Ticket>, String> {
    model::Timeframe::parse(key.timeframe()).map_err(|error| error.to_string())?;
    let row_bytes = (batch.bytes() / batch.rows().max(1)).max(1);
    // Half: the frame has more than the rows in it, and a column may be wider in the bucket.
    let step = (frame_bytes / 2 / row_bytes).max(1);
    let starts = (0..batch.rows()).step_by(step);
    let commit = |start: usize| Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: vec![Rows {
            key: key.clone(),
            batch: batch.slice(start..batch.rows().min(start + step)),
            create,
        }],
        section: None,
    };
    starts
        .map(|start| engine.write(commit(start)).map_err(|e| e.to_string()))
        .collect()
}

/// 200 if a bucket was written, or there was nothing to write; else 400.
fn report(written: &[Written]) -> Reply {
    let failed = written.iter().filter(|w| w.error.is_some()).count();
    let code = match failed > 0 && failed == written.len() {
        true => StatusCode::BAD_REQUEST,
        false => StatusCode::OK,
    };
    let buckets = written
        .iter()
        .map(|w| json!({ "key": w.key, "rows": w.rows, "error": w.error }));
    let mut body = json!({
        "rows": written.iter().map(|w| w.rows).sum::<usize>(),
        "buckets": buckets.collect::<Vec<_>>(),
    });
    if code != StatusCode::OK {
        let first = written.iter().find_map(|w| w.error.as_deref());
        body["error"] = json!({ "kind": "write", "message": first });
    }
    http::json(code, format!("{body}\n"))
}

fn refused(code: StatusCode, message: &str) -> Reply {
    metrics::counter!("mkts_rejected_total", "reason" => "write").increment(1);
    let body = json!({ "error": { "kind": "request", "message": message } });
    http::json(code, format!("{body}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_words_are_understood_or_named() {
        let one = how("/write/AAPL/1Min/OHLCV", Some("kind=tick&create=false")).unwrap();
        assert_eq!(one.key.unwrap().as_str(), "AAPL/1Min/OHLCV");
        assert_eq!(one.create, None);
        let many = how("/write", None).unwrap();
        assert!(many.key.is_none());
        assert_eq!(many.create, Some(RowKind::Bar));
        assert_eq!(
            how("/write/", Some("kind=tick")).unwrap().create,
            Some(RowKind::Tick)
        );
        let coded = how("/write/BRK%2EB/1D/X", None).unwrap();
        assert_eq!(coded.key.unwrap().symbol(), "BRK.B");
        assert!(how("/write/AAPL/1Min", None).is_err());
        let error = how("/write/A/1Min/X", Some("kind=bars")).unwrap_err();
        assert!(error.contains("kind=bars"), "{error}");
    }
}
