//! One entry of `triggers:`, `bgworkers:` or `sources:` in mkts.yml, as the server parsed it.

use std::fmt;
use std::time::Duration;

use model::Zone;
use plugin_sdk::Delivery;

use crate::schedule::Schedule;

/// What an entry asks for. Its `Debug` leaves out `config` and the values of `env`: they hold
/// secrets, and only a manifest says which.
#[derive(Clone)]
pub struct Entry {
    /// The list the entry stands in.
    pub kind: EntryKind,
    /// `module:` as written: `ondiskagg.so`, `ondiskagg`, a path.
    pub module: String,
    /// `name:`, the instance id if there is one.
    pub name: Option<String>,
    /// `on:` patterns; empty means every bucket.
    pub on: Vec<String>,
    /// How `on` is read.
    pub match_mode: Match,
    /// `config:`, checked by the plugin.
    pub config: serde_json::Value,
    /// `host:`; `None` takes what fits the module.
    pub host: Option<HostMode>,
    /// `delivery:`; `None` takes the plugin's own.
    pub delivery: Option<Delivery>,
    /// `start:`, where a new instance begins.
    pub start: Start,
    /// `parallelism:`, threads that fire keys; at least 1.
    pub parallelism: usize,
    /// `max_attempts:`; 0 means for ever, `None` 5 (1 if volatile).
    pub max_attempts: Option<u32>,
    /// `on_error:`; `None` means dead letter (skip if volatile).
    pub on_error: Option<OnError>,
    /// `on_overflow:`; `None` means coalesce if the plugin accepts gaps, else disable.
    pub on_overflow: Option<OnOverflow>,
    /// `schedule:`, ticks by the clock.
    pub schedule: Option<Schedule>,
    /// `timezone:` of the schedule.
    pub zone: Zone,
    /// `timeout:` of one event.
    pub timeout: Duration,
    /// `window:`.
    pub window: WindowOptions,
    /// `required:`: the server does not start without it.
    pub required: bool,
    /// `enabled:`; `None` means as an operator left it, at first on.
    pub enabled: Option<bool>,
    /// `fire_on_own:`: fire on rows this instance wrote, too.
    pub fire_on_own: bool,
    /// `wal_hold:`: bytes of log kept for it when it lags.
    pub wal_hold: u64,
    /// `wal_hold:`: for how long log is kept for it; whichever limit is met first counts.
    pub wal_hold_time: Duration,
    /// `env:`, names and values for a process, expanded.
    pub env: Vec<(String, String)>,
    /// `limits:` of a process.
    pub limits: ProcessLimits,
    /// `metrics_port:` of a process: a port of 127.0.0.1 for metrics of its own; 0 lets the host
    /// choose one.
    pub metrics_port: Option<u16>,
    /// `restart:` of a worker or source.
    pub restart: Restart,
    /// `params:`, handed to a source's `open`.
    pub params: String,
    /// Where the entry stands, for messages: `mkts.yml:12`.
    pub place: String,
}

impl Entry {
    /// A trigger entry with every default, as `- module: NAME` in mkts.yml gives it.
    pub fn trigger(module: &str) -> Self {
        Self {
            kind: EntryKind::Trigger,
            module: module.into(),
            name: None,
            on: Vec::new(),
            match_mode: Match::Glob,
            config: serde_json::Value::Null,
            host: None,
            delivery: None,
            start: Start::Latest,
            parallelism: 1,
            max_attempts: None,
            on_error: None,
            on_overflow: None,
            schedule: None,
            zone: Zone::utc(),
            timeout: TIMEOUT,
            window: WindowOptions::default(),
            required: false,
            enabled: None,
            fire_on_own: false,
            wal_hold: WAL_HOLD,
            wal_hold_time: WAL_HOLD_TIME,
            env: Vec::new(),
            limits: ProcessLimits::default(),
            metrics_port: None,
            restart: Restart::default(),
            params: String::new(),
            place: String::new(),
        }
    }

    /// An entry of `bgworkers:` with every default.
    pub fn bgworker(module: &str) -> Self {
        Self {
            kind: EntryKind::BgWorker,
            window: WindowOptions::source(),
            ..Self::trigger(module)
        }
    }

    /// An entry of `sources:` with every default.
    pub fn source(module: &str) -> Self {
        Self {
            kind: EntryKind::Source,
            ..Self::bgworker(module)
        }
    }
}

impl Entry {
    /// The keys whose values differ, but not the place of the entry; values are not told, for they may
    /// be secret. Keys of a config by their path: `config.limit`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let same = [
            ("triggers/bgworkers/sources", self.kind == other.kind),
            ("module", self.module == other.module),
            ("name", self.name == other.name),
            ("on", self.on == other.on),
            ("match", self.match_mode == other.match_mode),
            ("host", self.host == other.host),
            ("delivery", self.delivery == other.delivery),
            ("start", self.start == other.start),
            ("parallelism", self.parallelism == other.parallelism),
            ("max_attempts", self.max_attempts == other.max_attempts),
            ("on_error", self.on_error == other.on_error),
            ("on_overflow", self.on_overflow == other.on_overflow),
            ("schedule", self.schedule == other.schedule),
            ("timezone", self.zone == other.zone),
            ("timeout", self.timeout == other.timeout),
            ("window", self.window == other.window),
            ("required", self.required == other.required),
            ("enabled", self.enabled == other.enabled),
            ("fire_on_own", self.fire_on_own == other.fire_on_own),
            (
                "wal_hold",
                (self.wal_hold, self.wal_hold_time) == (other.wal_hold, other.wal_hold_time),
            ),
            ("env", self.env == other.env),
            ("limits", self.limits == other.limits),
            ("metrics_port", self.metrics_port == other.metrics_port),
            ("restart", self.restart == other.restart),
            ("params", self.params == other.params),
        ];
        let differing = same.iter().filter(|(_, same)| !same);
        let mut keys: Vec<String> = differing.map(|(key, _)| (*key).to_owned()).collect();
        keys.extend(config_differences(&self.config, &other.config));
        keys
    }
}

fn config_differences(old: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return vec!["config".to_owned()];
    };
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key));
    differing.map(|key| format!("config.{key}")).collect()
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("place", &self.place)
            .field("module", &self.module)
            .field("name", &self.name)
            .field("on", &self.on)
            .finish_non_exhaustive()
    }
}

/// Default of [`Entry::timeout`].
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Default of [`Entry::wal_hold`]: 4 GiB.
pub const WAL_HOLD: u64 = 4 << 30;

/// Default of [`Entry::wal_hold_time`]: a day.
pub const WAL_HOLD_TIME: Duration = Duration::from_secs(24 * 3600);

/// The list an entry stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// `triggers:`.
    Trigger,
    /// `bgworkers:`.
    BgWorker,
    /// `sources:`.
    Source,
}

impl EntryKind {
    /// The list in mkts.yml.
    pub const fn list(self) -> &'static str {
        match self {
            Self::Trigger => "triggers",
            Self::BgWorker => "bgworkers",
            Self::Source => "sources",
        }
    }
}

/// Where a module's code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostMode {
    /// Linked into the server.
    Builtin,
    /// Loaded into the server from a file.
    Native,
    /// In a child of the server.
    Process,
}

impl HostMode {
    /// The word used in mkts.yml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Native => "native",
            Self::Process => "process",
        }
    }
}

/// Where an instance that never ran begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Behind the newest commit.
    #[default]
    Latest,
    /// At the oldest stored row.
    Earliest,
    /// At the rows of this time, in nanoseconds since 1970.
    Time(i64),
}

/// What happens to an instance for which the log is kept no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOverflow {
    /// The backlog becomes one range per bucket, delivered as gaps.
    Coalesce,
    /// The instance stops and keeps its state.
    Disable,
    /// The place moves on; the rows are counted.
    Drop,
    /// The log is kept without limit.
    Hold,
}

/// When a worker or source whose run ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// However it ended.
    Always,
    /// Only after an error or panic.
    #[default]
    OnFailure,
    /// Never.
    Never,
}

/// Limits of a process, set before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessLimits {
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Open files.
    pub nofile: Option<u64>,
}

/// How `on:` patterns are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Match {
    /// Anchored glob on `SYM/TF/AG`.
    #[default]
    Glob,
    /// MarketStore's reading: `*` is `[^/]+`, the rest a regular expression searched anywhere in
    /// `SYM/TF/AG/YEAR.bin`.
    MarketStore,
}

/// What happens to an event whose attempts are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is named in the log at error level, counted, and passed over.
    DeadLetter,
    /// It is named in the log, counted as dropped, and passed over.
    Skip,
    /// The instance stops in front of it.
    Disable,
}

/// Limits of one window, or of one batch of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOptions {
    /// Matching rows that close a window.
    pub rows: usize,
    /// Bytes of matching rows that close a window.
    pub bytes: usize,
    /// How long a window that is not full waits for more.
    pub wait: Duration,
    /// How rows become events; `None` means by commit if durable, else by key.
    pub join: Option<Join>,
}

impl WindowOptions {
    /// The defaults of a source's batches.
    pub fn source() -> Self {
        Self {
            rows: 1024,
            bytes: 4 << 20,
            wait: Duration::from_millis(50),
            join: None,
        }
    }
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            rows: 65_536,
            bytes: 4 << 20,
            wait: Duration::ZERO,
            join: None,
        }
    }
}

/// How rows of a window become events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// Neighbouring rows of one bucket are one event.
    Key,
    /// An event is one commit's rows of one bucket, so bucket and LSN name it for ever.
    Commit,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_differ_by_keys_and_never_by_their_place() {
        let mut old = Entry::trigger("alerts");
        old.config = json!({"limit": 1, "token": "secret", "same": true});
        let mut new = old.clone();
        new.place = "mkts.yml:99".into();
        assert!(old.differences(&new).is_empty());
        new.config = json!({"limit": 2, "same": true});
        new.timeout = Duration::from_secs(1);
        new.kind = EntryKind::BgWorker;
        let keys = old.differences(&new);
        let all = [
            "triggers/bgworkers/sources",
            "timeout",
            "config.limit",
            "config.token",
        ];
        assert_eq!(keys, all);
        new.config = json!(["x"]);
        assert!(old.differences(&new).contains(&"config".to_owned()));
    }
}
