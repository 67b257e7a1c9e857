//! A host in memory that remembers what it was asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};
use plugin_sdk::{
    Code, FireInfo, Health, HostCalls, Level, PluginError, Query, SourceCalls, StateCalls,
    StateValue, WorkerCalls,
};

/// Where and when a fire stands.
pub(crate) const INFO: FireInfo = FireInfo {
    first_lsn: 64,
    last_lsn: 128,
    attempt: 3,
    is_replay: true,
    now: 1_600_000_000_000_000_000,
    deadline: 1_600_000_005_000_000_000,
};

#[derive(Default)]
pub(crate) struct Fake {
    /// One line for each effect, in order.
    pub(crate) did: Vec<String>,
    pub(crate) written: Vec<(String, ColumnBatch)>,
    pub(crate) state: BTreeMap<Vec<u8>, StateValue>,
    /// What a query answers.
    pub(crate) rows: Option<ColumnBatch>,
    pub(crate) cancelled: bool,
    /// Calls that are answered; every further one panics.
    pub(crate) panics_after: Option<usize>,
    calls: AtomicUsize,
    /// Rows and bytes a batch of a source takes.
    pub(crate) room: (usize, usize),
    /// Sleeps until it is to end.
    pub(crate) naps: usize,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            room: (1000, 1 << 20),
            naps: usize::MAX,
            ..Self::default()
        }
    }

    fn call(&self) {
        let calls = self.calls.fetch_add(1, Relaxed);
        let answered = self.panics_after.is_none_or(|most| calls < most);
        assert!(answered, "the host panics");
    }

    fn did(&mut self, what: impl Into<String>) {
        self.call();
        self.did.push(what.into());
    }

    pub(crate) fn counter(&self, key: &str) -> i64 {
        match self.state.get(key.as_bytes()) {
            Some(StateValue::Counter(value)) => *value,
            _ => 0,
        }
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

impl HostCalls for Fake {
    fn info(&self) -> FireInfo {
        self.call();
        INFO
    }

    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        self.did(format!("write {key} {kind:?} {} rows", rows.rows()));
        if key.symbol() == "REFUSED" {
            return Err(PluginError::new(
                Code::Limit,
                "LIMIT: refused, says the host",
            ));
        }
        self.written.push((key.to_string(), rows));
        Ok(())
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        let columns = query.columns.map(|names| names.join(","));
        self.did(format!(
            "query {} {}..={} {columns:?} {:?}",
            query.key, query.from, query.to, query.limit
        ));
        Ok(self.rows.clone())
    }

    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        self.did(format!("timer {} {due} {}", show(key), show(payload)));
        Ok(())
    }

    fn cancel_timer(&mut self, key: &[u8]) {
        self.did(format!("cancel timer {}", show(key)));
    }

    fn publish(&mut self, stream: &str, payload: Bytes) {
        self.did(format!("publish {stream} {}", show(&payload)));
    }

    fn log(&mut self, level: Level, text: &str) {
        self.did(format!("log {level:?} {text}"));
    }

    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        Some(self)
    }

    fn is_cancelled(&self) -> bool {
        self.call();
        self.cancelled
    }

    fn count(&mut self, metric: &str, by: f64) {
        self.did(format!("count {metric} {by}"));
    }

    fn health(&mut self, health: Health, text: &str) {
        self.did(format!("health {health:?} {text}"));
    }
}

impl WorkerCalls for Fake {
    fn commit(&mut self) -> Result<(), PluginError> {
        self.did("commit");
        Ok(())
    }

    fn sleep(&mut self, time: Duration) -> bool {
        self.did(format!("sleep {time:?}"));
        self.naps = self.naps.saturating_sub(1);
        self.naps > 0
    }

    fn as_host(&mut self) -> &mut dyn HostCalls {
        self
    }
}

impl SourceCalls for Fake {
    fn append(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        self.room.0 = self.room.0.saturating_sub(rows.rows());
        self.room.1 = self.room.1.saturating_sub(rows.bytes());
        HostCalls::write(self, key, kind, rows)
    }

    fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        self.did(format!("resume {}", show(token)));
        Ok(())
    }

    fn room(&self) -> (usize, usize) {
        self.room
    }

    fn is_cancelled(&self) -> bool {
        HostCalls::is_cancelled(self)
    }

    fn log(&mut self, level: Level, text: &str) {
        HostCalls::log(self, level, text);
    }
}

fn wrong_type() -> PluginError {
    PluginError::new(Code::Type, "TYPE: the key has the other kind of value")
}

impl StateCalls for Fake {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, PluginError> {
        self.call();
        match self.state.get(key) {
            None => Ok(None),
            Some(StateValue::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(StateValue::Counter(_)) => Err(wrong_type()),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), PluginError> {
        self.did(format!("put {} {}", show(key), show(value)));
        let value = StateValue::Bytes(Bytes::copy_from_slice(value));
        self.state.insert(key.into(), value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), PluginError> {
        self.did(format!("delete {}", show(key)));
        self.state.remove(key);
        Ok(())
    }

    fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, PluginError> {
        self.did(format!("incr {} {by}", show(key)));
        let sum = StateCalls::counter(self, key)? + by;
        self.state.insert(key.into(), StateValue::Counter(sum));
        Ok(sum)
    }

    fn counter(&mut self, key: &[u8]) -> Result<i64, PluginError> {
        self.call();
        match self.state.get(key) {
            None => Ok(0),
            Some(StateValue::Counter(value)) => Ok(*value),
            Some(StateValue::Bytes(_)) => Err(wrong_type()),
        }
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError> {
        self.call();
        let found = self.state.iter().filter(|(key, _)| key.starts_with(prefix));
        let found = found.map(|(key, value)| (Bytes::copy_from_slice(key), value.clone()));
        Ok(found.take(limit).collect())
    }
}
