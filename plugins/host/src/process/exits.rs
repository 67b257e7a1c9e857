//! How often a child has ended by itself: pauses before restarts, and the breaker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::program::Timing;

#[derive(Debug, Default)]
pub(super) struct Exits {
    /// When, those within `exits_in`.
    times: VecDeque<Instant>,
    /// Since the child last ran for long.
    in_a_row: u32,
    /// Before this the child is not started again.
    not_before: Option<Instant>,
    /// Why it ended last.
    pub(super) why: String,
}

impl Exits {
    /// The child has ended after it ran for a time. `jitter` is from 0 to 1.
    pub(super) fn note(
        &mut self,
        timing: &Timing,
        now: Instant,
        ran: Duration,
        why: &str,
        jitter: f64,
    ) {
        if ran >= timing.healthy {
            self.in_a_row = 0;
        }
        let doublings = self.in_a_row.min(16);
        self.in_a_row += 1;
        let pause = timing
            .backoff_min
            .saturating_mul(1 << doublings)
            .min(timing.backoff_max)
            .mul_f64(0.8 + 0.4 * jitter);
        self.not_before = Some(now + pause);
        self.times.push_back(now);
        let recent = |at: &Instant| now.duration_since(*at) < timing.exits_in;
        while self.times.front().is_some_and(|at| !recent(at)) {
            self.times.pop_front();
        }
        why.clone_into(&mut self.why);
    }

    /// Why the child is not started any more, if so.
    pub(super) fn broken(&self, timing: &Timing) -> Option<String> {
        (self.times.len() >= timing.exits_max).then(|| {
            format!(
                "the process ended {} times within {:?}, last: {}",
                self.times.len(),
                timing.exits_in,
                self.why
            )
        })
    }

    /// How long the child is still not to be started.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let until = self.not_before.unwrap_or(now);
        until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_healthy_run() {
        let (timing, now) = (Timing::default(), Instant::now());
        let mut exits = Exits::default();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            exits.note(&timing, now, SECOND, "x", 0.5);
            pauses.push(exits.pause(now).as_millis());
        }
        assert_eq!(
            pauses,
            [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]
        );
        exits.note(&timing, now, timing.healthy, "x", 0.5);
        assert_eq!(exits.pause(now), timing.backoff_min);
        exits.note(&timing, now, SECOND, "x", 1.0);
        assert_eq!(exits.pause(now).as_millis(), 480);
        exits.note(&timing, now, SECOND, "x", 0.0);
        assert_eq!(exits.pause(now).as_millis(), 640);
    }

    #[test]
    fn ten_exits_within_ten_minutes_are_the_end_and_nine_are_not() {
        let (timing, start) = (Timing::default(), Instant::now());
        let mut exits = Exits::default();
        // One a minute and a few seconds: never more than nine within ten minutes.
        for minute in 0..30 {
            let now = start + SECOND * 67 * minute;
            exits.note(&timing, now, SECOND, "x", 0.5);
            assert_eq!(exits.broken(&timing), None);
        }
        let now = start + SECOND * 67 * 29;
        exits.note(&timing, now, SECOND, "killed by signal 9", 0.5);
        let why = exits.broken(&timing).unwrap();
        assert_eq!(
            why,
            "the process ended 10 times within 600s, last: killed by signal 9"
        );
    }
}
