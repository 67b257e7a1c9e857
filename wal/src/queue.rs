//! The bounded queue between the callers and the committer.
//!
//! One lock, held for a push, a swap or a look at the flags; never during I/O.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::frame::{Payload, frame_bytes};
use crate::{Options, Result, SyncMode, WalError};

/// One payload on its way into the log.
#[derive(Debug)]
pub(crate) struct Item<T> {
    pub(crate) payload: Payload,
    pub(crate) token: T,
}

impl<T> Item<T> {
    /// Bytes of its frame.
    pub(crate) fn bytes(&self) -> u64 {
        frame_bytes(self.payload.len())
    }
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<Item<T>>,
    bytes: u64,
    /// Items ever pushed, and items the sink has been told about.
    pushed: u64,
    done: u64,
    /// Somebody waits in `flush`: do not wait for the interval.
    flush: bool,
    closed: bool,
    poisoned: bool,
    /// No space for the next segment (only with `SyncMode::Interval`, where the items stay).
    full: bool,
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// The committer waits here for items.
    work: Condvar,
    /// Callers wait here for space.
    space: Condvar,
    /// `flush` waits here.
    progress: Condvar,
    bytes_max: u64,
    group_bytes_max: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new(options: &Options) -> Self {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            pushed: 0,
            done: 0,
            flush: false,
            closed: false,
            poisoned: false,
            full: false,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            space: Condvar::new(),
            progress: Condvar::new(),
            bytes_max: options.queue_bytes_max,
            group_bytes_max: options.group_bytes_max,
        }
    }

    /// Adds items as neighbours; blocks while the queue is full. On an error nothing was added.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = Item<T>>, bytes: u64) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if state.poisoned {
                return Err(WalError::Poisoned);
            }
            if state.closed {
                return Err(WalError::Closed);
            }
            if state.full {
                return Err(WalError::DiskFull);
            }
            if state.items.is_empty() || state.bytes + bytes <= self.bytes_max {
                break;
            }
            self.space.wait(&mut state);
        }
        let before = state.items.len();
        state.items.extend(items);
        state.pushed += (state.items.len() - before) as u64;
        state.bytes += bytes;
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Waits for items and moves them all to `target`. False: closed and empty.
    pub(crate) fn take(
        &self,
        target: &mut VecDeque<Item<T>>,
        sync: SyncMode,
        last_sync: Option<Instant>,
    ) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.items.is_empty() {
                if state.closed {
                    return false;
                }
                self.work.wait(&mut state);
                continue;
            }
            let hurry = state.flush || state.closed || state.bytes >= self.group_bytes_max;
            let SyncMode::Interval(interval) = sync else {
                break;
            };
            let due = last_sync.map_or(Duration::ZERO, |last| {
                interval.saturating_sub(last.elapsed())
            });
            if hurry || due.is_zero() {
                break;
            }
            self.work.wait_for(&mut state, due);
        }
        target.append(&mut state.items);
        state.bytes = 0;
        self.space.notify_all();
        true
    }

    /// The sink knows the outcome of `count` more items.
    pub(crate) fn finish(&self, count: u64) {
        let mut state = self.state.lock();
        state.done += count;
        if state.done == state.pushed {
            state.flush = false;
        }
        self.progress.notify_all();
    }

    /// Waits until the outcome of everything pushed so far is known.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut state = self.state.lock();
        let target = state.pushed;
        while state.done < target {
            if state.poisoned {
                return Err(WalError::Poisoned);
            }
            if state.full {
                return Err(WalError::DiskFull);
            }
            state.flush = true;
            self.work.notify_one();
            self.progress.wait(&mut state);
        }
        if state.poisoned {
            Err(WalError::Poisoned)
        } else {
            Ok(())
        }
    }

    /// From now on nothing is taken; what is queued will still be committed.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake_all();
    }

    /// From now on nothing is taken; what is queued is returned.
    pub(crate) fn poison(&self) -> VecDeque<Item<T>> {
        let mut state = self.state.lock();
        state.poisoned = true;
        state.bytes = 0;
        let items = std::mem::take(&mut state.items);
        drop(state);
        self.wake_all();
        items
    }

    /// Refuses (or takes again) new items while there is no space for a segment. Waits a little
    /// when refusing; false if the queue was closed meanwhile.
    pub(crate) fn set_full(&self, full: bool, wait: Duration) -> bool {
        let mut state = self.state.lock();
        state.full = full;
        self.space.notify_all();
        self.progress.notify_all();
        if full && !state.closed {
            self.work.wait_for(&mut state, wait);
        }
        !state.closed
    }

    fn wake_all(&self) {
        self.work.notify_all();
        self.space.notify_all();
        self.progress.notify_all();
    }
}
