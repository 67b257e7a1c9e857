//! `Query` and `QueryStream`: the calls whose replies are large. Their columns are not copied into a
//! message, so these two are answered here and not by generated code.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use client::wire::{Reply, Request as Call};
use client_proto::mkts::v1::bulk_server;
use client_proto::proto::{MultiQueryRequest, MultiQueryResponse};
use hyper::{Request, Response};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{Codec, Streaming};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Extensions, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::message::{Encoded, Messages, Step};
use super::service::{self, check_count, contained};
use super::{convert, login};
use crate::auth::Caller;
use crate::config::Grpc;
use crate::http::App;
use crate::room::Held;
use crate::rpc;

/// Parts of a reply made ahead of its reader.
const PARTS_AHEAD: usize = 1;

/// What both calls need.
#[derive(Debug, Clone)]
pub(super) struct Bulk {
    pub(super) app: Arc<App>,
    pub(super) options: Grpc,
}

type Answer = Result<Response<Body>, Status>;
type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Bulk {
    /// Reads the message of a call, and whose it is.
    async fn read(&self, request: Request<Body>) -> Result<(Caller, MultiQueryRequest), Status> {
        let (parts, body) = request.into_parts();
        let decoder = ProstCodec::<MultiQueryRequest, MultiQueryRequest>::default().decoder();
        let most = Some(self.options.receive_bytes_max);
        let mut messages = Streaming::new_request(decoder, body, None, most);
        let message = messages.message().await?;
        let message = message.ok_or_else(|| Status::internal("Missing request message."))?;
        let metadata = MetadataMap::from_headers(parts.headers);
        let extensions: Extensions = parts.extensions;
        let request = tonic::Request::from_parts(metadata, extensions, message);
        let caller = login(&self.app, &request).await?;
        let message = request.into_inner();
        check_count(&self.app, message.requests.len())?;
        Ok((caller, message))
    }

    /// Carries a query out, on a blocking thread.
    async fn query(self, request: Request<Body>) -> Answer {
        let (caller, message) = self.read(request).await?;
        service::blocking(move || {
            let began = Instant::now();
            let queries = Call::Query(convert::queries(message.requests));
            let mut held = Held::default();
            let reply = contained("Query", || {
                rpc::carry_out(&self.app, &caller, &queries, &mut held)
            })?;
            let Reply::Query {
                responses,
                version,
                timezone,
            } = reply
            else {
                return Err(convert::other_reply());
            };
            let rows: Result<_, Status> = responses.into_iter().map(convert::rows).collect();
            let last = MultiQueryResponse {
                responses: Vec::new(),
                version,
                timezone,
            };
            let message = Encoded::reply(rows?, &last, self.options.send_bytes_max)?;
            metrics::histogram!("mkts_grpc_seconds", "method" => "Query").record(began.elapsed());
            Ok(Messages::one(message, held))
        })
        .await
    }

    /// Plans the queries, then makes part after part as they are taken.
    async fn query_stream(self, request: Request<Body>) -> Answer {
        let (caller, message) = self.read(request).await?;
        let began = Instant::now();
        let open = {
            let (app, caller) = (Arc::clone(&self.app), caller.clone());
            let queries = convert::queries(message.requests);
            move || contained("QueryStream", || rpc::Parts::open(&app, &caller, queries))
        };
        let parts = service::blocking(open).await?;
        let (steps, more) = mpsc::channel(PARTS_AHEAD);
        tokio::spawn(async move {
            self.send(caller, parts, steps).await;
            metrics::histogram!("mkts_grpc_seconds", "method" => "QueryStream")
                .record(began.elapsed());
        });
        Ok(Messages::many(more))
    }

    /// Ends with the last part, or when nobody takes any more. Waiting costs no thread.
    async fn send(&self, caller: Caller, mut parts: rpc::Parts, steps: mpsc::Sender<Step>) {
        loop {
            let (this, caller) = (self.clone(), caller.clone());
            let made = service::blocking(move || {
                let step = this.step(&caller, &mut parts);
                Ok((step, parts))
            });
            let step = match made.await {
                Ok((step, rest)) => {
                    parts = rest;
                    step
                }
                Err(status) => {
                    let _ = steps.send(Step::Failed(status)).await;
                    return;
                }
            };
            let is_last = !matches!(step, Step::Message(..));
            let time = self.app.limits().call_time;
            let sent = tokio::time::timeout(time, steps.send(step)).await;
            if is_last || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn step(&self, caller: &Caller, parts: &mut rpc::Parts) -> Step {
        let part = contained("QueryStream", || parts.next(&self.app, caller));
        let made = part.and_then(|part| {
            let Some(part) = part else {
                return Ok(Step::End);
            };
            // Requests of a call are few.
            let request = u32::try_from(part.request).unwrap_or(u32::MAX);
            let rows = convert::rows(part.reply)?;
            let message = Encoded::part(request, rows, self.options.send_bytes_max)?;
            Ok(Step::Message(message, part.held))
        });
        made.unwrap_or_else(Step::Failed)
    }
}

async fn answered(answer: impl Future<Output = Answer>) -> Result<Response<Body>, Infallible> {
    Ok(answer.await.unwrap_or_else(Status::into_http))
}

/// MarketStore's service with our `Query`.
#[derive(Debug, Clone)]
pub(super) struct WithQuery<S> {
    pub(super) inner: S,
    pub(super) bulk: Bulk,
}

impl<S: NamedService> NamedService for WithQuery<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for WithQuery<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        match request.uri().path() {
            "/proto.Marketstore/Query" => Box::pin(answered(self.bulk.clone().query(request))),
            _ => Box::pin(self.inner.call(request)),
        }
    }
}

impl NamedService for Bulk {
    const NAME: &'static str = bulk_server::SERVICE_NAME;
}

impl Service<Request<Body>> for Bulk {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        match request.uri().path() {
            "/mkts.v1.Bulk/QueryStream" => Box::pin(answered(self.clone().query_stream(request))),
            other => {
                let unknown = Status::unimplemented(format!("there is no method {other}"));
                Box::pin(async move { Ok(unknown.into_http()) })
            }
        }
    }
}
