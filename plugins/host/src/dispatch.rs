//! Follows the log for one trigger instance, on a thread of its own.
//!
//! ```text
//! take a window -> fire its events -> commit their effects with the cursor -> next window
//! ```
//! Nothing here is waited for by a writer (I20): the log is the queue. A window that fired nothing
//! moves the cursor in memory only; checkpoints store it.

use std::convert::Infallible;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use engine::{CommitReader, Error, Lsn};
use plugin_sdk::{AnyTrigger, CloseReason, Delivery};

use crate::commit::Committed;
use crate::entry::OnError;
use crate::fire::{Fired, backoff, panic_text};
use crate::registry::Policy;
use crate::run::{End, Run};
use crate::status::State;
use crate::timers::{DueTimer, WINDOW_TIMERS_MAX};
use crate::window::{Filter, Limits, Window};

/// Longest wait for news: the bound on noticing that the wall clock was set.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Shortest wait that brings no news.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// One running instance.
pub(crate) struct Dispatcher {
    pub(crate) run: Run,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) wait: Duration,
    pub(crate) timeout: Duration,

    pub(crate) filter: Filter,
    /// One object for each thread.
    pub(crate) triggers: Vec<Option<Box<dyn AnyTrigger>>>,
    /// Everything below has been fired.
    pub(crate) cursor: Lsn,
    /// What was visible at the start: below, an event may have fired before.
    pub(crate) replay_below: Lsn,
    /// Stands at the cursor; `None` to open it there anew.
    pub(crate) reader: Option<CommitReader>,
    /// Since when a `durable` cursor is not stored.
    pub(crate) unstored_since: Option<Instant>,
    /// Why the state is incomplete, if it is.
    pub(crate) broken: Option<String>,
    /// Limits after a window that was too large, until one succeeds.
    pub(crate) commits_max: usize,
    pub(crate) timers_max: usize,
    /// How often the engine refused the window at the cursor.
    pub(crate) refusals: u32,
}

/// A dispatcher is a run with a cursor.
impl Deref for Dispatcher {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl Dispatcher {
    /// Runs until the end and says what it was.
    pub(crate) fn run(mut self) {
        let end = catch_unwind(AssertUnwindSafe(|| {
            let Err(end) = self.follow();
            self.store_last(&end);
            self.close_triggers(CloseReason::Stop);
            end
        }));
        let end = end.unwrap_or_else(|panic| {
            End::Failed(format!("the dispatcher panicked: {}", panic_text(&*panic)))
        });
        self.conclude(end);
    }

    fn follow(&mut self) -> Result<Infallible, End> {
        if let Some(why) = self.broken.take() {
            self.skip_backlog(&format!("state incomplete: {why}"))?;
        }
        loop {
            self.check_end()?;
            self.obey()?;
            // Taken before the log is read: what is visible later is news.
            let seen = self.engine.marks().visible;
            match self.take() {
                Err(error) => {
                    self.reader = None;
                    self.fell_behind(&error)?;
                }
                Ok(mut window) => {
                    let is_full = window.is_full(&self.limits());
                    let timers = self.add_timers(&mut window);
                    self.count_hops(&window);
                    if window.is_empty() {
                        self.idle(&window, seen, is_full)?;
                    } else {
                        self.process(window, timers)?;
                    }
                }
            }
            self.store_if_due()?;
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            commits: self.commits_max,
            ..self.limits
        }
    }

    /// Reads commits from the cursor on, until the window is full or the log ends.
    fn take(&mut self) -> Result<Window, Error> {
        let limits = self.limits();
        let run = &self.run;
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(run.engine.follow(self.cursor)?),
        };
        let mut window = Window::new(self.cursor);
        let mut deadline = None;
        // Seen before the log is read, so whatever comes later ends the wait below.
        let mut seen = run.engine.marks().visible;
        while !window.is_full(&limits) {
            if let Some(commit) = reader.next_commit_for(&mut self.filter)? {
                window.add(commit, &mut self.filter);
                continue;
            }
            if window.is_empty() || self.wait.is_zero() || run.stop.is_ending() {
                break;
            }
            let until = *deadline.get_or_insert_with(|| Instant::now() + self.wait);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            seen = run.engine.wait_visible(seen.max(reader.position()), left);
        }
        Ok(window)
    }

    /// Adds the timers that are due, behind the rows; how many.
    fn add_timers(&self, window: &mut Window) -> usize {
        if self.table.read().timers.next_due().is_none() {
            return 0;
        }
        let due = self.due(self.timers_max);
        let count = due.len();
        for timer in due {
            window.add_timer(timer);
        }
        count
    }

    fn due(&self, max: usize) -> Vec<DueTimer> {
        self.table.read().timers.due(self.clock.now_ns(), max)
    }

    fn count_hops(&self, window: &Window) {
        if window.hops_rows > 0 {
            tracing::warn!(
                instance = &*self.id,
                rows = window.hops_rows,
                "rows at the hops limit ({}) are stored but not fired: triggers write in a circle",
                self.filter.hops_max
            );
            self.count_dropped(window.hops_rows);
        }
        if window.ranges_skipped > 0 {
            tracing::warn!(
                instance = &*self.id,
                ranges = window.ranges_skipped,
                "rows were deleted, which the plugin cannot be told: what it made of them stays"
            );
            self.meter
                .ranges_skipped
                .increment(window.ranges_skipped as u64);
        }
    }

    /// Nothing to fire: moves on in memory and waits for news.
    fn idle(&mut self, window: &Window, seen: Lsn, is_full: bool) -> Result<(), End> {
        // With the log read to its end, everything seen before is behind.
        let reached = if is_full {
            window.end
        } else {
            window.end.max(seen)
        };
        if reached > self.cursor {
            if self.policy.delivery != Delivery::Volatile {
                self.advance(reached)?;
            }
            self.moved(reached);
        }
        if is_full {
            return Ok(());
        }
        self.store_if_due()?;
        let (time, began) = (self.wait_time(), Instant::now());
        let visible = self.engine.wait_visible(reached, time);
        // A closed engine answers at once, without news: no reason to ask again and again.
        if visible <= reached && began.elapsed() < time.min(WAIT_MIN) {
            self.stop.rest(WAIT_MIN);
        }
        Ok(())
    }

    fn wait_time(&self) -> Duration {
        let timer = self.table.read().timers.next_due().map(|due| {
            let nanos = due.saturating_sub(self.clock.now_ns()).max(0);
            Duration::from_nanos(nanos.unsigned_abs())
        });
        let store = self.store_in();
        [timer, store]
            .into_iter()
            .flatten()
            .fold(WAIT_MAX, Duration::min)
    }

    fn process(&mut self, mut window: Window, timers: usize) -> Result<(), End> {
        self.measure(&window);
        let (commits, hops) = (window.commits, window.hops.saturating_add(1));
        let lanes = std::mem::take(&mut window.lanes);
        let committed = match self.fire_lanes(lanes, commits + timers > 1)? {
            Fired::TooLarge => {
                self.shrink(commits, timers);
                return Ok(());
            }
            Fired::Done(effects) => self.commit_window(effects, window.end, hops)?,
        };
        if let Committed::Refused(why) = committed {
            return self.refused(&window, timers, &why);
        }
        (self.commits_max, self.timers_max) = (usize::MAX, WINDOW_TIMERS_MAX);
        self.refusals = 0;
        self.stand(State::Running, "");
        Ok(())
    }

    /// Takes the window again, with half of it.
    fn shrink(&mut self, commits: usize, timers: usize) {
        self.reader = None;
        self.commits_max = (commits / 2).max(1);
        self.timers_max = if commits > 0 { 0 } else { (timers / 2).max(1) };
        // The object has seen events whose effects are dropped.
        self.close_triggers(CloseReason::Again);
    }

    /// The engine does not take what the fires wrote: one commit at a time finds the culprit, which
    /// is then tried and given up like a failing event.
    fn refused(&mut self, window: &Window, timers: usize, why: &str) -> Result<(), End> {
        self.shrink(window.commits, timers);
        if window.commits + timers > 1 {
            return Ok(());
        }
        self.refusals += 1;
        let name = format!("commits {:x} to {:x}", window.start.0, window.end.0);
        let last = self.policy.max_attempts;
        if last == 0 || self.refusals < last {
            self.stand(State::Backoff, why);
            tracing::warn!(instance = &*self.id, "{why}; {name} fire again");
            if self.stop.pause(backoff(self.refusals)) {
                return Err(End::Stopped);
            }
            return Ok(());
        }
        if self.policy.on_error == OnError::Disable {
            return Err(End::Disabled(format!("{name}: {why}")));
        }
        tracing::error!(instance = &*self.id, "{why}; {name} are given up");
        self.count_dropped(window.rows);
        self.refusals = 0;
        self.give_up_window(window, timers)
    }

    fn give_up_window(&mut self, window: &Window, timers: usize) -> Result<(), End> {
        let mut effects = crate::calls::Effects::new();
        if timers > 0 {
            for timer in self.due(timers) {
                let next = self.behind(&timer);
                effects.set_timer(timer.key, next);
            }
        }
        self.commit_window(effects, window.end, 0)?;
        self.stand(State::Running, "");
        Ok(())
    }

    fn measure(&self, window: &Window) {
        self.gauges.window_wall.store(window.wall_ns, Relaxed);
        self.meter.window_rows.record(window.rows as f64);
        self.meter.rows_in.increment(window.rows as u64);
        if window.wall_ns != 0 {
            let nanos = self.clock.now_ns().saturating_sub(window.wall_ns).max(0);
            let delay = Duration::from_nanos(nanos.unsigned_abs());
            self.meter.dispatch_delay_seconds.record(delay);
            self.meter.lag_seconds.set(delay.as_secs_f64());
        }
    }

    /// The cursor stands here now.
    pub(crate) fn moved(&mut self, cursor: Lsn) {
        self.cursor = cursor;
        self.gauges.cursor.store(cursor.0, Relaxed);
        self.gauges.window_wall.store(0, Relaxed);
        let lag = self.engine.marks().visible.0.saturating_sub(cursor.0);
        self.meter.lag_bytes.set(lag as f64);
        if lag == 0 {
            self.meter.lag_seconds.set(0.0);
        }
        self.progress.tell();
    }

    /// An orderly end stores what a `durable` instance has fired.
    fn store_last(&mut self, end: &End) {
        if !matches!(end, End::Failed(_)) && self.unstored_since.is_some() {
            // A store that takes no more commits has the cursor of the last one.
            let _ = self.store();
        }
    }
}
