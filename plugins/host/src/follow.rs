//! Other entries for a host that runs: what a reload does with `triggers`, `bgworkers`, `sources`.
//!
//! An instance is its id, as at a start: an entry with the id of an instance is that instance, changed
//! or not; any other is a new one.
//!
//! Invariants:
//! * All that is new is looked at before anything is touched ([`Host::compare`]): module, manifest,
//!   config. If one entry cannot run, nothing changes.
//! * A changed instance ends behind its window, its place and state stored, and begins there with the
//!   new entry: no commit fires twice or never. Instances change one after the other, and are
//!   removed last.
//! * If one does not begin after all, those before it go back, those added go, and none is removed.
//! * Nothing is stored but places and states, which are those of the last window whatever the entry:
//!   a crash in the middle starts with the file, like any start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use engine::Engine;

use crate::circle::circles;
use crate::control::Halted;
use crate::entry::Entry;
use crate::find::Modules;
use crate::host::{Error, Host, Inner, Instance, Instances};
use crate::meter;
use crate::overflow::Hold;
use crate::registry::{Natives, Outcome, Plan, Problem, look, plan_one, tell_apart};
use crate::secrets::Secrets;
use crate::start::Begin;
use crate::status::{OFF_BY_ENTRY, OFF_BY_OPERATOR, State};

/// What becomes of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// No instance had this id.
    Added,
    /// These keys of its entry differ.
    Changed(Vec<String>),
    /// No entry names it any more.
    Removed,
}

/// A difference between entries and instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Instance id.
    pub id: String,
    /// The list of mkts.yml that its entry stands, or stood, in.
    pub list: &'static str,
    /// What becomes of it.
    pub what: What,
}

/// Entries that were looked at and found good.
pub struct Following {
    /// Every instance that is to be there, in the order of the entries.
    plans: Vec<Plan>,
    steps: Vec<Step>,
    secrets: Secrets,
    warnings: Vec<(String, String)>,
}

impl Following {
    /// What differs from the instances there are; empty if nothing does.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What no log line may show, of the new entries and the old ones. To be hidden before
    /// [`Host::follow`]: a plugin may log from its first moment on.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// What is odd about new and changed entries: where they stand, and the text.
    pub fn warnings(&self) -> &[(String, String)] {
        &self.warnings
    }
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.steps).finish()
    }
}

/// What was done, to be undone.
enum Done {
    Added(Arc<Instance>),
    Changed(Arc<Instance>, Arc<Plan>),
}

impl Host {
    /// Looks at entries that are to take the place of those that run; changes nothing. Modules and
    /// configs of entries that have not changed are not looked at again.
    ///
    /// # Errors
    /// What keeps new or changed entries from running.
    pub fn compare(&self, entries: &[Entry]) -> Result<Following, Vec<Problem>> {
        let inner = &self.inner;
        let present = inner.instances();
        let plans = plan_beside(entries, &present, &inner.modules);
        let mut problems = Vec::new();
        let mut following = Following {
            plans: Vec::new(),
            steps: Vec::new(),
            secrets: self.secrets(),
            warnings: Vec::new(),
        };
        for plan in &plans {
            let before = present.iter().find(|i| i.id == plan.id);
            let what = match before.map(|i| i.plan().entry.differences(&plan.entry)) {
                None => What::Added,
                Some(keys) if keys.is_empty() => continue,
                Some(keys) => What::Changed(keys),
            };
            problems.extend(plan.problem());
            following.secrets.merge(&plan.secrets);
            let place = || plan.entry.place.clone();
            let warnings = plan.warnings.iter().map(|w| (place(), w.clone()));
            following.warnings.extend(warnings);
            following.steps.push(Step::of(plan, what));
        }
        problems.extend(new_circles(&plans, &following.steps));
        if !problems.is_empty() {
            return Err(problems);
        }
        let gone = present
            .iter()
            .filter(|i| plans.iter().all(|plan| plan.id != i.id));
        let gone = gone.map(|i| Step::of(&i.plan(), What::Removed));
        following.steps.extend(gone);
        following.plans = plans;
        Ok(following)
    }

    /// Makes the instances those of the entries.
    ///
    /// # Errors
    /// If an instance does not begin; the old ones go on then.
    pub fn follow(&self, following: Following) -> Result<(), Error> {
        let inner = &self.inner;
        let _one = inner.following.lock();
        let engine = inner.open_engine()?;
        let mut done = Vec::new();
        // As at a start, triggers first: they stand in front of what workers and sources write.
        let (triggers, others): (Vec<_>, Vec<_>) =
            following.plans.iter().partition(|plan| plan.is_trigger());
        for plan in triggers.into_iter().chain(others) {
            match inner.follow_one(plan, &engine) {
                Ok(one) => done.extend(one),
                Err(error) => {
                    inner.undo(done, &engine);
                    return Err(error);
                }
            }
        }
        let ids: Vec<&str> = following.plans.iter().map(|plan| &*plan.id).collect();
        for instance in &*inner.instances() {
            if !ids.contains(&&*instance.id) {
                inner.let_go(instance, &engine);
            }
        }
        let ordered = ids.iter().filter_map(|id| inner.instance(id).ok());
        inner.set_instances(ordered.collect());
        Ok(())
    }
}

impl Step {
    fn of(plan: &Plan, what: What) -> Self {
        Self {
            id: plan.id.clone(),
            list: plan.entry.kind.list(),
            what,
        }
    }
}

/// Plans of entries beside the instances there are. Of one that runs already with the same entry its
/// own plan is taken, in its new place.
fn plan_beside(entries: &[Entry], present: &Instances, modules: &Modules) -> Vec<Plan> {
    let known: BTreeMap<&str, Arc<Plan>> = present.iter().map(|i| (&*i.id, i.plan())).collect();
    let mut plans: Vec<Plan> = Vec::new();
    for entry in entries {
        // Nothing of a module runs for this.
        let (mut plan, _) = look(entry, modules);
        tell_apart(&mut plan, &plans);
        let same = known.get(&*plan.id);
        let same = same.filter(|old| old.entry.differences(entry).is_empty());
        plan = match same {
            Some(old) => Plan {
                entry: entry.clone(),
                ..Plan::clone(old)
            },
            None => {
                let mut plan = plan_one(entry, modules, Natives::Later);
                tell_apart(&mut plan, &plans);
                plan
            }
        };
        plans.push(plan);
    }
    plans
}

/// Circles through what is new, if they are proved.
fn new_circles(plans: &[Plan], steps: &[Step]) -> Vec<Problem> {
    let is_new = |at: &usize| steps.iter().any(|step| step.id == plans[*at].id);
    let circles = circles(plans).into_iter();
    let new = circles.filter(|circle| circle.is_proved && circle.of.iter().any(is_new));
    new.map(|circle| Problem {
        place: plans[circle.of[0]].entry.place.clone(),
        message: circle.describe(plans),
        fatal: true,
    })
    .collect()
}

impl Plan {
    /// What keeps it from running, as `mkts check-config` says.
    fn problem(&self) -> Option<Problem> {
        let message = match &self.outcome {
            Outcome::Ready(_) | Outcome::Later(_) | Outcome::Off => return None,
            Outcome::Missing { known: true, .. } if !self.entry.required => return None,
            Outcome::Missing { text, .. } | Outcome::Failed(text) => self.secrets.scrub(&**text),
        };
        Some(Problem {
            place: self.entry.place.clone(),
            message,
            fatal: true,
        })
    }
}

impl Inner {
    fn follow_one(&self, plan: &Plan, engine: &Engine) -> Result<Option<Done>, Error> {
        let Ok(instance) = self.instance(&plan.id) else {
            return self.add(plan.clone(), engine).map(|i| Some(Done::Added(i)));
        };
        let old = instance.plan();
        if old.entry.differences(&plan.entry).is_empty() {
            // Its entry may stand somewhere else by now. The plan itself may be a newer one.
            let _one_verb = instance.control.lock();
            let entry = plan.entry.clone();
            let now = Plan::clone(&instance.plan());
            instance.set_plan(Plan { entry, ..now });
            return Ok(None);
        }
        self.exchange_entry(&instance, plan.clone(), engine)?;
        tracing::info!(instance = instance.id, "its entry was changed");
        Ok(Some(Done::Changed(instance, old)))
    }

    /// A new instance, and its first run.
    fn add(&self, plan: Plan, engine: &Engine) -> Result<Arc<Instance>, Error> {
        let instance = Arc::new(Instance::new(plan, self.clock.now_ns())?);
        // Before it begins: a stop of the host finds all there are.
        let present = self.instances();
        let with = present.iter().cloned().chain([Arc::clone(&instance)]);
        self.set_instances(with.collect());
        let begun = {
            let _one_verb = instance.control.lock();
            instance.compare_readings(engine);
            self.settle_in(&instance, engine, &Begin::default())
        };
        match begun {
            Ok(()) => {
                tracing::info!(instance = instance.id, "its entry is new");
                Ok(instance)
            }
            Err(error) => {
                self.let_go(&instance, engine);
                Err(error)
            }
        }
    }

    /// Another entry for an instance; the old one goes on if that does not begin.
    fn exchange_entry(&self, instance: &Instance, new: Plan, engine: &Engine) -> Result<(), Error> {
        let _one_verb = instance.control.lock();
        let (old, before) = (instance.plan(), instance.gauges.standing());
        let mut begin = Begin::default();
        let mut ended = Halted::Ended;
        if before.state.is_live() {
            ended = self.halt(instance, engine, State::Stopped, "");
            // What does not follow the log has no cursor to go on at.
            if old.is_trigger() {
                begin = instance.go_on();
            }
        }
        instance.set_plan(new);
        if before.state == State::Paused && instance.plan().entry.enabled != Some(false) {
            return Ok(());
        }
        let Err(error) = self.settle_in(instance, engine, &begin) else {
            return Ok(());
        };
        instance.set_plan(Plan::clone(&old));
        if !before.state.is_live() {
            let now = self.clock.now_ns();
            instance.gauges.set(before.state, &before.reason, now);
        } else if ended == Halted::GivenUp {
            // A module may know of one object for each instance only.
            instance.set_plan(self.plan_again(instance, engine));
            self.begin(instance, engine, &begin)?;
        } else {
            self.begin(instance, engine, &begin)?;
        }
        self.book.set_hold(&instance.id, self.hold(&instance.id));
        Err(error)
    }

    /// What a start of the server would do with an instance that has no run.
    fn settle_in(&self, instance: &Instance, engine: &Engine, begin: &Begin) -> Result<(), Error> {
        let set = |state, reason: &str| instance.gauges.set(state, reason, self.clock.now_ns());
        let plan = instance.plan();
        let (state, reason) = plan.state();
        if plan.entry.enabled == Some(false) {
            set(State::Disabled, OFF_BY_ENTRY);
        } else if self.is_switched_off(instance) {
            set(State::Disabled, OFF_BY_OPERATOR);
        } else if state == State::Missing {
            set(state, &reason);
        } else {
            self.begin(instance, engine, begin)?;
        }
        self.book.set_hold(&instance.id, self.hold(&instance.id));
        Ok(())
    }

    /// Ends an instance for good. What is stored of it stays, and no log is kept for it.
    fn let_go(&self, instance: &Instance, engine: &Engine) {
        {
            let _one_verb = instance.control.lock();
            instance.is_gone.store(true, SeqCst);
            if instance.is_live() {
                self.halt(instance, engine, State::Stopped, "its entry is gone");
            }
        }
        self.book.set_hold(&instance.id, Hold::NONE);
        let mut last = self.status(instance);
        // Its gauges would stay as they are now for ever.
        (last.lag_bytes, last.lag_seconds, last.wal_held_bytes) = (0, 0.0, 0);
        meter::refresh(&last);
        let left = self.instances();
        let left = left.iter().filter(|i| !std::ptr::eq(&***i, instance));
        self.set_instances(left.cloned().collect());
        tracing::info!(instance = instance.id, "its entry is gone");
    }

    /// The instances as they were, as far as they begin.
    fn undo(&self, done: Vec<Done>, engine: &Engine) {
        for one in done.into_iter().rev() {
            match one {
                Done::Added(instance) => self.let_go(&instance, engine),
                Done::Changed(instance, old) => {
                    let plan = Plan::clone(&old);
                    if let Err(error) = self.exchange_entry(&instance, plan, engine) {
                        tracing::error!(instance = instance.id, "its old entry: {error}");
                    }
                }
            }
        }
    }
}
