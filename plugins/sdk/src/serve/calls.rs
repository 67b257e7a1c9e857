//! What a plugin in a child may do: effects are collected here and travel with the answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::{BatchBuilder, BucketKey, ColumnBatch, RowKind};
use plugin_proto::v1::effect::{self, Effect as Kind};
use plugin_proto::{Sent, encode_rows, v1};

use super::copy::{Copy, value_of};
use super::link::Link;
use crate::bgworker::WorkerCalls;
use crate::ctx::{FireInfo, Health, HostCalls, Level, Query, QueryLimit};
use crate::error::{Code, PluginError};
use crate::state::{StateCalls, StateValue};

/// Most bytes of effects: they must fit one message.
const EFFECT_BYTES_MAX: usize = 60 << 20;
/// Most changes of state and timers in one fire.
const CHANGES_MAX: usize = 10_000;
/// Longest key of a state entry.
const KEY_BYTES_MAX: usize = 512;
/// Longest value of a state entry.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Bytes an effect costs besides its contents.
const EFFECT_BYTES: usize = 64;

/// The calls of one fire, one run, or the making of an object.
pub(super) struct Calls<'a> {
    pub(super) link: &'a Link,
    pub(super) copy: &'a mut Copy,
    pub(super) sent: &'a mut Sent,
    pub(super) info: FireInfo,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) effects: Vec<v1::Effect>,
    /// Schemas used by `effects` that are not sent by themselves: a commit carries its own.
    pub(super) schemas: Option<Vec<v1::Schema>>,
    pub(super) bytes: usize,
    pub(super) changes: usize,
    /// Only read, as when an object is made.
    pub(super) is_read_only: bool,
}

impl Calls<'_> {
    fn effect(&mut self, effect: Kind, bytes: usize) -> Result<(), PluginError> {
        if self.is_read_only {
            return Err(PluginError::unsupported("changes"));
        }
        if self.bytes + bytes + EFFECT_BYTES > EFFECT_BYTES_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!("LIMIT: effects of one fire have more than {EFFECT_BYTES_MAX} bytes"),
            ));
        }
        self.bytes += bytes + EFFECT_BYTES;
        self.effects.push(v1::Effect {
            effect: Some(effect),
        });
        Ok(())
    }

    fn change(&mut self, effect: Kind, bytes: usize) -> Result<(), PluginError> {
        if self.changes >= CHANGES_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!("LIMIT: a fire may change state and timers {CHANGES_MAX} times"),
            ));
        }
        self.effect(effect, bytes)?;
        self.changes += 1;
        Ok(())
    }

    fn schema_id(&mut self, kind: RowKind, rows: &ColumnBatch) -> u32 {
        let (id, new) = self.sent.id(kind, rows.schema());
        if let Some(schema) = new {
            match &mut self.schemas {
                Some(schemas) => schemas.push(schema),
                None => self.link.send(v1::from_child::Message::Schema(schema)),
            }
        }
        id
    }

    /// What a key has; the server is asked if the copy does not know.
    fn value(&mut self, key: &[u8]) -> Result<Option<StateValue>, PluginError> {
        if let Some(known) = self.copy.get(key) {
            return Ok(known);
        }
        let key = Bytes::copy_from_slice(key);
        let answer = self.link.state_get(v1::StateGetRequest {
            epoch: self.epoch,
            seq: self.seq,
            attempt: self.info.attempt,
            key: key.clone(),
        })?;
        check(answer.code, answer.message)?;
        let value = value_of(answer.value);
        self.copy.note(key, value.clone());
        Ok(value)
    }
}

/// The error of an answer, if it is one.
fn check(code: i32, message: String) -> Result<(), PluginError> {
    if code == 0 {
        return Ok(());
    }
    Err(PluginError::new(Code::of(code), message))
}

fn check_key(key: &[u8]) -> Result<(), PluginError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(PluginError::new(
            Code::Limit,
            format!(
                "LIMIT: a key of {} bytes; 1 to {KEY_BYTES_MAX} are allowed",
                key.len()
            ),
        ));
    }
    Ok(())
}

fn wrong_type(key: &[u8], is: &str) -> PluginError {
    let key = String::from_utf8_lossy(key);
    PluginError::new(Code::Type, format!("TYPE: state \"{key}\" is {is}"))
}

impl HostCalls for Calls<'_> {
    fn info(&self) -> FireInfo {
        if self.info.now != 0 {
            return self.info;
        }
        // A worker's time goes on while it runs; no message of the server says what it is.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_nanos());
        FireInfo {
            now: i64::try_from(now).unwrap_or(i64::MAX),
            ..self.info
        }
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
        let schema_id = self.schema_id(kind, &rows);
        let rows = encode_rows(&rows);
        let bytes = rows.len() + key.as_str().len();
        let write = effect::Write {
            key: key.as_str().to_owned(),
            schema_id,
            rows,
            flags: 0,
        };
        self.effect(Kind::Write(write), bytes)
    }

    fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), PluginError> {
        let range = effect::DeleteRange {
            key: key.as_str().to_owned(),
            from_ns: from,
            to_ns: to,
        };
        self.effect(Kind::DeleteRange(range), key.as_str().len())
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        let (limit, from_end) = match query.limit {
            None => (0, false),
            // A question for nothing would be one for everything.
            Some(QueryLimit::First(0) | QueryLimit::Last(0)) => (1, false),
            Some(QueryLimit::First(rows)) => (rows as u64, false),
            Some(QueryLimit::Last(rows)) => (rows as u64, true),
        };
        let answers = self.link.query(v1::QueryRequest {
            epoch: self.epoch,
            seq: self.seq,
            attempt: self.info.attempt,
            key: query.key.as_str().to_owned(),
            from_ns: query.from,
            to_ns: query.to,
            columns: query
                .columns
                .unwrap_or_default()
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            limit,
            from_end,
        })?;
        let rows = joined(answers)?;
        let wants_none = matches!(
            query.limit,
            Some(QueryLimit::First(0) | QueryLimit::Last(0))
        );
        Ok(rows.map(|rows| if wants_none { rows.slice(0..0) } else { rows }))
    }

    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        let set = effect::TimerSet {
            key: Bytes::copy_from_slice(key),
            due_ns: due,
            payload: Bytes::copy_from_slice(payload),
        };
        self.change(Kind::TimerSet(set), key.len() + payload.len())
    }

    fn cancel_timer(&mut self, key: &[u8]) {
        let cancel = effect::TimerCancel {
            key: Bytes::copy_from_slice(key),
        };
        if let Err(error) = self.change(Kind::TimerCancel(cancel), key.len()) {
            self.log(Level::Warn, &format!("cancel_timer: {error}"));
        }
    }

    fn publish(&mut self, stream: &str, payload: Bytes) {
        let bytes = stream.len() + payload.len();
        let publish = effect::Publish {
            stream: stream.to_owned(),
            payload,
        };
        if let Err(error) = self.effect(Kind::Publish(publish), bytes) {
            self.log(Level::Warn, &format!("publish: {error}"));
        }
    }

    fn log(&mut self, level: Level, text: &str) {
        self.link.log(level, text);
    }

    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        Some(self)
    }

    fn is_cancelled(&self) -> bool {
        self.link.shared.is_cancelled()
    }

    fn count(&mut self, metric: &str, by: f64) {
        self.link.shared.count(metric, by);
    }

    fn health(&mut self, health: Health, text: &str) {
        self.link.shared.health(health, text);
    }
}

/// The rows of all answers; `None` if there is no such bucket.
fn joined(answers: Vec<v1::QueryAnswer>) -> Result<Option<ColumnBatch>, PluginError> {
    let text = |error: plugin_proto::WireError| PluginError::from(format!("query: {error}"));
    let mut schema = None;
    let mut parts = Vec::new();
    for answer in answers {
        check(answer.code, answer.message)?;
        if let Some(message) = &answer.schema {
            schema = Some(plugin_proto::schema(message).map_err(text)?.1);
        }
        if let (Some(schema), false) = (&schema, answer.rows.is_empty()) {
            parts.push(plugin_proto::decode_rows(schema, &answer.rows).map_err(text)?);
        }
    }
    let Some(schema) = schema else {
        return Ok(None);
    };
    if parts.len() == 1 {
        return Ok(parts.pop());
    }
    let rows = parts.iter().map(ColumnBatch::rows).sum();
    let mut builder = BatchBuilder::new(schema, rows);
    for part in &parts {
        builder
            .append(part)
            .map_err(|error| PluginError::from(error.to_string()))?;
    }
    Ok(Some(builder.finish()))
}

impl StateCalls for Calls<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, PluginError> {
        match self.value(key)? {
            None => Ok(None),
            Some(StateValue::Bytes(bytes)) => Ok(Some(bytes)),
            Some(StateValue::Counter(_)) => Err(wrong_type(key, "a counter")),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), PluginError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(PluginError::new(
                Code::Limit,
                format!("LIMIT: a value may have {VALUE_BYTES_MAX} bytes"),
            ));
        }
        // Of a key that is not known the server finds out when it takes the effects.
        if let Some(Some(StateValue::Counter(_))) = self.copy.get(key) {
            return Err(wrong_type(key, "a counter"));
        }
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        let put = effect::Put {
            key: key.clone(),
            value: value.clone(),
        };
        self.change(Kind::Put(put), key.len() + value.len())?;
        self.copy.set(key, Some(StateValue::Bytes(value)));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), PluginError> {
        let key = Bytes::copy_from_slice(key);
        let delete = effect::Delete { key: key.clone() };
        self.change(Kind::Delete(delete), key.len())?;
        self.copy.set(key, None);
        Ok(())
    }

    fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, PluginError> {
        check_key(key)?;
        let sum = self.counter(key)?.checked_add(by).ok_or_else(|| {
            let key = String::from_utf8_lossy(key);
            PluginError::new(Code::Limit, format!("LIMIT: counter \"{key}\" overflows"))
        })?;
        let key = Bytes::copy_from_slice(key);
        let count = effect::Count {
            key: key.clone(),
            by,
        };
        self.change(Kind::Count(count), key.len())?;
        self.copy.set(key, Some(StateValue::Counter(sum)));
        Ok(sum)
    }

    fn counter(&mut self, key: &[u8]) -> Result<i64, PluginError> {
        match self.value(key)? {
            None => Ok(0),
            Some(StateValue::Counter(number)) => Ok(number),
            Some(StateValue::Bytes(_)) => Err(wrong_type(key, "bytes, not a counter")),
        }
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError> {
        let known = self.copy.with_prefix(prefix);
        if self.copy.is_complete() {
            let there = known.filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
            return Ok(there.take(limit).collect());
        }
        // What is known overrules what the server says, which may lack this fire's changes.
        let mut found: std::collections::BTreeMap<Bytes, Option<StateValue>> = known
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let gone = found.values().filter(|value| value.is_none()).count();
        let answer = self.link.state_scan(v1::StateScanRequest {
            epoch: self.epoch,
            seq: self.seq,
            attempt: self.info.attempt,
            prefix: Bytes::copy_from_slice(prefix),
            limit: (limit + gone) as u64,
        })?;
        check(answer.code, answer.message)?;
        for entry in answer.entries {
            found.entry(entry.key).or_insert(value_of(entry.value));
        }
        let there = found
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        Ok(there.take(limit).collect())
    }
}

impl WorkerCalls for Calls<'_> {
    fn commit(&mut self) -> Result<(), PluginError> {
        let effects = std::mem::take(&mut self.effects);
        let schemas = self.schemas.replace(Vec::new()).unwrap_or_default();
        *self.sent = Sent::default();
        (self.bytes, self.changes) = (0, 0);
        let answer = self.link.commit(v1::CommitRequest {
            epoch: self.epoch,
            seq: self.seq,
            effects,
            schemas,
        });
        let committed = answer.and_then(|answer| check(answer.code, answer.message));
        match committed {
            Ok(()) => self.copy.keep(),
            Err(_) => self.copy.roll_back(),
        }
        committed
    }

    fn sleep(&mut self, time: Duration) -> bool {
        self.link.shared.sleep(time)
    }

    fn as_host(&mut self) -> &mut dyn HostCalls {
        self
    }
}
