//! The host as the server sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use disk::{Clock, SystemClock};
use engine::{CheckpointHook, Engine, Lsn, Marks};
use model::Zone;
use parking_lot::{Condvar, Mutex, RwLock};
use plugin_sdk::{Delivery, Kind};

use crate::cursor::Book;
use crate::entry::Entry;
use crate::find::Modules;
use crate::instances::FLAG_DISABLED;
use crate::ledger::Ledger;
use crate::meter;
use crate::on::difference;
use crate::overflow::Hold;
use crate::record::SharedRecorder;
use crate::registry::{Natives, Outcome, Plan, plan};
use crate::replay::Replays;
use crate::restart::RestartOptions;
use crate::secrets::Secrets;
use crate::state::{Orders, SharedTable};
use crate::status::{Gauges, InstanceStatus, OFF_BY_OPERATOR, State};
use crate::stop::Stop;

/// How long a thread whose event has not passed its own time limit is waited for.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(5);

/// Takes the messages that plugins publish.
pub trait Publisher: Send + Sync {
    /// One message of an instance for the subscribers of a stream. Must not block.
    fn publish(&self, instance: &str, stream: &str, payload: Bytes);
}

/// What the host cannot do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An entry with `required: true` cannot run.
    #[error("{place}: required instance \"{id}\" cannot run: {reason}")]
    Required {
        /// Where the entry stands.
        place: String,
        /// Instance id.
        id: String,
        /// Why.
        reason: String,
    },
    /// The store refused.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Something asked of an instance cannot be done.
    #[error("instance \"{id}\": {reason}")]
    Instance {
        /// Instance id.
        id: String,
        /// Why.
        reason: String,
    },
    /// No entry has this id.
    #[error("instance \"{id}\": no entry has this id; `mkts plugin list` shows all")]
    NoInstance {
        /// Instance id.
        id: String,
    },
    /// The instance is in a state in which that cannot be done.
    #[error("instance \"{id}\" is {state}: {reason}")]
    Conflict {
        /// Instance id.
        id: String,
        /// Where it stands.
        state: State,
        /// Why not, and what to do.
        reason: String,
    },
    /// What was asked for makes no sense.
    #[error("instance \"{id}\": {reason}")]
    Invalid {
        /// Instance id.
        id: String,
        /// Why.
        reason: String,
    },
    /// The system refused a thread.
    #[error("cannot start a dispatcher thread: {0}")]
    Thread(String),
}

/// Runs the instances of mkts.yml. Cheap to clone; dropping the last clone stops them.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// In the order of the entries. A list is never changed: [`crate::follow`] puts another one here.
    instances: RwLock<Instances>,
    /// Held while that is done, and by whoever must not meet it in the middle.
    pub(crate) following: Mutex<()>,
    pub(crate) modules: Modules,
    pub(crate) zone: Zone,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) book: Arc<Book>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) restart: Mutex<RestartOptions>,
    pub(crate) replays: Replays,
    /// Opened for the first library that is to run inside the server.
    pub(crate) ledger: Mutex<Option<Ledger>>,
    /// Between start and stop. A thread of an instance is only ever started with this held.
    pub(crate) engine: Mutex<Option<Engine>>,
}

/// All instances at one time.
pub(crate) type Instances = Arc<[Arc<Instance>]>;

pub(crate) struct Instance {
    pub(crate) id: String,
    /// What it runs as, with its entry; another one after a reload.
    plan: RwLock<Arc<Plan>>,
    pub(crate) gauges: Arc<Gauges>,
    /// Held over a whole verb of [`crate::control`]; no thread of an instance takes it.
    pub(crate) control: Mutex<()>,
    pub(crate) live: Mutex<Live>,
    pub(crate) orders: Orders,
    pub(crate) recorder: SharedRecorder,
    /// No entry names it any more, so it does not begin again.
    pub(crate) is_gone: AtomicBool,
    /// While it runs, or after that.
    table: Mutex<Option<SharedTable>>,
    warnings: Mutex<Vec<String>>,
}

/// The run of an instance: the one under way, or the last.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) stop: Arc<Stop>,
    /// Disconnected when the thread has ended.
    pub(crate) thread: Option<Receiver<()>>,
}

/// Tells those who wait in `drain` that a cursor moved.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: Mutex<usize>,
    moved: Condvar,
}

impl Progress {
    pub(crate) fn tell(&self) {
        if *self.waiting.lock() > 0 {
            self.moved.notify_all();
        }
    }

    /// Waits until `done`, which cursors decide; whether it was reached in time.
    pub(crate) fn wait(&self, until: Instant, done: impl Fn() -> bool) -> bool {
        let mut waiting = self.waiting.lock();
        *waiting += 1;
        // A cursor that moves after the test finds us waiting: it takes the lock to tell.
        let mut reached = done();
        while !reached && !self.moved.wait_until(&mut waiting, until).timed_out() {
            reached = done();
        }
        *waiting -= 1;
        reached || done()
    }
}

impl Host {
    /// Looks at every entry; to be called before the engine opens. An entry that cannot run becomes
    /// an instance in state `failed` or `missing`, with the reason.
    ///
    /// # Errors
    /// If such an entry is `required`.
    pub fn new(
        entries: Vec<Entry>,
        modules: impl Into<Modules>,
        zone: Zone,
        publisher: Arc<dyn Publisher>,
    ) -> Result<Self, Error> {
        let clock = Arc::new(SystemClock::new());
        Self::with_clock(entries, modules, zone, publisher, clock)
    }

    /// [`Host::new`] with a clock of one's own: timers are due by it.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn with_clock(
        entries: Vec<Entry>,
        modules: impl Into<Modules>,
        zone: Zone,
        publisher: Arc<dyn Publisher>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let now = clock.now_ns();
        let modules = modules.into();
        // A library in the server's process may have ended the last one: see `ledger.rs`.
        let instances = plan(&entries, &modules, Natives::Later)
            .into_iter()
            .map(|plan| Instance::new(plan, now).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                instances: RwLock::new(instances),
                following: Mutex::default(),
                modules,
                zone,
                publisher,
                book: Arc::new(Book::new(Arc::clone(&clock))),
                clock,
                progress: Arc::new(Progress::default()),
                restart: Mutex::new(RestartOptions::default()),
                replays: Replays::default(),
                ledger: Mutex::default(),
                engine: Mutex::new(None),
            }),
        })
    }

    /// What no log line may show: secrets of all configs.
    pub fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        for instance in &*self.inner.instances() {
            secrets.merge(&instance.plan().secrets);
        }
        secrets
    }

    /// What the engine calls at open and at checkpoints.
    pub fn hook(&self) -> Arc<dyn CheckpointHook> {
        Arc::clone(&self.inner.book) as Arc<dyn CheckpointHook>
    }

    /// Starts every instance at its cursor. To be called before clients can write: a new instance
    /// starts at the newest commit of this moment. Install the metrics recorder first.
    ///
    /// # Errors
    /// If the store refuses, or a `required` instance does not start. What has started then runs
    /// until [`Host::stop`].
    pub fn start(&self, engine: Engine) -> Result<(), Error> {
        let inner = &self.inner;
        *inner.engine.lock() = Some(engine.clone());
        inner.book.lend(Some(engine.clone()));
        inner.switch_off();
        inner.book.hold(&engine, |id| inner.hold(id));
        let watched = Arc::downgrade(inner);
        std::thread::Builder::new()
            .name("plugin-watch".into())
            .spawn(move || Inner::watch(&watched))
            .map_err(|error| Error::Thread(error.to_string()))?;
        // Triggers first: a new one starts in front of what workers and sources write.
        let instances = inner.instances();
        let (triggers, others): (Vec<_>, Vec<_>) = instances.iter().partition(|i| i.is_trigger());
        let mut all = triggers.into_iter().chain(others);
        all.try_for_each(|instance| {
            instance.compare_readings(&engine);
            inner.start_first(instance, &engine)
        })
    }

    /// Sets how workers and sources come back, for those started from now on.
    pub fn set_restart(&self, options: RestartOptions) {
        *self.inner.restart.lock() = options;
    }

    /// Every instance, in the order of the entries. Also sets the gauges of the metrics
    /// (`mkts_plugin_state` and so on): call it before metrics are rendered.
    pub fn status(&self) -> Vec<InstanceStatus> {
        let inner = &self.inner;
        let instances = inner.instances();
        let status: Vec<_> = instances.iter().map(|i| inner.status(i)).collect();
        status.iter().for_each(meter::refresh);
        status
    }

    /// Waits until every running trigger has fired all commits visible at the call, and then, as
    /// far as time allows, those that came of it; with ranges and backfills that are under way. Whether the first was reached in time.
    pub fn drain(&self, deadline: Duration) -> bool {
        let inner = &self.inner;
        let Some(engine) = inner.engine.lock().clone() else {
            return true;
        };
        let until = Instant::now() + deadline;
        let mut target = engine.marks().visible;
        let reached = inner.wait_for(target, until);
        // A chain of triggers is at most so long.
        for _ in 0..engine.options().hops_max {
            let next = engine.marks().visible;
            if next == target || !inner.wait_for(next, until) {
                break;
            }
            target = next;
        }
        reached
    }

    /// Stops every instance behind its current event and waits for its thread; one that hangs is
    /// given up. The hook goes on working, so that the last checkpoint stores every cursor.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let instances = self.inner.instances();
        let ids = instances.iter().map(|i| &i.id);
        f.debug_list().entries(ids).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Error {
    pub(crate) fn instance(id: &str, reason: impl Into<String>) -> Self {
        Self::Instance {
            id: id.into(),
            reason: reason.into(),
        }
    }
}

impl Inner {
    /// Those of now.
    pub(crate) fn instances(&self) -> Instances {
        Arc::clone(&self.instances.read())
    }

    pub(crate) fn set_instances(&self, instances: Instances) {
        *self.instances.write() = instances;
    }

    pub(crate) fn instance(&self, id: &str) -> Result<Arc<Instance>, Error> {
        let instances = self.instances();
        let found = instances.iter().find(|i| i.id == id);
        found
            .map(Arc::clone)
            .ok_or_else(|| Error::NoInstance { id: id.into() })
    }

    /// Between start and stop.
    pub(crate) fn running_engine(&self) -> Option<Engine> {
        self.engine.lock().clone()
    }

    /// What an operator has disabled stays so, unless its entry says otherwise.
    fn switch_off(&self) {
        let now = self.clock.now_ns();
        for instance in &*self.instances() {
            if self.is_switched_off(instance) {
                instance.gauges.set(State::Disabled, OFF_BY_OPERATOR, now);
            }
        }
    }

    /// Whether an operator has disabled an instance whose entry leaves that to him.
    pub(crate) fn is_switched_off(&self, instance: &Instance) -> bool {
        let is_flagged = self.book.flags(&instance.id) & FLAG_DISABLED != 0;
        is_flagged && instance.plan().entry.enabled.is_none()
    }

    /// An instance as it stands now.
    pub(crate) fn status(&self, instance: &Instance) -> InstanceStatus {
        let engine = self.running_engine();
        let marks = engine.as_ref().map(Engine::marks);
        let visible = marks.map_or(Lsn(0), |marks| marks.visible);
        let held = |marks: Marks| self.book.held(&instance.id, marks.checkpoint);
        InstanceStatus {
            wal_held_bytes: marks.map_or(0, held),
            ..instance.status(visible, &*self.clock)
        }
    }

    pub(crate) fn visible(&self) -> Lsn {
        let engine = self.engine.lock();
        engine.as_ref().map_or(Lsn(0), |e| e.marks().visible)
    }

    /// Log is kept for what may run again without being asked.
    pub(crate) fn hold(&self, id: &str) -> Hold {
        let found = self.instance(id).ok();
        found.map_or(Hold::NONE, |instance| match instance.gauges.state() {
            State::Disabled => Hold::NONE,
            _ if !instance.is_trigger() => Hold::NONE,
            _ if instance.plan().delivery() == Delivery::Volatile => Hold::NONE,
            _ => Hold::of(&instance.plan().entry),
        })
    }

    fn wait_for(&self, target: Lsn, until: Instant) -> bool {
        self.progress.wait(until, || {
            let instances = self.instances();
            let mut triggers = instances.iter().filter(|i| i.is_trigger());
            triggers.all(|instance| {
                let gauges = &instance.gauges;
                let is_there =
                    || gauges.cursor.load(SeqCst) >= target.0 && !gauges.waiting.load(SeqCst);
                !gauges.state().is_live() || is_there()
            })
        })
    }

    fn stop(&self) {
        let Some(engine) = self.engine.lock().take() else {
            return;
        };
        // Whoever starts a thread from now on finds no engine.
        let instances = self.instances();
        for instance in &*instances {
            instance.live.lock().stop.ask();
        }
        // All of them end at the same time; a process takes its own time to be stopped and killed.
        let began = Instant::now();
        for instance in &*instances {
            let until = began + STOP_WAIT + instance.grace();
            let (stop, thread) = instance.take_thread();
            if !self.join(instance, thread, &engine, until) {
                stop.abandon();
                tracing::error!(instance = instance.id, "hangs; given up");
            }
        }
        self.book.lend(None);
    }

    /// Waits for a thread's end; false if it takes too long, or its event hangs.
    pub(crate) fn join(
        &self,
        instance: &Instance,
        thread: Option<Receiver<()>>,
        engine: &Engine,
        until: Instant,
    ) -> bool {
        // A process that hangs is killed by its proxy.
        let is_ours = instance.grace().is_zero();
        let hangs = || is_ours && instance.is_hung(self.clock.monotonic());
        self.wait_end(thread, engine, until, hangs)
    }

    pub(crate) fn wait_end(
        &self,
        thread: Option<Receiver<()>>,
        engine: &Engine,
        until: Instant,
        is_enough: impl Fn() -> bool,
    ) -> bool {
        let Some(ended) = thread else {
            return true;
        };
        loop {
            // Again and again: the thread may have looked at the flag just before it was set.
            engine.wake_followers();
            let tick = Duration::from_millis(5);
            match ended.recv_timeout(tick) {
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                _ => return true,
            }
            if is_enough() || Instant::now() >= until {
                return false;
            }
        }
    }
}

impl Plan {
    pub(crate) fn refuse_if_required(&self, reason: &str) -> Result<(), Error> {
        if !self.entry.required {
            return Ok(());
        }
        Err(Error::Required {
            place: self.entry.place.clone(),
            id: self.id.clone(),
            reason: self.secrets.scrub(reason),
        })
    }
}

impl Instance {
    pub(crate) fn new(plan: Plan, now: i64) -> Result<Self, Error> {
        let (state, reason) = plan.state();
        let place = &plan.entry.place;
        if matches!(state, State::Failed | State::Missing) {
            plan.refuse_if_required(&reason)?;
            tracing::error!(instance = plan.id, place, "{state}: {reason}");
        }
        for warning in &plan.warnings {
            tracing::warn!(instance = plan.id, place, "{warning}");
        }
        Ok(Self {
            id: plan.id.clone(),
            gauges: Arc::new(Gauges::new(state, reason, now)),
            control: Mutex::default(),
            live: Mutex::default(),
            orders: Orders::default(),
            recorder: SharedRecorder::default(),
            is_gone: AtomicBool::new(false),
            table: Mutex::default(),
            warnings: Mutex::new(plan.warnings.clone()),
            plan: RwLock::new(Arc::new(plan)),
        })
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.read())
    }

    /// It runs as something else from the next run on.
    pub(crate) fn set_plan(&self, plan: Plan) {
        self.warnings.lock().clone_from(&plan.warnings);
        *self.plan.write() = Arc::new(plan);
    }

    /// The run under way, and its thread for whoever waits for the end.
    pub(crate) fn take_thread(&self) -> (Arc<Stop>, Option<Receiver<()>>) {
        let mut live = self.live.lock();
        (Arc::clone(&live.stop), live.thread.take())
    }

    pub(crate) fn is_trigger(&self) -> bool {
        self.plan().kind() == Kind::Trigger
    }

    /// Whether its thread may commit.
    pub(crate) fn is_live(&self) -> bool {
        self.gauges.state().is_live()
    }

    pub(crate) fn table(&self) -> Option<SharedTable> {
        self.table.lock().clone()
    }

    /// What a `volatile` instance has in memory.
    pub(crate) fn clear_table(&self) {
        *self.table.lock() = None;
    }

    pub(crate) fn set_table(&self, table: &SharedTable) {
        *self.table.lock() = Some(Arc::clone(table));
    }

    /// Warns where MarketStore's reading of `on` and ours differ over the buckets there are.
    pub(crate) fn compare_readings(&self, engine: &Engine) {
        let plan = self.plan();
        let entry = &plan.entry;
        let cannot_run = matches!(plan.state().0, State::Failed | State::Missing);
        if cannot_run || !self.is_trigger() {
            return;
        }
        let buckets = engine.buckets();
        let keys = buckets.iter().map(|bucket| &bucket.key);
        if let Some(warning) = difference(&entry.on, entry.match_mode, keys) {
            tracing::warn!(instance = self.id, place = entry.place, "{warning}");
            self.warnings.lock().push(warning);
        }
    }

    /// How long it may take to end beyond its last event.
    pub(crate) fn grace(&self) -> Duration {
        match &self.plan().outcome {
            Outcome::Ready(ready) => ready.module.grace(),
            _ => Duration::ZERO,
        }
    }

    /// Whether a call of its plugin runs for more than twice the time it has.
    pub(crate) fn is_hung(&self, now: Duration) -> bool {
        let stop = Arc::clone(&self.live.lock().stop);
        stop.clocks.is_hung(now, self.plan().entry.timeout)
    }

    /// What the module knows of the instance, if it runs in a process.
    fn process(&self) -> Option<plugin_sdk::Standing> {
        match &self.plan().outcome {
            Outcome::Ready(ready) => ready.module.standing(&self.id),
            _ => None,
        }
    }

    pub(crate) fn status(&self, visible: Lsn, clock: &dyn Clock) -> InstanceStatus {
        let now = clock.now_ns();
        let plan = &*self.plan();
        let gauges = &self.gauges;
        let mut standing = gauges.standing();
        let process = self.process();
        // A fire that waits for its process to be started again does not hang.
        let waits =
            standing.state.is_live() && process.as_ref().is_some_and(|p| standing.refine(p));
        let hung = !waits && standing.state.is_live() && self.is_hung(clock.monotonic());
        let is_ending = standing.state.is_live() && self.live.lock().stop.is_ending();
        let cursor = gauges.cursor.load(Relaxed);
        let wall = gauges.window_wall.load(Relaxed);
        let lag_nanos = if wall == 0 {
            0
        } else {
            now.saturating_sub(wall).max(0)
        };
        let said = match &process {
            Some(process) => Some((process.health, process.health_text.clone())),
            None => gauges.said.lock().clone(),
        };
        let delivery = match plan.delivery() {
            Delivery::Volatile => "volatile",
            Delivery::Durable => "durable",
            Delivery::Exact => "exact",
        };
        InstanceStatus {
            id: plan.id.clone(),
            kind: plan.kind().name(),
            module: plan.entry.module.clone(),
            version: plan.version.clone(),
            host: plan.host,
            path: plan.path.clone(),
            place: plan.entry.place.clone(),
            required: plan.entry.required,
            delivery,
            state: match standing.state {
                _ if hung => State::Hung,
                _ if is_ending => State::Draining,
                state => state,
            },
            is_off: standing.is_off(),
            reason: plan.secrets.scrub(standing.reason),
            since: standing.since,
            quarantined: plan.is_quarantined,
            warnings: {
                let warnings = self.warnings.lock();
                warnings
                    .iter()
                    .map(|w| plan.secrets.scrub(w.as_str()))
                    .collect()
            },
            cursor,
            lag_bytes: if standing.state.is_live() && self.is_trigger() {
                visible.0.saturating_sub(cursor)
            } else {
                0
            },
            lag_seconds: lag_nanos as f64 / 1e9,
            wal_held_bytes: 0,
            state_bytes: self.table().map_or(0, |table| table.read().bytes() as u64),
            fires: gauges.fires.load(Relaxed),
            failures: gauges.failures.load(Relaxed),
            panics: gauges.panics.load(Relaxed),
            retries: gauges.retries.load(Relaxed),
            dead_letters: gauges.dead_letters.load(Relaxed),
            dropped: gauges.dropped.load(Relaxed),
            gaps: gauges.gaps.load(Relaxed),
            timers: gauges.timers.load(Relaxed),
            rows: gauges.rows.load(Relaxed),
            restarts: gauges.restarts.load(Relaxed) + process.as_ref().map_or(0, |p| p.restarts),
            pid: process.as_ref().map(|p| p.pid).filter(|pid| *pid != 0),
            metrics_port: process.as_ref().and_then(|p| p.metrics_port),
            health: said.as_ref().map(|(health, _)| health.name()),
            health_text: said.map_or_else(String::new, |(_, text)| plan.secrets.scrub(text)),
            progress: gauges.progress.lock().clone(),
        }
    }
}
