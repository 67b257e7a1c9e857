//! The server's side of a session: checks who speaks, and hands on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use model::{ColumnBatch, RowKind};
use parking_lot::Mutex;
use plugin_proto::v1::from_child::Message as From;
use plugin_proto::v1::plugin_host_server::PluginHost;
use plugin_proto::{PROTOCOL, encode_rows, v1};
use plugin_sdk::{Description, PluginError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status, Streaming};

use super::child::Process;
use super::logs::Logs;
use super::module::Standings;

/// Messages of a child that wait for the proxy: above this many bytes its stream is not read.
const QUEUE_BYTES_MAX: usize = 96 << 20;

/// Rows of a query travel in messages of about this size.
const QUERY_BYTES: usize = 8 << 20;

/// What comes to the proxy's thread.
pub(super) enum Inbound {
    /// The child has said hello and was believed.
    Hello(UnboundedSender<Result<v1::ToChild, Status>>),
    Message(From, usize),
    Call(Call),
    /// The child is not the one that was started, or speaks otherwise.
    Refused(String),
    /// No message is to be expected any more.
    Closed(String),
    /// The process has ended, and how.
    Ended(String),
}

/// A call of the child that waits for its answer.
pub(super) enum Call {
    Query(v1::QueryRequest, oneshot::Sender<QueryResult>),
    Get(v1::StateGetRequest, oneshot::Sender<v1::StateGetAnswer>),
    Scan(v1::StateScanRequest, oneshot::Sender<v1::StateScanAnswer>),
    Commit(v1::CommitRequest, oneshot::Sender<v1::CommitAnswer>),
}

/// Rows of a bucket, or `None` if there is no such bucket.
pub(super) type QueryResult = Result<Option<(RowKind, ColumnBatch)>, PluginError>;

/// One child's place at the table.
pub(super) struct Seat {
    pub(super) cookie: String,
    pub(super) description: Description,
    pub(super) silence: Duration,
    pub(super) start: Duration,
    pub(super) to_proxy: UnboundedSender<Inbound>,
    /// Bytes of messages that the proxy has not taken yet.
    pub(super) queued: Arc<AtomicUsize>,
    pub(super) process: Arc<Mutex<Option<Arc<Process>>>>,
    pub(super) logs: Arc<Logs>,
    pub(super) standings: Arc<Standings>,
    pub(super) instance: String,
    /// Whether a session has begun: there is one per start.
    pub(super) taken: Mutex<bool>,
}

#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Seat>);

impl Seat {
    /// Whether the caller is of our user and knows the secret.
    fn check_caller<T>(&self, request: &Request<T>, cookie: &str) -> Result<(), String> {
        let info = request.extensions().get::<UdsConnectInfo>();
        let uid = info.and_then(|info| info.peer_cred).map(|peer| peer.uid());
        if uid != Some(rustix::process::getuid().as_raw()) {
            return Err("another user's process".into());
        }
        let same = |a: &[u8], b: &[u8]| {
            a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
        };
        if !same(cookie.as_bytes(), self.cookie.as_bytes()) {
            return Err("wrong cookie: not the process that was started".into());
        }
        Ok(())
    }

    fn check_hello(&self, hello: &v1::Hello) -> Result<(), String> {
        if !hello.protocols.contains(&PROTOCOL) {
            return Err(format!(
                "it speaks protocols {:?}, this server {PROTOCOL}; build it with another SDK",
                hello.protocols
            ));
        }
        let said: Description = serde_json::from_str(&hello.manifest)
            .map_err(|error| format!("its manifest: {error}"))?;
        let known = &self.description;
        if (&said.name, &said.version, said.kind) != (&known.name, &known.version, known.kind) {
            return Err(format!(
                "its manifest says {} {} {}, the module {} {} {}",
                said.kind.name(),
                said.name,
                said.version,
                known.kind.name(),
                known.name,
                known.version
            ));
        }
        Ok(())
    }

    fn refuse(&self, why: String) -> Status {
        let status = Status::permission_denied(why.clone());
        let _ = self.to_proxy.send(Inbound::Refused(why));
        status
    }

    /// The call of a child, answered by the proxy's thread.
    async fn call<T, A>(
        &self,
        request: Request<T>,
        call: impl FnOnce(T, oneshot::Sender<A>) -> Call,
    ) -> Result<A, Status> {
        let cookie = request.metadata().get("mkts-cookie");
        let cookie = cookie.and_then(|cookie| cookie.to_str().ok()).unwrap_or("");
        self.check_caller(&request, cookie)
            .map_err(Status::permission_denied)?;
        let (reply, answer) = oneshot::channel();
        let _ = self
            .to_proxy
            .send(Inbound::Call(call(request.into_inner(), reply)));
        answer
            .await
            .map_err(|_| Status::cancelled("the fire this call belongs to is over"))
    }

    /// Moves a child's messages to the proxy until they end.
    async fn receive(self: Arc<Self>, mut incoming: Streaming<v1::FromChild>) {
        let why = loop {
            let next = tokio::time::timeout(self.silence, incoming.message()).await;
            let message = match next {
                Err(_) => {
                    if let Some(process) = &*self.process.lock() {
                        process.signal(rustix::process::Signal::KILL);
                    }
                    break format!("hung: silent for {:?}", self.silence);
                }
                Ok(Err(status)) => break format!("its session broke: {}", status.message()),
                Ok(Ok(None)) => break "it ended its session".to_owned(),
                Ok(Ok(Some(message))) => message,
            };
            self.take(message).await;
        };
        let _ = self.to_proxy.send(Inbound::Closed(why));
    }

    async fn take(&self, message: v1::FromChild) {
        let bytes = prost::Message::encoded_len(&message);
        match message.message {
            Some(From::Heartbeat(beat)) => {
                self.standings
                    .heartbeat(&self.instance, &self.description, &beat);
            }
            Some(From::Log(log)) => self.logs.line(log.level, &log.text),
            Some(other) => {
                while self.queued.load(SeqCst) > QUEUE_BYTES_MAX {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                self.queued.fetch_add(bytes, SeqCst);
                let _ = self.to_proxy.send(Inbound::Message(other, bytes));
            }
            None => {
                let labels = [("instance", self.instance.clone())];
                metrics::counter!("mkts_plugin_unsupported_total", &labels).increment(1);
                tracing::warn!(
                    instance = &*self.instance,
                    "UNSUPPORTED: a message that this server does not know"
                );
            }
        }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PluginHost for Service {
    type SessionStream = UnboundedReceiverStream<Result<v1::ToChild, Status>>;
    type QueryStream = Answers<v1::QueryAnswer>;

    async fn session(
        &self,
        request: Request<Streaming<v1::FromChild>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let seat = &self.0;
        let (info, extensions, mut incoming) = request.into_parts();
        let first = tokio::time::timeout(seat.start, incoming.message()).await;
        let hello = match first {
            Ok(Ok(Some(v1::FromChild {
                message: Some(From::Hello(hello)),
            }))) => hello,
            _ => return Err(seat.refuse("its first message was no hello".into())),
        };
        let request = Request::from_parts(info, extensions, ());
        seat.check_caller(&request, &hello.cookie)
            .and_then(|()| seat.check_hello(&hello))
            .map_err(|why| seat.refuse(why))?;
        if std::mem::replace(&mut *seat.taken.lock(), true) {
            return Err(Status::already_exists("this start has a session"));
        }
        let (to_child, outgoing): (_, UnboundedReceiver<_>) = unbounded_channel();
        let _ = seat.to_proxy.send(Inbound::Hello(to_child));
        tokio::spawn(Arc::clone(seat).receive(incoming));
        Ok(Response::new(UnboundedReceiverStream::new(outgoing)))
    }

    async fn query(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let result = self.0.call(request, Call::Query).await?;
        let first = match result {
            Ok(Some((kind, rows))) => return Ok(Response::new(chunks(kind, rows))),
            Ok(None) => v1::QueryAnswer::default(),
            Err(error) => v1::QueryAnswer {
                code: error.code as i32,
                message: error.text,
                ..v1::QueryAnswer::default()
            },
        };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(first)))))
    }

    async fn state_get(
        &self,
        request: Request<v1::StateGetRequest>,
    ) -> Result<Response<v1::StateGetAnswer>, Status> {
        self.0.call(request, Call::Get).await.map(Response::new)
    }

    async fn state_scan(
        &self,
        request: Request<v1::StateScanRequest>,
    ) -> Result<Response<v1::StateScanAnswer>, Status> {
        self.0.call(request, Call::Scan).await.map(Response::new)
    }

    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitAnswer>, Status> {
        self.0.call(request, Call::Commit).await.map(Response::new)
    }
}

/// The rows of a query, a message at a time.
fn chunks(kind: RowKind, rows: ColumnBatch) -> Answers<v1::QueryAnswer> {
    let per_message = (QUERY_BYTES / rows.schema().row_bytes()).max(1);
    let starts = (0..rows.rows().max(1)).step_by(per_message);
    let answers = starts.map(move |start| {
        let end = (start + per_message).min(rows.rows());
        let schema = (start == 0).then(|| plugin_proto::message(1, kind, rows.schema()));
        Ok(v1::QueryAnswer {
            code: 0,
            message: String::new(),
            schema,
            rows: encode_rows(&rows.slice(start..end)),
        })
    });
    Box::pin(tokio_stream::iter(answers).map(|answer| answer))
}
