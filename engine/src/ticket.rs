//! A write under way.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use wal::Lsn;

use crate::{Error, SyncMode};

/// The outcome of a commit, set once by the committer.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    result: Mutex<Option<Result<Lsn, Error>>>,
    known: Condvar,
}

impl Outcome {
    pub(crate) fn set(&self, result: Result<Lsn, Error>) {
        *self.result.lock() = Some(result);
        self.known.notify_all();
    }

    /// The commit was lost on its way (the committer ended): nobody will set a result any more.
    pub(crate) fn abandon(&self) {
        let mut result = self.result.lock();
        if result.is_none() {
            *result = Some(Err(Error::Poisoned("the log's thread ended".to_owned())));
            self.known.notify_all();
        }
    }

    pub(crate) fn wait(&self) -> Result<Lsn, Error> {
        let mut result = self.result.lock();
        loop {
            match &*result {
                Some(known) => return known.clone(),
                None => self.known.wait(&mut result),
            }
        }
    }

    fn now(&self) -> Option<Result<Lsn, Error>> {
        self.result.lock().clone()
    }
}

/// A write under way.
#[derive(Debug)]
pub struct Ticket {
    outcome: Arc<Outcome>,
    sync: SyncMode,
}

impl Ticket {
    pub(crate) fn new(outcome: Arc<Outcome>, sync: SyncMode) -> Self {
        Self { outcome, sync }
    }

    /// A write that changes nothing is done at once.
    pub(crate) fn done(lsn: Lsn) -> Self {
        let outcome = Arc::new(Outcome::default());
        outcome.set(Ok(lsn));
        Self::new(outcome, SyncMode::Commit)
    }

    /// Waits until the commit is acknowledged: durable and visible with `sync: commit`, queued with
    /// `sync: interval`. Returns its LSN (with `interval` the LSN may not be known: `None`).
    ///
    /// # Errors
    /// If the commit did not become durable.
    pub fn wait(self) -> Result<Option<Lsn>, Error> {
        match self.sync {
            SyncMode::Commit => self.outcome.wait().map(Some),
            SyncMode::Interval(_) => self.outcome.now().transpose(),
        }
    }

    /// Waits until the commit is durable and visible, whatever the sync mode.
    ///
    /// # Errors
    /// If the commit did not become durable.
    pub fn wait_visible(self) -> Result<Lsn, Error> {
        self.outcome.wait()
    }
}
