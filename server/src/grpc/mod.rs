//! MarketStore's gRPC service: the same calls as the RPC in another encoding.
//!
//! A request becomes that of the RPC (convert.rs) and is carried out by the same code, so the two
//! doors cannot differ in what they do. Calls run on blocking threads; a panic ends its call alone.
//! Messages are read whole, so their size is bounded, how many are read at once, and how many bytes all
//! of them have (gate.rs). Large replies go out without a copy (bulk.rs, message.rs), those of
//! `QueryStream` part by part.

mod bulk;
mod convert;
mod gate;
mod message;
mod service;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bulk::{Bulk, WithQuery};
use client_proto::DESCRIPTORS;
use client_proto::proto::marketstore_server::MarketstoreServer;
use gate::Gate;
use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::auth::{Caller, of_authorization};
use crate::config::{Flight, Grpc};
use crate::http::App;
use crate::socket;

/// A window of HTTP/2: large messages must not wait for a round trip every 64 KiB.
const FLOW_WINDOW: u32 = 8 << 20;

/// Calls read or answered at once; further ones wait.
const CALLS_MAX: usize = 64;

/// Calls of one connection at once.
const CONNECTION_CALLS_MAX: u32 = 256;

/// A frame of HTTP/2 from a client: fewer of them for large messages.
const FRAME_BYTES: u32 = 1 << 20;

/// A peer that does not answer a ping in time is gone, and its calls with it.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);

/// The token of a call. What cannot be read is a token that nobody has, not one that is missing.
fn token_of(headers: &HeaderMap) -> Option<String> {
    let shown = headers.get(AUTHORIZATION)?;
    let token = shown.to_str().ok().and_then(of_authorization);
    Some(token.unwrap_or_default())
}

/// Whoever calls, by the metadata `authorization`.
pub(crate) async fn login<T>(
    app: &App,
    request: &tonic::Request<T>,
) -> Result<Caller, tonic::Status> {
    let shown = token_of(request.metadata().as_ref());
    let refused = match app.auth.caller(shown.as_deref()) {
        Ok(caller) => return Ok(caller),
        Err(refused) => refused,
    };
    let peer = request.remote_addr().map(|peer| peer.ip());
    tokio::time::sleep(app.auth.refused("grpc", peer, &refused)).await;
    Err(tonic::Status::unauthenticated(refused.to_string()))
}

/// Answers calls of a listener until `shutdown`, then waits for those under way.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(
    app: Arc<App>,
    options: Grpc,
    flight: Flight,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<MarketstoreServer<service::Service>>()
        .await;
    health.set_serving::<Bulk>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(io::Error::other)?;
    let tls = app.tls.as_ref().map(|tls| tls.acceptor(&["h2"]));
    let incoming = socket::incoming(listener, tls, app.limits().header_time);
    #[cfg(feature = "sql")]
    let flight = crate::flight::service(&app, flight, options);
    let bulk = Bulk {
        app: Arc::clone(&app),
        options,
    };
    let gate = Gate::new(Arc::clone(&app));
    let service = WithQuery {
        inner: MarketstoreServer::new(service::Service(app))
            .max_decoding_message_size(options.receive_bytes_max)
            .max_encoding_message_size(options.send_bytes_max),
        bulk: bulk.clone(),
    };
    let server = Server::builder()
        .initial_stream_window_size(FLOW_WINDOW)
        .initial_connection_window_size(FLOW_WINDOW)
        .max_concurrent_streams(CONNECTION_CALLS_MAX)
        .max_frame_size(FRAME_BYTES)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIME))
        .layer(GlobalConcurrencyLimitLayer::new(CALLS_MAX))
        .layer(gate)
        .add_service(service)
        .add_service(bulk)
        .add_service(health_service)
        .add_service(reflection);
    #[cfg(feature = "sql")]
    let server = server.add_optional_service(flight);
    #[cfg(not(feature = "sql"))]
    let _ = flight;
    server
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
        .map_err(io::Error::other)
}
