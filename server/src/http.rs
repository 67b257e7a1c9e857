//! HTTP/1.1: one service for every listener. Sockets live on the reactor, calls on blocking
//! threads; nothing that takes time runs between the two.
//!
//! | path | |
//! |---|---|
//! | `POST /rpc` | the RPC, MessagePack or JSON |
//! | `/ws` | WebSocket of the streams |
//! | `/heartbeat` | whether the server answers queries, for supervisors |
//! | `/health` | whether every required plugin runs, and what is wrong with which |
//! | `/metrics` | Prometheus text |
//! | `/admin/v1/*` | what an operator asks, on loopback only |

mod body;
mod connection;
mod origin;
mod slow;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::wire::{Body, Codec};
use engine::Engine;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use model::Zone;
use plugin_host::Host;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::{Config, Limits};
use crate::room::Room;
use crate::stream::{self, Hub};
use crate::{admin, rpc, status};
pub(crate) use body::Chunks;
use body::ReadError;

/// What the doors of the server share.
#[derive(Debug)]
pub struct App {
    /// The store.
    pub engine: Engine,
    /// The plugins.
    pub host: Host,
    /// The streams.
    pub hub: Arc<Hub>,
    /// Zone of days and weeks.
    pub zone: Zone,
    /// What `Marketstore-Version` says.
    pub version: String,
    /// Limits on requests.
    pub limits: Limits,
    /// Web pages that may call, beside those of the server itself.
    pub allowed_origins: Vec<String>,
    started: Instant,
    queryable: AtomicBool,
    // One for all listeners.
    connections: Arc<Semaphore>,
    slow_heads: slow::SlowHeads,
    // Bytes that bodies under way may still take.
    bodies: Room,
    // The same for results.
    pub(crate) results: Room,
}

impl App {
    /// A server over an open store.
    pub fn new(engine: Engine, host: Host, hub: Arc<Hub>, config: &Config) -> Arc<Self> {
        let (limits, origins) = (config.limits.clone(), config.allowed_origins.clone());
        Self::with(engine, host, hub, config.timezone.clone(), limits, origins)
    }

    /// The same without a configuration file.
    pub fn with(
        engine: Engine,
        host: Host,
        hub: Arc<Hub>,
        zone: Zone,
        limits: Limits,
        allowed_origins: Vec<String>,
    ) -> Arc<Self> {
        status::start_recorder();
        Arc::new(Self {
            engine,
            host,
            hub,
            zone,
            version: status::git_hash().to_owned(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            slow_heads: slow::SlowHeads::default(),
            bodies: body::room(&limits),
            results: Room::new(limits.results_bytes),
            limits,
            allowed_origins,
            started: Instant::now(),
            queryable: AtomicBool::new(true),
        })
    }

    /// Whether queries are answered: until the stop begins.
    pub fn is_queryable(&self) -> bool {
        self.queryable.load(Relaxed)
    }

    /// How long the server runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Longest pause after an error of `accept`, mostly too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests of a listener until `shutdown`, then waits for those under way.
///
/// # Errors
/// None today; a listener that fails for a moment is tried again.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    // Receivers are held by connections and sockets: when all are gone, all have ended.
    let (stop, stopping) = watch::channel(false);
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => connection::start(&app, stream, peer.ip(), stopping.clone()),
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    app.queryable.store(false, Relaxed);
    drop(listener);
    drop(stopping);
    stop.send_replace(true);
    stop.closed().await;
    Ok(())
}

type Reply = Response<Chunks>;

/// What a connection holds, and a WebSocket that comes of it: its place among the connections, and
/// the word that the server stops.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) stopping: watch::Receiver<bool>,
    peer: IpAddr,
    _place: Arc<OwnedSemaphorePermit>,
}

/// Answers one request.
async fn handle(
    app: Arc<App>,
    request: Request<Incoming>,
    session: Session,
) -> Result<Reply, Infallible> {
    Ok(match request.uri().path() {
        "/rpc" => {
            let mut reply = rpc(app.clone(), request).await;
            let version = HeaderValue::from_str(&app.version);
            if let Ok(version) = version {
                reply.headers_mut().insert("marketstore-version", version);
            }
            reply
        }
        "/ws" if !origin::is_allowed(request.headers(), &app.allowed_origins) => foreign(),
        "/ws" => stream::upgrade(&app, request, session)
            .unwrap_or_else(|| text(StatusCode::BAD_REQUEST, "Bad Request\n")),
        "/heartbeat" => {
            let (code, json) = status::heartbeat(&app);
            text(code, json)
        }
        "/health" if request.method() == Method::GET => {
            // Status takes locks of the store for a moment.
            let asked = tokio::task::spawn_blocking(move || status::health(&app)).await;
            let (code, json) =
                asked.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, "{}\n".to_owned()));
            let mut reply = text(code, json);
            let kind = HeaderValue::from_static("application/json");
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            reply
        }
        "/metrics" if request.method() == Method::GET => {
            // Status takes locks of the store for a moment.
            let rendered = tokio::task::spawn_blocking(move || status::metrics(&app)).await;
            text(StatusCode::OK, rendered.unwrap_or_default())
        }
        path if path.starts_with(admin::PREFIX) => admin(app, request, session.peer).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    })
}

async fn admin(app: Arc<App>, request: Request<Incoming>, peer: IpAddr) -> Reply {
    let headers = request.headers();
    if !origin::is_allowed(headers, &[]) || !origin::is_own_host(headers) {
        return foreign();
    }
    if !admin::is_local(peer, headers) {
        metrics::counter!("mkts_rejected_total", "reason" => "admin").increment(1);
        return text(
            StatusCode::FORBIDDEN,
            "/admin is answered on this machine only\n",
        );
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (body, room) = match body::read(request.into_body(), &app.limits, &app.bodies).await {
        Ok(body) => body,
        Err(error) => return refused(&error),
    };
    let answered = tokio::task::spawn_blocking(move || {
        let asked = admin::Request {
            method,
            path: uri.path()[admin::PREFIX.len()..].to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            body,
        };
        let answer = admin::answer(&app, &asked);
        drop((asked, room));
        answer
    });
    let Ok((code, json)) = answered.await else {
        metrics::counter!("mkts_panics_total").increment(1);
        return text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
    };
    let mut reply = text(code, json);
    let kind = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

async fn rpc(app: Arc<App>, request: Request<Incoming>) -> Reply {
    if request.method() != Method::POST {
        let what = format!("rpc: POST method required, received {}", request.method());
        return text(StatusCode::METHOD_NOT_ALLOWED, what);
    }
    if !origin::is_allowed(request.headers(), &app.allowed_origins) {
        return foreign();
    }
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let Some(codec) = Codec::of_content_type(&kind) else {
        let media = kind.split(';').next().unwrap_or("");
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("rpc: unrecognized Content-Type: {media}"),
        );
    };
    let (body, room) = match body::read(request.into_body(), &app.limits, &app.bodies).await {
        Ok(body) => body,
        Err(error) => return refused(&error),
    };
    let answer = move || {
        let answer = rpc::answer(&app, codec, &body);
        drop((body, room));
        answer
    };
    let answered = tokio::task::spawn_blocking(answer).await;
    let Ok(answer) = answered else {
        metrics::counter!("mkts_panics_total").increment(1);
        return text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
    };
    let mut reply = Response::new(Chunks::new(answer.body).holding(answer.held));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(codec.content_type()),
    );
    if answer.understood {
        headers.insert(
            "x-content-type-options",
            HeaderValue::from_static("nosniff"),
        );
    }
    reply
}

fn refused(error: &ReadError) -> Reply {
    let (code, what) = match error {
        ReadError::TooLarge(limit) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is over {limit} bytes (limits.request_body)\n"),
        ),
        ReadError::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time (limits.body_idle_time)\n".to_owned(),
        ),
        ReadError::Broken => (StatusCode::BAD_REQUEST, "the body is broken\n".to_owned()),
        ReadError::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests at once for the memory of bodies (limits.request_body)\n".to_owned(),
        ),
    };
    metrics::counter!("mkts_rejected_total", "reason" => "body").increment(1);
    let mut reply = text(code, what);
    // The rest of the body is not read.
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(header::CONNECTION, close);
    reply
}

fn foreign() -> Reply {
    metrics::counter!("mkts_rejected_total", "reason" => "origin").increment(1);
    text(
        StatusCode::FORBIDDEN,
        "this Origin may not call the server (allowed_origins)\n",
    )
}

fn text(code: StatusCode, body: impl Into<String>) -> Reply {
    let body = Body::new(vec![Bytes::from(body.into())]);
    let mut reply = Response::new(Chunks::new(body));
    *reply.status_mut() = code;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}
