//! What a trigger would write today for rows that are stored, beside what is stored.
//!
//! A fresh object of the instance's module and config, with empty state of its own, is fired with the
//! stored rows of a range of time. Nothing of it happens: rows it writes are captured and compared
//! with the store, messages are counted, state and timers end with the replay. The instance itself,
//! its place and its state are not touched, and no writer waits: rows are read as any query reads
//! them, a slice of time after the other.
//!
//! Rows come in order of time, bucket by bucket within a slice. Time is that of the rows: `now` of an
//! event is the time of its last row, and a timer fires, in order of due times, before the first slice
//! behind it. Slices end where a timer is due, so one that was set before is never late.

mod capture;
mod compare;
mod rerun;

pub use compare::{BucketDiff, ColumnDiff, Difference, RowDiff};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use parking_lot::Mutex;

use crate::fire::panic_text;
use crate::host::{Error, Host};
use crate::registry::Outcome;
use rerun::Rerun;

/// How often the caller looks after a replay.
const TICK: Duration = Duration::from_millis(50);

/// What to replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayOptions {
    /// First time of the rows to fire (ns).
    pub from: i64,
    /// Last time, inclusive.
    pub to: i64,
    /// How many rows that differ are told, of all buckets together.
    pub shown: usize,
    /// Whether to write the rows that are missing or different.
    pub write: bool,
}

impl ReplayOptions {
    /// A dry run of a range, which tells 20 rows.
    pub fn dry_run(from: i64, to: i64) -> Self {
        Self {
            from,
            to,
            shown: 20,
            write: false,
        }
    }
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplayReport {
    /// Rows that were fired.
    pub rows: u64,
    /// Events of rows.
    pub events: u64,
    /// Timers that came due within the range.
    pub timers: u64,
    /// Timers due behind it.
    pub timers_pending: u64,
    /// Events that failed in every attempt, or were skipped.
    pub failures: u64,
    /// Why the first of them did.
    pub first_failure: Option<String>,
    /// Messages that were not sent.
    pub messages: u64,
    /// Ranges it would delete, which were not.
    pub deletes: u64,
    /// Bytes of log that the instance itself has not fired yet: what they lead to is not stored.
    pub behind_bytes: u64,
    /// Each bucket that rows were computed for.
    pub buckets: Vec<BucketDiff>,
    /// The first rows that differ.
    pub shown: Vec<RowDiff>,
    /// Rows written to the store.
    pub written: u64,
}

impl ReplayReport {
    /// Whether the store has exactly what was computed.
    pub fn is_equal(&self) -> bool {
        let differs = |bucket: &BucketDiff| bucket.equal != bucket.computed || bucket.extra != 0;
        !self.buckets.iter().any(differs)
    }
}

/// Instances that are being replayed.
#[derive(Debug, Default)]
pub(crate) struct Replays(Mutex<BTreeSet<String>>);

struct Begun<'a>(&'a Replays, &'a str);

impl Replays {
    fn begin<'a>(&'a self, id: &'a str) -> Result<Begun<'a>, Error> {
        if self.0.lock().insert(id.to_owned()) {
            return Ok(Begun(self, id));
        }
        Err(Error::instance(id, "another replay of it is under way"))
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(self.1);
    }
}

/// What the caller of a replay and its thread know of each other.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Instant,
    /// When the fire under way began, in milliseconds, plus one; 0 if none is.
    fire: AtomicU64,
    /// The replay is to end.
    stop: AtomicBool,
    /// Its thread was left alone: nothing of it counts any more.
    given_up: AtomicBool,
}

impl Watch {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            fire: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A call that is watched.
    fn timed<T>(&self, call: impl FnOnce() -> T) -> T {
        self.fire.store(self.now() + 1, Relaxed);
        let result = call();
        self.fire.store(0, Relaxed);
        result
    }

    /// How long the present fire has run.
    fn runs(&self) -> Duration {
        match self.fire.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.now() + 1).saturating_sub(since)),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }
}

impl Host {
    /// Fires the stored rows of a range at a fresh object of an instance and compares what it writes
    /// with what is stored. Takes as long as that takes; the instance runs on meanwhile. Rows written
    /// to the range meanwhile may show as differences.
    ///
    /// # Errors
    /// If the instance is no trigger or cannot run, a replay of it is under way, its plugin ends or
    /// hangs, or the rows it computes are too many.
    pub fn replay(&self, id: &str, options: &ReplayOptions) -> Result<ReplayReport, Error> {
        let inner = &self.inner;
        let failed = |reason: String| Error::instance(id, reason);
        let plan = &*inner.instance(id)?.plan();
        let engine = inner
            .running_engine()
            .ok_or_else(|| failed("the server is stopping".into()))?;
        if !plan.is_trigger() {
            let kind = plan.kind().name();
            return Err(failed(format!("it is a {kind}; only triggers are fired")));
        }
        let Outcome::Ready(ready) = &plan.outcome else {
            let (state, reason) = plan.state();
            return Err(failed(format!("it cannot run: {state}: {reason}")));
        };
        if options.from > options.to {
            return Err(failed("replay: from is behind to".into()));
        }
        let _begun = inner.replays.begin(id)?;
        let watch = Arc::new(Watch::new());
        let mut rerun = Rerun::new(&engine, plan, ready, &inner.zone, *options, &watch);
        // A process is ended by its proxy.
        let limit = (plan.host != "process").then(|| plan.entry.timeout.saturating_mul(2));
        let cursor = self.status().into_iter().find(|one| one.id == id);
        let behind_bytes = cursor.map_or(0, |status| status.lag_bytes);
        let (report, ended) = bounded(1);
        std::thread::Builder::new()
            .name(format!("replay-{id}"))
            .spawn(move || {
                let _ = report.send(rerun.run());
            })
            .map_err(|error| Error::Thread(error.to_string()))?;
        loop {
            match ended.recv_timeout(TICK) {
                Ok(result) => {
                    let mut report = result.map_err(|why| failed(plan.secrets.scrub(why)))?;
                    report.behind_bytes = behind_bytes;
                    return Ok(report);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(failed("replay: its thread ended in a panic".into()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if inner.running_engine().is_none() {
                watch.stop.store(true, Relaxed);
            }
            let runs = watch.runs();
            if limit.is_some_and(|limit| runs > limit) {
                watch.stop.store(true, Relaxed);
                watch.given_up.store(true, Relaxed);
                return Err(failed(format!(
                    "replay: a fire hangs for {runs:.0?}; its thread is left alone"
                )));
            }
        }
    }
}

/// The text of a panic in a plugin.
fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    format!("panic: {}", panic_text(panic))
}
