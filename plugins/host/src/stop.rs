//! One way to stop an instance: a flag that also ends its pauses.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use plugin_sdk::Cancel;

#[derive(Default)]
pub(crate) struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
    /// Ends what the object does at the moment.
    cancel: Mutex<Option<Cancel>>,
}

impl Stop {
    pub(crate) fn ask(&self) {
        *self.asked.lock() = true;
        self.changed.notify_all();
        self.cancel();
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

    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.lock()
    }

    /// Pauses; whether the pause was cut short.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut asked = self.asked.lock();
        while !*asked {
            if self.changed.wait_until(&mut asked, until).timed_out() {
                break;
            }
        }
        *asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_ends_a_pause_and_every_later_one() {
        let hour = Duration::from_secs(3600);
        let stop = std::sync::Arc::new(Stop::default());
        assert!(!stop.pause(Duration::from_millis(1)));
        let pausing = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || pausing.pause(hour));
        stop.ask();
        assert!(thread.join().unwrap());
        assert!(stop.pause(hour) && stop.is_asked());
    }
}
