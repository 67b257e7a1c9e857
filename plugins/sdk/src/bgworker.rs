//! Background workers: code that runs beside the server for as long as it likes.

use std::time::Duration;

use crate::ctx::{FireCtx, HostCalls};
use crate::error::PluginError;
use crate::plugin::Plugin;

/// A plugin with a thread of its own.
pub trait BgWorker: Plugin {
    /// Works until there is nothing left to do or [`WorkerCtx::is_cancelled`]. Rows and state of
    /// [`WorkerCtx::call`] become visible together at [`WorkerCtx::commit`]; what is not committed
    /// at the end is committed if the answer is `Ok` and dropped otherwise.
    ///
    /// # Errors
    /// Whatever ends the work; the entry's `restart:` decides what follows.
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError>;
}

/// The calls a host offers to a worker, on top of those of a fire.
pub trait WorkerCalls: HostCalls {
    /// See [`WorkerCtx::commit`].
    ///
    /// # Errors
    /// If the store refuses; the effects so far are dropped.
    fn commit(&mut self) -> Result<(), PluginError>;
    /// See [`WorkerCtx::sleep`].
    fn sleep(&mut self, time: Duration) -> bool;
    /// These calls as those of a fire.
    fn as_host(&mut self) -> &mut dyn HostCalls;
}

/// Valid while a worker runs.
pub struct WorkerCtx<'a> {
    host: &'a mut dyn WorkerCalls,
}

impl<'a> WorkerCtx<'a> {
    /// Wraps the calls of a host.
    pub fn new(host: &'a mut dyn WorkerCalls) -> Self {
        Self { host }
    }

    /// The calls themselves, for a host that hands them on.
    pub fn calls(&mut self) -> &mut (dyn WorkerCalls + 'a) {
        self.host
    }

    /// Write, query, state, timers, publish, log: as in a fire.
    pub fn call(&mut self) -> FireCtx<'_> {
        FireCtx::new(self.host.as_host())
    }

    /// Makes rows and state so far one commit; it is visible on return.
    ///
    /// # Errors
    /// If the store refuses; the effects so far are dropped.
    pub fn commit(&mut self) -> Result<(), PluginError> {
        self.host.commit()
    }

    /// Pauses; `false` if the worker is to end.
    pub fn sleep(&mut self, time: Duration) -> bool {
        self.host.sleep(time)
    }

    /// Whether the worker is to end.
    pub fn is_cancelled(&mut self) -> bool {
        self.host.is_cancelled()
    }
}

impl std::fmt::Debug for WorkerCtx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkerCtx({:?})", self.host.info())
    }
}
