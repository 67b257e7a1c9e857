//! Where log lines go: text for a person, JSON lines for a machine, both on standard output; those of
//! instances into memory as well.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogLevel;
use crate::logs;

/// Standard output, line by line without secrets.
struct Scrubbed<W>(W);

impl<W: Write> Write for Scrubbed<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = logs::scrub(String::from_utf8_lossy(line).into_owned());
        self.0.write_all(text.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Exchanges what is shown.
type Exchange = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

static FILTER: OnceLock<Exchange> = OnceLock::new();

/// Another level from now on, unless `MKTS_LOG` says what is shown; whether it was taken.
pub(super) fn set(level: LogLevel) -> bool {
    let is_free = std::env::var_os("MKTS_LOG").is_none();
    let exchange = FILTER.get().filter(|_| is_free);
    exchange.is_some_and(|exchange| exchange(EnvFilter::new(word(level))))
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warning => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

/// Starts logging. `MKTS_LOG` overrides the level, per module if wanted: `engine=debug,info`.
pub(super) fn start(level: LogLevel) {
    let word = word(level);
    let shown = EnvFilter::try_from_env("MKTS_LOG").unwrap_or_else(|_| EnvFilter::new(word));
    let (shown, handle) = reload::Layer::new(shown);
    // A second subscriber in one process is refused; so is its handle.
    let _ = FILTER.set(Box::new(move |filter| handle.reload(filter).is_ok()));
    // Whoever asks for the lines of an instance wants to see what happened, however quiet the log is.
    let kept = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        _ => LevelFilter::INFO,
    };
    let registry = tracing_subscriber::registry().with(logs::Keeper.with_filter(kept));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Scrubbed(io::stdout()))
        .with_target(false);
    // A second subscriber in one process is refused; the first goes on.
    let _ = if std::io::stdout().is_terminal() {
        registry.with(lines.with_filter(shown)).try_init()
    } else {
        let lines = lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false);
        registry.with(lines.with_filter(shown)).try_init()
    };
}
