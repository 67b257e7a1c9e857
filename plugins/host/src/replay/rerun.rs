//! The thread of a replay: fires stored rows and due timers, in order of time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use engine::{BucketInfo, Engine, Limit, Lsn, Scan};
use model::{ColumnBatch, Zone};
use plugin_sdk::{
    AnyTrigger, CloseReason, FireCtx, FireError, FireInfo, Health, Init, Module, State as StateOf,
};

use super::capture::Captured;
use super::compare::{Comparer, Stored};
use super::{ReplayOptions, ReplayReport, Watch, panicked};
use crate::calls::{Calls, Effects, Owner};
use crate::fire::nanos;
use crate::on::Patterns;
use crate::registry::{Plan, Policy, Ready};
use crate::state::{SharedTable, StateView};
use crate::timers::DueTimer;
use crate::window::{Pending, What};
use crate::writes::Writes;

/// Most attempts of an event, which follow each other at once.
const ATTEMPTS_MAX: u32 = 5;

/// Most timers that a replay fires: one that sets itself anew each nanosecond would never end.
const TIMERS_FIRED_MAX: u64 = 1_000_000;

/// Timers taken at once.
const TIMERS_AT_ONCE: usize = 1000;

/// Width of the first slice of time, the narrowest; a slice is to have so many rows.
const SLICE_MIN: i64 = 60_000_000_000;
const SLICE_ROWS: std::ops::Range<u64> = 4096..65_536;

/// A fresh object of a plugin, and what it has done.
pub(super) struct Rerun {
    engine: Engine,
    /// The instance's id and a mark: a process of the instance itself may run.
    name: String,
    module: Arc<dyn Module>,
    config: serde_json::Value,
    zone: Zone,
    patterns: Patterns,
    policy: Policy,
    timeout: Duration,
    options: ReplayOptions,
    owner: Watched,
    table: SharedTable,
    trigger: Option<Box<dyn AnyTrigger>>,
    captured: Captured,
    /// The time of the rows.
    now: i64,
    report: ReplayReport,
}

/// Who may end a fire of a replay.
struct Watched {
    writes: Writes,
    watch: Arc<Watch>,
}

impl Owner for Watched {
    fn writes(&self) -> &Writes {
        &self.writes
    }

    fn is_cancelled(&self) -> bool {
        self.watch.is_stopped()
    }

    fn is_given_up(&self) -> bool {
        self.watch.is_given_up()
    }

    // What a plugin says while it is tried out is not what the instance says.
    fn count(&self, _metric: &str, _by: f64) {}

    fn health(&self, _health: Health, _text: &str) {}
}

/// How one attempt ended.
enum Attempt {
    Done,
    Again(String),
    Never(String),
}

impl Rerun {
    pub(super) fn new(
        engine: &Engine,
        plan: &Plan,
        ready: &Ready,
        zone: &Zone,
        options: ReplayOptions,
        watch: &Arc<Watch>,
    ) -> Self {
        Self {
            engine: engine.clone(),
            name: format!("{}#replay", plan.id),
            module: Arc::clone(&ready.module),
            config: plan.entry.config.clone(),
            zone: zone.clone(),
            patterns: ready.patterns.clone(),
            policy: ready.policy,
            timeout: plan.entry.timeout,
            options,
            owner: Watched {
                writes: ready.writes.clone(),
                watch: Arc::clone(watch),
            },
            table: SharedTable::default(),
            trigger: None,
            captured: Captured::default(),
            now: options.from,
            report: ReplayReport::default(),
        }
    }

    /// Fires, compares, and writes if asked to.
    pub(super) fn run(&mut self) -> Result<ReplayReport, String> {
        let fired = self.fire_all();
        if let Some(trigger) = self.trigger.take() {
            self.close(trigger, CloseReason::Stop);
        }
        fired?;
        self.report.timers_pending = self.table.read().timers.len() as u64;
        let mut report = std::mem::take(&mut self.report);
        let mut comparer = Comparer {
            engine: &self.engine,
            zone: &self.zone,
            range: (self.options.from, self.options.to),
            left: self.options.shown,
            shown: Vec::new(),
        };
        for (info, computed) in std::mem::take(&mut self.captured).into_rows() {
            check(&self.owner.watch)?;
            let (diff, wanted) = comparer.bucket(&info, computed)?;
            report.buckets.push(diff);
            if self.options.write && !wanted.is_empty() {
                comparer.write(&info, &wanted)?;
                report.written += wanted.rows() as u64;
            }
        }
        report.shown = comparer.shown;
        Ok(report)
    }

    fn fire_all(&mut self) -> Result<(), String> {
        let buckets = self.engine.buckets();
        let buckets: Vec<Arc<BucketInfo>> = buckets
            .iter()
            .filter(|bucket| self.patterns.matches(&bucket.key))
            .cloned()
            .collect();
        let to = self.options.to;
        let mut next = self.first_row(&buckets, self.options.from)?;
        let (mut width, mut width_max) = (SLICE_MIN, i64::MAX);
        while let Some(from) = next {
            self.fire_timers(from)?;
            let mut end = from.saturating_add(width - 1).min(to);
            if let Some(due) = self.table.read().timers.next_due() {
                // It fires before the rows behind it.
                end = end.min(due.saturating_sub(1).max(from));
            }
            let before = self.report.rows;
            for bucket in &buckets {
                self.fire_rows(bucket, from, end)?;
            }
            if end == to {
                break;
            }
            next = Some(end + 1);
            let rows = self.report.rows - before;
            let next_due = self.table.read().timers.next_due();
            if next_due.is_some_and(|due| due <= end) {
                // Set and due within one slice: it fires behind rows it should have fired before.
                width_max = (width / 2).max(SLICE_MIN);
                width = width_max;
            } else if rows == 0 {
                next = self.first_row(&buckets, end + 1)?;
            } else if rows < SLICE_ROWS.start {
                width = width.saturating_mul(2).min(width_max);
            } else if rows > SLICE_ROWS.end {
                width = (width / 2).max(SLICE_MIN);
            }
        }
        self.fire_timers(to)
    }

    /// Time of the first row from a time on.
    fn first_row(&self, buckets: &[Arc<BucketInfo>], from: i64) -> Result<Option<i64>, String> {
        let scan = Scan {
            from,
            to: self.options.to,
            columns: Some(vec![0]),
            limit: Some(Limit::First(1)),
        };
        let mut first = None;
        for bucket in buckets {
            check(&self.owner.watch)?;
            let snapshot = self.engine.snapshot(&[bucket.id]);
            if snapshot.buckets().is_empty() {
                continue;
            }
            let rows = snapshot.scan(0, &scan);
            let rows = rows.map_err(|error| format!("{}: {error}", bucket.key))?;
            first = rows.times().first().copied().into_iter().chain(first).min();
        }
        Ok(first)
    }

    fn fire_rows(&mut self, bucket: &Arc<BucketInfo>, from: i64, to: i64) -> Result<(), String> {
        let engine = self.engine.clone();
        let mut stored = Stored::new(&engine, bucket, from, to);
        loop {
            check(&self.owner.watch)?;
            let next = stored.next();
            let Some(rows) = next.map_err(|error| format!("{}: {error}", bucket.key))? else {
                return Ok(());
            };
            self.report.rows += rows.rows() as u64;
            self.report.events += 1;
            self.now = rows
                .times()
                .last()
                .map_or(self.now, |last| self.now.max(*last));
            // Its schema, if it was changed meanwhile.
            let bucket = self.engine.bucket(&bucket.key);
            let Some(bucket) = bucket.filter(|now| *rows.schema() == now.schema) else {
                continue;
            };
            self.fire(What::Write(bucket, vec![rows]))?;
        }
    }

    /// Fires what is due up to a time; what that sets and is due as well, too.
    fn fire_timers(&mut self, until: i64) -> Result<(), String> {
        loop {
            let due = self.table.read().timers.due(until, TIMERS_AT_ONCE);
            if due.is_empty() {
                return Ok(());
            }
            for due in due {
                // One that fired before may have cancelled or replaced it.
                let stands = self.table.read().timers.get(&due.key) == Some(&due.timer);
                if !stands {
                    continue;
                }
                check(&self.owner.watch)?;
                self.report.timers += 1;
                if self.report.timers > TIMERS_FIRED_MAX {
                    return Err(format!(
                        "replay: over {TIMERS_FIRED_MAX} timers are due in the range"
                    ));
                }
                self.now = self.now.max(due.timer.due);
                self.fire(What::Timer(due))?;
            }
        }
    }

    /// One event, tried until it is done or its attempts are used up.
    fn fire(&mut self, what: What) -> Result<(), String> {
        let visible = self.engine.marks().visible;
        let event = Pending {
            what,
            first: visible,
            last: visible,
            letter: None,
            is_stored: true,
        };
        let attempts = match self.policy.max_attempts {
            0 => ATTEMPTS_MAX,
            attempts => attempts.min(ATTEMPTS_MAX),
        };
        let mut failure = None;
        for attempt in 1..=attempts {
            match self.attempt(&event, attempt, visible)? {
                Attempt::Done => return Ok(()),
                Attempt::Again(why) => failure = Some(why),
                Attempt::Never(why) => {
                    failure = Some(why);
                    break;
                }
            }
        }
        self.report.failures += 1;
        let why = failure.unwrap_or_default();
        let first = &mut self.report.first_failure;
        first.get_or_insert_with(|| format!("{}: {why}", event.name_of_replay()));
        if let What::Timer(DueTimer { key, .. }) = &event.what {
            self.table.write().timers.cancel(key);
        }
        Ok(())
    }

    fn attempt(&mut self, event: &Pending, attempt: u32, visible: Lsn) -> Result<Attempt, String> {
        let mut trigger = match self.trigger.take() {
            Some(trigger) => trigger,
            None => self.create()?,
        };
        let info = FireInfo {
            first_lsn: visible.0,
            last_lsn: visible.0,
            attempt,
            is_replay: true,
            now: self.now,
            deadline: self.now.saturating_add(nanos(self.timeout)),
        };
        let scope = event.scope(self.policy.state_scope);
        let mut calls = Calls::new(&self.engine, &self.name, &self.table, None, scope, info);
        calls.end_with(&self.owner);
        if let What::Timer(timer) = &event.what {
            calls.take_timer(timer.key.clone(), None);
        }
        let result = self.owner.watch.timed(|| {
            catch_unwind(AssertUnwindSafe(|| {
                trigger.fire(&mut FireCtx::new(&mut calls), &event.to_sdk())
            }))
        });
        let forbidden = calls.forbidden();
        let (effects, _) = calls.finish();
        check(&self.owner.watch)?;
        let result = match result {
            Ok(result) => {
                self.trigger = Some(trigger);
                result
            }
            Err(panic) => {
                self.close(trigger, CloseReason::Panic);
                return Ok(Attempt::Again(panicked(&*panic)));
            }
        };
        Ok(match (result, forbidden) {
            (Ok(()), None) => {
                self.take(effects)?;
                Attempt::Done
            }
            (Ok(()), Some(why)) => Attempt::Never(why),
            (Err(FireError::Skip(why)), _) => Attempt::Never(why),
            (Err(FireError::Fatal(why)), _) => return Err(why),
            (Err(FireError::Retry(why) | FireError::RetryAfter { text: why, .. }), _) => {
                Attempt::Again(why)
            }
        })
    }

    /// The effects of an event that is done.
    fn take(&mut self, mut effects: Effects) -> Result<(), String> {
        self.report.messages += effects.messages.len() as u64;
        self.report.deletes += effects.deletes.len() as u64;
        self.table.write().apply_volatile(&effects.changes());
        for write in effects.writes.drain(..) {
            let added = self.captured.add(&self.engine, &self.zone, write.to_rows());
            added.map_err(|why| format!("{why}, at {}; take a shorter range", self.now))?;
        }
        Ok(())
    }

    fn create(&self) -> Result<Box<dyn AnyTrigger>, String> {
        let mut state = StateView::read_only(&self.table, None);
        let mut init = Init::new(&self.name, 0, &self.zone);
        init.state = StateOf::new(&mut state);
        let made = self.owner.watch.timed(|| {
            catch_unwind(AssertUnwindSafe(|| {
                self.module.trigger(&self.config, &mut init)
            }))
        });
        made.map_err(|panic| format!("the plugin, when made: {}", panicked(&*panic)))?
            .map_err(|error| error.text)
    }

    fn close(&self, mut trigger: Box<dyn AnyTrigger>, why: CloseReason) {
        let closed = catch_unwind(AssertUnwindSafe(move || {
            trigger.close(why);
            drop(trigger);
        }));
        if let Err(panic) = closed {
            tracing::warn!(instance = self.name, "when closed: {}", panicked(&*panic));
        }
    }
}

/// Ends the replay where it is to end.
fn check(watch: &Watch) -> Result<(), String> {
    if watch.is_stopped() {
        return Err("replay: the server is stopping".into());
    }
    Ok(())
}

impl Pending {
    /// What a report calls the event.
    fn name_of_replay(&self) -> String {
        match &self.what {
            What::Write(bucket, parts) => {
                let times = parts.iter().flat_map(ColumnBatch::times);
                let first = times.min().copied().unwrap_or_default();
                format!("{} rows of {} from {first} on", self.rows(), bucket.key)
            }
            What::Timer(DueTimer { timer, .. }) => format!("timer due {}", timer.due),
            What::Gap(bucket, ..) | What::Deleted(bucket) => bucket.key.to_string(),
        }
    }
}
