//! The session's other end: messages between socket and plugin.
//!
//! The plugin's thread moves them itself whenever it waits, which saves a fire the way from thread to
//! thread and back. While plugin code runs for longer, a stand-in does ([`super::drive`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plugin_proto::v1::from_child::Message as Out;
use plugin_proto::v1::plugin_host_client::PluginHostClient;
use plugin_proto::v1::to_child::Message as In;
use plugin_proto::{MESSAGE_BYTES_MAX, PROTOCOL, v1};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::StreamExt as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::drive::Drive;
use crate::ctx::{Health, Level};
use crate::error::PluginError;

/// How often the child shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A window's fires travel at once, so the flow control of HTTP must not stop them.
const FLOW_WINDOW: u32 = 16 << 20;

/// What the server says in the environment.
pub(super) struct Place {
    socket: String,
    cookie: String,
    pub(super) epoch: u64,
    level: u32,
}

impl Place {
    pub(super) fn from_env() -> Option<Self> {
        let value = |name| std::env::var(name).ok();
        let level = match value("MKTS_PLUGIN_LOG").as_deref() {
            Some("error") => 0,
            Some("warn") => 1,
            Some("debug") => 3,
            _ => 2,
        };
        Some(Self {
            socket: value("MKTS_PLUGIN_SOCKET")?,
            cookie: value("MKTS_PLUGIN_COOKIE").unwrap_or_default(),
            epoch: value("MKTS_PLUGIN_EPOCH")
                .and_then(|epoch| epoch.parse().ok())
                .unwrap_or(0),
            level,
        })
    }
}

/// What the plugin's thread is to do next.
pub(super) enum Command {
    Do(Box<In>),
    /// The session has ended: there is nobody to work for.
    Gone,
    /// SIGTERM: the server stops us, or its thread that started us has died.
    Terminated,
}

/// What both threads look at.
#[derive(Default)]
pub(super) struct Shared {
    /// The fire, run or batch under way.
    running: AtomicU64,
    /// The one that is to end.
    cancelled: AtomicU64,
    stopping: AtomicBool,
    /// Resets that came; fires before one of them are of no use.
    pub(super) resets: AtomicU64,
    /// Ends the work under way in the plugin's own way.
    pub(super) cancel: Mutex<Option<crate::module::Cancel>>,
    asked: Mutex<()>,
    changed: Condvar,
    counted: Mutex<HashMap<String, f64>>,
    health: Mutex<(u32, String)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn begin(&self, seq: u64) {
        self.running.store(seq, Ordering::SeqCst);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        let running = self.running.load(Ordering::SeqCst);
        self.stopping.load(Ordering::SeqCst)
            || self.cancelled.load(Ordering::SeqCst) == running && running != 0
    }

    /// Pauses; `false` if the work is to end.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut asked = lock(&self.asked);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.is_cancelled() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            let woken = self.changed.wait_timeout(asked, left);
            asked = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn cancel(&self, seq: u64) {
        let running = self.running.load(Ordering::SeqCst);
        // One that has not begun yet must find the mark when it does.
        let marked = if seq == 0 { running } else { seq };
        self.cancelled.store(marked, Ordering::SeqCst);
        if marked == running {
            self.tell();
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.tell();
    }

    fn tell(&self) {
        drop(lock(&self.asked));
        self.changed.notify_all();
        if let Some(cancel) = lock(&self.cancel).clone() {
            cancel();
        }
    }

    pub(super) fn count(&self, metric: &str, by: f64) {
        let mut counted = lock(&self.counted);
        match counted.get_mut(metric) {
            Some(sum) => *sum += by,
            None => drop(counted.insert(metric.to_owned(), by)),
        }
    }

    pub(super) fn health(&self, health: Health, text: &str) {
        let number = match health {
            Health::Ok => 0,
            Health::Degraded => 1,
            Health::Failing => 2,
        };
        *lock(&self.health) = (number, text.to_owned());
    }

    fn heartbeat(&self) -> v1::Heartbeat {
        let counted = std::mem::take(&mut *lock(&self.counted)).into_iter();
        let (health, health_text) = lock(&self.health).clone();
        v1::Heartbeat {
            metrics: counted
                .map(|(name, delta)| v1::heartbeat::Metric { name, delta })
                .collect(),
            health,
            health_text,
        }
    }
}

/// The plugin's thread's way to the server.
pub(super) struct Link {
    out: UnboundedSender<v1::FromChild>,
    client: PluginHostClient<Channel>,
    cookie: MetadataValue<Ascii>,
    drive: Drive,
    commands: UnboundedReceiver<Command>,
    pub(super) shared: Arc<Shared>,
    level: u32,
}

impl Link {
    /// Connects, says hello, and moves messages from then on.
    pub(super) fn connect(place: &Place, manifest: String) -> Result<Self, PluginError> {
        let failed = |error: &dyn std::fmt::Display| {
            PluginError::from(format!("no session on {}: {error}", place.socket))
        };
        let drive = Drive::new().map_err(|error| failed(&error))?;
        let cookie: MetadataValue<Ascii> = place
            .cookie
            .parse()
            .map_err(|error| failed(&format!("MKTS_PLUGIN_COOKIE: {error}")))?;
        let (out, outgoing) = unbounded_channel();
        send(
            &out,
            Out::Hello(v1::Hello {
                cookie: place.cookie.clone(),
                protocols: vec![PROTOCOL],
                sdk: concat!("mkts rust ", env!("CARGO_PKG_VERSION")).into(),
                manifest,
            }),
        );
        let (client, incoming) = drive
            .wait(open(&place.socket, outgoing))
            .map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared::default());
        let (to_plugin, commands) = unbounded_channel();
        drive.spawn(receive(incoming, Arc::clone(&shared), to_plugin.clone()));
        drive.spawn(beat(out.clone(), Arc::clone(&shared)));
        drive.spawn(obey_sigterm(Arc::clone(&shared), to_plugin));
        Ok(Self {
            out,
            client,
            cookie,
            drive,
            commands,
            shared,
            level: place.level,
        })
    }

    /// What the plugin is to do next; waits for it.
    pub(super) fn next(&mut self) -> Command {
        self.drive.back();
        let next = match self.commands.try_recv() {
            Ok(next) => {
                self.drive.in_passing();
                next
            }
            Err(_) => {
                let next = self.drive.wait_at_rest(self.commands.recv());
                next.unwrap_or(Command::Gone)
            }
        };
        self.drive.away();
        next
    }

    /// Moves what was sent: nobody does once the program ends.
    pub(super) fn flush(&self) {
        self.drive.flush();
    }

    pub(super) fn send(&self, message: Out) {
        send(&self.out, message);
    }

    pub(super) fn log(&self, level: Level, text: &str) {
        let level = match level {
            Level::Error => 0,
            Level::Warn => 1,
            Level::Info => 2,
            Level::Debug => 3,
        };
        if level <= self.level {
            let text = text.to_owned();
            self.send(Out::Log(v1::Log { level, text }));
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("mkts-cookie", self.cookie.clone());
        request
    }

    pub(super) fn query(
        &self,
        request: v1::QueryRequest,
    ) -> Result<Vec<v1::QueryAnswer>, PluginError> {
        let mut client = self.client.clone();
        let request = self.request(request);
        self.drive
            .wait(async move {
                let answers = client.query(request).await?.into_inner();
                answers.collect::<Result<_, _>>().await
            })
            .map_err(|status| refused(&status))
    }

    pub(super) fn state_get(
        &self,
        request: v1::StateGetRequest,
    ) -> Result<v1::StateGetAnswer, PluginError> {
        let mut client = self.client.clone();
        let call = client.state_get(self.request(request));
        let answer = self.drive.wait(call);
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }

    pub(super) fn state_scan(
        &self,
        request: v1::StateScanRequest,
    ) -> Result<v1::StateScanAnswer, PluginError> {
        let mut client = self.client.clone();
        let call = client.state_scan(self.request(request));
        let answer = self.drive.wait(call);
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }

    pub(super) fn commit(
        &self,
        request: v1::CommitRequest,
    ) -> Result<v1::CommitAnswer, PluginError> {
        let mut client = self.client.clone();
        let call = client.commit(self.request(request));
        let answer = self.drive.wait(call);
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }
}

fn refused(status: &tonic::Status) -> PluginError {
    PluginError::from(format!("the server refused the call: {status}"))
}

fn send(out: &UnboundedSender<v1::FromChild>, message: Out) {
    // Without a session nobody reads it; `Gone` ends the child.
    let _ = out.send(v1::FromChild {
        message: Some(message),
    });
}

async fn open(
    socket: &str,
    outgoing: UnboundedReceiver<v1::FromChild>,
) -> Result<(PluginHostClient<Channel>, Streaming<v1::ToChild>), String> {
    let text = |error: &dyn std::error::Error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    };
    let channel = Endpoint::from_shared(format!("unix:{socket}"))
        .map_err(|error| text(&error))?
        .initial_stream_window_size(FLOW_WINDOW)
        .initial_connection_window_size(FLOW_WINDOW)
        .connect()
        .await
        .map_err(|error| text(&error))?;
    let mut client = PluginHostClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let outgoing = tokio_stream::wrappers::UnboundedReceiverStream::new(outgoing);
    let incoming = client
        .session(outgoing)
        .await
        .map_err(|status| text(&status))?;
    Ok((client, incoming.into_inner()))
}

async fn receive(
    mut incoming: Streaming<v1::ToChild>,
    shared: Arc<Shared>,
    commands: UnboundedSender<Command>,
) {
    while let Ok(Some(v1::ToChild { message })) = incoming.message().await {
        match message {
            // Acted upon at once: the plugin's thread may be busy.
            Some(In::Cancel(cancel)) => shared.cancel(cancel.seq),
            Some(other) => {
                match &other {
                    In::Stop(_) => shared.stop(),
                    In::StateReset(_) => {
                        shared.resets.fetch_add(1, Ordering::SeqCst);
                    }
                    _ => {}
                }
                if commands.send(Command::Do(Box::new(other))).is_err() {
                    return;
                }
            }
            None => {}
        }
    }
    shared.stop();
    let _ = commands.send(Command::Gone);
}

async fn beat(out: UnboundedSender<v1::FromChild>, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    while !out.is_closed() {
        ticks.tick().await;
        send(&out, Out::Heartbeat(shared.heartbeat()));
    }
}

/// SIGTERM is a `Stop` of the whole group: it may be the parent-death signal, which comes before the
/// parent is gone.
async fn obey_sigterm(shared: Arc<Shared>, commands: UnboundedSender<Command>) {
    let Ok(mut terminations) = signal(SignalKind::terminate()) else {
        return;
    };
    while terminations.recv().await.is_some() {
        shared.stop();
        let _ = commands.send(Command::Terminated);
    }
}
