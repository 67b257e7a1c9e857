//! I19: a failed fire leaves no trace but its dead letter.
//!
//! A call of a trigger is contained: its effects are collected apart and joined to the window's only
//! when it returns `Ok`. A panic ends the object, not the instance: a new object takes its place.

use std::any::Any;
use std::collections::VecDeque;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::Lsn;
use model::BucketKey;
use plugin_sdk::{
    AnyTrigger, Batch, CloseReason, Code, Delivery, Event, FireCtx, FireError, FireInfo, StateScope,
};

use crate::calls::{Calls, Effects, Scope, effect_bytes_max};
use crate::clocks::{FireClock, Leash};
use crate::entry::OnError;
use crate::laps::Laps;
use crate::registry::Policy;
use crate::run::{End, Run};
use crate::state::{EventOf, LETTER_ROWS_BYTES_MAX, Letter, split_key};
use crate::status::State;
use crate::timers::DueTimer;
use crate::window::{Lane, Pending, What};

/// First pause after a failure; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How the events of a window ended. One for each window, and nearly always the large one.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Fired {
    /// Every event has fired or was given up.
    Done(Effects),
    /// Together they want more than a commit holds.
    TooLarge,
    /// It is to be left: a checkpoint wants the log behind it.
    Overflow,
}

enum LaneEnd {
    Done,
    /// Its first event waits for its next attempt.
    Later(Lane),
    TooLarge,
}

enum Outcome {
    Ok(Effects),
    Failed(Failure),
    Skipped(String),
    Fatal(String),
    TooLarge(String),
}

/// Why a fire has to be tried again.
struct Failure {
    code: Code,
    why: String,
    /// The pause the plugin asks for.
    after: Option<Duration>,
}

impl Failure {
    fn of(code: Code, why: String) -> Self {
        Self {
            code,
            why,
            after: None,
        }
    }
}

/// The message of a panic, as one line.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".into())
        .replace('\n', " ")
}

/// Pause before the attempt after `failures` failures.
pub(crate) fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX)
}

/// As nanoseconds; what does not fit is for ever.
pub(crate) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// What one thread of an instance fires with: one object of the plugin.
pub(crate) struct Hand<'a> {
    pub(crate) run: &'a Run,
    pub(crate) policy: Policy,
    pub(crate) timeout: Duration,
    pub(crate) replay_below: Lsn,
    /// Of this thread; made when it is needed.
    pub(crate) trigger: &'a mut Option<Box<dyn AnyTrigger>>,
    /// Of this thread.
    pub(crate) fires: &'a FireClock,
    pub(crate) laps: Laps<'a>,
    pub(crate) window: &'a Shared,
    /// Set when a checkpoint wants the log back.
    pub(crate) over: &'a AtomicBool,
}

/// What the threads of a window know of each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Bytes of the effects of all.
    pub(crate) bytes: AtomicUsize,
    /// One of them has ended the window: nothing of it will be committed.
    pub(crate) is_over: AtomicBool,
}

impl Deref for Hand<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        self.run
    }
}

impl Hand<'_> {
    /// Fires every event. A lane whose event failed waits behind the others for its next attempt.
    /// `can_split`: whether a smaller window could be tried instead.
    pub(crate) fn fire_lanes(
        &mut self,
        mut lanes: Vec<Lane>,
        can_split: bool,
    ) -> Result<Fired, End> {
        self.work_ahead(&mut lanes);
        let fired = self.fire_in_turn(lanes, can_split);
        if !matches!(fired, Ok(Fired::Done(_))) {
            self.window.is_over.store(true, Relaxed);
        }
        fired
    }

    fn fire_in_turn(&mut self, lanes: Vec<Lane>, can_split: bool) -> Result<Fired, End> {
        let run = self.run;
        let end = run.slot.as_ref().map_or(0, |_| end_of(&lanes));
        let mut inside = run.inside(end);
        let mut effects = Effects::new();
        let mut ready: VecDeque<Lane> = lanes.into();
        let mut waiting: Vec<Lane> = Vec::new();
        loop {
            if let Some(lane) = ready.pop_front() {
                match self.fire_lane(lane, &mut effects, can_split)? {
                    LaneEnd::Done => {}
                    LaneEnd::Later(lane) => waiting.push(lane),
                    LaneEnd::TooLarge => return Ok(Fired::TooLarge),
                }
            } else if waiting.is_empty() {
                if let Some(inside) = inside.take() {
                    inside.complete();
                }
                return Ok(Fired::Done(effects));
            } else {
                // Who waits is not to blame for what happens meanwhile.
                drop(inside.take());
                self.pause_until_one_is_ready(&mut waiting, &mut ready)?;
                inside = run.inside(end);
                if self.over.load(Relaxed) {
                    return Ok(Fired::Overflow);
                }
            }
        }
    }

    /// A plugin in another process begins with the whole window; one in this process looks at none.
    fn work_ahead(&mut self, lanes: &mut [Lane]) {
        let Some(mut trigger) = self.trigger.take() else {
            return;
        };
        self.fires.set_cancel(trigger.cancel());
        let now = self.clock.now_ns();
        let events = lanes.iter_mut().flat_map(|lane| &mut lane.events);
        let mut events = events.map(|event| {
            event.joined();
            let event: &Pending = event;
            (self.info(event, 1, now), event.to_sdk())
        });
        let begun = catch_unwind(AssertUnwindSafe(|| trigger.ahead(&mut events)));
        match begun {
            Ok(()) => *self.trigger = Some(trigger),
            Err(panic) => {
                self.panicked(&*panic);
                self.run.close_trigger(trigger, CloseReason::Panic);
            }
        }
    }

    /// Where a fire stands.
    fn info(&self, event: &Pending, attempt: u32, now: i64) -> FireInfo {
        FireInfo {
            first_lsn: event.first.0,
            last_lsn: event.last.0,
            attempt,
            is_replay: event.is_stored || event.first < self.replay_below,
            now,
            deadline: now.saturating_add(nanos(self.timeout)),
        }
    }

    /// Fires the events of a lane up to the first that fails.
    fn fire_lane(
        &mut self,
        mut lane: Lane,
        effects: &mut Effects,
        can_split: bool,
    ) -> Result<LaneEnd, End> {
        while let Some(event) = lane.events.front_mut() {
            self.check_stop()?;
            if self.window.is_over.load(Relaxed) {
                return Ok(LaneEnd::TooLarge);
            }
            if is_stale(event, effects) {
                lane.next();
                continue;
            }
            match self.fire_one(event, lane.attempts + 1, effects) {
                Outcome::Ok(more) => {
                    if !more.is_nothing() {
                        self.window.bytes.fetch_add(more.bytes(), Relaxed);
                        effects.append(self.send_at_once(more));
                    }
                    effects.letters_gone.extend(event.letter);
                }
                Outcome::TooLarge(_) if can_split => return Ok(LaneEnd::TooLarge),
                Outcome::Fatal(why) => return Err(End::Failed(why)),
                Outcome::Skipped(why) => {
                    self.skip(event, &why);
                    drop_timer(self.run, event, effects);
                }
                Outcome::Failed(failure) => {
                    if self.is_tried_again(&mut lane, effects, &failure)? {
                        return Ok(LaneEnd::Later(lane));
                    }
                    if can_split && effects.bytes() > effect_bytes_max(&self.engine) {
                        return Ok(LaneEnd::TooLarge);
                    }
                }
                Outcome::TooLarge(why) => {
                    let failure = Failure::of(Code::Limit, why);
                    if self.is_tried_again(&mut lane, effects, &failure)? {
                        return Ok(LaneEnd::Later(lane));
                    }
                }
            }
            lane.next();
        }
        Ok(LaneEnd::Done)
    }

    /// The first event of a lane failed: whether it waits for another attempt, else it is given up.
    fn is_tried_again(
        &mut self,
        lane: &mut Lane,
        effects: &mut Effects,
        failure: &Failure,
    ) -> Result<bool, End> {
        lane.attempts += 1;
        let letter = lane.events.front().and_then(|event| event.letter);
        if let Some(id) = letter {
            tracing::error!(
                instance = &*self.id,
                "{}; dead letter {id} stays",
                failure.why
            );
            return Ok(false);
        }
        if !self.is_last_attempt(lane.attempts) {
            self.retry_later(lane, &failure.why, failure.after);
            return Ok(true);
        }
        if let Some(event) = lane.events.front() {
            self.give_up(event, lane.attempts, failure, effects)?;
            drop_timer(self.run, event, effects);
        }
        Ok(false)
    }

    /// `window`: effects of the events before it.
    fn fire_one(&mut self, event: &mut Pending, attempt: u32, window: &Effects) -> Outcome {
        event.joined();
        let made = match self.trigger.take() {
            Some(trigger) => Ok(trigger),
            None => {
                self.laps.rest();
                self.create(window)
            }
        };
        let mut trigger = match made {
            Ok(trigger) => trigger,
            Err(why) => return Outcome::Failed(Failure::of(Code::Error, why)),
        };
        let (now, began) = self.laps.begin();
        self.fires.begin(began);
        let info = self.info(event, attempt, now);
        let run = self.run;
        let others = self
            .window
            .bytes
            .load(Relaxed)
            .saturating_sub(window.bytes());
        let scope = event.scope(self.policy.state_scope);
        let mut calls = Calls::new(&run.engine, &run.id, &run.table, Some(window), scope, info);
        calls.leave_room(others);
        let leash = Leash {
            run,
            clock: self.fires,
        };
        calls.end_with(&leash);
        if let (What::Timer(timer), None) = (&event.what, event.letter) {
            // Removal and effects of a timer are one commit.
            calls.take_timer(timer.key.clone(), run.behind(timer));
        }
        let offered = event.to_sdk();
        self.recorder.see(&info, &offered);
        let result = catch_unwind(AssertUnwindSafe(|| {
            trigger.fire(&mut FireCtx::new(&mut calls), &offered)
        }));
        let forbidden = calls.forbidden();
        let (effects, is_over) = calls.finish();
        let is_given_up = self.fires.end();
        let took = self.laps.end(began);
        self.note_time(took, is_given_up);
        self.gauges.fires.fetch_add(1, Relaxed);
        if attempt > 1 {
            self.gauges.retries.fetch_add(1, Relaxed);
            self.meter.retries.increment(1);
        }
        match result {
            Ok(_) if is_given_up => {
                self.gauges.failures.fetch_add(1, Relaxed);
                self.meter.fires_error.increment(1);
                self.run.close_trigger(trigger, CloseReason::Again);
                let why = format!("TIMEOUT: it took {took:.1?} and was given up");
                Outcome::Failed(Failure::of(Code::Timeout, why))
            }
            Ok(result) => {
                *self.trigger = Some(trigger);
                let result = match (result, forbidden) {
                    // Whether the plugin minds or not.
                    (Ok(()), Some(why)) => Err(FireError::Retry(why)),
                    (result, _) => result,
                };
                self.judge(result, effects, is_over)
            }
            Err(panic) => {
                let why = self.panicked(&*panic);
                self.run.close_trigger(trigger, CloseReason::Panic);
                Outcome::Failed(Failure::of(Code::Panic, why))
            }
        }
    }

    fn create(&self, window: &Effects) -> Result<Box<dyn AnyTrigger>, String> {
        let trigger = self.run.create_trigger(Some(window))?;
        self.fires.set_cancel(trigger.cancel());
        Ok(trigger)
    }

    fn note_time(&self, took: Duration, is_given_up: bool) {
        self.meter.fire_seconds.record(took);
        // One that was given up has been counted then.
        if took > self.timeout && !is_given_up {
            self.meter.timeouts.increment(1);
            tracing::warn!(instance = &*self.id, "an event took {took:?}");
        }
    }

    fn judge(&self, result: Result<(), FireError>, effects: Effects, is_over: bool) -> Outcome {
        let Err(error) = result else {
            self.meter.fires_ok.increment(1);
            return Outcome::Ok(effects);
        };
        self.gauges.failures.fetch_add(1, Relaxed);
        self.meter.fires_error.increment(1);
        match error {
            FireError::Retry(why) | FireError::RetryAfter { text: why, .. } if is_over => {
                Outcome::TooLarge(why)
            }
            FireError::Retry(why) => Outcome::Failed(Failure::of(Code::Error, why)),
            FireError::RetryAfter { text, after } => Outcome::Failed(Failure {
                after: Some(after),
                ..Failure::of(Code::Error, text)
            }),
            FireError::Skip(why) => Outcome::Skipped(why),
            FireError::Fatal(why) => Outcome::Fatal(why),
        }
    }

    /// Outside `exact` nothing ties messages to the commit, so nobody waits for it.
    fn send_at_once(&self, mut effects: Effects) -> Effects {
        if self.policy.delivery != Delivery::Exact {
            self.send(std::mem::take(&mut effects.messages));
        }
        effects
    }

    fn is_last_attempt(&self, attempts: u32) -> bool {
        self.policy.max_attempts != 0 && attempts >= self.policy.max_attempts
    }

    fn retry_later(&self, lane: &mut Lane, why: &str, after: Option<Duration>) {
        let pause = after.unwrap_or_else(|| backoff(lane.attempts));
        lane.not_before = Some(Instant::now() + pause);
        self.stand(State::Backoff, why);
        if let Some(event) = lane.events.front() {
            tracing::warn!(
                instance = &*self.id,
                attempt = lane.attempts,
                "{why}; {} fires again in {pause:?}",
                event.name()
            );
        }
    }

    fn pause_until_one_is_ready(
        &mut self,
        waiting: &mut Vec<Lane>,
        ready: &mut VecDeque<Lane>,
    ) -> Result<(), End> {
        let next = waiting.iter().filter_map(|lane| lane.not_before).min();
        let pause = next.map(|at| at.saturating_duration_since(Instant::now()));
        // Another thread may end the window meanwhile.
        let pause = pause.unwrap_or_default().min(BACKOFF_MIN);
        if self.stop.rest(pause) {
            return Err(End::Stopped);
        }
        self.laps.rest();
        let now = Instant::now();
        let is_ready = |lane: &mut Lane| lane.not_before.is_none_or(|at| at <= now);
        ready.extend(waiting.extract_if(.., is_ready));
        Ok(())
    }

    fn skip(&self, event: &Pending, why: &str) {
        tracing::warn!(instance = &*self.id, "{why}; {} is skipped", event.name());
        self.count_dropped(event.rows());
    }

    /// The attempts of an event are used up.
    fn give_up(
        &self,
        event: &Pending,
        attempts: u32,
        failure: &Failure,
        effects: &mut Effects,
    ) -> Result<(), End> {
        let (name, why) = (event.name(), &failure.why);
        match self.policy.on_error {
            OnError::Disable => {
                return Err(End::Disabled(format!(
                    "{name} failed {attempts} times (on_error: disable): {why}"
                )));
            }
            OnError::Skip => {
                tracing::error!(instance = &*self.id, attempts, "{why}; {name} is skipped");
                self.count_dropped(event.rows());
            }
            OnError::DeadLetter => {
                tracing::error!(
                    instance = &*self.id,
                    attempts,
                    "{why}; dead letter: {name}, times {}",
                    event.times()
                );
                self.bury(event, attempts, failure, effects);
                self.gauges.dead_letters.fetch_add(1, Relaxed);
                self.meter.dead_letters.increment(1);
            }
        }
        self.stand(State::Running, "");
        Ok(())
    }

    /// Keeps the event as a dead letter, in the commit of its window. A `volatile` instance has no
    /// commits to keep one in: the line in the log is all there is.
    fn bury(&self, event: &Pending, attempts: u32, failure: &Failure, effects: &mut Effects) {
        if self.policy.delivery == Delivery::Volatile {
            return;
        }
        let left = effect_bytes_max(&self.engine).saturating_sub(effects.bytes());
        let letter = Letter {
            first: event.first.0,
            last: event.last.0,
            time: self.clock.now_ns(),
            attempts,
            code: failure.code as i32,
            key: event.key().cloned(),
            message: failure.why.clone(),
            event: event.keep(left.min(LETTER_ROWS_BYTES_MAX)),
        };
        effects.bury(letter.encode());
    }
}

impl Run {
    pub(crate) fn count_dropped(&self, rows: usize) {
        let rows = rows as u64;
        self.gauges.dropped.fetch_add(rows, Relaxed);
        self.meter.dropped_rows.increment(rows);
    }

    /// Makes an object of the plugin, which finds the state as the events of `window` left it.
    pub(crate) fn create_trigger(
        &self,
        window: Option<&Effects>,
    ) -> Result<Box<dyn AnyTrigger>, String> {
        let changed = window.map(|effects| &effects.state);
        self.make(changed, |module, config, init| module.trigger(config, init))
    }

    pub(crate) fn close_trigger(&self, mut trigger: Box<dyn AnyTrigger>, why: CloseReason) {
        self.closing(move || {
            trigger.close(why);
            drop(trigger);
        });
    }
}

/// Position of the last event.
fn end_of(lanes: &[Lane]) -> u64 {
    let events = lanes.iter().flat_map(|lane| &lane.events);
    events.map(|event| event.last.0).max().unwrap_or_default()
}

/// A timer that this window has set or cancelled since is no longer due.
fn is_stale(event: &Pending, effects: &Effects) -> bool {
    matches!(&event.what, What::Timer(timer) if effects.state.touches_timer(&timer.key))
}

/// A timer given up must not come again.
fn drop_timer(run: &Run, event: &Pending, effects: &mut Effects) {
    if let (What::Timer(timer), None) = (&event.what, event.letter) {
        effects.set_timer(timer.key.clone(), run.behind(timer));
    }
}

impl Lane {
    fn next(&mut self) {
        self.events.pop_front();
        self.attempts = 0;
        self.not_before = None;
    }
}

impl Pending {
    pub(crate) fn to_sdk(&self) -> Event<'_> {
        match &self.what {
            What::Write(bucket, parts) => Event::Write(Batch {
                key: &bucket.key,
                kind: bucket.kind,
                timeframe: bucket.timeframe,
                rows: &parts[0],
            }),
            What::Gap(bucket, from, to) => Event::Gap {
                key: &bucket.key,
                from: *from,
                to: *to,
            },
            What::Deleted(bucket) => Event::Deleted(&bucket.key),
            What::Timer(DueTimer { key, timer }) => Event::Timer {
                key: split_key(key).map_or(&[], |(_, key)| key),
                due: timer.due,
                payload: &timer.payload,
            },
        }
    }

    /// Bucket of the event, if it has one.
    pub(crate) fn key(&self) -> Option<&BucketKey> {
        match &self.what {
            What::Write(bucket, _) | What::Gap(bucket, ..) | What::Deleted(bucket) => {
                Some(&bucket.key)
            }
            What::Timer(_) => None,
        }
    }

    /// Nothing is copied for a fire that keeps no state and sets no timer.
    pub(crate) fn scope(&self, scope: StateScope) -> Scope<'_> {
        let lane = match &self.what {
            What::Timer(DueTimer { timer, .. }) => &timer.lane[..],
            _ => self.key().map_or(&[][..], |key| key.as_str().as_bytes()),
        };
        let namespace = match (scope, &self.what) {
            (StateScope::Instance, _) => Bytes::new(),
            (StateScope::Key, What::Timer(DueTimer { key, .. })) => {
                let namespace = split_key(key).map_or(&[][..], |(namespace, _)| namespace);
                key.slice_ref(namespace)
            }
            (StateScope::Key, _) => Bytes::copy_from_slice(lane),
        };
        Scope { namespace, lane }
    }

    /// What a dead letter keeps of the event: rows up to this many bytes.
    fn keep(&self, bytes_max: usize) -> EventOf {
        match &self.what {
            What::Write(bucket, parts) => match &parts[..] {
                [rows] if rows.bytes() <= bytes_max => EventOf::Write(bucket.kind, rows.clone()),
                _ => {
                    let (from, to) = self.range().unwrap_or_default();
                    let rows = u32::try_from(self.rows()).unwrap_or(u32::MAX);
                    EventOf::Large { from, to, rows }
                }
            },
            What::Gap(_, from, to) => EventOf::Gap(*from, *to),
            What::Deleted(_) => EventOf::Deleted,
            What::Timer(DueTimer { key, timer }) => EventOf::Timer {
                due: timer.due,
                key: key.clone(),
                payload: timer.payload.clone(),
            },
        }
    }

    fn range(&self) -> Option<(i64, i64)> {
        let What::Write(_, parts) = &self.what else {
            return None;
        };
        let times = || parts.iter().flat_map(|part| part.times());
        Some((*times().min()?, *times().max()?))
    }

    /// Range of times for a dead letter's line.
    fn times(&self) -> String {
        self.range()
            .map_or_else(|| "none".into(), |(from, to)| format!("{from}..={to}"))
    }
}
