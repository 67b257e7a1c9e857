//! Recordings: the events of an instance as they were offered to it, for tests of the plugin.

mod format;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use plugin_sdk::{Event, FireInfo};

use crate::host::{Error, Host};

pub use format::{MAGIC, RecordError, Recorded, RecordedEvent, Writer, read};

/// Most bytes of one recording: it is kept in memory until it ends.
const BYTES_MAX: usize = 256 << 20;

/// What an instance records, if anything; one look at a flag for each event that is not.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    is_on: AtomicBool,
    under_way: Mutex<Option<Recording>>,
    ended: Condvar,
}

#[derive(Debug)]
struct Recording {
    writer: Writer,
    rows_left: usize,
}

/// Shared by an instance and its dispatcher.
pub(crate) type SharedRecorder = Arc<Recorder>;

impl Recorder {
    /// Takes an event that is fired for the first time.
    pub(crate) fn see(&self, info: &FireInfo, event: &Event<'_>) {
        if info.attempt != 1 || !self.is_on.load(Relaxed) {
            return;
        }
        let mut under_way = self.under_way.lock();
        let Some(recording) = under_way.as_mut().filter(|r| r.rows_left > 0) else {
            return;
        };
        recording.writer.add(info, event);
        // Events without rows count as one: a recording must end.
        let rows = match event {
            Event::Write(batch) => batch.rows.rows().max(1),
            _ => 1,
        };
        recording.rows_left = recording.rows_left.saturating_sub(rows);
        if recording.writer.bytes().len() >= BYTES_MAX {
            recording.rows_left = 0;
        }
        if recording.rows_left == 0 {
            self.ended.notify_all();
        }
    }

    /// Records until there are so many rows, or the time is over; `None` if it records already.
    fn record(&self, rows: usize, time: Duration) -> Option<Vec<u8>> {
        let until = Instant::now() + time;
        let mut under_way = self.under_way.lock();
        if under_way.is_some() {
            return None;
        }
        *under_way = Some(Recording {
            writer: Writer::new(),
            rows_left: rows.max(1),
        });
        self.is_on.store(true, Relaxed);
        let is_open = |under_way: &Option<Recording>| {
            under_way
                .as_ref()
                .is_some_and(|recording| recording.rows_left > 0)
        };
        while is_open(&under_way) && !self.ended.wait_until(&mut under_way, until).timed_out() {}
        self.is_on.store(false, Relaxed);
        under_way.take().map(|recording| recording.writer.finish())
    }
}

impl Host {
    /// Records the next events of a trigger, whole, until they have `rows` rows; an event without rows
    /// counts as one. Returns after `time` with what there is by then. The bytes are those of a file
    /// that `mkts plugin test --replay` takes.
    ///
    /// # Errors
    /// If there is no such instance, it is no trigger, or it is being recorded already.
    pub fn record(&self, id: &str, rows: usize, time: Duration) -> Result<Vec<u8>, Error> {
        let instance = self.inner.instance(id)?;
        if !instance.is_trigger() {
            return Err(Error::instance(id, "only triggers have events to record"));
        }
        let recorded = instance.recorder.record(rows, time);
        recorded.ok_or_else(|| Error::instance(id, "it is being recorded already"))
    }
}

#[cfg(test)]
mod tests;
