//! Deadlines of statements: one thread that no statement can keep from looking.
//!
//! Nearly every statement ends long before its time. So an alarm is an entry in a map and a call to take
//! it out again: the thread sleeps on, and is woken only for one that is due before it would look.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

type Ring = Box<dyn FnOnce() + Send>;

/// Rings alarms. The thread ends with it.
pub(crate) struct Clock(Arc<Shared>);

struct Shared {
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

#[derive(Default)]
struct Alarms {
    /// By time; the number tells those of one time apart.
    due: BTreeMap<(Instant, u64), Ring>,
    made: u64,
    /// When the thread will look by itself.
    sleeps_until: Option<Instant>,
    over: bool,
}

/// An alarm that has not rung; dropping it is never too late.
pub(crate) struct Alarm {
    clock: Arc<Shared>,
    key: (Instant, u64),
}

impl Clock {
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            alarms: Mutex::default(),
            changed: Condvar::new(),
        });
        let clock = Arc::clone(&shared);
        thread::Builder::new()
            .name("mkts-sql-clock".to_owned())
            .spawn(move || clock.run())?;
        Ok(Self(shared))
    }

    /// Calls `ring` on the thread of the clock, which it must not hold up, unless the alarm is dropped
    /// before.
    pub(crate) fn at(&self, at: Instant, ring: impl FnOnce() + Send + 'static) -> Alarm {
        let mut alarms = self.0.alarms.lock();
        alarms.made += 1;
        let key = (at, alarms.made);
        alarms.due.insert(key, Box::new(ring));
        if alarms.sleeps_until.is_none_or(|until| at < until) {
            self.0.changed.notify_one();
        }
        Alarm {
            clock: Arc::clone(&self.0),
            key,
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut alarms = self.alarms.lock();
        while !alarms.over {
            alarms.sleeps_until = None;
            let Some(next) = alarms.due.first_entry() else {
                self.changed.wait(&mut alarms);
                continue;
            };
            let (at, _) = *next.key();
            if at <= Instant::now() {
                let ring = next.remove();
                MutexGuard::unlocked(&mut alarms, ring);
                continue;
            }
            alarms.sleeps_until = Some(at);
            // Not woken by alarms that go: it looks when this one would have been due.
            self.changed.wait_until(&mut alarms, at);
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.alarms.lock().over = true;
        self.0.changed.notify_one();
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let ring = self.clock.alarms.lock().due.remove(&self.key);
        // What it holds may have alarms of its own.
        drop(ring);
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn alarms_ring_in_the_order_of_their_times() {
        let clock = Clock::start().unwrap();
        let (rang, heard) = mpsc::channel();
        let now = Instant::now();
        let alarm = |millis, name| {
            let rang = rang.clone();
            let at = now + Duration::from_millis(millis);
            clock.at(at, move || rang.send(name).unwrap())
        };
        let _far = alarm(1_000_000, "far");
        let _late = alarm(40, "late");
        let gone = alarm(30, "gone");
        let _soon = alarm(20, "soon");
        drop(gone);
        assert_eq!(heard.recv().unwrap(), "soon");
        assert_eq!(heard.recv().unwrap(), "late");
        let _past = alarm(0, "past");
        assert_eq!(heard.recv().unwrap(), "past");
    }

    #[test]
    fn the_thread_ends_with_the_clock() {
        let clock = Clock::start().unwrap();
        let shared = Arc::downgrade(&clock.0);
        let alarm = clock.at(Instant::now() + Duration::from_secs(1000), || {});
        drop((clock, alarm));
        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
