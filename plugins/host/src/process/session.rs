//! One start of a child: process, socket, and the channels between its session and a proxy.

use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use plugin_proto::v1::plugin_host_server::PluginHostServer;
use plugin_proto::v1::to_child::Message as To;
use plugin_proto::{MESSAGE_BYTES_MAX, v1};
use plugin_sdk::PluginError;
use rustix::process::Signal;
use tokio::net::UnixListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::transport::Server;

use super::Error;
use super::child::{Belongings, Process};
use super::dir::{PrivateDir, secret};
use super::drive::Drive;
use super::logs::Logs;
use super::module::Core;
use super::ports::Port;
use super::program::Timing;
use super::serve::{Inbound, Seat, Service};

/// A window's fires travel at once, so the flow control of HTTP must not stop them.
const FLOW_WINDOW: u32 = 16 << 20;

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unstarted {
    /// Another start would not help.
    #[error("{}", .0.text)]
    Refused(PluginError),
    /// It ended, or did not come in time.
    #[error("{0}")]
    Crashed(String),
}

impl From<Error> for Unstarted {
    fn from(error: Error) -> Self {
        Self::Refused(PluginError::from(error.0))
    }
}

/// A child that has said hello. Dropping it kills the process.
pub(super) struct Session {
    pub(super) epoch: u64,
    pub(super) began: Instant,
    out: UnboundedSender<Result<v1::ToChild, Status>>,
    inbound: Mutex<UnboundedReceiver<Inbound>>,
    queued: Arc<AtomicUsize>,
    process: Arc<Process>,
    timing: Timing,
    /// Closed with us: the child then ends by itself.
    _lifeline: ChildStdin,
    /// Moves the messages; the socket is closed with it.
    drive: Drive,
}

impl Session {
    /// Starts the program and waits for its hello.
    pub(super) fn start(core: &Core, instance: &str, epoch: u64) -> Result<Self, Unstarted> {
        let began = Instant::now();
        let dir = PrivateDir::new()
            .map_err(|error| Error::new(format!("no private directory: {error}")))?;
        let listener = dir
            .listen()
            .map_err(|error| Error::new(format!("{}: {error}", dir.path().display())))?;
        let cookie = secret().map_err(|error| Error::new(format!("no cookie: {error}")))?;
        let mut env = vec![
            ("MKTS_PLUGIN_SOCKET", dir.socket().display().to_string()),
            ("MKTS_PLUGIN_COOKIE", cookie.clone()),
            ("MKTS_PLUGIN_INSTANCE", instance.to_owned()),
            ("MKTS_PLUGIN_EPOCH", epoch.to_string()),
            ("MKTS_PLUGIN_LOG", log_level().to_owned()),
        ];
        let registration = core
            .registry
            .register(instance, core.spec)
            .map_err(|error| Error::new(error.to_string()))?;
        let mut held: Vec<Box<dyn Send>> = vec![Box::new(registration)];
        if let Some(wanted) = core.program.metrics_port {
            let port = Port::take(wanted).map_err(Error::new)?;
            core.standings.give_port(instance, port.number());
            env.push(("MKTS_PLUGIN_METRICS_PORT", port.number().to_string()));
            held.push(Box::new(port));
        }
        let (to_proxy, mut inbound) = unbounded_channel();
        let logs = Logs::new(instance);
        let slot = Arc::new(Mutex::new(None));
        let queued = Arc::new(AtomicUsize::new(0));
        let seat = Seat {
            cookie,
            description: core.description.clone(),
            silence: core.program.timing.silence,
            start: core.program.timing.start,
            to_proxy: to_proxy.clone(),
            queued: Arc::clone(&queued),
            process: Arc::clone(&slot),
            logs: Arc::clone(&logs),
            standings: Arc::clone(&core.standings),
            instance: instance.to_owned(),
            taken: Mutex::new(false),
        };
        let drive = listen(listener, seat)?;
        let told = told(to_proxy);
        let belongings = Belongings {
            dir: Some(dir),
            held,
            logs,
            told,
        };
        let (process, lifeline) = Process::start(&core.program, env, belongings)?;
        *slot.lock() = Some(Arc::clone(&process));
        let name = core.program.name();
        let hello = drive.wait(wait_for_hello(&mut inbound, core.program.timing.start));
        let out = match hello {
            Ok(out) => out,
            Err(why) => {
                process.signal(Signal::KILL);
                process.wait(core.program.timing.terminate);
                return Err(match why {
                    Unstarted::Crashed(why) => Unstarted::Crashed(format!("{name}: {why}")),
                    why => Error::new(format!("{name}: {why}")).into(),
                });
            }
        };
        Ok(Self {
            epoch,
            began,
            out,
            inbound: Mutex::new(inbound),
            queued,
            process,
            timing: core.program.timing,
            _lifeline: lifeline,
            drive,
        })
    }

    pub(super) fn send(&self, message: To) {
        // A child that is gone shows when its answer is waited for.
        let _ = self.out.send(Ok(v1::ToChild {
            message: Some(message),
        }));
    }

    /// What sends to this child, from any thread.
    pub(super) fn sender(&self) -> UnboundedSender<Result<v1::ToChild, Status>> {
        self.out.clone()
    }

    /// The next that comes, if it comes in time. Whoever waits moves the messages.
    pub(super) fn receive(&self, time: Duration) -> Option<Inbound> {
        let mut queue = self.inbound.lock();
        let inbound = match queue.try_recv() {
            Ok(inbound) => inbound,
            Err(_) => {
                let next = async { tokio::time::timeout(time, queue.recv()).await };
                self.drive.wait(next).ok()??
            }
        };
        if let Inbound::Message(_, bytes) = &inbound {
            self.queued.fetch_sub(*bytes, SeqCst);
        }
        Some(inbound)
    }

    /// Time left to become ready.
    pub(super) fn start_left(&self) -> Duration {
        self.timing.start.saturating_sub(self.began.elapsed())
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Ends the child at once, and its group.
    pub(super) fn kill(self) {
        self.process.signal(Signal::KILL);
        self.process.wait(self.timing.terminate);
    }

    /// Asks the child to end, then makes it.
    pub(super) fn stop(self, reason: u32) {
        self.send(To::Stop(v1::Stop { reason }));
        if self.process.wait(self.timing.stop) {
            return;
        }
        self.process.signal(Signal::TERM);
        if self.process.wait(self.timing.terminate) {
            return;
        }
        tracing::warn!(pid = self.pid(), "a plugin's process does not end; killed");
        self.process.signal(Signal::KILL);
        self.process.wait(self.timing.terminate);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
    }
}

fn told(to_proxy: UnboundedSender<Inbound>) -> Box<dyn FnOnce(String) + Send> {
    Box::new(move |how| drop(to_proxy.send(Inbound::Ended(how))))
}

fn listen(listener: std::os::unix::net::UnixListener, seat: Seat) -> Result<Drive, Error> {
    let drive = Drive::new()
        .map_err(|error| Error::new(format!("no poller for the session of a child: {error}")))?;
    let listener = drive
        .inside(|| UnixListener::from_std(listener))
        .map_err(|error| Error::new(format!("socket of a child: {error}")))?;
    let service = PluginHostServer::new(Service(Arc::new(seat)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let serving = Server::builder()
        .initial_stream_window_size(FLOW_WINDOW)
        .initial_connection_window_size(FLOW_WINDOW)
        .add_service(service)
        .serve_with_incoming(UnixListenerStream::new(listener));
    drive.spawn(async move {
        if let Err(error) = serving.await {
            tracing::warn!("socket of a child: {error}");
        }
    });
    Ok(drive)
}

async fn wait_for_hello(
    inbound: &mut UnboundedReceiver<Inbound>,
    time: Duration,
) -> Result<UnboundedSender<Result<v1::ToChild, Status>>, Unstarted> {
    let crashed = |why: String| Err(Unstarted::Crashed(why));
    let until = tokio::time::Instant::now() + time;
    loop {
        match tokio::time::timeout_at(until, inbound.recv()).await {
            Ok(Some(Inbound::Hello(out))) => return Ok(out),
            Ok(Some(Inbound::Refused(why))) => {
                return Err(Error::new(format!("refused: {why}")).into());
            }
            Ok(Some(Inbound::Ended(how))) => {
                return crashed(format!("ended before its hello: {how}"));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return crashed(format!("no hello within {time:.1?}")),
        }
    }
}

/// What a child is to log: what the server logs.
fn log_level() -> &'static str {
    if tracing::enabled!(tracing::Level::DEBUG) {
        "debug"
    } else if tracing::enabled!(tracing::Level::INFO) {
        "info"
    } else {
        "warn"
    }
}
