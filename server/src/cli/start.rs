//! `mkts start`: configuration -> plugin host -> store -> triggers -> requests, and back.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, Options, Recovery};
use plugin_host::Host;
use plugin_sdk::BuiltIn;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};

use super::{Failure, log};
use crate::auth::{Auth, Tokens};
use crate::config::{self, Config};
use crate::grpc;
use crate::http::{self, App};
use crate::reload::Reload;
use crate::retention;
use crate::socket::Socket;
use crate::status;
use crate::stream::Hub;
use crate::tls::Tls;

/// Arguments of `mkts start`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(short, long, default_value = "./mkts.yml")]
    config: PathBuf,
    /// Written once requests are answered: JSON with `pid` and `http` (host:port).
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Stop when standard input ends: the process that started this one is gone.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

const LOCKED: u8 = 3;
pub(super) const POISONED: u8 = 2;
pub(super) const DAMAGED: u8 = 4;
/// As a shell reports a process that was stopped by Ctrl-C.
const STOPPED_AT_ONCE: i32 = 130;

/// Runs the server until a signal ends it.
pub(super) fn run(args: &Args, builtins: Vec<BuiltIn>) -> Result<(), Failure> {
    // What is wrong with a single entry keeps that instance from running, not the server: the host
    // says so when it looks at the entries.
    let (config, warnings, value) = config::load_with_value(&args.config)
        .map_err(|problems| Failure::new(problems.to_string()))?;
    log::start(config.log_level);
    for line in warnings.lines() {
        warn!("{line}");
    }
    refuse_marketstore_directory(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("mkts-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("threads cannot be started: {error}")))?;
    let done = runtime.block_on(serve(config, &value, args, builtins));
    // Connections that outlived the stop must not hold the process.
    runtime.shutdown_background();
    done.inspect_err(|failure| error!(code = failure.code, "{}", failure.text))
}

/// The tree of MarketStore and the store of mkts share nothing; opening the one as the other would
/// start an empty store in the middle of the data.
fn refuse_marketstore_directory(config: &Config) -> Result<(), Failure> {
    let root = &config.root_directory;
    if !root.join("category_name").exists() {
        return Ok(());
    }
    let root = root.display();
    let zone = match config.timezone.is_utc() {
        true => String::new(),
        false => format!(" --timezone {}", config.timezone.name()),
    };
    Err(Failure::new(format!(
        "{root} is a directory of MarketStore and stays untouched; import it into a new one:\n\
         mkts import marketstore {root} --dir {root}-mkts{zone}\n\
         and set root_directory: {root}-mkts"
    )))
}

/// What runs.
struct Running {
    engine: Engine,
    host: Host,
    hub: Arc<Hub>,
}

async fn serve(
    config: Config,
    value: &Value,
    args: &Args,
    builtins: Vec<BuiltIn>,
) -> Result<(), Failure> {
    let mut signals = Signals::new(args.until_stdin_ends)?;
    let listener = bind(&config.listen_host, config.listen_port, "listen_port").await?;
    let utilities = match &config.utilities_url {
        Some(address) => Some(bind_to(address, "utilities_url").await?),
        None => None,
    };
    let grpc = match config.grpc {
        Some(grpc) => Some((
            grpc,
            bind(&config.listen_host, grpc.port, "grpc_listen_port").await?,
        )),
        None => None,
    };
    let postgres = match config.postgres {
        Some(postgres) => Some((
            postgres,
            bind(&config.listen_host, postgres.port, "postgres.listen_port").await?,
        )),
        None => None,
    };
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(format!("the address is not known: {error}")))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = super::GIT_HASH.unwrap_or("unknown"),
        pid = process::id(),
        root = %config.root_directory.display(),
        timezone = config.timezone.name(),
        "starting"
    );
    let auth = load_auth(&config)?;
    let tls = load_tls(&config)?;
    warn_if_open(&config, &address);
    let config = Arc::new(config);
    let opening = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || open(&config, builtins))
    };
    let acceptor = tls.as_ref().map(|tls| tls.acceptor(&["http/1.1"]));
    let running = while_recovering(opening, &listener, acceptor, &mut signals).await?;
    let app = App::new(
        running.engine.clone(),
        running.host.clone(),
        running.hub.clone(),
        &config,
        auth,
        tls,
    );
    let (stop, stopping) = watch::channel(false);
    let mut servers = Vec::new();
    for listener in std::iter::once(listener).chain(utilities) {
        let stopped = until_true(stopping.clone());
        servers.push(tokio::spawn(http::serve(app.clone(), listener, stopped)));
    }
    let mut addresses = vec![("http", address.to_string())];
    if let Some((options, listener)) = grpc {
        let address = listener
            .local_addr()
            .map_err(|error| Failure::new(format!("the address is not known: {error}")))?;
        info!("gRPC listens on {address}");
        addresses.push(("grpc", address.to_string()));
        let stopped = until_true(stopping.clone());
        servers.push(tokio::spawn(grpc::serve(
            app.clone(),
            options,
            config.flight,
            listener,
            stopped,
        )));
    }
    if let Some((options, listener)) = postgres {
        let address = listener
            .local_addr()
            .map_err(|error| Failure::new(format!("the address is not known: {error}")))?;
        let stopped = until_true(stopping.clone());
        #[cfg(feature = "sql")]
        {
            info!("the PostgreSQL wire listens on {address}");
            addresses.push(("postgres", address.to_string()));
            let served = crate::pgwire::serve(app.clone(), options, listener, stopped);
            servers.push(tokio::spawn(served));
        }
        #[cfg(not(feature = "sql"))]
        {
            let _ = (options, listener, stopped);
            warn!("postgres: this mkts was built without SQL (feature sql): {address} is closed");
        }
    }
    let (rules, changing) = watch::channel(config.retention.clone());
    tokio::spawn(retention::run(
        app.engine.clone(),
        changing,
        stopping.clone(),
    ));
    let reload = app
        .reload
        .get_or_init(|| Reload::new(&args.config, value, &config, rules, log::set));
    if let Some(hangup) = signals.hangup.take() {
        tokio::spawn(reload_on(hangup, app.clone()));
    }
    info!("listening on {address}");
    if let Some(file) = &args.ready_file {
        write_ready(file, &addresses)?;
    }
    signals.stop().await;
    let grace = reload.grace();
    info!(grace_seconds = grace.as_secs_f64(), "stopping");
    // The receivers live in the servers; if they are gone the servers have ended already.
    let _ = stop.send(true);
    let finish = finish(servers, running, grace);
    tokio::select! {
        done = finish => done,
        () = signals.stop_again() => {
            warn!("a second signal: stopping at once; the log is replayed at the next start");
            process::exit(STOPPED_AT_ONCE);
        }
    }
}

/// The tokens of the configuration.
fn load_auth(config: &Config) -> Result<Auth, Failure> {
    let Some(file) = &config.auth else {
        return Ok(Auth::off());
    };
    let tokens = Tokens::load(&file.tokens_file)
        .map_err(|error| Failure::new(format!("auth.tokens_file: {error}")))?;
    info!("{} tokens are known", tokens.len());
    Ok(Auth::new(tokens))
}

/// The certificate of the configuration.
fn load_tls(config: &Config) -> Result<Option<Tls>, Failure> {
    let tls = config.tls.as_ref().map(Tls::load).transpose();
    tls.map_err(Failure::new)
}

/// At every start, because it is at every start that somebody looks.
fn warn_if_open(config: &Config, address: &SocketAddr) {
    if address.ip().is_loopback() {
        return;
    }
    if config.auth.is_none() {
        warn!(
            "listening on {address} without `auth`: everybody who can reach it can read and write"
        );
    } else if config.tls.is_none() {
        warn!("listening on {address} without `tls`: tokens and data can be read on their way");
    }
}

/// Reads the configuration again for each SIGHUP.
async fn reload_on(mut hangup: Signal, app: Arc<App>) {
    while hangup.recv().await.is_some() {
        let app = app.clone();
        let read = move || {
            // What was changed has been logged.
            if let Some(Err(wrong)) = app.reload.get().map(|reload| reload.run(&app, false)) {
                for line in wrong.lines() {
                    error!("SIGHUP: nothing was changed: {line}");
                }
            }
        };
        // A panic was printed; the next signal tries again.
        let _ = tokio::task::spawn_blocking(read).await;
    }
}

async fn bind(host: &str, port: u16, key: &str) -> Result<TcpListener, Failure> {
    bind_to(&join_address(host, port), key).await
}

fn join_address(host: &str, port: u16) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

async fn bind_to(address: &str, key: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::new(format!("cannot listen on {address} ({key}): {error}")))
}

/// Opens the store and starts the triggers. Blocking.
fn open(config: &Config, builtins: Vec<BuiltIn>) -> Result<Running, Failure> {
    let begun = Instant::now();
    status::start_recorder();
    let hub = Arc::new(Hub::new(&config.limits));
    let host = Host::new(
        config.plugins.entries.clone(),
        config.plugins.modules(&builtins, &config.root_directory),
        config.timezone.clone(),
        hub.clone(),
    )
    .map_err(host_failure)?;
    crate::logs::hide(host.secrets());
    let (engine, recovery) = Engine::open(&config.root_directory, options(config), host.hook())
        .map_err(|error| {
            let root = config.root_directory.display();
            let failure = engine_failure(&error);
            Failure {
                code: failure.code,
                text: format!("{root} cannot be opened: {}", failure.text),
            }
        })?;
    tell_recovery(&recovery);
    host.start(engine.clone()).map_err(host_failure)?;
    metrics::gauge!("alpaca_marketstore_startup_seconds").set(begun.elapsed().as_secs_f64());
    for instance in host.status() {
        // A short feed may have ended already.
        let is_well = instance.reason.is_empty() || instance.state == plugin_host::State::Stopped;
        if is_well {
            info!(
                instance = instance.id,
                place = instance.place,
                delivery = instance.delivery,
                "{} {}",
                instance.kind,
                instance.state
            );
        } else {
            warn!(
                instance = instance.id,
                place = instance.place,
                "{} {}: {}",
                instance.kind,
                instance.state,
                instance.reason
            );
        }
    }
    Ok(Running { engine, host, hub })
}

pub(super) fn options(config: &Config) -> Options {
    let mut options = Options {
        sync: config.sync,
        zone: config.timezone.clone(),
        frame_bytes_max: config.limits.frame_bytes,
        hops_max: config.limits.hops,
        merge: config.merge,
        ..Options::default()
    };
    if let Some(bytes) = config.tail_bytes_max {
        options.tail_bytes_max = bytes;
    }
    if let Some(bytes) = config.wal_bytes_max {
        options.wal_bytes_max = bytes;
    }
    if let Some(bytes) = config.wal_segment_bytes {
        options.wal_segment_bytes = bytes;
    }
    if let Some(bytes) = config.follow_bytes {
        options.follow_bytes = bytes;
    }
    options
}

pub(super) fn engine_failure(error: &engine::Error) -> Failure {
    let code = match error {
        engine::Error::Locked(_) => LOCKED,
        engine::Error::Corrupt { .. } => DAMAGED,
        engine::Error::Poisoned(_) => POISONED,
        _ => 1,
    };
    Failure {
        code,
        text: error.to_string(),
    }
}

pub(super) fn host_failure(error: plugin_host::Error) -> Failure {
    match error {
        plugin_host::Error::Engine(error) => engine_failure(&error),
        other => Failure::new(other.to_string()),
    }
}

fn tell_recovery(recovery: &Recovery) {
    info!(
        frames = recovery.frames,
        rows = recovery.rows,
        log_bytes = recovery.bytes,
        cut_bytes = recovery.cut_bytes,
        segments = recovery.segments,
        quarantined = recovery.quarantined.len(),
        seconds = recovery.duration.as_secs_f64(),
        "recovered: {} rows of {} commits replayed from the log",
        recovery.rows,
        recovery.frames
    );
    metrics::gauge!("mkts_recovery_seconds").set(recovery.duration.as_secs_f64());
    metrics::gauge!("mkts_recovery_frames").set(recovery.frames as f64);
    metrics::gauge!("mkts_recovery_cut_bytes").set(recovery.cut_bytes as f64);
    if recovery.cut_bytes > 0 {
        info!(
            "cut {} bytes off the end of the log: a write that was never acknowledged",
            recovery.cut_bytes
        );
    }
    for damage in &recovery.quarantined {
        warn!("damage was set aside: {damage}");
    }
}

/// Waits for the store. Meanwhile the port answers 503, so that a supervisor sees a server that
/// starts and not one that is dead.
async fn while_recovering(
    opening: tokio::task::JoinHandle<Result<Running, Failure>>,
    listener: &TcpListener,
    tls: Option<TlsAcceptor>,
    signals: &mut Signals,
) -> Result<Running, Failure> {
    let since = Instant::now();
    tokio::pin!(opening);
    loop {
        tokio::select! {
            done = &mut opening => {
                return done.unwrap_or_else(|error| {
                    Err(Failure::new(format!("opening the store failed: {error}")))
                });
            }
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(answer_recovering(stream, tls.clone(), since));
                }
            }
            () = signals.stop() => {
                // Recovery can be cut at any point: the next one begins again.
                info!("stopped before the store was open");
                process::exit(0);
            }
        }
    }
}

async fn answer_recovering(stream: TcpStream, tls: Option<TlsAcceptor>, since: Instant) {
    let body = format!(
        "{{\"status\":\"recovering\",\"seconds\":{:.1}}}\n",
        since.elapsed().as_secs_f64()
    );
    let reply = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let talk = async {
        let time = Duration::from_secs(1);
        let Ok(mut stream) = Socket::open(stream, tls.as_ref(), time).await else {
            return;
        };
        // Closing with unread bytes would reset the connection before the reply arrives.
        let mut request = [0; 8192];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(reply.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    // Whoever does not read within a second asks again.
    let _ = tokio::time::timeout(Duration::from_secs(1), talk).await;
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = flag.wait_for(|stop| *stop).await;
}

/// Requests under way end, then triggers catch up as far as time allows, then the store closes.
async fn finish(
    servers: Vec<tokio::task::JoinHandle<std::io::Result<()>>>,
    running: Running,
    grace: Duration,
) -> Result<(), Failure> {
    let ended = async {
        for server in servers {
            // A server that failed has been logged; the stop goes on.
            let _ = server.await;
        }
    };
    if tokio::time::timeout(grace, ended).await.is_err() {
        warn!("some connections did not end in time");
    }
    let closed = tokio::task::spawn_blocking(move || close(&running, grace));
    closed
        .await
        .unwrap_or_else(|error| Err(Failure::new(format!("closing the store failed: {error}"))))
}

fn close(running: &Running, grace: Duration) -> Result<(), Failure> {
    let Running { engine, host, .. } = running;
    if !host.drain(grace) {
        warn!("some triggers are behind; what is left fires after the next start");
    }
    host.stop();
    let closed = engine.close();
    if let Some(why) = engine.status().poisoned {
        return Err(Failure {
            code: POISONED,
            text: format!("the store stopped taking writes after a disk error: {why}"),
        });
    }
    closed.map_err(|error| engine_failure(&error))?;
    info!("stopped");
    Ok(())
}

/// Tells whoever started us where we listen. The file appears whole or not at all.
// Not a file of the store: `disk` does not know the place.
#[allow(clippy::disallowed_methods)]
fn write_ready(file: &Path, addresses: &[(&str, String)]) -> Result<(), Failure> {
    let mut ready = serde_json::json!({
        "pid": process::id(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    for (door, address) in addresses {
        ready[*door] = address.as_str().into();
    }
    let text = ready.to_string();
    let mut name = file.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    std::fs::File::create(&temporary)
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, file))
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", file.display())))
}

/// The signals a server answers to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Taken from the start on, so that none ends the process.
    hangup: Option<Signal>,
    /// Ends when standard input does; `None` if nobody asked.
    stdin: Option<oneshot::Receiver<()>>,
}

impl Signals {
    fn new(until_stdin_ends: bool) -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| Failure::new(format!("signals cannot be taken: {error}")))
        };
        let mut usr1 = take(SignalKind::user_defined1())?;
        tokio::spawn(async move {
            // MarketStore dumps its stacks here; its default action would end the process.
            while usr1.recv().await.is_some() {
                info!("SIGUSR1 is accepted and does nothing; see /metrics");
            }
        });
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hangup: Some(take(SignalKind::hangup())?),
            stdin: until_stdin_ends.then(stdin_end),
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = ended(&mut self.stdin) => {}
        }
    }
}

impl Signals {
    /// A second wish to stop. Some supervisors signal a process and its group: that is one wish.
    async fn stop_again(&mut self) {
        let first = Instant::now();
        loop {
            self.stop().await;
            if first.elapsed() > Duration::from_millis(250) {
                return;
            }
        }
    }
}

/// A thread, because a blocked read of standard input would keep the runtime from ending.
fn stdin_end() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // The end and an error mean the same: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(ended);
    });
    end
}

/// Comes back once, when standard input has ended.
async fn ended(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        Some(end) => {
            // The sender is only ever dropped.
            let _ = end.await;
            *stdin = None;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_port_answers_503_while_the_log_is_replayed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, wait) = std::sync::mpsc::channel::<()>();
        let opening = tokio::task::spawn_blocking(move || {
            wait.recv().unwrap();
            Err(Failure::new("as far as this test goes"))
        });
        let asked = tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /heartbeat HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            opened.send(()).unwrap();
            reply
        });
        let mut signals = Signals::new(false).unwrap();
        let done = while_recovering(opening, &listener, None, &mut signals).await;
        assert_eq!(done.err().unwrap().text, "as far as this test goes");
        let reply = asked.await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        assert!(reply.contains("\"status\":\"recovering\""), "{reply}");
    }

    #[test]
    fn addresses_of_the_sixth_version_get_brackets() {
        assert_eq!(join_address("::1", 5), "[::1]:5");
        assert_eq!(join_address("[::1]", 5), "[::1]:5");
        assert_eq!(join_address("localhost", 5), "localhost:5");
    }

    #[test]
    fn each_failure_of_the_store_has_its_exit_code() {
        let code = |error: engine::Error| engine_failure(&error).code;
        assert_eq!(code(engine::Error::Locked("x".into())), 3);
        assert_eq!(code(engine::Error::Poisoned("x".into())), 2);
        let (file, what) = ("a".into(), "b".into());
        assert_eq!(
            code(engine::Error::Corrupt {
                file,
                offset: 0,
                what
            }),
            4
        );
        assert_eq!(code(engine::Error::DiskFull("x".into())), 1);
    }
}
