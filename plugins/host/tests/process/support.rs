//! Programs, modules and a host that keeps what a fire does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Zone};
use plugin_host::process::{Program, Timing};
use plugin_sdk::{
    AnyTrigger, BuiltIn, Code, Event, FireCtx, FireError, FireInfo, HostCalls, Init, Kind, Level,
    Module, Plugin as _, PluginError, Query, State, StateCalls, StateValue,
};
use serde_json::Value;

use crate::child::Probe;

/// This test program as a child.
pub(crate) fn program(child: &str) -> Program {
    let mut program = Program::new(std::env::current_exe().unwrap());
    program.args = ["child_main", "--exact", "--nocapture", "--test-threads=1"]
        .map(Into::into)
        .into();
    program.env = vec![("CHILD".into(), child.into())];
    program.description = Some(Probe::MANIFEST.describe(Kind::Trigger));
    program.timing = Timing {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        exits_max: 1000,
        ..Timing::default()
    };
    program
}

/// The probe in a child.
pub(crate) fn probe() -> Arc<dyn Module> {
    plugin_host::process::module(program("probe")).unwrap()
}

/// The probe in this process: what a child is compared with.
pub(crate) fn built_in() -> Arc<dyn Module> {
    BuiltIn::trigger::<Probe>().module()
}

pub(crate) fn make(
    module: &dyn Module,
    config: &Value,
    host: &mut FakeHost,
) -> Result<Box<dyn AnyTrigger>, PluginError> {
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let mut init = Init::new("probe-1", 7, &zone);
    init.state = State::new(&mut host.state);
    module.trigger(config, &mut init)
}

pub(crate) fn rows(times: &[i64]) -> ColumnBatch {
    let schema = Schema::new(vec![ColumnDef::new("V", ColumnType::I64)]).unwrap();
    let times = Column::from_values(times.to_vec());
    ColumnBatch::new(schema, times.clone(), vec![times]).unwrap()
}

pub(crate) fn info(lsn: u64, attempt: u32) -> FireInfo {
    FireInfo {
        first_lsn: lsn,
        last_lsn: lsn + 1,
        attempt,
        is_replay: false,
        now: 1_000,
        deadline: 1_000 + 5_000_000_000,
    }
}

/// An event that owns what it is about.
pub(crate) enum Owned {
    Write(BucketKey, ColumnBatch),
    Gap(BucketKey),
    Deleted(BucketKey),
    Timer,
}

impl Owned {
    pub(crate) fn write(times: &[i64]) -> Self {
        Self::Write(BucketKey::parse("IN/1Min/T").unwrap(), rows(times))
    }

    pub(crate) fn event(&self) -> Event<'_> {
        match self {
            Self::Write(key, rows) => Event::Write(plugin_sdk::Batch {
                key,
                kind: RowKind::Tick,
                timeframe: model::Timeframe::parse(key.timeframe()).unwrap(),
                rows,
            }),
            Self::Gap(key) => Event::Gap {
                key,
                from: -5,
                to: 5,
            },
            Self::Deleted(key) => Event::Deleted(key),
            Self::Timer => Event::Timer {
                key: b"timer",
                due: 99,
                payload: b"pay",
            },
        }
    }
}

/// A window on a trigger, as a dispatcher would fire it.
pub(crate) struct FakeHost {
    pub(crate) state: FakeState,
    pub(crate) info: FireInfo,
    /// Effects of fires that returned Ok.
    pub(crate) done: Vec<String>,
    pending: Vec<String>,
    pub(crate) messages: Vec<(String, Bytes)>,
    /// A bucket that may not be written.
    pub(crate) refused: Option<&'static str>,
    pub(crate) is_cancelled: bool,
}

impl FakeHost {
    pub(crate) fn new() -> Self {
        Self {
            state: FakeState::default(),
            info: info(0, 1),
            done: Vec::new(),
            pending: Vec::new(),
            messages: Vec::new(),
            refused: None,
            is_cancelled: false,
        }
    }

    /// One fire: its effects stay if it returns Ok.
    pub(crate) fn fire(
        &mut self,
        trigger: &mut dyn AnyTrigger,
        info: FireInfo,
        event: &Owned,
    ) -> Result<(), FireError> {
        self.info = info;
        let (before, messages) = (self.state.clone(), self.messages.len());
        let result = trigger.fire(&mut FireCtx::new(self), &event.event());
        let pending = std::mem::take(&mut self.pending);
        if result.is_ok() {
            self.done.extend(pending);
        } else {
            self.state = before;
            self.messages.truncate(messages);
        }
        result
    }

    /// The messages of a stream, as text.
    pub(crate) fn said(&self, stream: &str) -> Vec<String> {
        let of_stream = self.messages.iter().filter(|(name, _)| name == stream);
        of_stream
            .map(|(_, payload)| String::from_utf8_lossy(payload).into_owned())
            .collect()
    }
}

impl HostCalls for FakeHost {
    fn info(&self) -> FireInfo {
        self.info
    }
    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        if self.refused == Some(key.as_str()) {
            return Err(PluginError::new(Code::Limit, format!("LIMIT: {key}")));
        }
        let times = rows.times();
        self.pending.push(format!("write {key} {kind:?} {times:?}"));
        Ok(())
    }
    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        Ok((query.key.symbol() == "IN").then(|| rows(&[1, 2, 3])))
    }
    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        self.pending.push(format!("set {key:?} {due} {payload:?}"));
        Ok(())
    }
    fn cancel_timer(&mut self, key: &[u8]) {
        self.pending.push(format!("cancel {key:?}"));
    }
    fn publish(&mut self, stream: &str, payload: Bytes) {
        self.messages.push((stream.into(), payload));
    }
    fn log(&mut self, _level: Level, _text: &str) {}
    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        Some(&mut self.state)
    }
    fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }
}

/// State in memory.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct FakeState(pub(crate) BTreeMap<Bytes, StateValue>);

impl FakeState {
    pub(crate) fn counter_of(&self, key: &str) -> i64 {
        match self.0.get(key.as_bytes()) {
            Some(StateValue::Counter(number)) => *number,
            other => panic!("{other:?}"),
        }
    }
}

impl StateCalls for FakeState {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, PluginError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(StateValue::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(StateValue::Counter(_)) => Err(PluginError::new(Code::Type, "TYPE")),
        }
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), PluginError> {
        let value = StateValue::Bytes(Bytes::copy_from_slice(value));
        self.0.insert(Bytes::copy_from_slice(key), value);
        Ok(())
    }
    fn delete(&mut self, key: &[u8]) -> Result<(), PluginError> {
        self.0.remove(key);
        Ok(())
    }
    fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, PluginError> {
        let sum = self.counter(key)? + by;
        let key = Bytes::copy_from_slice(key);
        self.0.insert(key, StateValue::Counter(sum));
        Ok(sum)
    }
    fn counter(&mut self, key: &[u8]) -> Result<i64, PluginError> {
        match self.0.get(key) {
            None => Ok(0),
            Some(StateValue::Counter(number)) => Ok(*number),
            Some(StateValue::Bytes(_)) => Err(PluginError::new(Code::Type, "TYPE")),
        }
    }
    fn scan(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError> {
        let found = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
        let found = found.map(|(key, value)| (key.clone(), value.clone()));
        Ok(found.take(limit).collect())
    }
}

/// How often a long test repeats: `MKTS_PLUGIN_ROUNDS` for the long run.
pub(crate) fn rounds(default: u64) -> u64 {
    let rounds = std::env::var("MKTS_PLUGIN_ROUNDS").ok();
    rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(default)
}

/// Waits for what must come.
pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(std::time::Instant::now() < until, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
