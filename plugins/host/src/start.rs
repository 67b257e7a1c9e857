//! Starting an instance: its place in the log, its object, its thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use bytes::Bytes;
use crossbeam_channel::bounded;
use engine::{Commit, Engine, Lsn, Origin};
use plugin_sdk::{Delivery, Kind, StateValue};

use crate::backfill;
use crate::checkpoint;
use crate::commit;
use crate::dispatch::{Dispatcher, Sizes};
use crate::feed::{self, Feed};
use crate::host::{Error, Inner, Instance, Live};
use crate::instances::FLAG_QUARANTINED;
use crate::ledger::{Ledger, STRIKES_MAX, Slot, Stands};
use crate::meter::Meter;
use crate::on::Matcher;
use crate::overflow::Hold;
use crate::registry::{Natives, Outcome, Plan, Ready, plan_one};
use crate::run::Run;
use crate::section::Change;
use crate::state::SharedTable;
use crate::status::State;
use crate::stop::Stop;
use crate::ticks::{self, Ticks};
use crate::window::{Filter, Limits};
use crate::worker::{self, Worker};

/// What a thread of an instance does.
enum Job {
    Trigger(Box<Dispatcher>),
    Worker(Box<Worker>),
    Source(Box<Feed>),
}

impl Job {
    fn run(self) {
        match self {
            Self::Trigger(dispatcher) => dispatcher.run(),
            Self::Worker(worker) => worker.run(),
            Self::Source(feed) => feed.run(),
        }
    }
}

/// Why an instance runs in a child that was to run inside the server.
const QUARANTINED: &str = "quarantined: the server died in it twice in a row, so it runs in a process; \
     `mkts plugin enable` takes it back";

fn incomplete(why: &str) -> String {
    format!("state incomplete: {why}; `mkts plugin reset` starts it afresh")
}

/// How a run begins.
#[derive(Debug, Default)]
pub(crate) struct Begin {
    /// Where an instance goes on that has no place of its own, because it was `volatile` or is; else at
    /// the newest commit.
    pub(crate) at: Option<Lsn>,
    /// It was `volatile` until now: a place that is stored is of a time before that.
    pub(crate) is_newer: bool,
}

/// An instance of which a run is made.
struct Making<'a> {
    instance: &'a Instance,
    plan: &'a Plan,
    ready: &'a Ready,
    engine: &'a Engine,
    begin: &'a Begin,
    stop: &'a Arc<Stop>,
}

/// Where an instance begins.
struct Place {
    epoch: u64,
    cursor: Lsn,
    broken: Option<String>,
    has_wrong_state: bool,
    table: SharedTable,
    fell_behind: bool,
    over: Arc<AtomicBool>,
}

impl Inner {
    /// Starts an instance with the server, unless it cannot run or is switched off.
    pub(crate) fn start_first(&self, instance: &Instance, engine: &Engine) -> Result<(), Error> {
        if instance.gauges.state() != State::Resolved {
            return Ok(());
        }
        match self.start(instance, engine, &Begin::default())? {
            Ok(()) => Ok(()),
            Err(reason) => instance.plan().refuse_if_required(&reason),
        }
    }

    /// Begins a run of an instance that has none; the inner error is the instance's own fault, and
    /// its state by then.
    pub(crate) fn start(
        &self,
        instance: &Instance,
        engine: &Engine,
        begin: &Begin,
    ) -> Result<Result<(), String>, Error> {
        let set = |state, reason: &str| instance.gauges.set(state, reason, self.clock.now_ns());
        set(State::Starting, "");
        let result = self.make_and_run(instance, engine, begin);
        let reason = match &result {
            Ok(Ok(())) => return result,
            Ok(Err(reason)) => reason.clone(),
            Err(error) => error.to_string(),
        };
        set(State::Failed, &reason);
        tracing::error!(instance = instance.id, "failed: {reason}");
        result
    }

    fn make_and_run(
        &self,
        instance: &Instance,
        engine: &Engine,
        begin: &Begin,
    ) -> Result<Result<(), String>, Error> {
        if matches!(instance.plan().outcome, Outcome::Later(_)) {
            instance.set_plan(self.plan_again(instance, engine));
        }
        let plan = instance.plan();
        let ready = match &plan.outcome {
            Outcome::Ready(ready) => ready,
            _ => return Ok(Err(plan.state().1)),
        };
        let stop = Arc::new(Stop::default());
        let making = Making {
            instance,
            plan: &plan,
            ready,
            engine,
            begin,
            stop: &stop,
        };
        let made = match ready.kind() {
            Kind::Trigger => self.dispatcher(&making)?.map(Job::Trigger),
            Kind::BgWorker => self.worker(&making)?.map(Job::Worker),
            Kind::Source => self.feed(&making)?.map(Job::Source),
        };
        match made {
            Ok(job) => self.run_job(instance, ready.kind(), stop, job).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Looks at the entry of an instance once more; what runs inside the server is loaded.
    pub(crate) fn plan_again(&self, instance: &Instance, engine: &Engine) -> Plan {
        let plan = plan_one(&instance.plan().entry, &self.modules, Natives::Later);
        let plan = match &plan.outcome {
            Outcome::Later(_) => {
                let planned = self.plan_native(instance, engine);
                planned.unwrap_or_else(|error| Plan {
                    outcome: Outcome::Failed(error.to_string()),
                    ..plan
                })
            }
            _ => plan,
        };
        Plan {
            id: instance.id.clone(),
            ..plan
        }
    }

    /// A library that was running when the server died, twice in a row, runs in a child.
    fn plan_native(&self, instance: &Instance, engine: &Engine) -> Result<Plan, engine::Error> {
        let slot = self.slot(engine.origin(&instance.id)?)?;
        if slot.strikes() >= STRIKES_MAX {
            // First what survives a crash.
            self.book.flag(engine, &instance.id, FLAG_QUARANTINED, 0)?;
            slot.forgive();
            tracing::error!(instance = instance.id, "{QUARANTINED}");
        }
        let entry = &instance.plan().entry;
        let plan = |natives| plan_one(entry, &self.modules, natives);
        if self.book.flags(&instance.id) & FLAG_QUARANTINED != 0 {
            let mut plan = plan(Natives::Quarantined);
            plan.warnings.push(QUARANTINED.into());
            return Ok(plan);
        }
        let inside = slot.enter(Stands::default());
        let plan = plan(Natives::Now);
        drop(inside);
        Ok(Plan {
            slot: Some(slot),
            ..plan
        })
    }

    fn slot(&self, origin: Origin) -> Result<Arc<Slot>, engine::Error> {
        let mut ledger = self.ledger.lock();
        let ledger = match &mut *ledger {
            Some(ledger) => ledger,
            none => {
                let disk = self.book.disk.get().ok_or(engine::Error::Closed)?;
                let opened = Ledger::open(&**disk, Arc::clone(&self.clock));
                none.insert(opened.map_err(|error| checkpoint::store_error(&error))?)
            }
        };
        Ok(ledger.slot(origin))
    }

    fn run_job(
        &self,
        instance: &Instance,
        kind: Kind,
        stop: Arc<Stop>,
        job: Job,
    ) -> Result<(), Error> {
        // Held while the thread starts: whoever stops the host finds all there are.
        let engine = self.engine.lock();
        if engine.is_none() {
            return Err(engine::Error::Closed.into());
        }
        if instance.is_gone.load(SeqCst) {
            let id = instance.id.clone();
            return Err(Error::NoInstance { id });
        }
        let now = self.clock.now_ns();
        if let Job::Trigger(dispatcher) = &job {
            let gauges = &instance.gauges;
            gauges.waiting.store(dispatcher.waits(), SeqCst);
            gauges.cursor.store(dispatcher.cursor.0, SeqCst);
            let timers = dispatcher.table.read().timers.len();
            gauges.timers.store(timers as u64, Relaxed);
        }
        instance.gauges.set(State::Running, "", now);
        let (alive, ended) = bounded::<()>(0);
        std::thread::Builder::new()
            .name(format!("{}-{}", kind.name(), instance.id))
            .spawn(move || {
                job.run();
                drop(alive);
            })
            .map_err(|error| Error::Thread(error.to_string()))?;
        *instance.live.lock() = Live {
            stop,
            thread: Some(ended),
        };
        Ok(())
    }

    /// All a worker needs to run. Its object is made here, so that a plugin that refuses shows before
    /// the server is ready.
    fn worker(&self, making: &Making<'_>) -> Result<Result<Box<Worker>, String>, Error> {
        let (run, _) = match self.without_cursor(making)? {
            Ok(made) => made,
            Err(why) => return Ok(Err(why)),
        };
        Ok(worker::create(&run).map(|object| {
            Box::new(Worker {
                run,
                restart: making.plan.entry.restart,
                options: *self.restart.lock(),
                object: Some(object),
            })
        }))
    }

    /// All a source needs to run.
    fn feed(&self, making: &Making<'_>) -> Result<Result<Box<Feed>, String>, Error> {
        let (run, resume) = match self.without_cursor(making)? {
            Ok(made) => made,
            Err(why) => return Ok(Err(why)),
        };
        let entry = &making.plan.entry;
        Ok(feed::create(&run).map(|object| {
            Box::new(Feed {
                run,
                restart: entry.restart,
                options: *self.restart.lock(),
                object: Some(object),
                place: feed::Place {
                    params: entry.params.clone(),
                    rows: entry.window.rows.max(1),
                    bytes: entry.window.bytes.max(1),
                    linger: entry.window.wait,
                    resume,
                    progress_at: None,
                },
            })
        }))
    }

    /// A run that does not follow the log, so none is kept for it, and the token of a source.
    fn without_cursor(
        &self,
        making: &Making<'_>,
    ) -> Result<Result<(Run, Option<Bytes>), String>, Error> {
        let (plan, engine) = (making.plan, making.engine);
        let origin = engine.origin(&plan.id)?;
        let recovered = self.book.start(origin, &plan.id, 0);
        if let Some(why) = recovered.broken {
            return Ok(Err(incomplete(&why)));
        }
        let run = self.run_of(making, origin, (recovered.epoch, recovered.table));
        if let Err(why) = run.bring_state_forward(commit::NO_CURSOR)? {
            return Ok(Err(why));
        }
        let resume = match run.table.read().host_value(feed::RESUME_KEY) {
            Some(StateValue::Bytes(token)) => Some(token.clone()),
            _ => None,
        };
        Ok(Ok((run, resume)))
    }

    /// All a trigger needs to run; the inner error is its own fault, not the store's.
    fn dispatcher(&self, making: &Making<'_>) -> Result<Result<Box<Dispatcher>, String>, Error> {
        let (plan, ready, engine) = (making.plan, making.ready, making.engine);
        let origin = engine.origin(&plan.id)?;
        let place = self.place(making, origin)?;
        let accepts_gap = ready.policy.accepts_gap;
        if let Some(why) = &place.broken
            && (!accepts_gap || place.has_wrong_state)
        {
            return Ok(Err(incomplete(why)));
        }
        let backfill = match backfill::Place::of(&place.table.read()) {
            Ok(place) => place,
            Err(why) => return Ok(Err(incomplete(&why))),
        };
        let run = self.run_of(making, origin, (place.epoch, place.table));
        if ready.policy.delivery != Delivery::Volatile
            && let Err(why) = run.bring_state_forward(place.cursor)?
        {
            return Ok(Err(why));
        }
        self.arrange_ticks(&run, ready.policy.delivery, place.cursor)?;
        let mut dispatcher = Dispatcher {
            run,
            policy: ready.policy,
            limits: Limits {
                rows: plan.entry.window.rows.max(1),
                bytes: plan.entry.window.bytes.max(1),
                commits: usize::MAX,
            },
            wait: plan.entry.window.wait,
            timeout: plan.entry.timeout,
            filter: Filter {
                matcher: Matcher::new(ready.patterns.clone()),
                own: origin,
                fire_on_own: plan.entry.fire_on_own,
                hops_max: engine.options().hops_max,
                join: ready.policy.join,
                accepts_gap: ready.policy.accepts_gap,
                backfill,
            },
            triggers: (0..ready.policy.parallelism).map(|_| None).collect(),
            cursor: place.cursor,
            replay_below: engine.marks().visible,
            reader: None,
            unstored_since: None,
            broken: place.broken,
            sizes: Sizes::MAX,
            refusals: 0,
            hold: Hold::of(&plan.entry),
            over: place.over,
            fell_behind: place.fell_behind,
            round: None,
        };
        // Made here, so that a plugin that refuses shows before the server is ready.
        for at in 0..dispatcher.triggers.len() {
            match dispatcher.create_trigger(None) {
                Ok(trigger) => dispatcher.triggers[at] = Some(trigger),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(Box::new(dispatcher)))
    }

    /// Sets the timer of a schedule that is new or has changed, takes that of one that is gone.
    fn arrange_ticks(&self, run: &Run, delivery: Delivery, cursor: Lsn) -> Result<(), Error> {
        let now = self.clock.now_ns();
        let change = ticks::at_start(run.ticks.as_ref(), &run.table.read(), now);
        let Some(change) = change else {
            return Ok(());
        };
        if delivery == Delivery::Volatile {
            run.table.write().apply_volatile(&[change]);
            return Ok(());
        }
        self.book.commit(
            &run.engine,
            no_rows(run.origin),
            run.epoch,
            cursor,
            [change].into(),
        )?;
        Ok(())
    }

    /// What a run has, of whatever kind.
    fn run_of(
        &self,
        making: &Making<'_>,
        origin: Origin,
        (epoch, table): (u64, SharedTable),
    ) -> Run {
        let Making {
            instance,
            plan,
            ready,
            engine,
            ..
        } = making;
        instance.set_table(&table);
        // A new object has said nothing yet.
        *instance.gauges.said.lock() = None;
        Run {
            engine: (*engine).clone(),
            book: Arc::clone(&self.book),
            publisher: Arc::clone(&self.publisher),
            clock: Arc::clone(&self.clock),
            progress: Arc::clone(&self.progress),
            stop: Arc::clone(making.stop),
            gauges: Arc::clone(&instance.gauges),
            meter: Meter::new(&plan.id, ready.module.description()),
            id: plan.id.clone(),
            module: Arc::clone(&ready.module),
            config: plan.entry.config.clone(),
            zone: self.zone.clone(),
            origin,
            epoch,
            table,
            orders: Arc::clone(&instance.orders),
            writes: ready.writes.clone(),
            slot: plan.slot.clone(),
            ticks: Ticks::of(&plan.entry),
            recorder: Arc::clone(&instance.recorder),
        }
    }

    /// Where the instance goes on. A new one that must not miss a row stores its place at once: a
    /// fire that a crash prevents before the first window would otherwise be forgotten.
    fn place(&self, making: &Making<'_>, origin: Origin) -> Result<Place, Error> {
        let (plan, ready, engine) = (making.plan, making.ready, making.engine);
        let visible = engine.marks().visible;
        if ready.policy.delivery == Delivery::Volatile {
            return Ok(Place {
                epoch: 1,
                cursor: making.begin.at.unwrap_or(visible),
                broken: None,
                has_wrong_state: false,
                // Its state lives as long as the server.
                table: making.instance.table().unwrap_or_default(),
                fell_behind: false,
                over: Arc::default(),
            });
        }
        let recovered = self.book.start(origin, &plan.id, Hold::of(&plan.entry));
        let cursor = match (recovered.cursor, making.begin.at) {
            (Some(_), Some(cursor)) if making.begin.is_newer => {
                self.first_commit(engine, origin, recovered.epoch, cursor, Vec::new())?
            }
            (Some(cursor), _) => cursor,
            (None, _) => {
                let changes = backfill::Place::first(plan.entry.start);
                let cursor = making.begin.at.unwrap_or(visible);
                self.first_commit(engine, origin, recovered.epoch, cursor, changes)?
            }
        };
        Ok(Place {
            epoch: recovered.epoch,
            cursor,
            broken: recovered.broken,
            has_wrong_state: recovered.has_wrong_state,
            table: recovered.table,
            fell_behind: recovered.fell_behind,
            over: recovered.over,
        })
    }

    fn first_commit(
        &self,
        engine: &Engine,
        origin: Origin,
        epoch: u64,
        cursor: Lsn,
        changes: Vec<Change>,
    ) -> Result<Lsn, Error> {
        let commit = no_rows(origin);
        self.book
            .commit(engine, commit, epoch, cursor, changes.into())?;
        Ok(cursor)
    }
}

/// A commit of an instance that has no rows.
pub(crate) fn no_rows(origin: Origin) -> Commit {
    Commit {
        origin,
        hops: 0,
        rows: Vec::new(),
        section: None,
    }
}
