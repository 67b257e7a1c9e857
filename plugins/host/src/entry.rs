//! One entry of `triggers:` or `bgworkers:` in mkts.yml, as the server parsed it.

use std::time::Duration;

use plugin_sdk::Delivery;

/// What an entry asks for.
#[derive(Debug, Clone)]
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
    /// `delivery:`; `None` takes the plugin's own.
    pub delivery: Option<Delivery>,
    /// `max_attempts:`; 0 means for ever, `None` 5 (1 if volatile).
    pub max_attempts: Option<u32>,
    /// `on_error:`; `None` means dead letter (skip if volatile).
    pub on_error: Option<OnError>,
    /// `timeout:` of one event.
    pub timeout: Duration,
    /// `window:`.
    pub window: WindowOptions,
    /// `required:`: the server does not start without it.
    pub required: bool,
    /// `enabled:`.
    pub enabled: bool,
    /// `fire_on_own:`: fire on rows this instance wrote, too.
    pub fire_on_own: bool,
    /// `wal_hold:`: bytes of log kept for it when it lags.
    pub wal_hold: u64,
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
            delivery: None,
            max_attempts: None,
            on_error: None,
            timeout: TIMEOUT,
            window: WindowOptions::default(),
            required: false,
            enabled: true,
            fire_on_own: false,
            wal_hold: WAL_HOLD,
            place: String::new(),
        }
    }

    /// An entry of `bgworkers:` with every default.
    pub fn bgworker(module: &str) -> Self {
        Self {
            kind: EntryKind::BgWorker,
            ..Self::trigger(module)
        }
    }
}

/// Default of [`Entry::timeout`].
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Default of [`Entry::wal_hold`]: 4 GiB.
pub const WAL_HOLD: u64 = 4 << 30;

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

/// Limits of one window.
#[derive(Debug, Clone)]
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
