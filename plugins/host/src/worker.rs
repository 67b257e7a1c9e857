//! Runs a background worker on a thread of its own.
//!
//! What a worker does through its context is held back until it commits: then rows and state are one
//! plugin commit, chained like those of triggers, with cursor 0. What is left over at the end is
//! committed if the worker says `Ok`, and dropped otherwise (I19).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};
use plugin_sdk::{
    AnyWorker, CloseReason, Code, FireInfo, Health, HostCalls, Level, PluginError, Query,
    StateCalls, WorkerCalls, WorkerCtx,
};

use crate::calls::{Calls, Owner as _};
use crate::commit::Committed;
use crate::entry::Restart;
use crate::restart::{Exit, RestartOptions, keep};
use crate::run::{End, Run};
use crate::status::State;

/// One running worker.
pub(crate) struct Worker {
    pub(crate) run: Run,
    pub(crate) restart: Restart,
    pub(crate) options: RestartOptions,
    /// Of the first run; each further one makes its own.
    pub(crate) object: Option<Box<dyn AnyWorker>>,
}

impl Worker {
    /// Runs until the end and says what it was.
    pub(crate) fn run(self) {
        let Self {
            mut run,
            restart,
            options,
            mut object,
        } = self;
        let end = keep(&mut run, restart, options, |run| {
            match object.take().map_or_else(|| create(run), Ok) {
                Ok(worker) => live(run, worker),
                Err(why) => Exit::Failed(why),
            }
        });
        run.conclude(end);
    }
}

/// Makes an object of the plugin.
pub(crate) fn create(run: &Run) -> Result<Box<dyn AnyWorker>, String> {
    run.make(None, |module, config, init| module.worker(config, init))
}

/// One run of one object.
fn live(run: &Run, mut worker: Box<dyn AnyWorker>) -> Exit {
    run.stop.call_when_asked(worker.cancel());
    run.stand(State::Running, "");
    let inside = run.inside(0);
    let mut calls = Held::new(run);
    let result = catch_unwind(AssertUnwindSafe(|| {
        worker.run(&mut WorkerCtx::new(&mut calls))
    }));
    let (exit, why) = match result {
        Err(panic) => {
            let text = run.panicked(&*panic);
            (Exit::Failed(text), CloseReason::Panic)
        }
        Ok(Err(error)) => (Exit::of(error), CloseReason::Again),
        Ok(Ok(())) => match calls.commit() {
            Ok(()) => (Exit::Done("finished"), CloseReason::Stop),
            Err(error) => (Exit::of(error), CloseReason::Again),
        },
    };
    drop(inside);
    run.stop.call_when_asked(None);
    let why = if run.stop.is_asked() {
        CloseReason::Stop
    } else {
        why
    };
    run.closing(move || {
        worker.close(why);
        drop(worker);
    });
    calls.end.map_or(exit, Exit::Final)
}

impl Exit {
    /// A wrong config does not mend itself.
    pub(crate) fn of(error: PluginError) -> Self {
        match error.code {
            Code::Config => Self::Final(End::Failed(error.text)),
            _ => Self::Failed(error.text),
        }
    }
}

/// The calls of a worker, and what it has not committed yet.
struct Held<'a> {
    run: &'a Run,
    calls: Calls<'a>,
    /// Why nothing can be committed any more.
    end: Option<End>,
}

impl<'a> Held<'a> {
    fn new(run: &'a Run) -> Self {
        Self {
            run,
            calls: run.calls(),
            end: None,
        }
    }
}

impl HostCalls for Held<'_> {
    fn info(&self) -> FireInfo {
        self.run.info()
    }

    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        self.calls.write(key, kind, rows)
    }

    fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), PluginError> {
        self.calls.delete(key, from, to)
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        self.calls.query(query)
    }

    fn set_timer(&mut self, _key: &[u8], _due: i64, _payload: &[u8]) -> Result<(), PluginError> {
        // Nothing of a worker could be called when it is due.
        Err(PluginError::unsupported("timers to a worker; use sleep"))
    }

    fn cancel_timer(&mut self, _key: &[u8]) {}

    fn publish(&mut self, stream: &str, payload: Bytes) {
        self.calls.publish(stream, payload);
    }

    fn log(&mut self, level: Level, text: &str) {
        self.calls.log(level, text);
    }

    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        self.calls.state()
    }

    fn count(&mut self, metric: &str, by: f64) {
        self.calls.count(metric, by);
    }

    fn health(&mut self, health: Health, text: &str) {
        self.calls.health(health, text);
    }

    fn is_cancelled(&self) -> bool {
        self.run.tick();
        self.run.is_cancelled()
    }
}

impl WorkerCalls for Held<'_> {
    fn commit(&mut self) -> Result<(), PluginError> {
        self.run.tick();
        match self.run.commit(self.calls.take()) {
            Ok(Committed::Yes) => Ok(()),
            Ok(Committed::Refused(why)) => Err(PluginError::from(why)),
            Err(end) => {
                let text = match &end {
                    End::Failed(why) => why.clone(),
                    _ => "the server stops".into(),
                };
                self.end = Some(end);
                Err(PluginError::new(Code::Cancelled, text))
            }
        }
    }

    fn sleep(&mut self, time: Duration) -> bool {
        self.run.tick();
        !self.run.stop.pause(time)
    }

    fn as_host(&mut self) -> &mut dyn HostCalls {
        self
    }
}
