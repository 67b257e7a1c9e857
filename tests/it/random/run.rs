//! Lives a plan and compares after each operation and each recovery.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use disk::sim::Call;
use disk::{Disk, ManualClock, SimDisk};
use engine::{Engine, Error, NoHook, Options};
use tests::oracle::life::{busy_options, step_with, summary};
use tests::oracle::{State, Step};

use super::Hits;
use super::plan::{Crash, Op};

/// Why the life fails, if it does.
pub(super) fn run(seed: u64, ops: &[(usize, Op)], hits: &mut Hits) -> Result<(), String> {
    let mut life = Life {
        disk: SimDisk::new(seed),
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000_000)),
        engine: None,
        states: vec![State::default()],
        planned: None,
        full: false,
        hits,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| life.run(seed, ops)));
    life.disk.crash();
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic without a text".to_owned()))
    })
}

struct Life<'a> {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    engine: Option<Engine>,
    /// What the store may hold.
    states: Vec<State>,
    /// A crash that is on its way.
    planned: Option<(Crash, Option<u64>)>,
    full: bool,
    hits: &'a mut Hits,
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> Result<Engine, Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = Options {
        wal_segment_bytes: 16 << 10,
        ..busy_options()
    };
    Ok(Engine::open_on(disk, clock.clone(), options, Arc::new(NoHook))?.0)
}

impl Life<'_> {
    fn hit(&mut self, what: impl Into<String>) {
        *self.hits.entry(what.into()).or_default() += 1;
    }

    fn run(&mut self, seed: u64, ops: &[(usize, Op)]) -> Result<(), String> {
        for (index, op) in ops {
            let context = format!("seed {seed}, operation {index}");
            self.one(op).map_err(|why| format!("{context}: {why}"))?;
        }
        self.planned.get_or_insert((Crash::Power, None));
        let ended = self.end();
        ended.map_err(|why| format!("seed {seed}, at the end: {why}"))
    }

    fn one(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Step(step) => self.step(step)?,
            Op::Crash { after, kind } => self.plan(*after, *kind, None),
            Op::DoubleCrash { after, again, kind } => self.plan(*after, *kind, Some(*again)),
            Op::FailSync(after) => self.disk.fail_sync_after(*after),
            Op::FailCall(after, kind) => self.disk.fail_after(*after, *kind),
            Op::Full(more) => {
                self.full = true;
                self.disk.set_capacity(Some(self.disk.used_bytes() + more));
            }
            Op::Heal => {
                self.disk.set_capacity(None);
                self.full = false;
            }
            Op::Clock(seconds) => {
                use disk::Clock;
                let now = self.clock.now_ns();
                self.clock
                    .set_wall(now.saturating_add(seconds * 1_000_000_000));
            }
        }
        match self.disk.crashed() {
            true => self.end(),
            false => Ok(()),
        }
    }

    fn plan(&mut self, after: u64, kind: Crash, again: Option<u64>) {
        if self.planned.is_none() {
            self.planned = Some((kind, again));
            self.disk.crash_after(after);
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        let opens = || open(&disk, &clock);
        let poisoned =
            |e: &Option<Engine>| e.as_ref().is_some_and(|e| e.status().poisoned.is_some());
        // What opening fails with (a planned fault) is no outcome of the step.
        let mut refused = None;
        for _ in 0..3 {
            if self.engine.is_none() && !disk.crashed() {
                match opens() {
                    Ok(engine) => self.engine = Some(engine),
                    Err(error) => refused = Some(error),
                }
            }
        }
        if let (None, Some(error)) = (&self.engine, refused)
            && !disk.crashed()
            && !self.full
        {
            return Err(format!("it does not open: {error}"));
        }
        let (was_poisoned, was_full) = (poisoned(&self.engine), self.full);
        let result = step_with(&opens, &mut self.engine, step);
        let changes = self
            .states
            .iter()
            .all(|s| s.outcomes(step).last() != Some(s));
        match result {
            Ok(()) if was_poisoned && changes => {
                return Err(format!("{} succeeded after poison", summary(step)));
            }
            Ok(()) if was_poisoned => {}
            Ok(()) => {
                self.states.iter_mut().for_each(|state| state.apply(step));
                if !was_full && self.hits.contains_key("disk full: refused") {
                    self.hit("disk full: went on when there was space");
                }
            }
            Err(_) if was_poisoned => {}
            Err(Error::NotFound(_) | Error::SchemaMismatch { .. } | Error::Invalid(_))
                if !matches!(step, Step::Burst(_)) => {}
            Err(error) => {
                if matches!(error, Error::DiskFull(_)) {
                    self.hit("disk full: refused");
                }
                let outcomes = |state: &State| match step {
                    // A commit that fits goes on where one before it did not.
                    Step::Burst(commits) if !disk.crashed() => state.subsets(commits),
                    _ => state.outcomes(step),
                };
                self.states = self.states.iter().flat_map(outcomes).collect();
                self.states.dedup();
            }
        }
        if poisoned(&self.engine) && !was_poisoned {
            self.hit("poisoned");
        }
        self.compare(step)
    }

    /// What is read must be allowed; a crash may be in the way.
    fn compare(&mut self, step: &Step) -> Result<(), String> {
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        let found = State::read(engine).map_err(|error| format!("reads go on: {error}"))?;
        if self.states.contains(&found) {
            if !self.disk.crashed() && engine.status().poisoned.is_none() {
                // Nothing is on its way: what was refused did not happen and never will. Without
                // this a full disk doubles what is allowed with every commit.
                self.states = vec![found];
            }
            return Ok(());
        }
        let last = self.states.last().expect("something is allowed");
        Err(format!(
            "after {}: {}",
            summary(step),
            found.difference(last)
        ))
    }

    /// Ends the life as planned, opens what is left, compares.
    fn end(&mut self) -> Result<(), String> {
        let (kind, again) = self.planned.take().unwrap_or((Crash::Power, None));
        self.disk.crash();
        let last = self.disk.calls().last().map(place);
        if let Some(place) = last {
            self.hit(format!("crash after {place}"));
        }
        drop(self.engine.take());
        self.survive(kind);
        if let Some(calls) = again {
            self.disk.crash_after(calls);
            drop(open(&self.disk, &self.clock));
            if self.disk.crashed() {
                self.hit("recovery: crashed");
            }
            self.survive(kind);
        }
        self.disk.set_capacity(None);
        self.full = false;
        self.recover()
    }

    fn survive(&mut self, kind: Crash) {
        self.disk.crash();
        self.disk = match kind {
            Crash::Power => self.disk.reopen(),
            Crash::Process => self.disk.restart(),
        };
        self.hit(match kind {
            Crash::Power => "power cut",
            Crash::Process => "death",
        });
    }

    fn recover(&mut self) -> Result<(), String> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let options = Options {
            wal_segment_bytes: 16 << 10,
            ..busy_options()
        };
        let opened = Engine::open_on(disk, self.clock.clone(), options, Arc::new(NoHook));
        let (engine, recovery) = opened.map_err(|e| format!("what a crash left: {e}"))?;
        if !recovery.quarantined.is_empty() {
            return Err(format!("a crash is no damage: {:?}", recovery.quarantined));
        }
        self.hit(match recovery.frames {
            0 => "recovery: nothing to replay",
            _ => "recovery: replayed",
        });
        if recovery.cut_bytes > 0 {
            self.hit("recovery: cut the end of the log");
        }
        let found = State::read(&engine).map_err(|error| error.to_string())?;
        if !self.states.contains(&found) {
            let last = self.states.last().expect("something is allowed");
            return Err(format!(
                "rows lost, doubled or invented: {}",
                found.difference(last)
            ));
        }
        self.states = vec![found];
        self.engine = Some(engine);
        Ok(())
    }
}

/// Where a call was, in few words.
pub(crate) fn place(call: &Call) -> String {
    let path = call
        .path
        .rsplit_once(" to ")
        .map_or(&*call.path, |(_, to)| to);
    let place = match path {
        "" => "root",
        _ if path.starts_with("MANIFEST") => "MANIFEST",
        _ if path.starts_with("catalog") => "catalog",
        _ => path.split('/').next().unwrap_or(path),
    };
    format!("{:?} of {place}", call.kind)
}
