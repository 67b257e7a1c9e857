//! What a fire may do.

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};

use crate::error::PluginError;
use crate::state::{State, StateCalls};

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Worth knowing.
    Info,
    /// For the author.
    Debug,
}

/// Where a fire stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FireInfo {
    /// Position of the first commit of the event.
    pub first_lsn: u64,
    /// Position of the last commit of the event.
    pub last_lsn: u64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Whether the event may have been fired before a restart.
    pub is_replay: bool,
    /// Wall clock (ns).
    pub now: i64,
    /// When the fire has run too long (wall clock, ns).
    pub deadline: i64,
}

/// What a plugin thinks of its own health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Ok,
    /// It works, with something missing.
    Degraded,
    /// It cannot do its work.
    Failing,
}

impl Health {
    /// The word shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// Which rows to read.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// Bucket.
    pub key: &'a BucketKey,
    /// First time, inclusive (ns).
    pub from: i64,
    /// Last time, inclusive (ns).
    pub to: i64,
    /// Names of the columns wanted; those missing are left out, but one must be there. `None` for all.
    pub columns: Option<&'a [&'a str]>,
    /// At most this many rows.
    pub limit: Option<QueryLimit>,
}

/// How many rows, counted from which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryLimit {
    /// The first n.
    First(usize),
    /// The last n.
    Last(usize),
}

/// The calls a host offers; the other half of [`FireCtx`]. Threads of a plugin may make them while
/// the call lasts, one at a time.
pub trait HostCalls: Send {
    /// See [`FireCtx::info`].
    fn info(&self) -> FireInfo;
    /// See [`FireCtx::write`].
    ///
    /// # Errors
    /// If the rows cannot be written.
    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError>;
    /// See [`FireCtx::delete`].
    ///
    /// # Errors
    /// If the rows cannot be deleted.
    fn delete(&mut self, _key: &BucketKey, _from: i64, _to: i64) -> Result<(), PluginError> {
        Err(PluginError::unsupported("delete"))
    }
    /// See [`FireCtx::query`].
    ///
    /// # Errors
    /// If the store cannot read the rows.
    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError>;
    /// See [`FireCtx::set_timer`].
    ///
    /// # Errors
    /// If there are too many timers or the key is too long.
    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError>;
    /// See [`FireCtx::cancel_timer`].
    fn cancel_timer(&mut self, key: &[u8]);
    /// See [`FireCtx::publish`].
    fn publish(&mut self, stream: &str, payload: Bytes);
    /// See [`FireCtx::log`].
    fn log(&mut self, level: Level, text: &str);
    /// See [`FireCtx::state`]; `None` if there is no state store.
    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        None
    }
    /// See [`FireCtx::is_cancelled`].
    fn is_cancelled(&self) -> bool {
        false
    }
    /// See [`FireCtx::count`].
    fn count(&mut self, _metric: &str, _by: f64) {}
    /// See [`FireCtx::health`].
    fn health(&mut self, _health: Health, _text: &str) {}
}

/// Valid during one fire.
pub struct FireCtx<'a> {
    host: &'a mut (dyn HostCalls + 'a),
}

impl<'a> FireCtx<'a> {
    /// Wraps the calls of a host.
    pub fn new(host: &'a mut dyn HostCalls) -> Self {
        Self { host }
    }

    /// The calls themselves, for a host that hands them on.
    pub fn calls(&mut self) -> &mut (dyn HostCalls + 'a) {
        self.host
    }

    /// Where this fire stands.
    pub fn info(&self) -> FireInfo {
        self.host.info()
    }

    /// Writes rows, once the window is committed. A missing bucket is made, of this kind. Rows of
    /// one bucket written twice in a window are applied in order.
    ///
    /// # Errors
    /// If the rows do not fit the bucket or a limit is passed; the fire should then fail.
    pub fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        self.host.write(key, kind, rows)
    }

    /// Deletes the rows of a bucket with times in `from..=to` (ns), once the window is committed, also
    /// those that the window wrote before. A bucket that is not there has nothing to delete.
    ///
    /// # Errors
    /// If the range ends before it begins, or a limit is passed; the fire should then fail.
    pub fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), PluginError> {
        self.host.delete(key, from, to)
    }

    /// Reads rows, ascending in time, from a snapshot at the event's last commit or later. Rows
    /// this window writes are not in it. `None` if there is no such bucket.
    ///
    /// # Errors
    /// If the store cannot read the rows.
    pub fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        self.host.query(query)
    }

    /// Sets a timer; one is pending per key, the same key replaces. `due` is wall clock (ns).
    ///
    /// # Errors
    /// If there are too many timers or the key is too long.
    pub fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        self.host.set_timer(key, due, payload)
    }

    /// Forgets a timer.
    pub fn cancel_timer(&mut self, key: &[u8]) {
        self.host.cancel_timer(key);
    }

    /// Sends a message to the subscribers of a stream, once the window is committed.
    pub fn publish(&mut self, stream: &str, payload: Bytes) {
        self.host.publish(stream, payload);
    }

    /// Writes a line to the server's log, marked with the instance.
    pub fn log(&mut self, level: Level, text: &str) {
        self.host.log(level, text);
    }

    /// The instance's state, or that of the event's bucket if the manifest says so.
    pub fn state(&mut self) -> State<'_> {
        self.host.state().map_or_else(State::none, State::new)
    }

    /// Whether the fire is to end: it runs too long, or the server stops.
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// Adds to a metric that the manifest names, shown as `mkts_plugin_<name>_<metric>`.
    pub fn count(&mut self, metric: &str, by: f64) {
        self.host.count(metric, by);
    }

    /// Says how the plugin is, for `/health` and `mkts plugin list`; holds until said otherwise.
    pub fn health(&mut self, health: Health, text: &str) {
        self.host.health(health, text);
    }
}

impl std::fmt::Debug for FireCtx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FireCtx({:?})", self.info())
    }
}
