//! How long calls of a plugin run: one clock for each thread of a run.
//!
//! Code in our own process cannot be ended. A call that takes longer than it may is asked to end, and
//! at twice that time it is given up: the instance is `hung`, calls of the plugin's are answered with
//! STALE, and should the call return after all, its effects are dropped and the event is tried again
//! with another object. A call in another process is ended by its proxy and is not watched.
//!
//! Flags name the call they are about by its number, so one that is set a moment too late means
//! nobody.

use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use plugin_sdk::{Cancel, Health};

use crate::calls::Owner;
use crate::host::{Inner, Instance};
use crate::run::Run;
use crate::writes::Writes;

/// How often the watch looks, at most and at least.
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_secs(1);

/// The clock of one thread.
#[derive(Default)]
pub(crate) struct FireClock {
    /// Calls begun.
    number: AtomicU64,
    /// When the call under way began (monotonic ns, plus one); 0 if none is.
    since: AtomicU64,
    /// Number of the call that was asked to end last.
    asked: AtomicU64,
    /// Number of the call that was given up last.
    given_up: AtomicU64,
    /// How to ask the thread's object.
    cancel: Mutex<Option<Cancel>>,
}

impl FireClock {
    /// A call begins.
    pub(crate) fn begin(&self, now: Duration) {
        self.number.store(self.number.load(Relaxed) + 1, Relaxed);
        self.since.store(nanos(now) + 1, Relaxed);
    }

    /// It has returned; whether it was given up before that.
    pub(crate) fn end(&self) -> bool {
        self.since.store(0, Relaxed);
        self.is_given_up()
    }

    /// What ends a call of the object that is called from now on.
    pub(crate) fn set_cancel(&self, cancel: Option<Cancel>) {
        *self.cancel.lock() = cancel;
    }

    /// Whether the call under way, or the last, was asked to end.
    pub(crate) fn is_asked(&self) -> bool {
        let number = self.number.load(Relaxed);
        number != 0 && self.asked.load(Relaxed) == number
    }

    /// Whether it was given up.
    pub(crate) fn is_given_up(&self) -> bool {
        let number = self.number.load(Relaxed);
        number != 0 && self.given_up.load(Relaxed) == number
    }

    /// How long the call under way has run, and its number.
    fn runs(&self, now: Duration) -> Option<(Duration, u64)> {
        let number = self.number.load(Relaxed);
        let since = self.since.load(Relaxed).checked_sub(1)?;
        // Begun meanwhile: it is a short one.
        let is_one = number == self.number.load(Relaxed);
        let ran = Duration::from_nanos(nanos(now).saturating_sub(since));
        is_one.then_some((ran, number))
    }

    /// Looks at the call under way.
    fn look(&self, now: Duration, timeout: Duration) -> Look {
        let Some((ran, number)) = self.runs(now) else {
            return Look::Well;
        };
        if ran > timeout.saturating_mul(2) {
            return match self.given_up.swap(number, Relaxed) == number {
                true => Look::Well,
                false => Look::GivenUp(ran),
            };
        }
        if ran < timeout || self.asked.swap(number, Relaxed) == number {
            return Look::Well;
        }
        let cancel = self.cancel.lock().clone();
        if let Some(cancel) = cancel {
            cancel();
        }
        Look::Asked(ran)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}

/// What a look has led to.
enum Look {
    Well,
    Asked(Duration),
    GivenUp(Duration),
}

/// The clocks of a run's threads.
pub(crate) struct Clocks(Vec<FireClock>);

impl Default for Clocks {
    /// As many as an instance may have threads.
    fn default() -> Self {
        let clocks = std::iter::repeat_with(FireClock::default);
        Self(clocks.take(crate::registry::PARALLELISM_MAX).collect())
    }
}

impl Clocks {
    pub(crate) fn of(&self, thread: usize) -> &FireClock {
        &self.0[thread]
    }

    /// Whether a call runs for more than twice the time it has.
    pub(crate) fn is_hung(&self, now: Duration, timeout: Duration) -> bool {
        let mut calls = self.0.iter().filter_map(|clock| clock.runs(now));
        calls.any(|(ran, _)| ran > timeout.saturating_mul(2))
    }
}

/// Who says what a call of one thread may do.
pub(crate) struct Leash<'a> {
    pub(crate) run: &'a Run,
    pub(crate) clock: &'a FireClock,
}

impl Owner for Leash<'_> {
    fn writes(&self) -> &Writes {
        &self.run.writes
    }

    fn is_cancelled(&self) -> bool {
        self.run.stop.is_asked() || self.clock.is_asked() || self.clock.is_given_up()
    }

    fn is_given_up(&self) -> bool {
        self.run.stop.is_abandoned() || self.clock.is_given_up()
    }

    fn count(&self, metric: &str, by: f64) {
        self.run.count(metric, by);
    }

    fn health(&self, health: Health, text: &str) {
        self.run.health(health, text);
    }
}

impl Inner {
    /// Looks at all clocks, again and again, until the host stops.
    pub(crate) fn watch(inner: &Weak<Self>) {
        while let Some(tick) = inner.upgrade().and_then(|inner| inner.look()) {
            std::thread::sleep(tick);
        }
    }

    /// How soon to look again; `None` if there is nothing to look at any more.
    fn look(&self) -> Option<Duration> {
        self.running_engine()?;
        let now = self.clock.monotonic();
        let mut tick = TICK_MAX;
        for instance in &*self.instances() {
            let timeout = instance.plan().entry.timeout;
            tick = tick.min(timeout / 4);
            // How long a feed may take to open is its own matter; it is only shown.
            if instance.is_trigger() && instance.plan().host != "process" {
                instance.look(now, timeout);
            }
        }
        Some(tick.max(TICK_MIN))
    }
}

impl Instance {
    fn look(&self, now: Duration, timeout: Duration) {
        let stop = std::sync::Arc::clone(&self.live.lock().stop);
        for clock in &stop.clocks.0 {
            let instance = &*self.id;
            match clock.look(now, timeout) {
                Look::Well => {}
                Look::Asked(ran) => {
                    tracing::warn!(instance, "an event runs for {ran:.1?}; asked to end");
                }
                Look::GivenUp(ran) => {
                    let labels = [("instance", instance.to_owned())];
                    metrics::counter!("mkts_plugin_timeouts_total", &labels).increment(1);
                    tracing::error!(instance, "hung: an event runs for {ran:.1?}; given up");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_is_asked_once_given_up_once_and_the_next_is_another() {
        let clocks = Clocks::default();
        let clock = clocks.of(1);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        clock.set_cancel(Some(Arc::new(move || {
            count.fetch_add(1, Relaxed);
        })));
        let look = |now| match clock.look(SECOND * now, SECOND * 10) {
            Look::Well => "well",
            Look::Asked(_) => "asked",
            Look::GivenUp(_) => "given up",
        };
        assert_eq!(look(100), "well");
        clock.begin(SECOND);
        let looks = [5, 11, 12, 21, 22, 30].map(look);
        assert_eq!(looks, ["well", "asked", "well", "well", "given up", "well"]);
        assert_eq!(asked.load(Relaxed), 1);
        assert!(clocks.is_hung(SECOND * 22, SECOND * 10));
        assert!(clock.is_asked() && clock.end());
        assert!(!clocks.is_hung(SECOND * 22, SECOND * 10));
        clock.begin(SECOND * 30);
        assert!(!clock.is_asked() && !clock.is_given_up());
        assert_eq!([31, 40].map(look), ["well", "asked"]);
        assert!(!clock.end());
    }
}
