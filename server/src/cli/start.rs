//! `mkts start`: configuration -> plugin host -> store -> triggers -> requests, and back.
//!
//! `doors` has the ports, `store` what runs behind them, `recovering` the port until that is open,
//! `signals` how a stop is told.

mod doors;
mod recovering;
mod signals;
mod store;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use plugin_sdk::BuiltIn;
use serde_json::Value;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::{Failure, log};
use crate::auth::{Auth, Tokens};
use crate::config::{self, Config};
use crate::http::App;
use crate::reload::Reload;
use crate::retention;
use crate::tls::Tls;
use doors::Listeners;
use recovering::while_recovering;
use signals::Signals;
use store::{Running, close, open};
pub(super) use store::{engine_failure, host_failure, options};

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

async fn serve(
    config: Config,
    value: &Value,
    args: &Args,
    builtins: Vec<BuiltIn>,
) -> Result<(), Failure> {
    let mut signals = Signals::new(args.until_stdin_ends)?;
    let listeners = Listeners::bind(&config).await?;
    let address = listeners.address()?;
    tell_start(&config);
    let auth = load_auth(&config)?;
    let tls = load_tls(&config)?;
    warn_if_open(&config, &address);
    let config = Arc::new(config);
    let opening = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || open(&config, builtins))
    };
    let acceptor = tls.as_ref().map(|tls| tls.acceptor(&["http/1.1"]));
    let running = while_recovering(opening, &listeners.http, acceptor, &mut signals).await?;
    let app = App::new(
        running.engine.clone(),
        running.host.clone(),
        running.hub.clone(),
        &config,
        auth,
        tls,
    );
    let (stop, stopping) = watch::channel(false);
    let doors = listeners.serve(&app, &config, &stopping)?;
    let reload = follow_configuration(&app, &config, value, args, &stopping, &mut signals);
    info!("listening on {address}");
    if let Some(file) = &args.ready_file {
        write_ready(file, &doors.addresses)?;
    }
    signals.stop().await;
    let grace = reload.grace();
    info!(grace_seconds = grace.as_secs_f64(), "stopping");
    // The receivers live in the servers; if they are gone the servers have ended already.
    let _ = stop.send(true);
    let finish = finish(doors.servers, running, grace);
    tokio::select! {
        done = finish => done,
        () = signals.stop_again() => {
            warn!("a second signal: stopping at once; the log is replayed at the next start");
            process::exit(STOPPED_AT_ONCE);
        }
    }
}

fn tell_start(config: &Config) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = super::GIT_HASH.unwrap_or("unknown"),
        pid = process::id(),
        root = %config.root_directory.display(),
        timezone = config.timezone.name(),
        "starting"
    );
}

/// Starts what obeys the configuration and its changes: retention, and the reload itself.
fn follow_configuration<'a>(
    app: &'a Arc<App>,
    config: &Config,
    value: &Value,
    args: &Args,
    stopping: &watch::Receiver<bool>,
    signals: &mut Signals,
) -> &'a Reload {
    let (rules, changing) = watch::channel(config.retention.clone());
    let retention = retention::run(app.engine.clone(), changing, stopping.clone());
    tokio::spawn(retention);
    let reload = app
        .reload
        .get_or_init(|| Reload::new(&args.config, value, config, rules, log::set));
    if let Some(hangup) = signals.hangup.take() {
        tokio::spawn(reload_on(hangup, app.clone()));
    }
    reload
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

/// Requests under way end, then triggers catch up as far as time allows, then the store closes.
async fn finish(
    servers: Vec<JoinHandle<std::io::Result<()>>>,
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
