//! The time of fires that follow each other: the end of one is the begin of the next, and the wall
//! clock is read once for many. A clock costs 25 ns a reading, a fire of nothing a few hundred.

use std::time::Duration;

use disk::Clock;

/// Of one thread, over one window.
pub(crate) struct Laps<'a> {
    clock: &'a dyn Clock,
    /// Wall and monotonic time, read together.
    read: Option<(i64, Duration)>,
    /// End of the fire that was the last thing done.
    mark: Option<Duration>,
}

impl<'a> Laps<'a> {
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        Self {
            clock,
            read: None,
            mark: None,
        }
    }

    /// Something took its time: the clocks are read again.
    pub(crate) fn rest(&mut self) {
        self.read = None;
        self.mark = None;
    }

    /// Begins a fire: wall (ns) and monotonic time.
    pub(crate) fn begin(&mut self) -> (i64, Duration) {
        let now = self.mark.take().unwrap_or_else(|| self.clock.monotonic());
        let clock = self.clock;
        let (wall, then) = *self.read.get_or_insert_with(|| (clock.now_ns(), now));
        let since = now.saturating_sub(then).as_nanos();
        let wall = wall.saturating_add(i64::try_from(since).unwrap_or(i64::MAX));
        (wall, now)
    }

    /// Ends it; how long it took.
    pub(crate) fn end(&mut self, began: Duration) -> Duration {
        let now = self.clock.monotonic();
        self.mark = Some(now);
        now.saturating_sub(began)
    }
}

#[cfg(test)]
mod tests {
    use disk::ManualClock;

    use super::*;

    #[test]
    fn laps_add_up_and_a_rest_reads_the_clocks_anew() {
        let clock = ManualClock::new(1_000);
        let mut laps = Laps::new(&clock);
        assert_eq!(laps.begin(), (1_000, Duration::ZERO));
        clock.advance(Duration::from_nanos(5));
        assert_eq!(laps.end(Duration::ZERO), Duration::from_nanos(5));
        assert_eq!(laps.begin(), (1_005, Duration::from_nanos(5)));
        // A clock that was set is seen behind a rest.
        clock.set_wall(90);
        clock.advance(Duration::from_nanos(3));
        assert_eq!(laps.end(Duration::from_nanos(5)), Duration::from_nanos(3));
        assert_eq!(laps.begin(), (1_008, Duration::from_nanos(8)));
        laps.rest();
        assert_eq!(laps.begin(), (93, Duration::from_nanos(8)));
    }
}
