//! Between the host and the plugin: sees every fire, and fails it where a test says so.
//!
//! The plugin is called through the same traits whatever it runs as, so this works for all forms.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::SimDisk;
use model::{BucketKey, ColumnBatch, RowKind};
use parking_lot::Mutex;
use plugin_sdk::{
    AnySource, AnyTrigger, AnyWorker, Cancel, CloseReason, Code, ConfigError, Description, Event,
    FireCtx, FireError, FireInfo, Health, HostCalls, Init, Level, Module, PluginError, Query,
    Standing, State, StateCalls, StateValue,
};
use serde_json::Value;

/// What goes wrong with the next fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is told to end, and its effects are dropped.
    Timeout,
    /// It works, and its effects are dropped.
    Fail(String),
    /// As `Fail`, with the loss of the object.
    Panic,
    /// Every call that changes something answers `LIMIT`.
    Limit,
}

/// One call of `fire`, as the harness saw it.
#[derive(Debug, Clone)]
pub struct Fire {
    /// What it was about: `write AAPL/1Min/OHLCV, 3 rows`.
    pub event: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Whether the event may have been fired before a restart.
    pub is_replay: bool,
    /// How it ended; a panic has no line.
    pub result: Result<(), String>,
    /// How long it took.
    pub took: Duration,
    /// Changing calls of the disk when it began and when it ended.
    pub(crate) calls: (u64, u64),
}

/// What a test says and what it sees.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    /// The range that the next gap is to have.
    pub(crate) gap: Mutex<Option<(i64, i64)>>,
    pub(crate) fires: Mutex<Vec<Fire>>,
    pub(crate) disk: Mutex<Option<SimDisk>>,
}

impl Control {
    pub(crate) fn call_count(&self) -> u64 {
        let disk = self.disk.lock();
        disk.as_ref().map_or(0, SimDisk::call_count)
    }

    fn is_quiet(&self) -> bool {
        self.faults.lock().is_empty() && self.gap.lock().is_none()
    }
}

/// A module whose triggers are watched.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Module>,
    pub(crate) control: Arc<Control>,
}

impl Module for Watched {
    fn description(&self) -> &Description {
        self.inner.description()
    }
    fn check(&self, config: &Value) -> Result<(), ConfigError> {
        self.inner.check(config)
    }
    fn migrate(&self, from: u32, state: &mut State<'_>) -> Result<(), PluginError> {
        self.inner.migrate(from, state)
    }
    fn trigger(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyTrigger>, PluginError> {
        Ok(Box::new(WatchedTrigger {
            inner: self.inner.trigger(config, init)?,
            control: Arc::clone(&self.control),
        }))
    }
    fn worker(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyWorker>, PluginError> {
        self.inner.worker(config, init)
    }
    fn source(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnySource>, PluginError> {
        self.inner.source(config, init)
    }
    fn standing(&self, instance: &str) -> Option<Standing> {
        self.inner.standing(instance)
    }
}

struct WatchedTrigger {
    inner: Box<dyn AnyTrigger>,
    control: Arc<Control>,
}

impl WatchedTrigger {
    /// Fires, with `fault` around it.
    fn fire_with(
        &mut self,
        fault: Option<&Fault>,
        ctx: &mut FireCtx<'_>,
        event: &Event<'_>,
    ) -> Result<(), FireError> {
        let mut door = Door {
            host: ctx.calls(),
            is_cancelled: fault == Some(&Fault::Timeout),
            is_full: fault == Some(&Fault::Limit),
        };
        let result = self.inner.fire(&mut FireCtx::new(&mut door), event);
        let why = match fault {
            Some(Fault::Timeout) => "timed out, because the test said so".to_owned(),
            Some(Fault::Fail(why)) => why.clone(),
            _ => return result,
        };
        if result.is_ok() {
            // What it did is dropped, which a plugin in another process must know.
            self.inner.forget();
        }
        result.and(Err(FireError::Retry(why)))
    }
}

impl AnyTrigger for WatchedTrigger {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let fault = self.control.faults.lock().pop_front();
        let info = ctx.info();
        let (began, start) = (self.control.call_count(), Instant::now());
        let gap = match event {
            Event::Gap { .. } => self.control.gap.lock().take(),
            _ => None,
        };
        let result = match (event, gap) {
            (Event::Gap { key, .. }, Some((from, to))) => {
                let event = Event::Gap { key, from, to };
                self.fire_with(fault.as_ref(), ctx, &event)
            }
            _ => self.fire_with(fault.as_ref(), ctx, event),
        };
        let took = start.elapsed();
        self.control.fires.lock().push(Fire {
            event: name(event),
            attempt: info.attempt,
            is_replay: info.is_replay,
            result: result.as_ref().map_err(ToString::to_string).copied(),
            took,
            calls: (began, self.control.call_count()),
        });
        if fault == Some(Fault::Panic) {
            // Past the panic hook: nobody wants to read of it.
            std::panic::resume_unwind(Box::new("panicked, because the test said so"));
        }
        result
    }

    fn ahead(&mut self, events: &mut dyn Iterator<Item = (FireInfo, Event<'_>)>) {
        // A fault is for one fire, not for what is done ahead of it.
        if self.control.is_quiet() {
            self.inner.ahead(events);
        }
    }

    fn forget(&mut self) {
        self.inner.forget();
    }

    fn cancel(&self) -> Option<Cancel> {
        self.inner.cancel()
    }

    fn close(&mut self, why: CloseReason) {
        self.inner.close(why);
    }
}

fn name(event: &Event<'_>) -> String {
    match event {
        Event::Write(batch) => format!("write {}, {} rows", batch.key, batch.rows.rows()),
        Event::Gap { key, .. } => format!("gap {key}"),
        Event::Deleted(key) => format!("deleted {key}"),
        Event::Timer { key, .. } => format!("timer {}", String::from_utf8_lossy(key)),
    }
}

/// The host's calls, some of which fail.
struct Door<'a> {
    host: &'a mut (dyn HostCalls + 'a),
    is_cancelled: bool,
    is_full: bool,
}

impl Door<'_> {
    fn check(&self) -> Result<(), PluginError> {
        if !self.is_full {
            return Ok(());
        }
        let text = "LIMIT: the test says that the window is full";
        Err(PluginError::new(Code::Limit, text))
    }

    fn store(&mut self) -> Result<&mut dyn StateCalls, PluginError> {
        let store = self.host.state();
        store.ok_or_else(|| PluginError::unsupported("the state store"))
    }
}

impl HostCalls for Door<'_> {
    fn info(&self) -> FireInfo {
        self.host.info()
    }
    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        self.check()?;
        self.host.write(key, kind, rows)
    }
    fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), PluginError> {
        self.check()?;
        self.host.delete(key, from, to)
    }
    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        self.host.query(query)
    }
    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        self.check()?;
        self.host.set_timer(key, due, payload)
    }
    fn cancel_timer(&mut self, key: &[u8]) {
        self.host.cancel_timer(key);
    }
    fn publish(&mut self, stream: &str, payload: Bytes) {
        self.host.publish(stream, payload);
    }
    fn log(&mut self, level: Level, text: &str) {
        self.host.log(level, text);
    }
    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        self.host.state()?;
        Some(self)
    }
    fn is_cancelled(&self) -> bool {
        self.is_cancelled || self.host.is_cancelled()
    }
    fn count(&mut self, metric: &str, by: f64) {
        self.host.count(metric, by);
    }
    fn health(&mut self, health: Health, text: &str) {
        self.host.health(health, text);
    }
}

impl StateCalls for Door<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, PluginError> {
        self.store()?.get(key)
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), PluginError> {
        self.check()?;
        self.store()?.put(key, value)
    }
    fn delete(&mut self, key: &[u8]) -> Result<(), PluginError> {
        self.check()?;
        self.store()?.delete(key)
    }
    fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, PluginError> {
        self.check()?;
        self.store()?.incr(key, by)
    }
    fn counter(&mut self, key: &[u8]) -> Result<i64, PluginError> {
        self.store()?.counter(key)
    }
    fn scan(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError> {
        self.store()?.scan(prefix, limit)
    }
}
