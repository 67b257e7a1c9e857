//! Keeps the next segment ready, so that no commit pays for making one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use disk::File;

use crate::segment;
use crate::shared::Shared;
use crate::{Lsn, Result, WalError};

type Answer = Result<Box<dyn File>>;

/// Owned by the committer. With `prepare_ahead` it has a helper thread that lives as long as it.
#[derive(Debug)]
pub(crate) struct Preparer {
    shared: Arc<Shared>,
    helper: Option<Helper>,
    /// What the helper is at work on or has ready.
    ordered: Option<Lsn>,
}

#[derive(Debug)]
struct Helper {
    shared: Arc<Shared>,
    orders: Option<Sender<Lsn>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self> {
        let helper = match shared.options.prepare_ahead {
            true => Some(Helper::start(shared.clone())?),
            false => None,
        };
        Ok(Self {
            shared,
            helper,
            ordered: None,
        })
    }

    /// Asks for the segment that begins at `first`, without waiting.
    pub(crate) fn order(&mut self, first: Lsn) {
        let Some(orders) = self
            .helper
            .as_ref()
            .and_then(|helper| helper.orders.as_ref())
        else {
            return;
        };
        if self.ordered.is_none() && orders.try_send(first).is_ok() {
            self.ordered = Some(first);
        }
    }

    /// The segment that begins at `first`, waiting for it if need be.
    pub(crate) fn take(&mut self, first: Lsn) -> Answer {
        if let (Some(ordered), Some(helper)) = (self.ordered.take(), &self.helper) {
            match helper.answers.recv() {
                Ok(Ok(file)) if ordered == first => return Ok(file),
                // There may be space again by now.
                Ok(Ok(_) | Err(WalError::DiskFull)) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        prepare(&self.shared, first)
    }
}

fn prepare(shared: &Shared, first: Lsn) -> Answer {
    let released = || {
        shared
            .chain
            .lock()
            .free
            .pop_front()
            .map(|segment| segment.first)
    };
    segment::prepare(
        &*shared.disk,
        &shared.store_id,
        first,
        &shared.options,
        &shared.stopping,
        released,
    )
}

impl Helper {
    fn start(shared: Arc<Shared>) -> Result<Self> {
        let (orders, ordered) = bounded::<Lsn>(1);
        let (answer, answers) = bounded(1);
        let shares = shared.clone();
        let thread = std::thread::Builder::new()
            .name("wal-prepare".to_owned())
            .spawn(move || {
                for first in ordered {
                    if answer.send(prepare(&shares, first)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            shared,
            orders: Some(orders),
            answers,
            thread: Some(thread),
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed; the log is closing anyway.
            let _ = thread.join();
        }
    }
}
