//! Waiting until nothing is left to do, timers included.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::host::{Host, Inner, Instance};

impl Host {
    /// [`Host::drain`], and until no timer is due by the clock and no dead letter waits to be fired.
    /// For tests: with a clock that goes on by itself there may always be another timer. Whether that
    /// was reached in time.
    pub fn settle(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let inner = &self.inner;
        let Some(engine) = inner.running_engine() else {
            return true;
        };
        loop {
            // The clock may have been set, which wakes nobody.
            engine.wake_followers();
            // Threads that look at the clock just before it was set look again after this.
            let tick = (Instant::now() + Duration::from_millis(20)).min(until);
            if inner.progress.wait(tick, || inner.is_settled()) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
        }
    }
}

impl Inner {
    fn is_settled(&self) -> bool {
        let visible = self.visible();
        let now = self.clock.now_ns();
        let instances = self.instances();
        let mut triggers = instances.iter().filter(|i| i.is_trigger());
        triggers.all(|instance| {
            !instance.is_live()
                || instance.gauges.cursor.load(SeqCst) >= visible.0
                    && !instance.gauges.waiting.load(SeqCst)
                    && instance.has_nothing_due(now)
        })
    }
}

impl Instance {
    fn has_nothing_due(&self, now: i64) -> bool {
        let next = self
            .table()
            .and_then(|table| table.read().timers.next_due());
        next.is_none_or(|due| due > now) && self.orders.lock().is_empty()
    }
}
