//! One way to stop a run of an instance: a wish that also ends its pauses.
//!
//! A wish only grows: at the end of what is under way (a window, a batch), then at once. What the
//! instance is afterwards goes with the wish, because the thread that ends says so.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use plugin_sdk::Cancel;

use crate::clocks::Clocks;
use crate::status::State;

/// How a run is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    #[default]
    None,
    /// Behind the window or batch under way.
    Behind,
    /// In front of the next event; what is under way has no effects.
    AtOnce,
}

/// Of one run; the next has its own.
#[derive(Default)]
pub(crate) struct Stop {
    wish: Mutex<Wish>,
    /// Whether the wish is the strongest: read in front of every event, without the lock.
    at_once: AtomicBool,
    changed: Condvar,
    /// Ends what the object does at the moment.
    cancel: Mutex<Option<Cancel>>,
    /// What the instance is when the run has ended as asked; `stopped` if nobody said.
    then: Mutex<Option<(State, String)>>,
    /// The run was given up: nothing of it may take effect any more (I18).
    abandoned: AtomicBool,
    /// How long calls of the plugin run.
    pub(crate) clocks: Clocks,
}

impl Stop {
    /// Ends the run in front of its next event.
    pub(crate) fn ask(&self) {
        self.wish_for(Wish::AtOnce);
        self.cancel();
    }

    /// Ends the run behind the window or batch under way.
    pub(crate) fn ask_behind(&self) {
        self.wish_for(Wish::Behind);
    }

    fn wish_for(&self, wish: Wish) {
        let mut present = self.wish.lock();
        *present = wish.max(*present);
        self.at_once.store(*present == Wish::AtOnce, SeqCst);
        self.changed.notify_all();
    }

    /// What the instance is to be when the run has ended as asked.
    pub(crate) fn set_then(&self, state: State, reason: &str) {
        *self.then.lock() = Some((state, reason.into()));
    }

    pub(crate) fn then(&self) -> (State, String) {
        let then = self.then.lock().clone();
        then.unwrap_or((State::Stopped, String::new()))
    }

    /// What to call when the instance is asked to stop; at once if it is already.
    pub(crate) fn call_when_asked(&self, cancel: Option<Cancel>) {
        *self.cancel.lock() = cancel;
        if self.is_asked() {
            self.cancel();
        }
    }

    fn cancel(&self) {
        let cancel = self.cancel.lock().clone();
        if let Some(cancel) = cancel {
            cancel();
        }
    }

    /// Whether the run ends in front of its next event.
    pub(crate) fn is_asked(&self) -> bool {
        self.at_once.load(SeqCst)
    }

    /// Whether the run takes no further window or batch.
    pub(crate) fn is_ending(&self) -> bool {
        *self.wish.lock() >= Wish::Behind
    }

    /// Nobody waits for the run any more, and it must leave no trace.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, SeqCst);
        self.ask();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(SeqCst)
    }

    /// Pauses in the middle of work; whether the pause was cut short.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        self.wait(time, Wish::AtOnce)
    }

    /// Pauses where nothing is under way, or only another attempt that may fail like the last;
    /// whether the pause was cut short.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        self.wait(time, Wish::Behind)
    }

    fn wait(&self, time: Duration, until: Wish) -> bool {
        let end = Instant::now() + time;
        let mut wish = self.wish.lock();
        while *wish < until {
            if self.changed.wait_until(&mut wish, end).timed_out() {
                break;
            }
        }
        *wish >= until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn asking_ends_a_pause_and_every_later_one() {
        let stop = std::sync::Arc::new(Stop::default());
        assert!(!stop.pause(Duration::from_millis(1)));
        let pausing = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || pausing.pause(HOUR));
        stop.ask();
        assert!(thread.join().unwrap());
        assert!(stop.pause(HOUR) && stop.is_asked());
    }

    #[test]
    fn the_end_of_a_window_is_waited_for_by_those_in_one() {
        let stop = Stop::default();
        stop.ask_behind();
        assert!(stop.is_ending() && !stop.is_asked());
        assert!(stop.rest(HOUR));
        assert!(!stop.pause(Duration::from_millis(1)));
        stop.ask();
        stop.ask_behind();
        assert!(stop.is_asked() && stop.pause(HOUR));
    }

    #[test]
    fn the_last_word_about_the_state_counts() {
        let stop = Stop::default();
        assert_eq!(stop.then(), (State::Stopped, String::new()));
        stop.set_then(State::Paused, "a");
        stop.set_then(State::Disabled, "b");
        assert_eq!(stop.then(), (State::Disabled, "b".into()));
    }
}
