//! What a fire may do, held back until it returns `Ok`.

use bytes::Bytes;
use engine::{BucketInfo, DeleteRange, Engine, Limit, Rows, Scan};
use model::{BucketKey, ColumnBatch, ColumnType, RowKind, Timeframe, Zone};
use plugin_sdk::{
    Code, FireInfo, Health, HostCalls, Level, PluginError, Query, QueryLimit, StateCalls,
    StateValue,
};

use crate::section::{CHANGE_HEADER_BYTES, Change};
use crate::state::{HOST_PREFIX, LetterId, Overlay, SharedTable, StateView, stale, state_key};
use crate::timers::{KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, TIMERS_BYTES_MAX, TIMERS_MAX, Timer};
use crate::writes::Writes;

/// Most bytes one window may write, however large frames may be.
const EFFECT_BYTES_MAX: usize = 24 << 20;

/// Most bytes one window may write: with its section it fits a frame.
pub(crate) fn effect_bytes_max(engine: &Engine) -> usize {
    EFFECT_BYTES_MAX.min(engine.options().frame_bytes_max / 4 * 3)
}

/// Bytes a write or a range costs besides its values.
const WRITE_BYTES: usize = 64;

/// What fires want done.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) writes: Vec<Write>,
    /// Ranges whose rows are deleted; in front of all writes that are left.
    pub(crate) deletes: Vec<Deletion>,
    pub(crate) state: Overlay,
    /// Dead letters, encoded.
    pub(crate) letters: Vec<Bytes>,
    /// Dead letters that have fired after all.
    pub(crate) letters_gone: Vec<LetterId>,
    pub(crate) messages: Vec<(String, Bytes)>,
    /// What becomes of ranges that are to be read again.
    pub(crate) ranges: Vec<Change>,
    /// Size of writes and letters.
    bytes: usize,
}

/// Rows to write; kept so that a commit can be tried again.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    key: BucketKey,
    kind: RowKind,
    rows: ColumnBatch,
}

/// A range whose rows are deleted.
#[derive(Debug, Clone)]
pub(crate) struct Deletion {
    pub(crate) range: DeleteRange,
    /// Bars are stored at the time that this makes of theirs.
    zone: Zone,
}

impl Deletion {
    /// What is left of rows that were to be written before.
    fn trim(&self, write: Write) -> Option<Write> {
        let DeleteRange { key, from, to } = &self.range;
        if write.key != *key {
            return Some(write);
        }
        let mut times = write.rows.times().to_vec();
        if let (RowKind::Bar, Ok(timeframe)) = (write.kind, Timeframe::parse(key.timeframe())) {
            timeframe.floor_all(&mut times, &self.zone);
        }
        let kept = (0_u32..)
            .zip(&times)
            .filter(|(_, time)| *time < from || *time > to);
        let kept: Vec<u32> = kept.map(|(row, _)| row).collect();
        if kept.is_empty() {
            return None;
        }
        let rows = write.rows.take(&kept);
        Some(Write { rows, ..write })
    }
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
        Self::default()
    }

    /// Size of all that a commit has of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.state.bytes()
    }

    /// Whether there is nothing to commit.
    pub(crate) fn is_idle(&self) -> bool {
        self.writes.is_empty()
            && self.deletes.is_empty()
            && self.state.is_empty()
            && self.letters.is_empty()
            && self.letters_gone.is_empty()
            && self.ranges.is_empty()
    }

    /// Whether there is nothing at all.
    pub(crate) fn is_nothing(&self) -> bool {
        self.is_idle() && self.messages.is_empty()
    }

    /// Appends the effects of a later fire.
    pub(crate) fn append(&mut self, mut other: Self) {
        for deletion in std::mem::take(&mut other.deletes) {
            self.delete(deletion);
        }
        self.writes.append(&mut other.writes);
        self.state.append(other.state);
        self.letters.append(&mut other.letters);
        self.letters_gone.append(&mut other.letters_gone);
        self.messages.append(&mut other.messages);
        self.ranges.append(&mut other.ranges);
        self.bytes += other.bytes;
    }

    /// Deletes a range, of the writes before, too.
    fn delete(&mut self, deletion: Deletion) {
        let writes = std::mem::take(&mut self.writes);
        let left = writes.into_iter().filter_map(|write| deletion.trim(write));
        self.writes = left.collect();
        self.deletes.push(deletion);
    }

    pub(crate) fn bury(&mut self, letter: Bytes) {
        self.bytes += CHANGE_HEADER_BYTES + letter.len();
        self.letters.push(letter);
    }

    /// What is pending under this state key from now on.
    pub(crate) fn set_timer(&mut self, key: Bytes, timer: Option<Timer>) {
        self.state.set_timer(key, timer);
    }

    /// Sets a key of the host's own, which no plugin changes.
    pub(crate) fn put_host(&mut self, key: &[u8], value: StateValue) {
        self.state.set_value(state_key(b"", key), Some(value));
    }

    /// Takes a key of the host's own away.
    pub(crate) fn delete_host(&mut self, key: &[u8]) {
        self.state.set_value(state_key(b"", key), None);
    }

    /// What the section of a commit says of them.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.state.changes(&mut changes);
        changes.extend(self.letters.iter().cloned().map(Change::Letter));
        changes.extend(self.letters_gone.iter().copied().map(Change::LetterGone));
        changes.extend(self.ranges.iter().cloned());
        changes
    }
}

/// Whose state a call sees, and in whose order its timers fire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope<'a> {
    /// Empty, or the bucket key with `state_scope: key`.
    pub(crate) namespace: Bytes,
    /// Bucket key of the event; empty if it has none.
    pub(crate) lane: &'a [u8],
}

/// Whose calls they are.
pub(crate) trait Owner: Sync {
    /// What the plugin may write.
    fn writes(&self) -> &Writes;
    /// Whether the call of the plugin is to end.
    fn is_cancelled(&self) -> bool;
    /// Whether it was given up: it goes on, but nothing of it happens any more.
    fn is_given_up(&self) -> bool;
    /// The plugin has counted something.
    fn count(&self, metric: &str, by: f64);
    /// The plugin says how it is.
    fn health(&self, health: Health, text: &str);
}

/// The calls of one fire, or of a worker between two commits.
pub(crate) struct Calls<'a> {
    engine: &'a Engine,
    instance: &'a str,
    info: FireInfo,
    effects: Effects,
    state: StateView<'a>,
    lane: &'a [u8],
    /// Bytes the window has left.
    room: usize,
    /// Whether the fire asked for more than that.
    is_over: bool,
    /// The first thing asked for that the plugin may not do.
    forbidden: Option<String>,
    /// Whose call it is, and what may ask for its end.
    owner: Option<&'a dyn Owner>,
}

impl<'a> Calls<'a> {
    /// `window`: effects of the fires before in the window, if it is one.
    pub(crate) fn new(
        engine: &'a Engine,
        instance: &'a str,
        table: &'a SharedTable,
        window: Option<&'a Effects>,
        scope: Scope<'a>,
        info: FireInfo,
    ) -> Self {
        let used = window.map_or(0, Effects::bytes);
        let room = effect_bytes_max(engine).saturating_sub(used);
        let changed = window.map(|effects| &effects.state);
        Self {
            engine,
            instance,
            info,
            effects: Effects::new(),
            state: StateView::new(table, changed, scope.namespace, room),
            lane: scope.lane,
            room,
            is_over: false,
            forbidden: None,
            owner: None,
        }
    }

    /// Who says what the plugin may do, and when it is to end.
    pub(crate) fn end_with(&mut self, owner: &'a dyn Owner) {
        self.owner = Some(owner);
    }

    /// Other threads have taken this much of the window's room.
    pub(crate) fn leave_room(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
        self.state.room = self.room;
    }

    /// What was asked for, and whether it was more than the window has room for.
    pub(crate) fn finish(mut self) -> (Effects, bool) {
        let is_over = self.is_over || self.state.is_over;
        (self.take(), is_over)
    }

    /// What was asked for since the last time.
    pub(crate) fn take(&mut self) -> Effects {
        let mut effects = std::mem::take(&mut self.effects);
        effects.state = self.state.take();
        effects
    }

    /// Bytes asked for so far.
    pub(crate) fn bytes(&self) -> usize {
        self.effects.bytes + self.state.own.bytes()
    }

    /// What is pending in place of the timer that fires; not a change of the plugin's.
    pub(crate) fn take_timer(&mut self, key: Bytes, next: Option<Timer>) {
        self.state.own.set_timer(key, next);
    }

    /// What was asked for that the plugin may not do.
    pub(crate) fn forbidden(&mut self) -> Option<String> {
        self.forbidden.take()
    }

    /// Nothing of a call that was given up happens.
    fn check_given_up(&self) -> Result<(), PluginError> {
        match self.owner.is_some_and(Owner::is_given_up) {
            true => Err(stale()),
            false => Ok(()),
        }
    }

    /// Refuses a key that the manifest does not name. The plugin may go on, but its fire has failed.
    pub(crate) fn check_may_change(&mut self, key: &BucketKey) -> Result<(), PluginError> {
        let owner = self.owner;
        let checked = owner.map_or(Ok(()), |owner| owner.writes().check(key));
        if let Err(error) = &checked {
            self.forbidden.get_or_insert_with(|| error.text.clone());
        }
        checked
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), PluginError> {
        if self.bytes().saturating_add(bytes) <= self.room {
            return Ok(());
        }
        self.is_over = true;
        Err(PluginError::new(
            Code::Limit,
            format!(
                "LIMIT: a window may write {} bytes, this fire wants over {}",
                effect_bytes_max(self.engine),
                self.room
            ),
        ))
    }

    fn reserve_change(&mut self, key: &[u8], payload: usize) -> Result<(), PluginError> {
        self.check_given_up()?;
        if key.is_empty() || key.len() > KEY_BYTES_MAX || payload > PAYLOAD_BYTES_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!(
                    "LIMIT: timer key of {} bytes (1 to {KEY_BYTES_MAX}), payload of {payload} bytes (at most {PAYLOAD_BYTES_MAX})",
                    key.len()
                ),
            ));
        }
        if key.starts_with(HOST_PREFIX) {
            return Err(PluginError::from(format!(
                "timer \"{}\": keys that begin with \"__\" are the host's, use another",
                String::from_utf8_lossy(key)
            )));
        }
        self.state.room = self.room.saturating_sub(self.effects.bytes);
        let bytes = self.state.namespace.len() + self.lane.len() + key.len() + payload;
        self.state.count_change(CHANGE_HEADER_BYTES + 16 + bytes)
    }

    fn timer_key(&self, key: &[u8]) -> Bytes {
        state_key(&self.state.namespace, key)
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
        self.check_given_up()?;
        self.check_may_change(key)?;
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

    fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), PluginError> {
        if from > to {
            return Err(PluginError::from(format!(
                "{key}: the range ends at {to} before it begins at {from} (ns)"
            )));
        }
        self.check_may_change(key)?;
        let bytes = key.as_str().len() + WRITE_BYTES;
        self.reserve(bytes)?;
        self.effects.bytes += bytes;
        self.effects.delete(Deletion {
            range: DeleteRange {
                key: key.clone(),
                from,
                to,
            },
            zone: self.engine.options().zone.clone(),
        });
        Ok(())
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        self.check_given_up()?;
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
        let (pending, bytes) = self.state.timers();
        if pending >= TIMERS_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!("LIMIT: {TIMERS_MAX} timers are pending"),
            ));
        }
        if bytes + key.len() + payload.len() > TIMERS_BYTES_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!(
                    "LIMIT: keys and payloads of pending timers may have {TIMERS_BYTES_MAX} bytes"
                ),
            ));
        }
        let timer = Timer {
            due,
            lane: Bytes::copy_from_slice(self.lane),
            payload: Bytes::copy_from_slice(payload),
        };
        let key = self.timer_key(key);
        self.state.own.set_timer(key, Some(timer));
        Ok(())
    }

    fn cancel_timer(&mut self, key: &[u8]) {
        match self.reserve_change(key, 0) {
            Ok(()) => {
                let key = self.timer_key(key);
                self.state.own.set_timer(key, None);
            }
            // The call has no answer; a key that cannot be set needs no cancelling.
            Err(error) => self.log(Level::Warn, &format!("cancel_timer: {error}")),
        }
    }

    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        self.state.room = self.room.saturating_sub(self.effects.bytes);
        self.state.is_given_up = self.check_given_up().is_err();
        Some(&mut self.state)
    }

    fn publish(&mut self, stream: &str, payload: Bytes) {
        // Of no effect if the call was given up: its effects are dropped.
        self.effects.messages.push((stream.into(), payload));
    }

    fn is_cancelled(&self) -> bool {
        self.owner.is_some_and(|owner| owner.is_cancelled())
    }

    fn count(&mut self, metric: &str, by: f64) {
        if let Some(owner) = self.owner {
            owner.count(metric, by);
        }
    }

    fn health(&mut self, health: Health, text: &str) {
        if let Some(owner) = self.owner {
            owner.health(health, text);
        }
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
