//! One table for plugins of all origins: linked in, loaded from a file, run as a process.
//!
//! The host knows modules and objects by these traits only. A built-in plugin is [`crate::BuiltIn`];
//! a native one calls through the C border, a process through its session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bgworker::WorkerCtx;
use crate::ctx::{FireCtx, FireInfo, Health};
use crate::error::{ConfigError, FireError, PluginError};
use crate::manifest::Description;
use crate::plugin::{CloseReason, Init};
use crate::source::{More, Progress, SourceOut};
use crate::state::{State, StateCalls};
use crate::trigger::Event;

/// What a module knows of one of its instances beyond what its host sees: of a process, how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: StandingState,
    /// Why, empty if all is well.
    pub reason: String,
    /// What the plugin says of its health.
    pub health: Health,
    /// The same in words.
    pub health_text: String,
    /// Starts after the first.
    pub restarts: u64,
    /// Process id, 0 if there is none.
    pub pid: i32,
    /// Port of 127.0.0.1 that it was given for metrics of its own.
    pub metrics_port: Option<u16>,
}

impl Standing {
    /// Of what has not started yet.
    pub fn new() -> Self {
        Self {
            state: StandingState::Starting,
            reason: String::new(),
            health: Health::Ok,
            health_text: String::new(),
            restarts: 0,
            pid: 0,
            metrics_port: None,
        }
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingState {
    /// It has been started and is not ready yet.
    Starting,
    /// It works.
    Running,
    /// It has ended and is started again when there is work, after a pause.
    Backoff,
    /// It has ended so often that it is not started again.
    Failed,
    /// It was told to end.
    Stopped,
}

/// A plugin's code, ready to make objects.
pub trait Module: Send + Sync {
    /// What it says of itself.
    fn description(&self) -> &Description;

    /// Whether it runs this config; nothing is started.
    ///
    /// # Errors
    /// With the path of the key.
    fn check(&self, config: &Value) -> Result<(), ConfigError>;

    /// See [`crate::Plugin::migrate`].
    ///
    /// # Errors
    /// If it cannot; changes made so far are dropped.
    fn migrate(&self, from: u32, state: &mut State<'_>) -> Result<(), PluginError>;

    /// Makes a trigger.
    ///
    /// # Errors
    /// If the plugin refuses its config, or is no trigger.
    fn trigger(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyTrigger>, PluginError>;

    /// Makes a worker.
    ///
    /// # Errors
    /// If the plugin refuses its config, or is no worker.
    fn worker(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyWorker>, PluginError>;

    /// Makes a source.
    ///
    /// # Errors
    /// If the plugin refuses its config, or is no source.
    fn source(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnySource>, PluginError>;

    /// How long an object may take to end in an orderly way beyond its last call: of a process, the
    /// time until it is killed. Zero where code runs in the server.
    fn grace(&self) -> Duration {
        Duration::ZERO
    }

    /// How an instance stands; `None` if its host sees all there is to see.
    fn standing(&self, _instance: &str) -> Option<Standing> {
        None
    }
}

/// Asks an object from another thread to end what it does; sets a flag and never blocks.
pub type Cancel = Arc<dyn Fn() + Send + Sync>;

/// An instance of any trigger.
pub trait AnyTrigger: Send {
    /// See [`crate::Trigger::fire`].
    ///
    /// # Errors
    /// Those of the trigger.
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError>;

    /// The events that will be fired next, in this order, so that a plugin in another process can
    /// work on them ahead; each is still fired.
    fn ahead(&mut self, _events: &mut dyn Iterator<Item = (FireInfo, Event<'_>)>) {}

    /// Nothing is to be fired at the moment: an object in another process sees that there is one. How
    /// soon to ask again, if that is soon.
    ///
    /// # Errors
    /// If it will not work any more, and why.
    fn tend(&mut self, _state: &mut dyn StateCalls) -> Result<Option<Duration>, String> {
        Ok(None)
    }

    /// The window whose fires came before was dropped: what the object keeps of their state is wrong.
    fn forget(&mut self) {}

    /// How to end a fire that takes too long.
    fn cancel(&self) -> Option<Cancel> {
        None
    }

    /// See [`crate::Plugin::close`].
    fn close(&mut self, why: CloseReason);
}

/// An instance of any worker.
pub trait AnyWorker: Send {
    /// See [`crate::BgWorker::run`].
    ///
    /// # Errors
    /// Those of the worker.
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError>;
    /// How to end it.
    fn cancel(&self) -> Option<Cancel> {
        None
    }
    /// See [`crate::Plugin::close`].
    fn close(&mut self, why: CloseReason);
}

/// An instance of any source.
pub trait AnySource: Send {
    /// See [`crate::Source::open`].
    ///
    /// # Errors
    /// Those of the source.
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError>;
    /// See [`crate::Source::next_batch`].
    ///
    /// # Errors
    /// Those of the source.
    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError>;
    /// See [`crate::Source::progress`].
    fn progress(&mut self) -> Option<Progress>;
    /// How to end it.
    fn cancel(&self) -> Option<Cancel> {
        None
    }
    /// See [`crate::Plugin::close`].
    fn close(&mut self, why: CloseReason);
}
