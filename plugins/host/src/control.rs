//! What an operator does with instances while the server runs.
//!
//! ```text
//!            pause                       disable (kept over restarts)
//! running ----------> paused   any ----------------------------------> disabled
//!    ^  \   resume  /                                                     |
//!    |   <---------            failed, missing, disabled --- enable --> running
//!    +-- restart, reload
//! ```
//! Every verb is one critical section of its instance ([`Instance::control`]) and of no other; what a
//! writer waits for is never held. A run is ended behind its window ([`Inner::halt`]) by its own
//! thread, so a verb that comes in the middle of a window waits for it, up to a bound. Each verb
//! changes at most one durable thing (a flag, or one plugin commit), and does so in one step: a crash
//! finds the verb done or not begun.

use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use engine::{Engine, Lsn};
use plugin_sdk::{Delivery, Kind};

use crate::host::{Error, Host, Inner, Instance, STOP_WAIT};
use crate::instances::{FLAG_BEHIND, FLAG_DISABLED, FLAG_QUARANTINED};
use crate::lines::Orphan;
use crate::overflow::Hold;
use crate::registry::{Outcome, Plan};
use crate::section::Change;
use crate::start::{Begin, no_rows};
use crate::state::Order;
use crate::status::{InstanceStatus, OFF_BY_OPERATOR, State};
use crate::swap::Swap;

/// How long a window under way is waited for; behind that its effects are dropped, and it fires
/// again.
const WINDOW_WAIT: Duration = Duration::from_secs(5);

/// How long an event that hangs already has to notice that it is to end.
const HUNG_WAIT: Duration = Duration::from_millis(500);

/// How long a successor may take to be made.
const SWAP_WAIT: Duration = Duration::from_secs(60);

const TICK: Duration = Duration::from_millis(20);

/// Where an instance stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Everything below has been fired.
    pub cursor: Lsn,
    /// Newest commit there is: the cursor follows it.
    pub visible: Lsn,
    /// Cursor at the last checkpoint; `None` if none has met the instance.
    pub checkpointed: Option<Lsn>,
    /// The last plugin commit; `None` if there is none.
    pub last_commit: Option<Lsn>,
    /// Starts of the instance.
    pub epoch: u64,
}

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Version before; empty if there was no module.
    pub before: String,
    /// Version now.
    pub after: String,
}

impl Host {
    /// One instance as [`Host::status`] shows it.
    pub fn instance_status(&self, id: &str) -> Option<InstanceStatus> {
        let instance = self.inner.instance(id).ok()?;
        Some(self.inner.status(&instance))
    }

    /// Ends the run of an instance behind its window, until [`Host::resume`] or a restart of the
    /// server. Its cursor stays, and log is kept for it.
    ///
    /// # Errors
    /// If there is no such instance, or it does not run.
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        match instance.gauges.state() {
            State::Paused => Ok(()),
            state if state.is_live() => {
                inner.halt(&instance, &engine, State::Paused, "by an operator");
                match instance.gauges.state() {
                    State::Paused => Ok(()),
                    _ => Err(instance.conflict("it ended by itself meanwhile")),
                }
            }
            _ => Err(instance.conflict("only what runs can be paused")),
        }
    }

    /// Goes on where [`Host::pause`] ended; a `volatile` instance at the newest commit.
    ///
    /// # Errors
    /// If there is no such instance, it is not paused, or it does not start.
    pub fn resume(&self, id: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        match instance.gauges.state() {
            State::Paused => inner.begin(&instance, &engine, &Begin::default()),
            state if state.is_live() => Ok(()),
            State::Stopped => Err(instance.conflict("its work has ended; `restart` begins anew")),
            _ => Err(instance.conflict("it is not paused; `enable` starts it")),
        }
    }

    /// Ends the run of an instance, over restarts of the server, too, unless its entry says
    /// `enabled: true`. Its cursor stays; no log is kept for it.
    ///
    /// # Errors
    /// If there is no such instance, or the store refuses.
    pub fn disable(&self, id: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        // First what survives a crash.
        inner.book.flag(&engine, id, FLAG_DISABLED, 0)?;
        if instance.is_live() {
            inner.halt(&instance, &engine, State::Disabled, OFF_BY_OPERATOR);
        }
        let now = inner.clock.now_ns();
        instance.gauges.set(State::Disabled, OFF_BY_OPERATOR, now);
        inner.book.set_hold(id, Hold::NONE);
        Ok(())
    }

    /// Ends whatever keeps an instance from running as its entry says: `disabled`, `failed`,
    /// `missing`, `paused`, and that it was moved out of the server's process.
    ///
    /// # Errors
    /// If there is no such instance, its entry says `enabled: false`, or it still cannot run.
    pub fn enable(&self, id: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        let plan = instance.plan();
        if plan.entry.enabled == Some(false) {
            let place = &plan.entry.place;
            return Err(instance.conflict(&format!(
                "its entry says `enabled: false` ({place}); change it, then `mkts reload`"
            )));
        }
        let was_quarantined = inner.book.flags(id) & FLAG_QUARANTINED != 0;
        // It begins anew if it fell too far behind: the log behind its cursor is gone.
        inner.book.forgive(id);
        let clear = FLAG_DISABLED | FLAG_QUARANTINED | FLAG_BEHIND;
        inner.book.flag(&engine, id, 0, clear)?;
        if instance.is_live() {
            if !was_quarantined {
                return Ok(());
            }
            inner.halt(&instance, &engine, State::Stopped, "");
        }
        inner.look_again(&instance, &engine)?;
        inner.book.set_hold(id, inner.hold(id));
        inner.begin(&instance, &engine, &Begin::default())
    }

    /// Ends the run of an instance behind its window and begins another with a new object, in a
    /// process of its own if it has one.
    ///
    /// # Errors
    /// If there is no such instance, it is switched off, or it does not start again.
    pub fn restart(&self, id: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        let mut begin = Begin::default();
        match instance.gauges.state() {
            State::Disabled | State::Missing => {
                return Err(instance.conflict("`enable` starts it"));
            }
            state if state.is_live() => {
                let ended = inner.halt(&instance, &engine, State::Stopped, "");
                begin = instance.go_on();
                if ended == Halted::GivenUp {
                    // A module may know of one object for each instance only.
                    inner.look_again(&instance, &engine)?;
                }
            }
            State::Failed => inner.look_again(&instance, &engine)?,
            _ => {}
        }
        inner.begin(&instance, &engine, &begin)
    }

    /// Looks for the module of an instance again and runs the newest version that its entry allows.
    /// A trigger goes from the old version to the new one between two windows; a worker or source is
    /// ended first. If the new version cannot run, the old one goes on.
    ///
    /// # Errors
    /// If there is no such instance, or the new version cannot run.
    pub fn reload(&self, id: &str) -> Result<Reloaded, Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        let (old, new) = (instance.plan(), inner.plan_again(&instance, &engine));
        if !matches!(new.outcome, Outcome::Ready(_)) {
            return Err(Error::instance(id, new.state().1));
        }
        let reloaded = Reloaded {
            before: old.version.clone(),
            after: new.version.clone(),
        };
        let state = instance.gauges.state();
        if state.is_live() {
            inner.exchange(&instance, &engine, new)?;
        } else {
            instance.set_plan(new);
            if !matches!(state, State::Paused | State::Disabled) {
                inner.begin(&instance, &engine, &Begin::default())?;
            }
        }
        tracing::info!(
            instance = id,
            "reloaded: version {} after {}",
            reloaded.after,
            reloaded.before
        );
        Ok(reloaded)
    }

    /// Where an instance stands in the log.
    ///
    /// # Errors
    /// If there is no such instance, or it does not follow the log.
    pub fn cursor(&self, id: &str) -> Result<Place, Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        instance.check_follows()?;
        let engine = inner.open_engine()?;
        let cursor = Lsn(instance
            .gauges
            .cursor
            .load(std::sync::atomic::Ordering::Relaxed));
        let visible = engine.marks().visible;
        let Some(line) = inner.book.line(id) else {
            return Ok(Place {
                cursor,
                visible,
                checkpointed: None,
                last_commit: None,
                epoch: 1,
            });
        };
        Ok(Place {
            cursor: if instance.is_live() {
                cursor
            } else {
                line.cursor
            },
            visible,
            checkpointed: inner.book.checkpointed(line.origin)?,
            last_commit: (line.last_commit.0 > 0).then_some(line.last_commit),
            epoch: line.epoch,
        })
    }

    /// Sets the cursor of a paused instance: back to fire again what is still in the log, or ahead to
    /// pass commits over.
    ///
    /// # Errors
    /// If there is no such instance, it is not paused, it has no place, or there is no commit to go
    /// on with at `to`.
    pub fn set_cursor(&self, id: &str, to: Lsn) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        instance.check_follows()?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        if instance.gauges.state() != State::Paused {
            return Err(instance.conflict("its cursor can be set while it is paused"));
        }
        let line = inner.book.line(id);
        let line = line.filter(|line| line.last_commit.0 > 0);
        let Some(line) = line else {
            return Err(instance.conflict("it has not stored a place yet"));
        };
        check_place(&engine, to).map_err(|reason| instance.invalid(&reason))?;
        let none = std::sync::Arc::default();
        let commit = no_rows(line.origin);
        inner.book.command(&engine, commit, line.epoch, to, none)?;
        let cursor = &instance.gauges.cursor;
        cursor.store(to.0, std::sync::atomic::Ordering::Relaxed);
        tracing::info!(instance = id, "cursor set from {} to {to}", line.cursor);
        Ok(())
    }

    /// Removes state, timers and dirty ranges of an instance, for good. It then begins like a new
    /// one; dead letters stay. This also ends "state incomplete".
    ///
    /// # Errors
    /// If there is no such instance, the store refuses, or it does not start again.
    pub fn reset(&self, id: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let instance = inner.instance(id)?;
        let _one_verb = instance.control.lock();
        let engine = inner.open_engine()?;
        let before = instance.gauges.standing();
        if before.state.is_live() {
            inner.halt(&instance, &engine, State::Stopped, "");
        }
        instance.clear_table();
        if let Some(line) = inner.book.line(id) {
            let changes = std::sync::Arc::new([Change::Reset]);
            let commit = no_rows(line.origin);
            // No place: the next run finds none and begins like a new instance's first.
            let none = crate::commit::NO_CURSOR;
            inner
                .book
                .command(&engine, commit, line.epoch, none, changes)?;
        }
        tracing::warn!(instance = id, "reset: its state is gone");
        if before.is_off() || matches!(before.state, State::Paused | State::Missing) {
            return Ok(());
        }
        inner.begin(&instance, &engine, &Begin::default())
    }

    /// Instances that the store keeps and no entry names.
    pub fn orphans(&self) -> Vec<Orphan> {
        self.inner.orphans()
    }

    /// Forgets the [`Host::orphans`]: their places, states and dead letters.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn gc(&self) -> Result<Vec<Orphan>, Error> {
        let inner = &self.inner;
        // An entry that comes back meanwhile finds its place, or none.
        let _none_follows = inner.following.lock();
        let engine = inner.open_engine()?;
        let instances = inner.instances();
        let ids: Vec<&str> = instances.iter().map(|i| &*i.id).collect();
        let gone = inner.book.forget(&engine, &ids)?;
        for orphan in &gone {
            tracing::info!(instance = orphan.id, "forgotten: no entry names it");
        }
        Ok(gone)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halted {
    Ended,
    /// Its thread is still in an event, of which nothing will take effect.
    GivenUp,
}

impl Inner {
    fn orphans(&self) -> Vec<Orphan> {
        let instances = self.instances();
        let ids: Vec<&str> = instances.iter().map(|i| &*i.id).collect();
        self.book.orphans(&ids)
    }

    pub(crate) fn open_engine(&self) -> Result<Engine, Error> {
        self.running_engine()
            .ok_or(Error::Engine(engine::Error::Closed))
    }

    /// Ends the run of an instance, which is `then` afterwards: behind its window, else in front of
    /// its next event, else it is given up.
    pub(crate) fn halt(
        &self,
        instance: &Instance,
        engine: &Engine,
        then: State,
        reason: &str,
    ) -> Halted {
        let (stop, thread) = instance.take_thread();
        stop.set_then(then, reason);
        // A worker has no windows: what it has not committed waits for its next commit anyway.
        match instance.plan().kind() {
            Kind::BgWorker => stop.ask(),
            Kind::Trigger | Kind::Source => stop.ask_behind(),
        }
        let until = Instant::now() + WINDOW_WAIT;
        if self.join(instance, thread.clone(), engine, until) {
            return Halted::Ended;
        }
        stop.ask();
        let grace = instance.grace();
        let is_hung = grace.is_zero() && instance.is_hung(self.clock.monotonic());
        let wait = if is_hung {
            HUNG_WAIT
        } else {
            STOP_WAIT + grace
        };
        if self.wait_end(thread, engine, Instant::now() + wait, || false) {
            return Halted::Ended;
        }
        stop.abandon();
        self.book.fence(&instance.id);
        tracing::error!(instance = instance.id, "hangs; given up");
        instance.gauges.set(then, reason, self.clock.now_ns());
        Halted::GivenUp
    }

    /// Starts an instance that has no run; its state says how that went.
    pub(crate) fn begin(
        &self,
        instance: &Instance,
        engine: &Engine,
        begin: &Begin,
    ) -> Result<(), Error> {
        let started = self.start(instance, engine, begin)?;
        started.map_err(|reason| Error::instance(&instance.id, format!("cannot run: {reason}")))
    }

    /// Finds the module of an instance again and makes that its plan, whatever comes out.
    fn look_again(&self, instance: &Instance, engine: &Engine) -> Result<(), Error> {
        let plan = self.plan_again(instance, engine);
        let (state, reason) = plan.state();
        if state != State::Resolved {
            let now = self.clock.now_ns();
            instance.gauges.set(state, &reason, now);
            return Err(Error::instance(&instance.id, reason));
        }
        instance.set_plan(plan);
        Ok(())
    }

    /// Puts another plan in the place of the one that runs, which goes on if that fails.
    fn exchange(&self, instance: &Instance, engine: &Engine, new: Plan) -> Result<(), Error> {
        let old = instance.plan();
        let is_volatile = |plan: &Plan| plan.delivery() == Delivery::Volatile;
        if instance.is_trigger() && is_volatile(&old) == is_volatile(&new) {
            let swapped = self.swap(instance, engine, &new)?;
            if swapped {
                instance.set_plan(new);
                return Ok(());
            }
            // A window that does not end, maybe because of what the new version mends.
        }
        self.halt(instance, engine, State::Stopped, "");
        let begin = instance.go_on();
        instance.set_plan(new);
        let begun = self.begin(instance, engine, &begin);
        if begun.is_err() {
            instance.set_plan(Plan::clone(&old));
            self.begin(instance, engine, &begin)?;
        }
        begun
    }

    /// Has a trigger's own thread put another plan in its place between two windows; false if it
    /// does not come to the end of its window.
    fn swap(&self, instance: &Instance, engine: &Engine, new: &Plan) -> Result<bool, Error> {
        let (reply, answer) = bounded(1);
        let swap = Swap {
            plan: new.clone(),
            reply,
        };
        instance.orders.lock().push(Order::Swap(Box::new(swap)));
        let began = Instant::now();
        loop {
            engine.wake_followers();
            match answer.recv_timeout(TICK) {
                Ok(Ok(())) => return Ok(true),
                Ok(Err(reason)) => return Err(Error::instance(&instance.id, reason)),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let is_late = began.elapsed() >= WINDOW_WAIT || !instance.is_live();
            if (is_late && instance.withdraw_swap()) || began.elapsed() >= SWAP_WAIT {
                return Ok(false);
            }
        }
    }
}

impl Instance {
    /// The error of a verb that the present state does not allow.
    pub(crate) fn conflict(&self, reason: &str) -> Error {
        Error::Conflict {
            id: self.id.clone(),
            state: self.gauges.state(),
            reason: reason.into(),
        }
    }

    fn invalid(&self, reason: &str) -> Error {
        Error::Invalid {
            id: self.id.clone(),
            reason: reason.into(),
        }
    }

    /// A run that follows the one just ended without a break.
    pub(crate) fn go_on(&self) -> Begin {
        let cursor = self
            .gauges
            .cursor
            .load(std::sync::atomic::Ordering::Relaxed);
        Begin {
            at: Some(Lsn(cursor)),
            is_newer: self.plan().delivery() == Delivery::Volatile,
        }
    }

    /// Only a trigger that stores its place has a cursor to speak of.
    fn check_follows(&self) -> Result<(), Error> {
        let plan = self.plan();
        if plan.kind() != Kind::Trigger {
            let kind = plan.kind().name();
            return Err(self.invalid(&format!(
                "a {kind} does not follow the log, it has no cursor"
            )));
        }
        Ok(())
    }

    /// Takes an exchange back that the thread has not begun; false if it has.
    fn withdraw_swap(&self) -> bool {
        let mut orders = self.orders.lock();
        let before = orders.len();
        orders.retain(|order| !matches!(order, Order::Swap(_)));
        orders.len() < before
    }
}

/// Whether a cursor may stand at `to`.
fn check_place(engine: &Engine, to: Lsn) -> Result<(), String> {
    let visible = engine.marks().visible;
    if to == Lsn(0) || to > visible {
        return Err(format!(
            "cursor {to} is not between 1 and {visible}, the newest commit"
        ));
    }
    if to == visible {
        return Ok(());
    }
    let mut reader = engine.follow(to).map_err(|error| error.to_string())?;
    let found = reader.next_commit().map_err(|error| error.to_string())?;
    match found {
        Some(commit) if commit.lsn == to => Ok(()),
        Some(commit) => Err(format!(
            "no commit begins at {to}; the next one begins at {}",
            commit.lsn
        )),
        None => Err(format!("no commit begins at {to}")),
    }
}
