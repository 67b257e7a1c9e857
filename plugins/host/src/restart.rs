//! When a worker or source whose run ended is started again.
//!
//! Pauses double, and vary so that what failed together does not come back together. Failures in
//! quick succession are a reason to stop: something is wrong that another start does not mend. Ends
//! without an error are paused after, too, but never a reason to stop.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::entry::Restart;
use crate::run::{End, Run};
use crate::status::State;

/// How fast workers and sources come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartOptions {
    /// Pause before the first restart; each further one is twice as long.
    pub pause_min: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// A run of this length makes the next pause the shortest again.
    pub healthy: Duration,
    /// This many failures ...
    pub failures_max: usize,
    /// ... in this time make the instance `failed`.
    pub failures_time: Duration,
}

impl Default for RestartOptions {
    fn default() -> Self {
        Self {
            pause_min: Duration::from_millis(200),
            pause_max: Duration::from_secs(30),
            healthy: Duration::from_secs(5 * 60),
            failures_max: 10,
            failures_time: Duration::from_secs(10 * 60),
        }
    }
}

/// How one run of a worker or source ended.
#[derive(Debug)]
pub(crate) enum Exit {
    /// There is nothing left to do.
    Done(&'static str),
    /// Another start may help.
    Failed(String),
    /// No other start helps.
    Final(End),
}

/// Runs `live` again and again, as the policy says, and says what the end was.
pub(crate) fn keep(
    run: &mut Run,
    policy: Restart,
    options: RestartOptions,
    mut live: impl FnMut(&Run) -> Exit,
) -> End {
    let mut exits = Exits::new(options, crc32fast::hash(run.id.as_bytes()));
    loop {
        let began = Instant::now();
        let exit = live(run);
        if run.stop.is_ending() {
            return End::Stopped;
        }
        let now = Instant::now();
        let ran = now.duration_since(began);
        let (why, pause) = match exit {
            Exit::Final(end) => return end,
            Exit::Done(what) if policy != Restart::Always => return End::Finished(what.into()),
            Exit::Done(what) => (what.to_owned(), exits.done(ran)),
            Exit::Failed(why) if policy == Restart::Never => return End::Failed(why),
            Exit::Failed(why) => match exits.failed(now, ran) {
                Some(pause) => (why, pause),
                None => return End::Failed(exits.too_many(&why)),
            },
        };
        tracing::warn!(instance = &*run.id, "{why}; starts again in {pause:?}");
        run.stand(State::Backoff, &why);
        if run.stop.rest(pause) {
            return End::Stopped;
        }
        run.gauges.restarts.fetch_add(1, Relaxed);
        run.meter.restarts.increment(1);
        run.epoch = run.book.restart(run.origin);
    }
}

/// The ends of one instance so far.
#[derive(Debug)]
struct Exits {
    options: RestartOptions,
    /// Ends since the last healthy run.
    count: u32,
    /// When it failed, as far back as `failures_time`.
    failures: VecDeque<Instant>,
    /// What the pauses vary by.
    salt: u32,
}

impl Exits {
    fn new(options: RestartOptions, salt: u32) -> Self {
        Self {
            options,
            count: 0,
            failures: VecDeque::new(),
            salt,
        }
    }

    /// The pause after a run that ended well.
    fn done(&mut self, ran: Duration) -> Duration {
        if ran >= self.options.healthy {
            self.count = 0;
        }
        self.count += 1;
        self.pause()
    }

    /// The pause after a run that failed; `None` if it failed too often.
    fn failed(&mut self, now: Instant, ran: Duration) -> Option<Duration> {
        self.failures.push_back(now);
        let time = self.options.failures_time;
        self.failures
            .retain(|at| now.saturating_duration_since(*at) < time);
        (self.failures.len() < self.options.failures_max).then(|| self.done(ran))
    }

    /// A fifth more or less than twice the pause before.
    fn pause(&self) -> Duration {
        let doublings = self.count.saturating_sub(1).min(20);
        let whole = self
            .options
            .pause_min
            .saturating_mul(1 << doublings)
            .min(self.options.pause_max);
        let seed = self.salt.to_le_bytes();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&seed);
        hasher.update(&self.count.to_le_bytes());
        let share = f64::from(hasher.finalize()) / f64::from(u32::MAX);
        whole.mul_f64(0.8 + 0.4 * share)
    }

    fn too_many(&self, why: &str) -> String {
        format!(
            "failed {} times in {} s, the last time: {why}",
            self.failures.len(),
            self.options.failures_time.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    fn exits(salt: u32) -> Exits {
        Exits::new(RestartOptions::default(), salt)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_vary_by_a_fifth() {
        let mut exits = exits(7);
        for doublings in 0..12 {
            let whole = (0.2 * f64::from(1 << doublings)).min(30.0);
            let pause = exits.done(SHORT).as_secs_f64();
            assert!((0.799 * whole..=1.201 * whole).contains(&pause), "{pause}");
        }
        let others: Vec<_> = (0..9).map(|salt| self::exits(salt).done(SHORT)).collect();
        assert!(others.iter().any(|other| *other != others[0]), "{others:?}");
    }

    #[test]
    fn a_healthy_run_makes_the_pause_short_again() {
        let mut exits = exits(1);
        let first = exits.done(SHORT);
        exits.done(SHORT);
        assert!(exits.done(SHORT) > 2 * first);
        let after = Duration::from_secs(300);
        assert_eq!(exits.done(after), first);
    }

    #[test]
    fn the_tenth_failure_in_ten_minutes_is_the_last() {
        let start = Instant::now();
        let minutes = |n: u64| start + Duration::from_secs(60 * n);
        let mut exits = exits(2);
        for _ in 0..9 {
            assert!(exits.failed(minutes(0), SHORT).is_some());
        }
        // Nine of them are too old to count.
        for _ in 0..9 {
            assert!(exits.failed(minutes(10), SHORT).is_some());
        }
        assert!(exits.failed(minutes(19), SHORT).is_none());
        assert_eq!(
            exits.too_many("no"),
            "failed 10 times in 600 s, the last time: no"
        );
    }

    #[test]
    fn ends_without_an_error_are_never_too_many() {
        let mut exits = exits(3);
        for _ in 0..1000 {
            assert!(exits.done(SHORT) <= Duration::from_secs(36));
        }
        assert!(exits.failed(Instant::now(), SHORT).is_some());
    }
}
