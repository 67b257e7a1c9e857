//! What a fire may do, held back until it returns `Ok`.

use bytes::Bytes;
use engine::{BucketInfo, Engine, Limit, Rows, Scan};
use foldhash::{HashSet, HashSetExt as _};
use model::{BucketKey, ColumnBatch, ColumnType, RowKind, Timeframe};
use plugin_sdk::{FireInfo, HostCalls, Level, PluginError, Query, QueryLimit};

use crate::section::Change;
use crate::timers::{KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, TIMERS_BYTES_MAX, TIMERS_MAX};

/// Most bytes one window may write, however large frames may be.
const EFFECT_BYTES_MAX: usize = 24 << 20;

/// Most bytes one window may write: with its section it fits a frame.
pub(crate) fn effect_bytes_max(engine: &Engine) -> usize {
    EFFECT_BYTES_MAX.min(engine.options().frame_bytes_max / 4 * 3)
}

/// Most timers set or cancelled by one fire.
const CHANGES_MAX: usize = 10_000;

/// Bytes a write costs besides its values.
const WRITE_BYTES: usize = 64;

/// What fires want done.
#[derive(Debug)]
pub(crate) struct Effects {
    pub(crate) writes: Vec<Write>,
    pub(crate) changes: Vec<Change>,
    pub(crate) messages: Vec<(String, Bytes)>,
    /// Size of all that.
    pub(crate) bytes: usize,
    /// Keys of `changes`.
    touched: HashSet<Bytes>,
}

/// Rows to write; kept so that a commit can be tried again.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    key: BucketKey,
    kind: RowKind,
    rows: ColumnBatch,
}

impl Write {
    pub(crate) fn rows(&self) -> usize {
        self.rows.rows()
    }

    pub(crate) fn to_rows(&self) -> Rows {
        Rows {
            key: self.key.clone(),
            batch: self.rows.clone(),
            create: Some(self.kind),
        }
    }
}

impl Effects {
    pub(crate) fn new() -> Self {
        Self {
            writes: Vec::new(),
            changes: Vec::new(),
            messages: Vec::new(),
            bytes: 0,
            touched: HashSet::new(),
        }
    }

    /// Appends the effects of a later fire.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.writes.append(&mut other.writes);
        self.changes.append(&mut other.changes);
        self.messages.append(&mut other.messages);
        self.touched.extend(other.touched);
        self.bytes += other.bytes;
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.bytes += WRITE_BYTES + change.key().len();
        if let Change::TimerSet { payload: value, .. } | Change::Put { value, .. } = &change {
            self.bytes += value.len();
        }
        self.touched.insert(change.key().clone());
        self.changes.push(change);
    }

    /// Whether the timer of this key was set or cancelled.
    pub(crate) fn touches(&self, key: &Bytes) -> bool {
        self.touched.contains(key)
    }
}

/// The calls of one fire.
pub(crate) struct Calls<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) instance: &'a str,
    pub(crate) info: FireInfo,
    pub(crate) effects: Effects,
    /// Bytes the window has left.
    pub(crate) room: usize,
    /// Whether the fire asked for more than that.
    pub(crate) is_over: bool,
    pub(crate) timers_pending: usize,
    /// Bytes of those, and of the ones set in this fire.
    pub(crate) timer_bytes: usize,
}

impl Calls<'_> {
    fn reserve(&mut self, bytes: usize) -> Result<(), PluginError> {
        if self.effects.bytes.saturating_add(bytes) <= self.room {
            return Ok(());
        }
        self.is_over = true;
        Err(PluginError::from(format!(
            "LIMIT: a window may write {} bytes, this fire wants over {}",
            effect_bytes_max(self.engine),
            self.room
        )))
    }

    fn reserve_change(&mut self, key: &[u8], payload: usize) -> Result<(), PluginError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || payload > PAYLOAD_BYTES_MAX {
            return Err(PluginError::from(format!(
                "LIMIT: timer key of {} bytes (1 to {KEY_BYTES_MAX}), payload of {payload} bytes (at most {PAYLOAD_BYTES_MAX})",
                key.len()
            )));
        }
        if self.effects.changes.len() >= CHANGES_MAX {
            return Err(PluginError::from(format!(
                "LIMIT: a fire may set and cancel {CHANGES_MAX} timers"
            )));
        }
        self.reserve(WRITE_BYTES + key.len() + payload)
    }
}

impl HostCalls for Calls<'_> {
    fn info(&self) -> FireInfo {
        self.info
    }

    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        if rows.is_empty() {
            return Ok(());
        }
        let bucket = self.engine.bucket(key);
        // Stored types may be wider than those given.
        let stored = bucket
            .as_ref()
            .map_or(0, |b| b.schema.row_bytes() * rows.rows());
        let bytes = rows.bytes().max(stored) + key.as_str().len() + WRITE_BYTES;
        self.reserve(bytes)?;
        check_write(bucket.as_deref(), key, kind, &rows)?;
        self.effects.bytes += bytes;
        self.effects.writes.push(Write {
            key: key.clone(),
            kind,
            rows,
        });
        Ok(())
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        let Some(bucket) = self.engine.bucket(query.key) else {
            return Ok(None);
        };
        // Only visible commits are fired, so any snapshot taken now reaches past them.
        let snapshot = self.engine.snapshot(&[bucket.id]);
        let Some(bucket) = snapshot.buckets().first() else {
            return Ok(None);
        };
        let columns = query.columns.map(|names| {
            names
                .iter()
                .filter_map(|name| bucket.schema.position(name))
                .collect()
        });
        let limit = query.limit.map(|limit| match limit {
            QueryLimit::First(rows) => Limit::First(rows),
            QueryLimit::Last(rows) => Limit::Last(rows),
        });
        let scan = Scan {
            from: query.from,
            to: query.to,
            columns,
            limit,
        };
        snapshot
            .scan(0, &scan)
            .map(Some)
            .map_err(|error| PluginError::from(error.to_string()))
    }

    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        self.reserve_change(key, payload.len())?;
        if self.timers_pending + self.effects.changes.len() >= TIMERS_MAX {
            return Err(PluginError::from(format!(
                "LIMIT: {TIMERS_MAX} timers are pending"
            )));
        }
        let bytes = self.timer_bytes + key.len() + payload.len();
        if bytes > TIMERS_BYTES_MAX {
            return Err(PluginError::from(format!(
                "LIMIT: keys and payloads of pending timers may have {TIMERS_BYTES_MAX} bytes"
            )));
        }
        self.timer_bytes = bytes;
        self.effects.change(Change::TimerSet {
            key: Bytes::copy_from_slice(key),
            due,
            payload: Bytes::copy_from_slice(payload),
        });
        Ok(())
    }

    fn cancel_timer(&mut self, key: &[u8]) {
        match self.reserve_change(key, 0) {
            Ok(()) => self.effects.change(Change::TimerCancel {
                key: Bytes::copy_from_slice(key),
            }),
            // The call has no answer; a key that cannot be set needs no cancelling.
            Err(error) => self.log(Level::Warn, &format!("cancel_timer: {error}")),
        }
    }

    fn publish(&mut self, stream: &str, payload: Bytes) {
        self.effects.messages.push((stream.into(), payload));
    }

    fn log(&mut self, level: Level, text: &str) {
        let instance = self.instance;
        match level {
            Level::Error => tracing::error!(instance, "{text}"),
            Level::Warn => tracing::warn!(instance, "{text}"),
            Level::Info => tracing::info!(instance, "{text}"),
            Level::Debug => tracing::debug!(instance, "{text}"),
        }
    }
}

/// Refuses here, where it fails one fire, what the engine would refuse of the whole window.
fn check_write(
    bucket: Option<&BucketInfo>,
    key: &BucketKey,
    kind: RowKind,
    rows: &ColumnBatch,
) -> Result<(), PluginError> {
    let Some(bucket) = bucket else {
        return Timeframe::parse(key.timeframe())
            .map(drop)
            .map_err(|error| PluginError::from(format!("{key}: {error}")));
    };
    if bucket.kind != kind {
        return Err(PluginError::from(format!(
            "{key} holds rows of kind {:?}, not {kind:?}",
            bucket.kind
        )));
    }
    let (given, stored) = (rows.schema(), &bucket.schema);
    let fits = given.len() == stored.len()
        && stored.columns().iter().all(|column| {
            let found = given
                .position(&column.name)
                .map(|at| given.columns()[at].ty);
            let is_text = |ty| ty == ColumnType::Str16;
            found.is_some_and(|ty| is_text(ty) == is_text(column.ty))
        });
    fits.then_some(()).ok_or_else(|| {
        let (given, stored) = (given.clone(), stored.clone());
        let error = engine::Error::SchemaMismatch { given, stored };
        PluginError::from(format!("{key}: {error}"))
    })
}
