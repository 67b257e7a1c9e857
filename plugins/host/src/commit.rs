//! I16: rows, state, timers, dead letters and cursor of a window are one frame.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use engine::{Commit, DeleteRange, Error, Lsn};
use plugin_sdk::Delivery;

use crate::calls::{Effects, Write};
use crate::dispatch::Dispatcher;
use crate::fire::backoff;
use crate::run::{End, Run};
use crate::status::State;

/// A `durable` instance stores its cursor at the latest after this: the windows of this time fire
/// again after a crash.
const DURABLE_STORE: Duration = Duration::from_millis(100);

/// Cursor of those that do not follow the log.
pub(crate) const NO_CURSOR: Lsn = Lsn(0);

/// Whether the engine took a window.
#[derive(Debug)]
pub(crate) enum Committed {
    Yes,
    /// Something in it cannot be stored.
    Refused(String),
}

impl Dispatcher {
    /// Makes the effects of a window happen and moves the cursor, as the delivery says.
    pub(crate) fn commit_window(
        &mut self,
        mut effects: Effects,
        cursor: Lsn,
        hops: u8,
    ) -> Result<Committed, End> {
        let is_idle = effects.is_idle();
        let messages = std::mem::take(&mut effects.messages);
        let committed = match self.policy.delivery {
            Delivery::Volatile if effects.writes.is_empty() && effects.deletes.is_empty() => {
                Committed::Yes
            }
            Delivery::Volatile => self.write(&effects, None, hops)?,
            Delivery::Durable if is_idle => {
                self.advance(cursor)?;
                self.unstored_since.get_or_insert_with(Instant::now);
                Committed::Yes
            }
            Delivery::Durable | Delivery::Exact => self.write(&effects, Some(cursor), hops)?,
        };
        if let Committed::Yes = committed {
            if self.policy.delivery == Delivery::Volatile {
                self.table.write().apply_volatile(&effects.changes());
            }
            let timers = self.table.read().timers.len();
            self.gauges.timers.store(timers as u64, Relaxed);
            self.moved(cursor);
            self.send(messages);
        }
        Ok(committed)
    }

    /// Moves the cursor in memory.
    pub(crate) fn advance(&self, cursor: Lsn) -> Result<(), End> {
        let moved = self.book.advance(self.origin, self.epoch, cursor);
        moved.map_err(|_| End::Stopped)
    }

    /// Stores the cursor of a `durable` instance when its time has come.
    pub(crate) fn store_if_due(&mut self) -> Result<(), End> {
        if self.store_in() == Some(Duration::ZERO) {
            self.store()?;
        }
        Ok(())
    }

    /// How long the cursor may stay unstored; `None` if it is stored.
    pub(crate) fn store_in(&self) -> Option<Duration> {
        let since = self.unstored_since?;
        Some(DURABLE_STORE.saturating_sub(since.elapsed()))
    }

    /// Stores the cursor where it stands.
    pub(crate) fn store(&mut self) -> Result<(), End> {
        match self.write(&Effects::new(), Some(self.cursor), 0)? {
            Committed::Yes => Ok(()),
            Committed::Refused(why) => Err(End::Failed(why)),
        }
    }

    /// [`Run::write`]; with a cursor it is stored now.
    pub(crate) fn write(
        &mut self,
        effects: &Effects,
        cursor: Option<Lsn>,
        hops: u8,
    ) -> Result<Committed, End> {
        let committed = self.run.write(effects, cursor, hops)?;
        if let (Committed::Yes, Some(_)) = (&committed, cursor) {
            self.unstored_since = None;
        }
        Ok(committed)
    }
}

impl Run {
    /// Makes the effects of a worker or source happen: a plugin commit without a place in the log.
    pub(crate) fn commit(&self, mut effects: Effects) -> Result<Committed, End> {
        if self.stop.is_abandoned() {
            return Err(End::Stopped);
        }
        let messages = std::mem::take(&mut effects.messages);
        if !effects.is_idle() {
            let committed = self.write(&effects, Some(NO_CURSOR), 0)?;
            if let Committed::Refused(_) = committed {
                return Ok(committed);
            }
            // A full disk may have been waited out.
            self.stand(State::Running, "");
        }
        self.send(messages);
        Ok(Committed::Yes)
    }

    /// Writes one frame. With a cursor it is a plugin commit and visible on return; that of a worker
    /// or source is 0. A full disk is waited out.
    pub(crate) fn write(
        &self,
        effects: &Effects,
        cursor: Option<Lsn>,
        hops: u8,
    ) -> Result<Committed, End> {
        let mut failures = 0;
        loop {
            // I18: a thread that was given up must not write behind the back of its successor.
            if self.stop.is_abandoned() {
                return Err(End::Stopped);
            }
            let error = match self.write_once(effects, cursor, hops) {
                Ok(()) => break,
                Err(error) => error,
            };
            match error {
                Error::DiskFull(_) => {
                    failures += 1;
                    self.stand(State::Backoff, &error.to_string());
                    if self.stop.rest(backoff(failures)) {
                        return Err(End::Stopped);
                    }
                }
                Error::Closed => return Err(End::Stopped),
                Error::Poisoned(_) | Error::Io(_) | Error::Corrupt { .. } => {
                    return Err(End::Failed(error.to_string()));
                }
                refused => return Ok(Committed::Refused(refused.to_string())),
            }
        }
        let rows: usize = effects.writes.iter().map(Write::rows).sum();
        self.gauges.rows.fetch_add(rows as u64, Relaxed);
        self.meter.rows_out.increment(rows as u64);
        Ok(Committed::Yes)
    }

    fn write_once(&self, effects: &Effects, cursor: Option<Lsn>, hops: u8) -> Result<(), Error> {
        let commit = Commit {
            origin: self.origin,
            hops,
            rows: effects.writes.iter().map(Write::to_rows).collect(),
            section: None,
        };
        let deletes = effects
            .deletes
            .iter()
            .map(|deletion| deletion.range.clone());
        let deletes: Vec<DeleteRange> = deletes.collect();
        let Some(cursor) = cursor else {
            // Volatile: nobody waits for the sync; an error of it shows at the next write.
            return self.engine.write_deleting(commit, &deletes).map(drop);
        };
        let changes = effects.changes().into();
        self.book
            .commit_deleting(
                &self.engine,
                (commit, &deletes),
                self.epoch,
                cursor,
                changes,
            )
            .map(drop)
    }
}
