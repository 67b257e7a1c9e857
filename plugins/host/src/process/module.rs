//! A program as a module: checks, migrations and objects are children.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use model::Zone;
use parking_lot::Mutex;
use plugin_proto::v1;
use plugin_proto::v1::from_child::Message as From;
use plugin_proto::v1::to_child::Message as To;
use plugin_proto::{MESSAGE_BYTES_MAX, PROTOCOL};
use plugin_sdk::{
    AnySource, AnyTrigger, AnyWorker, Code, ConfigError, Description, Init, Kind, Module,
    PluginError, Standing, State, StateCalls,
};
use serde_json::Value;

use super::driver::Driver;
use super::effects::{Fault, apply_state};
use super::exits::Exits;
use super::identity::Registry;
use super::program::Program;
use super::serve::{Call, Inbound};
use super::session::Session;
pub(super) use super::standing::Standings;
use super::{configure, source, trigger, worker};

/// What all children of one module share.
pub(super) struct Core {
    pub(super) program: Program,
    pub(super) description: Description,
    /// Of what is started, for the registry.
    pub(super) spec: u32,
    pub(super) registry: Arc<Registry>,
    pub(super) standings: Arc<Standings>,
    exits: Mutex<HashMap<String, Exits>>,
    epoch: AtomicU64,
    checks: AtomicU64,
}

impl Core {
    /// A number that no start of this module had before (I18).
    pub(super) fn next_epoch(&self, base: u64) -> u64 {
        let next = |last: u64| Some(base.max(last + 1));
        let last = self.epoch.fetch_update(SeqCst, SeqCst, next);
        base.max(last.unwrap_or_else(|last| last) + 1)
    }

    pub(super) fn note_exit(&self, instance: &str, ran: Duration, why: &str) {
        let mut exits = self.exits.lock();
        let exits = exits.entry(instance.to_owned()).or_default();
        exits.note(&self.program.timing, Instant::now(), ran, why, jitter());
    }

    pub(super) fn forget_exits(&self, instance: &str) {
        self.exits.lock().remove(instance);
    }

    pub(super) fn broken(&self, instance: &str) -> Option<String> {
        let exits = self.exits.lock();
        exits.get(instance)?.broken(&self.program.timing)
    }

    pub(super) fn pause(&self, instance: &str) -> Duration {
        let exits = self.exits.lock();
        let exits = exits.get(instance);
        exits.map_or(Duration::ZERO, |exits| exits.pause(Instant::now()))
    }

    pub(super) fn configure(&self, kind: Kind, instance: &str, epoch: u64) -> v1::Configure {
        v1::Configure {
            kind: kind.name().into(),
            instance: instance.into(),
            epoch,
            limits: Some(v1::Limits {
                message_bytes: MESSAGE_BYTES_MAX as u64,
                memory: self.program.limits.memory.unwrap_or(0),
                nofile: self.program.limits.nofile.unwrap_or(0),
            }),
            delivery: self.description.delivery.name().into(),
            parallelism: 1,
            server_version: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            ..v1::Configure::default()
        }
    }

    /// Asks a child that lives for this question only.
    fn ask(
        &self,
        configure: v1::Configure,
        mut state: Option<&mut (dyn StateCalls + '_)>,
    ) -> Result<v1::Ready, PluginError> {
        let failed = |text: String| PluginError::from(format!("{}: {text}", self.program.name()));
        // A name of its own: the instance itself may run.
        let number = self.checks.fetch_add(1, SeqCst);
        let name = format!("{}#{number}", configure.instance);
        let session = Session::start(self, &name, configure.epoch)
            .map_err(|error| PluginError::from(error.to_string()))?;
        session.send(To::Configure(configure));
        let ready = loop {
            let left = session.start_left();
            match session.receive(left) {
                Some(Inbound::Message(From::Ready(ready), _)) => break Ok(ready),
                Some(Inbound::Call(Call::Get(request, reply))) => {
                    let state = state.as_mut().map(|s| &mut **s as &mut dyn StateCalls);
                    let _ = reply.send(configure::state_get(&request, state));
                }
                Some(Inbound::Call(Call::Scan(request, reply))) => {
                    let state = state.as_mut().map(|s| &mut **s as &mut dyn StateCalls);
                    let _ = reply.send(configure::state_scan(&request, state));
                }
                Some(Inbound::Ended(why) | Inbound::Closed(why) | Inbound::Refused(why)) => {
                    break Err(failed(why));
                }
                Some(_) => {}
                None if session.start_left().is_zero() => {
                    let time = self.program.timing.start;
                    break Err(failed(format!("not ready within {time:?}")));
                }
                None => {}
            }
        };
        session.stop(0);
        ready
    }
}

/// A number from 0 to 1: nobody depends on how random it is.
fn jitter() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    f64::from(now.map_or(0, |time| time.subsec_nanos()) / 1000 % 1000) / 1000.0
}

/// A plugin in a program.
pub(super) struct ProcessModule {
    core: Arc<Core>,
}

impl ProcessModule {
    pub(super) fn new(program: Program, description: Description) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(format!("{program:?}").as_bytes());
        Self {
            core: Arc::new(Core {
                spec: hasher.finalize(),
                program,
                description,
                registry: Arc::default(),
                standings: Arc::default(),
                exits: Mutex::default(),
                epoch: AtomicU64::new(0),
                checks: AtomicU64::new(0),
            }),
        }
    }
}

impl Module for ProcessModule {
    fn description(&self) -> &Description {
        &self.core.description
    }

    fn check(&self, config: &Value) -> Result<(), ConfigError> {
        let kind = self.core.description.kind;
        let mut configure = self.core.configure(kind, "check", 0);
        configure.check_only = true;
        configure.config_json = config.to_string();
        configure.timezone = Zone::utc().name().into();
        let ready = self.core.ask(configure, None);
        let status = ready
            .map_err(|error| ConfigError::whole(error.text))?
            .status
            .unwrap_or_default();
        if status.code == 0 {
            return Ok(());
        }
        Err(ConfigError {
            path: status.path,
            message: status.message,
        })
    }

    fn migrate(&self, from: u32, state: &mut State<'_>) -> Result<(), PluginError> {
        let kind = self.core.description.kind;
        let mut configure = self.core.configure(kind, "migrate", 0);
        configure.check_only = true;
        configure.config_json = Value::Null.to_string();
        configure.state_version = from;
        let store = state
            .store()
            .ok_or_else(|| PluginError::unsupported("the state store"))?;
        configure::add_state(&mut configure, &self.core.description, Some(&mut *store));
        let ready = self.core.ask(configure, Some(&mut *store))?;
        let status = ready.status.unwrap_or_default();
        if status.code != 0 {
            return Err(PluginError::new(Code::of(status.code), status.message));
        }
        for change in ready.state_changes {
            let Some(change) = change.effect else {
                continue;
            };
            match apply_state(change, &mut *store) {
                Ok(()) => {}
                Err(Fault::Refused(error)) => return Err(error),
                Err(Fault::Garbage(text)) => {
                    return Err(PluginError::from(format!("protocol: {text}")));
                }
            }
        }
        Ok(())
    }

    fn trigger(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyTrigger>, PluginError> {
        let driver = Driver::start(&self.core, Kind::Trigger, config, init)?;
        Ok(Box::new(trigger::Proxy::new(driver)))
    }

    fn worker(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyWorker>, PluginError> {
        let driver = Driver::start(&self.core, Kind::BgWorker, config, init)?;
        Ok(Box::new(worker::Proxy::new(driver)))
    }

    fn source(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnySource>, PluginError> {
        let driver = Driver::start(&self.core, Kind::Source, config, init)?;
        Ok(Box::new(source::Proxy::new(driver)))
    }

    fn grace(&self) -> Duration {
        let timing = &self.core.program.timing;
        // Stop, SIGTERM, SIGKILL.
        timing.stop + 2 * timing.terminate
    }

    fn standing(&self, instance: &str) -> Option<Standing> {
        self.core.standings.of(instance)
    }
}
