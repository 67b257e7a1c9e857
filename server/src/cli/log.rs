//! Where log lines go: text for a person, JSON lines for a machine, both on standard output.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use plugin_host::Secrets;

use tracing_subscriber::EnvFilter;

use crate::config::LogLevel;

/// What no line may show.
static HIDDEN: OnceLock<Secrets> = OnceLock::new();

/// Hides secrets in every line from now on, whoever writes it. Once in a process.
pub(super) fn hide(secrets: Secrets) {
    // A second store in one process does not exist outside of tests.
    let _ = HIDDEN.set(secrets);
}

/// Standard output, line by line without secrets.
struct Scrubbed<W>(W);

impl<W: Write> Write for Scrubbed<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match HIDDEN.get().filter(|secrets| !secrets.is_empty()) {
            None => self.0.write_all(line)?,
            Some(secrets) => {
                let text = secrets.scrub(String::from_utf8_lossy(line));
                self.0.write_all(text.as_bytes())?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

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
        .with_writer(|| Scrubbed(io::stdout()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One process has one set of secrets, so one test says all.
    #[test]
    fn no_line_shows_a_secret() {
        let mut out = Vec::new();
        Scrubbed(&mut out).write_all(b"before s3cret\n").unwrap();
        let config = serde_json::json!({"token": "s3cret"});
        hide(Secrets::of(&config, &["token".to_owned()]));
        Scrubbed(&mut out).write_all(b"after s3cret\n").unwrap();
        assert_eq!(out, b"before s3cret\nafter ***\n");
    }
}
