//! SQL in this process.

use std::future::Future;
use std::sync::Arc;

use engine::Engine;
use futures::StreamExt;
use sql::{Caller, Nothing, Options, Sql};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::{Failure, Interrupts, Part};

/// Statements over a store.
pub(super) struct Local {
    sql: Sql,
    runtime: Runtime,
}

impl Local {
    pub(super) fn new(engine: &Engine) -> Result<Self, Failure> {
        let options = Options {
            zone: engine.options().zone.clone(),
            ..Options::default()
        };
        let sql = Sql::new(engine.clone(), Arc::new(Nothing), options)
            .map_err(|error| Failure::new(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self { sql, runtime })
    }

    pub(super) fn run(
        &self,
        text: &str,
        interrupts: &Interrupts,
        each: &mut dyn FnMut(Part<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let wish = Arc::new(Notify::new());
        let wake = Arc::clone(&wish);
        interrupts.stop_with(move || wake.notify_one());
        let told = |error: sql::Error| Failure::new(error.pretty(text));
        let caller = Caller::anyone();
        let mut rows = self
            .until(&wish, self.sql.run(text, &caller))?
            .map_err(told)?;
        each(Part::Schema(&rows.schema()))?;
        // Dropping the rows ends the work.
        while let Some(batch) = self.until(&wish, rows.next())? {
            each(Part::Rows(batch.map_err(told)?))?;
        }
        Ok(())
    }

    /// Waits for a result or the wish to stop.
    fn until<T>(&self, wish: &Notify, work: impl Future<Output = T>) -> Result<T, Failure> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = wish.notified() => Err(Failure::new("ended by Ctrl-C")),
            }
        })
    }
}
