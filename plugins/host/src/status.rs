//! What an operator sees of an instance.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use parking_lot::Mutex;
use plugin_sdk::{Health, Progress};

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Known, not started yet.
    Resolved,
    /// Its object is being made.
    Starting,
    /// It fires.
    Running,
    /// It ends behind the window or batch under way.
    Draining,
    /// An event or a commit is tried again after a pause.
    Backoff,
    /// An event runs far longer than its `timeout`.
    Hung,
    /// An operator has paused it, until `resume` or a restart of the server.
    Paused,
    /// Ended with the server, or because there was nothing left to do.
    Stopped,
    /// Switched off: by its entry, by an operator, or by `on_error` or `on_overflow`.
    Disabled,
    /// It cannot run; the reason says why.
    Failed,
    /// Its module is not there.
    Missing,
}

impl State {
    /// The word shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Backoff => "backoff",
            Self::Hung => "hung",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }

    /// Whether its cursor moves, now or later.
    pub fn is_live(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Draining | Self::Backoff | Self::Hung
        )
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One instance as `status` shows it.
#[derive(Debug, Clone)]
pub struct InstanceStatus {
    /// Instance id.
    pub id: String,
    /// What it runs as: `trigger`, `bgworker` or `source`.
    pub kind: &'static str,
    /// `module:` as written.
    pub module: String,
    /// Version of the plugin, empty if there is none.
    pub version: String,
    /// `builtin`, `native` or `process`; empty if there is no module.
    pub host: &'static str,
    /// File or package of the module; `None` if it is linked in.
    pub path: Option<PathBuf>,
    /// Where the entry stands: `mkts.yml:12`.
    pub place: String,
    /// Whether the server is ready only when this runs.
    pub required: bool,
    /// `volatile`, `durable` or `exact`.
    pub delivery: &'static str,
    /// State.
    pub state: State,
    /// Whether its entry or an operator switched it off, and nothing else did.
    pub is_off: bool,
    /// Why it is in this state, empty if all is well.
    pub reason: String,
    /// Since when (wall clock, ns).
    pub since: i64,
    /// Whether it crashed the server twice and therefore runs in a process until `enable`.
    pub quarantined: bool,
    /// What is odd about the entry.
    pub warnings: Vec<String>,
    /// Everything below has been fired.
    pub cursor: u64,
    /// Bytes of log between cursor and the newest visible commit.
    pub lag_bytes: u64,
    /// Age of the oldest commit not fired yet.
    pub lag_seconds: f64,
    /// Bytes of log that are kept for it only: a restart of the server does not need them.
    pub wal_held_bytes: u64,
    /// Bytes of its state, as its limit counts them.
    pub state_bytes: u64,
    /// Calls of `fire`.
    pub fires: u64,
    /// Calls that failed, panics included.
    pub failures: u64,
    /// Calls that panicked.
    pub panics: u64,
    /// Calls that were further attempts.
    pub retries: u64,
    /// Events given up and named in the log.
    pub dead_letters: u64,
    /// Rows passed over: given up by `skip`, lost by lag, at the hops limit.
    pub dropped: u64,
    /// Process id, if the instance runs in a process of its own.
    pub pid: Option<i32>,
    /// Port of 127.0.0.1 that its process was given for metrics of its own.
    pub metrics_port: Option<u16>,
    /// What the plugin says of its health: `ok`, `degraded` or `failing`; `None` if nothing.
    pub health: Option<&'static str>,
    /// The same in words.
    pub health_text: String,
    /// Ranges delivered instead of a backlog.
    pub gaps: u64,
    /// Timers pending.
    pub timers: u64,
    /// Rows written.
    pub rows: u64,
    /// How often a worker or source was started again.
    pub restarts: u64,
    /// How far a source or a backfill is, if it knows.
    pub progress: Option<Progress>,
}

/// State with its reason.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) since: i64,
}

/// Why an instance is disabled if an operator wants it so.
pub(crate) const OFF_BY_OPERATOR: &str = "by an operator; `mkts plugin enable` ends it";
/// The same, if its entry does.
pub(crate) const OFF_BY_ENTRY: &str = "enabled: false";

impl Standing {
    /// Whether somebody wants the instance to be disabled.
    pub(crate) fn is_off(&self) -> bool {
        let is_wanted = self.reason == OFF_BY_OPERATOR || self.reason == OFF_BY_ENTRY;
        self.state == State::Disabled && is_wanted
    }

    /// A process that is being started again is not running, whatever its dispatcher thinks; whether
    /// that is so.
    pub(crate) fn refine(&mut self, process: &plugin_sdk::Standing) -> bool {
        use plugin_sdk::StandingState as Process;
        self.state = match process.state {
            Process::Starting | Process::Backoff => State::Backoff,
            Process::Failed => State::Failed,
            Process::Running | Process::Stopped => return false,
        };
        if !process.reason.is_empty() {
            self.reason.clone_from(&process.reason);
        }
        true
    }
}

/// Live numbers of an instance, written by its dispatcher, read by `status`.
#[derive(Debug)]
pub(crate) struct Gauges {
    standing: Mutex<Standing>,
    pub(crate) cursor: AtomicU64,
    /// Whether there is something to fire in front of the cursor: ranges, a backfill.
    pub(crate) waiting: AtomicBool,
    /// Append time of the oldest commit in the window under way; 0 if none.
    pub(crate) window_wall: AtomicI64,
    pub(crate) fires: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) timers: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) progress: Mutex<Option<Progress>>,
    /// What a plugin in this process says of its health.
    pub(crate) said: Mutex<Option<(Health, String)>>,
}

impl Gauges {
    pub(crate) fn new(state: State, reason: String, since: i64) -> Self {
        Self {
            standing: Mutex::new(Standing {
                state,
                reason,
                since,
            }),
            cursor: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            window_wall: AtomicI64::new(0),
            fires: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            timers: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            progress: Mutex::new(None),
            said: Mutex::new(None),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    pub(crate) fn state(&self) -> State {
        self.standing.lock().state
    }

    /// Moves to a state; `since` stays if nothing changes.
    pub(crate) fn set(&self, state: State, reason: &str, now: i64) {
        let mut standing = self.standing.lock();
        if standing.state != state {
            standing.since = now;
            standing.state = state;
        }
        if standing.reason != reason {
            standing.reason = reason.into();
        }
    }
}
