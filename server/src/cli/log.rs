//! Where log lines go: text for a person, JSON lines for a machine, both on standard output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogLevel;

/// Starts logging. `MKTS_LOG` overrides the level, per module if wanted: `engine=debug,info`.
pub(super) fn start(level: LogLevel) {
    let word = match level {
        LogLevel::Error => "error",
        LogLevel::Warning => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let filter = EnvFilter::try_from_env("MKTS_LOG").unwrap_or_else(|_| EnvFilter::new(word));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false);
    // A second subscriber in one process is refused; the first goes on.
    let _ = if std::io::stdout().is_terminal() {
        builder.try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    };
}
