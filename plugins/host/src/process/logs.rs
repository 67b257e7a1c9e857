//! What a child prints and logs, cut and counted: a flood of it harms nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest line; the rest of a longer one is dropped.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Lines per second; those above are dropped and counted.
const LINES_MAX: u32 = 1000;

/// The log of one child.
#[derive(Debug)]
pub(super) struct Logs {
    instance: String,
    rate: Mutex<Rate>,
    dropped: metrics::Counter,
}

#[derive(Debug)]
struct Rate {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl Rate {
    /// Whether another line may pass, and how many did not since the last time one could.
    fn pass(&mut self, now: Instant) -> (bool, u64) {
        let mut missed = 0;
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            missed = std::mem::take(&mut self.dropped);
            (self.since, self.lines) = (now, 0);
        }
        self.lines += 1;
        let passes = self.lines <= LINES_MAX;
        self.dropped += u64::from(!passes);
        (passes, missed)
    }
}

impl Logs {
    pub(super) fn new(instance: &str) -> Arc<Self> {
        let labels = [("instance", instance.to_owned())];
        Arc::new(Self {
            instance: instance.to_owned(),
            rate: Mutex::new(Rate {
                since: Instant::now(),
                lines: 0,
                dropped: 0,
            }),
            dropped: metrics::counter!("mkts_plugin_log_lines_dropped_total", &labels),
        })
    }

    /// One line; level as in `Log`.
    pub(super) fn line(&self, level: u32, text: &str) {
        let (passes, missed) = self.rate.lock().pass(Instant::now());
        let instance = &*self.instance;
        if missed > 0 {
            tracing::warn!(instance, "{missed} log lines were dropped");
        }
        if !passes {
            self.dropped.increment(1);
            return;
        }
        let text = cut(text);
        match level {
            0 => tracing::error!(instance, "{text}"),
            1 => tracing::warn!(instance, "{text}"),
            3 => tracing::debug!(instance, "{text}"),
            _ => tracing::info!(instance, "{text}"),
        }
    }

    /// Takes the lines of a stream until it ends.
    pub(super) async fn follow(self: Arc<Self>, mut stream: impl AsyncRead + Unpin) {
        let mut line = Vec::new();
        let mut part = vec![0; 16 << 10];
        while let Ok(read) = stream.read(&mut part).await {
            if read == 0 {
                break;
            }
            for piece in part[..read].split_inclusive(|byte| *byte == b'\n') {
                let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
                line.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.ends_with(b"\n") {
                    self.print(&mut line);
                }
            }
        }
        if !line.is_empty() {
            self.print(&mut line);
        }
    }

    fn print(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(line);
        self.line(2, text.trim_end_matches(['\n', '\r']));
        line.clear();
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LINE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_above_the_rate_are_counted_and_told_in_the_next_second() {
        let start = Instant::now();
        let mut rate = Rate {
            since: start,
            lines: 0,
            dropped: 0,
        };
        let passed = (0..1500).filter(|_| rate.pass(start).0).count();
        assert_eq!(passed, 1000);
        let next = start + Duration::from_secs(1);
        assert_eq!(rate.pass(next), (true, 500));
        assert_eq!(rate.pass(next), (true, 0));
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let text = format!("xx{}", "\u{20ac}".repeat(LINE_BYTES_MAX / 3));
        assert_eq!(cut(&text).len(), LINE_BYTES_MAX - 2);
        assert_eq!(cut("short"), "short");
    }
}
