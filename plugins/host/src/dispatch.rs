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
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use engine::{CommitReader, Error, Lsn};
use plugin_sdk::{AnyTrigger, CloseReason};

use crate::backfill::{Place, Round};
use crate::calls::Effects;
use crate::commit::Committed;
use crate::entry::OnError;
use crate::fire::{Fired, backoff, panic_text};
use crate::gap::{GAP_NANOS_MAX, WINDOW_RANGES_MAX};
use crate::overflow::Hold;
use crate::registry::Policy;
use crate::run::{End, Run};
use crate::section::Change;
use crate::state::{Order, StateView};
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
    pub(crate) sizes: Sizes,
    /// How often the engine refused the window at the cursor.
    pub(crate) refusals: u32,
    /// How much log is kept for it, and whether a checkpoint has asked for that.
    pub(crate) hold: Hold,
    pub(crate) over: Arc<AtomicBool>,
    /// Why it does not run until it is enabled, if it once fell too far behind.
    pub(crate) fell_behind: bool,
    /// Buckets of the backfill under way.
    pub(crate) round: Option<Round>,
}

/// How large a window may be, besides the limits of its entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Commits that give an event.
    pub(crate) commits: usize,
    pub(crate) timers: usize,
    pub(crate) ranges: usize,
    /// Length of one range (ns).
    pub(crate) range_nanos: i64,
    /// Rows of a backfill.
    pub(crate) rows: usize,
}

impl Sizes {
    pub(crate) const MAX: Self = Self {
        commits: usize::MAX,
        timers: WINDOW_TIMERS_MAX,
        ranges: WINDOW_RANGES_MAX,
        range_nanos: GAP_NANOS_MAX,
        rows: usize::MAX,
    };
}

/// What a window has besides commits.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) timers: usize,
    /// What its ranges are once they are delivered: done, or shorter.
    pub(crate) ranges: Vec<Change>,
    /// Gaps that it delivers, and the longest (ns).
    pub(crate) gaps: usize,
    pub(crate) gap_nanos: i64,
    /// Whether what is not counted above can be made smaller.
    pub(crate) can_cut: bool,
    /// The place of the backfill behind it.
    pub(crate) place: Option<Place>,
}

impl Parts {
    pub(crate) fn of_timers(timers: usize) -> Self {
        Self {
            timers,
            ..Self::default()
        }
    }

    /// Whether a smaller window could be tried instead.
    fn can_split(&self, commits: usize) -> bool {
        commits + self.timers + self.ranges.len() > 1 || self.can_cut
    }

    /// It is delivered, or given up.
    fn settle(&self, effects: &mut Effects) {
        effects.ranges.extend(self.ranges.iter().cloned());
        if let Some(place) = &self.place {
            place.put(effects);
        }
    }
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
        if self.fell_behind {
            return Err(End::Disabled(
                "it fell too far behind (on_overflow: disable); after \"enable\" it begins like a new \
                 instance"
                    .into(),
            ));
        }
        if let Some(why) = self.broken.take() {
            self.mend(&format!("state incomplete: {why}"))?;
        }
        loop {
            self.check_end()?;
            self.obey()?;
            self.check_overflow()?;
            if let Some((mut window, mut parts)) = self.take_ranges() {
                parts.timers = self.add_timers(&mut window);
                self.process(window, parts)?;
            } else if self.filter.backfill.is_some() {
                self.backfill()?;
            } else {
                self.follow_log()?;
            }
            self.store_if_due()?;
        }
    }

    fn follow_log(&mut self) -> Result<(), End> {
        // Taken before the log is read: what is visible later is news.
        let seen = self.engine.marks().visible;
        let mut window = match self.take(None) {
            Ok(window) => window,
            Err(error) => return self.fell_behind(&error),
        };
        let is_full = window.is_full(&self.limits());
        let timers = self.add_timers(&mut window);
        self.count_hops(&window);
        if window.is_empty() {
            return self.idle(&window, seen, is_full);
        }
        self.process(window, Parts::of_timers(timers))
    }

    fn limits(&self) -> Limits {
        Limits {
            commits: self.sizes.commits,
            ..self.limits
        }
    }

    /// Reads commits from the cursor on, until the window is full or the log ends. With `upto`,
    /// which is visible, the log ends there.
    pub(crate) fn take(&mut self, upto: Option<Lsn>) -> Result<Window, Error> {
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
        while !window.is_full(&limits) && upto.is_none_or(|upto| window.end < upto) {
            let next = reader.next_commit_for(&mut self.filter)?;
            if let Some(upto) = upto
                && next.as_ref().is_none_or(|commit| commit.lsn >= upto)
            {
                window.end = upto;
                // It has read on.
                self.reader = None;
                break;
            }
            if let Some(commit) = next {
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
    pub(crate) fn add_timers(&self, window: &mut Window) -> usize {
        if self.table.read().timers.next_due().is_none() {
            return 0;
        }
        let due = self.due(self.sizes.timers);
        let count = due.len();
        for timer in due {
            window.add_timer(timer);
        }
        count
    }

    fn due(&self, max: usize) -> Vec<DueTimer> {
        self.table.read().timers.due(self.clock.now_ns(), max)
    }

    pub(crate) fn count_hops(&self, window: &Window) {
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

    /// Lets objects in other processes see that there is one; how soon again, at most.
    fn tend(&mut self) -> Result<Duration, End> {
        let mut soon = WAIT_MAX;
        for trigger in self.triggers.iter_mut().flatten() {
            let mut state = StateView::read_only(&self.run.table, None);
            let again = trigger.tend(&mut state).map_err(End::Failed)?;
            soon = again.map_or(soon, |again| soon.min(again));
        }
        Ok(soon)
    }

    /// Nothing to fire: moves on in memory and waits for news.
    fn idle(&mut self, window: &Window, seen: Lsn, is_full: bool) -> Result<(), End> {
        // With the log read to its end, everything seen before is behind.
        let reached = if is_full {
            window.end
        } else {
            window.end.max(seen)
        };
        self.pass_over(reached)?;
        if is_full {
            return Ok(());
        }
        self.store_if_due()?;
        let tend = self.tend()?;
        let (time, began) = (self.wait_time().min(tend), Instant::now());
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

    /// Fires a window and commits it, or makes the next one smaller.
    pub(crate) fn process(&mut self, mut window: Window, parts: Parts) -> Result<(), End> {
        self.measure(&window);
        let (commits, hops) = (window.commits, window.hops.saturating_add(1));
        let lanes = std::mem::take(&mut window.lanes);
        let committed = match self.fire_lanes(lanes, parts.can_split(commits))? {
            Fired::TooLarge => {
                self.shrink(&window, &parts);
                return Ok(());
            }
            Fired::Overflow => {
                self.drop_window();
                return Ok(());
            }
            Fired::Done(mut effects) => {
                parts.settle(&mut effects);
                self.commit_window(effects, window.end, hops)?
            }
        };
        if let Committed::Refused(why) = committed {
            return self.refused(&window, parts, &why);
        }
        self.settled(parts);
        self.stand(State::Running, "");
        Ok(())
    }

    /// A window is committed.
    fn settled(&mut self, parts: Parts) {
        self.sizes = Sizes::MAX;
        self.refusals = 0;
        self.gauges.gaps.fetch_add(parts.gaps as u64, Relaxed);
        self.meter.gaps.increment(parts.gaps as u64);
        if parts.place.is_some() {
            self.filter.backfill = parts.place;
        }
    }

    /// None of what the objects have seen of the window happens.
    fn drop_window(&mut self) {
        self.reader = None;
        self.close_triggers(CloseReason::Again);
    }

    /// Takes the window again, with half of it.
    fn shrink(&mut self, window: &Window, parts: &Parts) {
        let ranges = parts.ranges.len();
        let has_more = window.commits > 0 || ranges > 0 || parts.place.is_some();
        let sizes = &mut self.sizes;
        sizes.timers = if has_more {
            0
        } else {
            (parts.timers / 2).max(1)
        };
        if ranges > 1 {
            sizes.ranges = ranges / 2;
        } else if ranges == 1 {
            sizes.ranges = 1;
            sizes.range_nanos = parts.gap_nanos / 2;
        } else if parts.place.is_some() {
            sizes.rows = (window.rows / 2).max(1);
        } else {
            sizes.commits = (window.commits / 2).max(1);
        }
        self.drop_window();
    }

    /// The engine does not take what the fires wrote: one commit at a time finds the culprit, which
    /// is then tried and given up like a failing event.
    fn refused(&mut self, window: &Window, parts: Parts, why: &str) -> Result<(), End> {
        self.shrink(window, &parts);
        if parts.can_split(window.commits) {
            return Ok(());
        }
        self.refusals += 1;
        let name = format!("commits {:x} to {:x}", window.start.0, window.end.0);
        let last = self.policy.max_attempts;
        if last == 0 || self.refusals < last {
            self.stand(State::Backoff, why);
            tracing::warn!(instance = &*self.id, "{why}; {name} fire again");
            if self.stop.rest(backoff(self.refusals)) {
                return Err(End::Stopped);
            }
            return Ok(());
        }
        if self.policy.on_error == OnError::Disable {
            return Err(End::Disabled(format!("{name}: {why}")));
        }
        tracing::error!(instance = &*self.id, "{why}; {name} are given up");
        self.count_dropped(window.rows);
        self.give_up_window(window, parts)
    }

    fn give_up_window(&mut self, window: &Window, parts: Parts) -> Result<(), End> {
        let mut effects = Effects::new();
        if parts.timers > 0 {
            for timer in self.due(parts.timers) {
                let next = self.behind(&timer);
                effects.set_timer(timer.key, next);
            }
        }
        parts.settle(&mut effects);
        self.commit_window(effects, window.end, 0)?;
        self.settled(parts);
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
        // In this order: who sees the cursor must see what waits besides.
        self.gauges.waiting.store(self.waits(), SeqCst);
        self.gauges.cursor.store(cursor.0, SeqCst);
        self.gauges.window_wall.store(0, Relaxed);
        let lag = self.engine.marks().visible.0.saturating_sub(cursor.0);
        self.meter.lag_bytes.set(lag as f64);
        if lag == 0 {
            self.meter.lag_seconds.set(0.0);
        }
        self.progress.tell();
    }

    /// Whether there is something to fire that the cursor does not show.
    pub(crate) fn waits(&self) -> bool {
        let is_ordered = |order: &Order| matches!(order, Order::Backfill);
        self.filter.backfill.is_some()
            || self.table.read().has_ranges()
            || self.orders.lock().iter().any(is_ordered)
    }

    /// An orderly end stores what a `durable` instance has fired.
    fn store_last(&mut self, end: &End) {
        if !matches!(end, End::Failed(_)) && self.unstored_since.is_some() {
            // A store that takes no more commits has the cursor of the last one.
            let _ = self.store();
        }
    }
}
