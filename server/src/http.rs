//! HTTP/1.1: one service for every listener. Sockets live on the reactor, calls on blocking
//! threads; nothing that takes time runs between the two.
//!
//! | path | |
//! |---|---|
//! | `POST /rpc` | the RPC, MessagePack or JSON |
//! | `POST /sql` | SQL; the result is JSON, CSV or Arrow IPC |
//! | `POST /write/*` | rows as Arrow IPC or CSV |
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
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::wire::{Body, Codec, RpcError};
use engine::Engine;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use model::Zone;
use parking_lot::RwLock;
use plugin_host::Host;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::auth::{self, Auth, Caller, Right, Unauthorized};
use crate::config::{self, Config, Limits};
use crate::reload::Reload;
use crate::room::{Held, Room};
use crate::stream::{self, Hub};
use crate::tls::Tls;
use crate::{admin, rpc, status, write};
pub(crate) use body::ReadError;
pub(crate) use body::{Chunks, Out};
#[cfg(feature = "sql")]
pub(crate) use body::{Piece, Pieces};

/// What a reload of the configuration changes while the server runs.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Limits on requests.
    pub limits: Arc<Limits>,
    /// Web pages that may call, beside those of the server itself.
    pub allowed_origins: Vec<String>,
    /// Whether `/metrics` is for everybody, whatever `auth` says.
    pub open_metrics: bool,
}

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
    /// Who may do what.
    pub auth: Auth,
    /// The certificate of every listener, if there is one.
    pub tls: Option<Tls>,
    live: RwLock<Arc<Live>>,
    /// Set once the server runs from a file.
    pub(crate) reload: OnceLock<Reload>,
    started: Instant,
    queryable: AtomicBool,
    // One for all listeners.
    connections: Arc<Semaphore>,
    slow_heads: slow::SlowHeads,
    // Bytes that bodies under way may still take.
    bodies: Room,
    // The same for results.
    pub(crate) results: Room,
    /// SQL, if it is switched on.
    #[cfg(feature = "sql")]
    pub(crate) sql: Option<sql::Sql>,
}

impl App {
    /// A server over an open store.
    pub fn new(
        engine: Engine,
        host: Host,
        hub: Arc<Hub>,
        config: &Config,
        auth: Auth,
        tls: Option<Tls>,
    ) -> Arc<Self> {
        let zone = config.timezone.clone();
        let mut app = Self::assemble(engine, host, hub, zone, config.live(), auth, tls);
        app.open_sql(&config.sql);
        Arc::new(app)
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
        let live = Live {
            limits: Arc::new(limits),
            allowed_origins,
            open_metrics: false,
        };
        let mut app = Self::assemble(engine, host, hub, zone, live, Auth::off(), None);
        app.open_sql(&config::Sql::default());
        Arc::new(app)
    }

    #[cfg(feature = "sql")]
    fn open_sql(&mut self, options: &config::Sql) {
        self.sql = crate::sql::open(self, options);
    }

    #[cfg(not(feature = "sql"))]
    fn open_sql(&mut self, _: &config::Sql) {}

    fn assemble(
        engine: Engine,
        host: Host,
        hub: Arc<Hub>,
        zone: Zone,
        live: Live,
        auth: Auth,
        tls: Option<Tls>,
    ) -> Self {
        let limits = Arc::clone(&live.limits);
        status::start_recorder();
        Self {
            #[cfg(feature = "sql")]
            sql: None,
            engine,
            host,
            hub,
            zone,
            version: status::git_hash().to_owned(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            slow_heads: slow::SlowHeads::default(),
            bodies: body::room(&limits),
            results: Room::new(limits.results_bytes),
            auth,
            tls,
            live: RwLock::new(Arc::new(live)),
            reload: OnceLock::new(),
            started: Instant::now(),
            queryable: AtomicBool::new(true),
        }
    }

    /// Reads a whole body within the limits.
    pub(crate) async fn read_body(&self, body: Incoming) -> Result<(Bytes, Held), ReadError> {
        body::read(body, &self.limits(), &self.bodies).await
    }

    /// Reads a body that is not looked at, so that the answer arrives.
    pub(crate) async fn discard_body(&self, body: Incoming) {
        body::discard(body, &self.limits()).await;
    }

    /// What a reload may change, as it stands now.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read())
    }

    /// The limits of now.
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.live.read().limits)
    }

    /// From now on.
    pub fn set_live(&self, live: Live) {
        *self.live.write() = Arc::new(live);
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
    let tls = app.tls.as_ref().map(|tls| tls.acceptor(&["http/1.1"]));
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let tls = tls.clone();
                connection::start(&app, stream, tls, peer.ip(), stopping.clone());
            }
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

pub(crate) type Reply = Response<Out>;

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
            let mut reply = rpc(app.clone(), request, session.peer).await;
            let version = HeaderValue::from_str(&app.version);
            if let Ok(version) = version {
                reply.headers_mut().insert("marketstore-version", version);
            }
            reply
        }
        "/ws" if !origin::is_allowed(request.headers(), &app.live().allowed_origins) => foreign(),
        "/ws" => match login(&app, "ws", &request, session.peer).await {
            Err(refused) => unauthorized(&refused),
            Ok(caller) => stream::upgrade(&app, request, caller, session)
                .unwrap_or_else(|| text(StatusCode::BAD_REQUEST, "Bad Request\n")),
        },
        "/heartbeat" => {
            let (code, json) = status::heartbeat(&app);
            text(code, json)
        }
        "/health" if request.method() == Method::GET => {
            // A probe shows no token and gets the word; the reasons are for those who do.
            let is_known = app.auth.caller(token(&request).as_deref()).is_ok();
            // Status takes locks of the store for a moment.
            let asked = tokio::task::spawn_blocking(move || status::health(&app, is_known)).await;
            let (code, answer) =
                asked.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, "{}\n".to_owned()));
            json(code, answer)
        }
        "/metrics" if request.method() == Method::GET => {
            if !app.live().open_metrics
                && let Err(refused) = login(&app, "metrics", &request, session.peer).await
            {
                return Ok(unauthorized(&refused));
            }
            // Status takes locks of the store for a moment.
            let rendered = tokio::task::spawn_blocking(move || status::metrics(&app)).await;
            text(StatusCode::OK, rendered.unwrap_or_default())
        }
        #[cfg(feature = "sql")]
        "/sql" => crate::sql::http::answer(app, request, session.peer).await,
        #[cfg(not(feature = "sql"))]
        "/sql" => text(
            StatusCode::NOT_FOUND,
            "this mkts was built without SQL (feature sql)\n",
        ),
        path if path == write::PATH || path.starts_with(write::PREFIX) => {
            write::answer(app, request, session.peer).await
        }
        path if path.starts_with(admin::PREFIX) => admin(app, request, session.peer).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    })
}

fn token<B>(request: &Request<B>) -> Option<String> {
    auth::of_http(request.headers(), request.uri().query())
}

/// Whoever sends a request. One who fails again and again waits for his answer here.
pub(crate) async fn login<B>(
    app: &App,
    door: &'static str,
    request: &Request<B>,
    peer: IpAddr,
) -> Result<Caller, Unauthorized> {
    let refused = match app.auth.caller(token(request).as_deref()) {
        Ok(caller) => return Ok(caller),
        Err(refused) => refused,
    };
    tokio::time::sleep(app.auth.refused(door, Some(peer), &refused)).await;
    Err(refused)
}

/// 401 as text.
pub(crate) fn unauthorized(refused: &Unauthorized) -> Reply {
    as_unauthorized(
        text(StatusCode::UNAUTHORIZED, format!("{refused}\n")),
        refused,
    )
}

/// Makes a reply a 401. Clients that show nothing of a body show the reason.
pub(crate) fn as_unauthorized(mut reply: Reply, refused: &Unauthorized) -> Reply {
    *reply.status_mut() = StatusCode::UNAUTHORIZED;
    let how = HeaderValue::from_static("Bearer realm=\"mkts\"");
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    if let Ok(reason) = ReasonPhrase::try_from(format!("Unauthorized: {refused}")) {
        reply.extensions_mut().insert(reason);
    }
    reply
}

pub(crate) fn json(code: StatusCode, json: String) -> Reply {
    let mut reply = text(code, json);
    let kind = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
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
    let caller = match login(&app, "admin", &request, peer).await {
        Ok(caller) => caller,
        Err(refused) => {
            let what = admin::refusal(&refused.to_string());
            body::discard(request.into_body(), &app.limits()).await;
            return as_unauthorized(json(StatusCode::UNAUTHORIZED, what), &refused);
        }
    };
    if let Err(denied) = caller.require_right(Right::Admin, "the server") {
        body::discard(request.into_body(), &app.limits()).await;
        return json(StatusCode::FORBIDDEN, admin::refusal(&denied.to_string()));
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let limits = app.limits();
    let (body, room) = match body::read(request.into_body(), &limits, &app.bodies).await {
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
    let Ok(answered) = answered.await else {
        metrics::counter!("mkts_panics_total").increment(1);
        return text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
    };
    let mut reply = text(answered.code, answered.body);
    let kind = HeaderValue::from_static(answered.kind);
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

async fn rpc(app: Arc<App>, request: Request<Incoming>, peer: IpAddr) -> Reply {
    if request.method() != Method::POST {
        let what = format!("rpc: POST method required, received {}", request.method());
        return text(StatusCode::METHOD_NOT_ALLOWED, what);
    }
    if !origin::is_allowed(request.headers(), &app.live().allowed_origins) {
        return foreign();
    }
    let limits = app.limits();
    let logged_in = login(&app, "rpc", &request, peer).await;
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let Some(codec) = Codec::of_content_type(&kind) else {
        let media = kind.split(';').next().unwrap_or("");
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("rpc: unrecognized Content-Type: {media}"),
        );
    };
    let caller = match logged_in {
        Ok(caller) => caller,
        Err(refused) => {
            // What it asks is not looked at, so the error is of no id.
            body::discard(request.into_body(), &limits).await;
            let error = RpcError::server(refused.to_string());
            let mut reply =
                Response::new(Out::from(Chunks::new(error.encode(codec, &Bytes::new()))));
            let kind = HeaderValue::from_static(codec.content_type());
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            return as_unauthorized(reply, &refused);
        }
    };
    let (body, room) = match body::read(request.into_body(), &limits, &app.bodies).await {
        Ok(body) => body,
        Err(error) => return refused(&error),
    };
    let answer = move || {
        let answer = rpc::answer(&app, &caller, codec, &body);
        drop((body, room));
        answer
    };
    let answered = tokio::task::spawn_blocking(answer).await;
    let Ok(answer) = answered else {
        metrics::counter!("mkts_panics_total").increment(1);
        return text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
    };
    let mut reply = Response::new(Chunks::new(answer.body).holding(answer.held).into());
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

pub(crate) fn refused(error: &ReadError) -> Reply {
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

/// Whether the page that a request comes from, if it comes from one, may call.
pub(crate) fn origin_is_allowed(app: &App, headers: &header::HeaderMap) -> bool {
    origin::is_allowed(headers, &app.live().allowed_origins)
}

pub(crate) fn foreign() -> Reply {
    metrics::counter!("mkts_rejected_total", "reason" => "origin").increment(1);
    text(
        StatusCode::FORBIDDEN,
        "this Origin may not call the server (allowed_origins)\n",
    )
}

pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    let body = Body::new(vec![body.into()]);
    let mut reply = Response::new(Chunks::new(body).into());
    *reply.status_mut() = code;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}
