//! Brings the rows of a recorded CSV file, as if they came now: a feed for trying triggers out.
//!
//! ```yaml
//! sources:
//!   - module: replay.so
//!     params: recorded/IBM.csv              # path, below the server's working directory
//!     config:
//!       bucket: IBM/1Min/OHLCV              # or "{Symbol}/1Min/OHLCV": by the column Symbol
//!       kind: bar                           # bar | tick; tick if there is a column Nanoseconds
//!       time: Epoch                         # the column with the time
//!       unit: s                             # s | ms | us | ns, of times that are numbers
//!       columns: {Close: f4, Volume: i8}    # what is stored, as what; all, numbers as f8
//!       speed: 60                           # of real time; 0, the default, as fast as possible
//!       follow: false                       # wait for more at the end of the file
//! ```
//! Beside numbers, times may be written as in RFC 3339 (`2024-01-31T09:30:00-05:00`).
//!
//! The token is the place in the file, so each line is stored exactly once, over crashes as well. A
//! line that cannot be read ends the feed with its number, behind the rows before it: it goes on
//! there once the line is mended.
#![forbid(unsafe_code)]

mod config;
mod lines;
mod rows;

use std::time::{Duration, Instant};

use plugin_sdk::{BuiltIn, Init, Manifest, More, Plugin, PluginError, Progress, Source, SourceOut};

pub use config::Config;

use lines::Lines;
use rows::{Layout, Rows};

plugin_sdk::export_plugin!(Replay: source);

/// The line in the server's table of plugins.
pub const BUILT_IN: BuiltIn = BuiltIn::source::<Replay>();

/// Longest pause: the bound on noticing that the source is to end.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// The source.
#[derive(Debug)]
pub struct Replay {
    config: Config,
    open: Option<Open>,
}

/// A file being read.
#[derive(Debug)]
struct Open {
    lines: Lines,
    layout: Layout,
    /// When the first row of this run was brought, and its time.
    began: Option<(Instant, i64)>,
}

impl Plugin for Replay {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        about: "replays a recorded CSV file",
        ..Manifest::new("replay", "1.0.0")
    };

    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        config.check()?;
        Ok(Self { config, open: None })
    }
}

impl Source for Replay {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        let mut lines = Lines::open(params, self.config.follow)?;
        let layout = Layout::read(&mut lines, &self.config)?;
        if let Some(token) = resume {
            lines.resume(token)?;
        }
        self.open = Some(Open {
            lines,
            layout,
            began: None,
        });
        Ok(())
    }

    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        let open = self.open.as_mut().ok_or("the feed is not open")?;
        let mut rows = open.layout.rows();
        let more = open.fill(&mut rows, out, deadline, &self.config);
        let more = match more {
            // What comes before a bad line is stored first, and the line is met again.
            Err(_) if !rows.is_empty() => More::Full,
            more => more?,
        };
        if rows.is_empty() {
            return Ok(more);
        }
        rows.append_to(out)?;
        out.set_resume(&open.lines.token())?;
        Ok(more)
    }

    fn progress(&mut self) -> Option<Progress> {
        self.open.as_ref().map(|open| open.lines.progress())
    }
}

impl Open {
    /// Reads rows until the batch is full, the time is over or the file ends.
    fn fill(
        &mut self,
        rows: &mut Rows,
        out: &SourceOut<'_>,
        deadline: Instant,
        config: &Config,
    ) -> Result<More, PluginError> {
        let (rows_max, bytes_max) = out.room();
        loop {
            if rows.len() >= rows_max || rows.bytes() >= bytes_max {
                return Ok(More::Full);
            }
            if !self.lines.read()? {
                if !config.follow {
                    return Ok(More::End);
                }
                if !pause(out, deadline) {
                    return Ok(More::Timeout);
                }
                continue;
            }
            let line = self.lines.line()?;
            if line.trim().is_empty() {
                self.lines.take();
                continue;
            }
            let at = |what: String| PluginError::from(self.lines.at(&what));
            let row = self.layout.row(line, config).map_err(at)?;
            let due = due(&mut self.began, row.time, config.speed);
            if !wait(due, out, deadline) {
                return Ok(More::Timeout);
            }
            rows.push(&self.layout, &row).map_err(at)?;
            self.lines.take();
        }
    }
}

/// When a row's time has come, if rows keep time.
fn due(began: &mut Option<(Instant, i64)>, time: i64, speed: f64) -> Option<Instant> {
    if speed == 0.0 {
        return None;
    }
    let (began, first) = *began.get_or_insert_with(|| (Instant::now(), time));
    let nanos = time.saturating_sub(first).max(0) as f64 / speed;
    // Thirty years are as good as for ever.
    Some(began + Duration::from_secs_f64((nanos / 1e9).min(1e9)))
}

/// Waits until then; `false` if the batch is over before.
fn wait(due: Option<Instant>, out: &SourceOut<'_>, deadline: Instant) -> bool {
    let Some(due) = due else {
        return true;
    };
    while Instant::now() < due {
        if !pause(out, deadline.min(due)) && Instant::now() < due {
            return false;
        }
    }
    true
}

/// A short pause; `false` if there is no time left for one.
fn pause(out: &SourceOut<'_>, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() || out.is_cancelled() {
        return false;
    }
    std::thread::sleep(left.min(PAUSE_MAX));
    true
}

#[cfg(test)]
mod tests;
