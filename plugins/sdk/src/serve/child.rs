//! The plugin's thread: does what the server asks, in order.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use model::{BucketKey, Timeframe, Zone};
use plugin_proto::v1::from_child::Message as Out;
use plugin_proto::v1::to_child::Message as In;
use plugin_proto::{Received, Sent, v1};
use serde_json::Value;

use super::calls::Calls;
use super::copy::Copy;
use super::link::{Command, Link};
use super::{guard, source};
use crate::bgworker::WorkerCtx;
use crate::ctx::{FireCtx, FireInfo};
use crate::error::{Code, FireError, PluginError};
use crate::manifest::StateScope;
use crate::module::{AnySource, AnyTrigger, AnyWorker, Module};
use crate::plugin::{CloseReason, Init};
use crate::source::{More, SourceOut};
use crate::state::State;
use crate::trigger::{Batch, Event};

/// Codes of a fire that have no [`Code`].
const OK: i32 = 0;
const RETRY: i32 = 1;
const SKIP: i32 = 2;
const FATAL: i32 = 3;

enum Object {
    None,
    Trigger(Box<dyn AnyTrigger>),
    Worker(Box<dyn AnyWorker>),
    Source(Box<dyn AnySource>),
}

impl Object {
    fn close(&mut self, why: CloseReason) {
        let mut object = std::mem::replace(self, Self::None);
        let closed = contained(|| {
            match &mut object {
                Self::None => {}
                Self::Trigger(object) => object.close(why),
                Self::Worker(object) => object.close(why),
                Self::Source(object) => object.close(why),
            }
            drop(object);
        });
        if let Err(panic) = closed {
            eprintln!("close: {panic}");
        }
    }
}

/// A child and the one instance it has.
pub(super) struct Child<'m> {
    module: &'m Arc<dyn Module>,
    link: Link,
    epoch: u64,
    object: Object,
    configured: v1::Configure,
    config: Value,
    zone: Zone,
    copy: Copy,
    received: Received,
    sent: Sent,
    /// Resets worked off; those that came are counted by the link.
    resets: u64,
    /// A fire has failed: the next ones wait for a reset.
    is_halted: bool,
}

/// Runs code of the plugin; a panic is its message.
fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panic_text(&*panic))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "no message".into());
    format!("panic: {}", text.replace('\n', " "))
}

fn panicked(text: String) -> PluginError {
    PluginError::new(Code::Panic, text)
}

impl<'m> Child<'m> {
    pub(super) fn new(module: &'m Arc<dyn Module>, epoch: u64, link: Link) -> Self {
        Self {
            module,
            link,
            epoch,
            object: Object::None,
            configured: v1::Configure::default(),
            config: Value::Null,
            zone: Zone::utc(),
            copy: Copy::default(),
            received: Received::default(),
            sent: Sent::default(),
            resets: 0,
            is_halted: false,
        }
    }

    /// Works until the server says `Stop`; without a server the process ends.
    pub(super) fn run(mut self) -> Result<(), PluginError> {
        loop {
            match self.link.next() {
                Command::Gone => guard::end_group(),
                Command::Terminated => {
                    self.object.close(CloseReason::Stop);
                    self.link.flush();
                    guard::end_group();
                }
                Command::Do(message) => match *message {
                    In::Stop(stop) => {
                        self.object.close(reason(stop.reason));
                        self.link.flush();
                        return Ok(());
                    }
                    message => self.work(message)?,
                },
            }
        }
    }

    fn work(&mut self, message: In) -> Result<(), PluginError> {
        match message {
            In::Configure(configure) => self.configure(configure),
            In::Schema(schema) => {
                let added = self.received.add(&schema);
                return added.map_err(|error| PluginError::from(error.to_string()));
            }
            In::Fire(fire) => return self.fire(&fire),
            In::StateReset(reset) => {
                self.resets += 1;
                self.is_halted = false;
                if !reset.keep {
                    self.copy.forget();
                }
            }
            In::Credit(credit) => self.credit(&credit),
            // Both are acted upon where they come in.
            In::Cancel(_) | In::Stop(_) => {}
        }
        Ok(())
    }

    fn configure(&mut self, mut configure: v1::Configure) {
        self.object.close(CloseReason::Again);
        let state = std::mem::take(&mut configure.state);
        self.copy = Copy::new(state, configure.state_complete);
        self.configured = configure;
        let mut changes = Vec::new();
        let made = self.prepare(&mut changes);
        let status = made.err().unwrap_or_default();
        self.link.send(Out::Ready(v1::Ready {
            status: Some(status),
            state_changes: changes,
        }));
    }

    /// Limits, config, migration, object.
    fn prepare(&mut self, changes: &mut Vec<v1::Effect>) -> Result<(), v1::Status> {
        let status = |code: Code, message: String| v1::Status {
            code: code as i32,
            message,
            path: String::new(),
        };
        let of = |error: PluginError| status(error.code, error.text);
        #[cfg(not(target_os = "linux"))]
        set_limits(self.configured.limits.unwrap_or_default());
        self.config = serde_json::from_str(&self.configured.config_json)
            .map_err(|error| status(Code::Config, error.to_string()))?;
        if !self.configured.timezone.is_empty() {
            self.zone = Zone::parse(&self.configured.timezone)
                .map_err(|error| status(Code::Error, error.to_string()))?;
        }
        if self.configured.state_version != 0 {
            *changes = self.migrate().map_err(of)?;
        } else if self.configured.check_only {
            let (module, config) = (self.module, &self.config);
            return match contained(|| module.check(config)) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(v1::Status {
                    code: Code::Config as i32,
                    message: error.message,
                    path: error.path,
                }),
                Err(panic) => Err(status(Code::Panic, panic)),
            };
        }
        if self.configured.check_only {
            return Ok(());
        }
        self.make().map_err(of)
    }

    fn migrate(&mut self) -> Result<Vec<v1::Effect>, PluginError> {
        let from = self.configured.state_version;
        let module = self.module;
        let mut calls = self.calls(0, FireInfo::none(), false);
        let migrated = contained(|| module.migrate(from, &mut State::new(&mut calls)));
        let effects = calls.effects;
        migrated.unwrap_or_else(|panic| Err(panicked(panic)))?;
        self.copy.keep();
        Ok(effects)
    }

    fn make(&mut self) -> Result<(), PluginError> {
        let (module, config, zone) = (self.module, self.config.clone(), self.zone.clone());
        let (instance, kind) = (
            self.configured.instance.clone(),
            self.configured.kind.clone(),
        );
        let epoch = self.epoch;
        let mut calls = self.calls(0, FireInfo::none(), true);
        let made = contained(|| {
            let mut init = Init::new(&instance, epoch, &zone);
            init.state = State::new(&mut calls);
            match kind.as_str() {
                "trigger" => module.trigger(&config, &mut init).map(Object::Trigger),
                "bgworker" => module.worker(&config, &mut init).map(Object::Worker),
                "source" => module.source(&config, &mut init).map(Object::Source),
                other => Err(PluginError::unsupported(&format!("kind \"{other}\""))),
            }
        });
        self.object = made.unwrap_or_else(|panic| Err(panicked(panic)))?;
        let cancel = match &self.object {
            Object::None => None,
            Object::Trigger(object) => object.cancel(),
            Object::Worker(object) => object.cancel(),
            Object::Source(object) => object.cancel(),
        };
        let slot = self.link.shared.cancel.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = cancel;
        Ok(())
    }

    fn calls(&mut self, seq: u64, info: FireInfo, is_read_only: bool) -> Calls<'_> {
        Calls {
            link: &self.link,
            copy: &mut self.copy,
            sent: &mut self.sent,
            info,
            epoch: self.epoch,
            seq,
            effects: Vec::new(),
            schemas: None,
            bytes: 0,
            changes: 0,
            is_read_only,
        }
    }

    fn fire(&mut self, fire: &v1::Fire) -> Result<(), PluginError> {
        let is_late = self.resets < self.link.shared.resets.load(Ordering::SeqCst);
        if self.is_halted || is_late || fire.epoch != self.epoch {
            return Ok(());
        }
        if self.module.description().state_scope == StateScope::Key {
            // Each bucket has keys of its own; the copy is of one namespace.
            self.copy.forget();
        }
        let began = Instant::now();
        self.link.shared.begin(fire.seq);
        let mut effects = Vec::new();
        let result = contained(|| self.fire_object(fire, &mut effects));
        self.link.shared.begin(0);
        let (code, message, retry_after_ms) = outcome(&result);
        if code == OK {
            self.copy.keep();
        } else {
            self.copy.roll_back();
            self.is_halted = true;
            effects.clear();
        }
        self.link.send(Out::Ack(v1::Ack {
            seq: fire.seq,
            attempt: fire.attempt,
            epoch: self.epoch,
            code,
            message,
            retry_after_ms,
            effects,
            fire_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }));
        if result.is_err() {
            // After a panic nothing of the object is to be trusted.
            self.object.close(CloseReason::Panic);
            self.make()?;
        }
        Ok(())
    }

    fn fire_object(
        &mut self,
        fire: &v1::Fire,
        effects: &mut Vec<v1::Effect>,
    ) -> Result<(), FireError> {
        let wrong = |text: String| FireError::Fatal(format!("protocol: {text}"));
        let key = match fire.r#type {
            4 => None,
            _ => Some(BucketKey::parse(&fire.key).map_err(|e| wrong(e.to_string()))?),
        };
        let mut rows = None;
        if fire.r#type == 1 {
            let found = self.received.rows(fire.schema_id, &fire.rows);
            rows = Some(found.map_err(|error| wrong(error.to_string()))?);
        }
        let event = match (fire.r#type, &key, &rows) {
            (1, Some(key), Some((kind, rows))) => Event::Write(Batch {
                key,
                kind: *kind,
                timeframe: Timeframe::parse(key.timeframe()).map_err(|e| wrong(e.to_string()))?,
                rows,
            }),
            (2, Some(key), _) => Event::Gap {
                key,
                from: fire.from_ns,
                to: fire.to_ns,
            },
            (3, Some(key), _) => Event::Deleted(key),
            (4, ..) => Event::Timer {
                key: &fire.timer_key,
                due: fire.from_ns,
                payload: &fire.payload,
            },
            (other, ..) => return Err(wrong(format!("no event has type {other}"))),
        };
        let mut object = std::mem::replace(&mut self.object, Object::None);
        let Object::Trigger(trigger) = &mut object else {
            self.object = object;
            return Err(wrong("a fire for what is no trigger".into()));
        };
        let mut calls = self.calls(fire.seq, info(fire), false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            trigger.fire(&mut FireCtx::new(&mut calls), &event)
        }));
        *effects = calls.effects;
        self.object = object;
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn credit(&mut self, credit: &v1::Credit) {
        if credit.epoch != self.epoch {
            return;
        }
        self.link.shared.begin(credit.seq);
        let mut object = std::mem::replace(&mut self.object, Object::None);
        match (&mut object, &credit.open) {
            (Object::Worker(worker), _) if credit.run => self.run_worker(credit.seq, &mut **worker),
            (Object::Source(source), Some(open)) => {
                let opened = contained(|| source.open(&open.params, open.resume.as_deref()));
                self.answer(credit.seq, opened, Vec::new());
            }
            (Object::Source(source), None) => self.batch(credit, &mut **source),
            _ => {
                let error = PluginError::from("protocol: no such work for this kind");
                self.answer(credit.seq, Ok(Err(error)), Vec::new());
            }
        }
        self.object = object;
        self.link.shared.begin(0);
    }

    fn answer(
        &mut self,
        seq: u64,
        result: Result<Result<(), PluginError>, String>,
        effects: Vec<v1::Effect>,
    ) {
        let result = result.unwrap_or_else(|panic| Err(panicked(panic)));
        let (code, message) = match result {
            Ok(()) => (OK, String::new()),
            Err(error) => (error.code as i32, error.text),
        };
        self.link.send(Out::Ack(v1::Ack {
            seq,
            attempt: 1,
            epoch: self.epoch,
            code,
            message,
            retry_after_ms: 0,
            effects,
            fire_ns: 0,
        }));
    }

    fn run_worker(&mut self, seq: u64, worker: &mut dyn AnyWorker) {
        self.sent = Sent::default();
        let mut calls = self.calls(seq, FireInfo::none(), false);
        calls.schemas = Some(Vec::new());
        let result = contained(|| worker.run(&mut WorkerCtx::new(&mut calls)));
        let (mut effects, schemas) = (calls.effects, calls.schemas.unwrap_or_default());
        if !matches!(result, Ok(Ok(()))) {
            effects.clear();
        }
        for schema in schemas {
            self.link.send(Out::Schema(schema));
        }
        self.answer(seq, result, effects);
    }

    fn batch(&mut self, credit: &v1::Credit, source: &mut dyn AnySource) {
        let deadline = Instant::now() + Duration::from_millis(u64::from(credit.deadline_ms));
        let mut calls = source::Calls {
            link: &self.link,
            sent: &mut self.sent,
            writes: Vec::new(),
            resume: None,
            rows: usize::try_from(credit.rows).unwrap_or(usize::MAX),
            bytes: usize::try_from(credit.bytes).unwrap_or(usize::MAX),
        };
        let result = contained(|| {
            let more = source.next_batch(&mut SourceOut::new(&mut calls), deadline)?;
            Ok((more, source.progress()))
        });
        let (writes, resume) = (calls.writes, calls.resume);
        let mut batch = v1::SourceBatch {
            epoch: self.epoch,
            seq: credit.seq,
            ..v1::SourceBatch::default()
        };
        match result.unwrap_or_else(|panic| Err(panicked(panic))) {
            Ok((more, progress)) => {
                (batch.writes, batch.resume) = (writes, resume);
                batch.end = more == More::End;
                batch.full = more == More::Full;
                if let Some(progress) = progress {
                    batch.progress = Some(progress.share);
                    batch.progress_text = progress.text;
                }
            }
            Err(error) => (batch.code, batch.message) = (error.code as i32, error.text),
        }
        self.link.send(Out::SourceBatch(batch));
    }
}

impl FireInfo {
    /// Of what is no fire.
    fn none() -> Self {
        Self {
            first_lsn: 0,
            last_lsn: 0,
            attempt: 1,
            is_replay: false,
            now: 0,
            deadline: i64::MAX,
        }
    }
}

fn info(fire: &v1::Fire) -> FireInfo {
    let time = i64::from(fire.deadline_ms).saturating_mul(1_000_000);
    FireInfo {
        first_lsn: fire.first_lsn,
        last_lsn: fire.last_lsn,
        attempt: fire.attempt,
        is_replay: fire.flags & 1 != 0,
        now: fire.now_ns,
        deadline: fire.now_ns.saturating_add(time),
    }
}

fn outcome(result: &Result<Result<(), FireError>, String>) -> (i32, String, u32) {
    match result {
        Ok(Ok(())) => (OK, String::new(), 0),
        Ok(Err(FireError::Retry(text))) => (RETRY, text.clone(), 0),
        Ok(Err(FireError::RetryAfter { text, after })) => {
            let after = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
            (RETRY, text.clone(), after.max(1))
        }
        Ok(Err(FireError::Skip(text))) => (SKIP, text.clone(), 0),
        Ok(Err(FireError::Fatal(text))) => (FATAL, text.clone(), 0),
        Err(panic) => (Code::Panic as i32, panic.clone(), 0),
    }
}

fn reason(number: u32) -> CloseReason {
    match number {
        1 => CloseReason::Panic,
        2 => CloseReason::Again,
        3 => CloseReason::Reload,
        _ => CloseReason::Stop,
    }
}

/// Where the server cannot set the limits of another process.
#[cfg(not(target_os = "linux"))]
fn set_limits(limits: v1::Limits) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, limit) in [
        (Resource::As, limits.memory),
        (Resource::Nofile, limits.nofile),
    ] {
        let limit = (limit > 0).then_some(limit);
        let limits = Rlimit {
            current: limit,
            maximum: limit,
        };
        if let (Some(_), Err(error)) = (limit, setrlimit(resource, limits)) {
            eprintln!("limit {limit:?} of {resource:?}: {error}");
        }
    }
}
