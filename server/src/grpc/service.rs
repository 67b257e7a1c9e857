//! The methods: decode, carry out on a blocking thread, encode.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use client::wire::{Reply, Request};
use client_proto::proto::marketstore_server::Marketstore;
use client_proto::proto::{
    ListSymbolsRequest, ListSymbolsResponse, MultiCreateRequest, MultiKeyRequest,
    MultiQueryRequest, MultiQueryResponse, MultiServerResponse, MultiWriteRequest,
    ServerVersionRequest, ServerVersionResponse,
};
use tonic::{Response, Status};

use super::convert;
use crate::auth::Caller;
use crate::http::App;
use crate::room::Held;
use crate::rpc;

#[derive(Debug, Clone)]
pub(super) struct Service(pub(super) Arc<App>);

impl Service {
    /// Carries a request out; what comes of it is made by `encode`, on the same thread.
    async fn call<T: Send + 'static>(
        &self,
        caller: Caller,
        method: &'static str,
        decode: impl FnOnce() -> Result<Request, Status> + Send + 'static,
        encode: impl FnOnce(Reply) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let app = Arc::clone(&self.0);
        blocking(move || {
            let began = Instant::now();
            let request = decode()?;
            let mut held = Held::default();
            let reply = contained(method, || {
                rpc::carry_out(&app, &caller, &request, &mut held)
            })?;
            let answer = encode(reply);
            metrics::histogram!("mkts_grpc_seconds", "method" => method).record(began.elapsed());
            answer.map(Response::new)
        })
        .await
    }

    fn check_count(&self, requests: usize) -> Result<(), Status> {
        check_count(&self.0, requests)
    }
}

/// Runs on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Status::internal("internal error"))?
}

pub(super) fn check_count(app: &App, requests: usize) -> Result<(), Status> {
    let most = app.limits().requests_per_call;
    if requests > most {
        metrics::counter!("mkts_rejected_total", "reason" => "request").increment(1);
        return Err(Status::invalid_argument(format!(
            "{requests} requests in one call, the limit is {most} (limits.requests_per_call)"
        )));
    }
    Ok(())
}

/// A panic ends its call alone; an error of a whole call is of code UNKNOWN, as clients know it.
pub(super) fn contained<T>(
    method: &'static str,
    run: impl FnOnce() -> Result<T, rpc::Failure>,
) -> Result<T, Status> {
    let result = catch_unwind(AssertUnwindSafe(run)).map_err(|_| {
        metrics::counter!("mkts_panics_total").increment(1);
        tracing::error!(method, "a method panicked");
        Status::internal("internal error: the call was given up, see the server's log")
    })?;
    result.map_err(|failure| match failure.denied {
        true => Status::permission_denied(failure.text),
        false => Status::unknown(failure.text),
    })
}

#[tonic::async_trait]
impl Marketstore for Service {
    /// Answered before it comes here, without a copy of the columns.
    async fn query(
        &self,
        _: tonic::Request<MultiQueryRequest>,
    ) -> Result<Response<MultiQueryResponse>, Status> {
        Err(Status::internal("internal error: a query went astray"))
    }

    async fn create(
        &self,
        request: tonic::Request<MultiCreateRequest>,
    ) -> Result<Response<MultiServerResponse>, Status> {
        let caller = super::login(&self.0, &request).await?;
        let requests = request.into_inner().requests;
        self.check_count(requests.len())?;
        let app = Arc::clone(&self.0);
        blocking(move || {
            // Each by itself: what is wrong with one says nothing of the next.
            let one = |request| match convert::create(request) {
                Ok(create) => {
                    let request = Request::Create(vec![create]);
                    contained("Create", || {
                        rpc::carry_out(&app, &caller, &request, &mut Held::default())
                    })
                    .and_then(convert::entries)
                }
                Err(text) => Ok(vec![convert::failure(&app, text)]),
            };
            let responses: Result<Vec<_>, Status> = requests.into_iter().map(one).collect();
            Ok(Response::new(MultiServerResponse {
                responses: responses?.into_iter().flatten().collect(),
            }))
        })
        .await
    }

    async fn write(
        &self,
        request: tonic::Request<MultiWriteRequest>,
    ) -> Result<Response<MultiServerResponse>, Status> {
        let caller = super::login(&self.0, &request).await?;
        let requests = request.into_inner().requests;
        self.check_count(requests.len())?;
        let decode = move || Ok(Request::Write(convert::writes(requests)?));
        self.call(caller, "Write", decode, convert::entries_reply)
            .await
    }

    async fn destroy(
        &self,
        request: tonic::Request<MultiKeyRequest>,
    ) -> Result<Response<MultiServerResponse>, Status> {
        let caller = super::login(&self.0, &request).await?;
        let requests = request.into_inner().requests;
        self.check_count(requests.len())?;
        let decode = move || Ok(Request::Destroy(convert::keys(requests)));
        self.call(caller, "Destroy", decode, convert::entries_reply)
            .await
    }

    async fn list_symbols(
        &self,
        request: tonic::Request<ListSymbolsRequest>,
    ) -> Result<Response<ListSymbolsResponse>, Status> {
        let caller = super::login(&self.0, &request).await?;
        let format = request.into_inner().format;
        let decode = move || Ok(Request::ListSymbols(convert::list(format)));
        self.call(caller, "ListSymbols", decode, convert::list_reply)
            .await
    }

    async fn server_version(
        &self,
        _: tonic::Request<ServerVersionRequest>,
    ) -> Result<Response<ServerVersionResponse>, Status> {
        Ok(Response::new(ServerVersionResponse {
            version: self.0.version.clone(),
        }))
    }
}
