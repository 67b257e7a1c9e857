//! One run of an instance, of whatever kind: who it is, how it is asked to stop, where its effects go.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use disk::Clock;
use engine::{Engine, Origin};
use model::Zone;
use plugin_sdk::{FireInfo, Health, Init, Module, PluginError, State as StateOf};

use crate::calls::{Calls, Owner, Scope};
use crate::cursor::Book;
use crate::fire::panic_text;
use crate::host::{Progress, Publisher};
use crate::ledger::{Inside, Slot, Stands};
use crate::meter::Meter;
use crate::record::SharedRecorder;
use crate::state::{Orders, Overlay, SharedTable, StateView};
use crate::status::{Gauges, State};
use crate::stop::Stop;
use crate::ticks::Ticks;
use crate::timers::{DueTimer, Timer};
use crate::writes::Writes;

/// What dispatchers, workers and sources have in common.
pub(crate) struct Run {
    pub(crate) engine: Engine,
    pub(crate) book: Arc<Book>,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) meter: Meter,

    pub(crate) id: String,
    pub(crate) module: Arc<dyn Module>,
    pub(crate) config: serde_json::Value,
    pub(crate) zone: Zone,
    pub(crate) origin: Origin,
    pub(crate) epoch: u64,
    pub(crate) table: SharedTable,
    pub(crate) orders: Orders,
    /// What the plugin may write.
    pub(crate) writes: Writes,
    /// Of a library inside the server: says so to the next life of the server, if this one ends in it.
    pub(crate) slot: Option<Arc<Slot>>,
    /// `schedule:` of the entry.
    pub(crate) ticks: Option<Ticks>,
    pub(crate) recorder: SharedRecorder,
}

/// Why an instance no longer runs.
#[derive(Debug)]
pub(crate) enum End {
    Stopped,
    /// There was nothing left to do.
    Finished(String),
    Disabled(String),
    Failed(String),
}

impl End {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Stopped => "it ends".into(),
            Self::Finished(text) | Self::Disabled(text) | Self::Failed(text) => text,
        }
    }
}

impl Owner for Run {
    fn writes(&self) -> &Writes {
        &self.writes
    }

    fn is_cancelled(&self) -> bool {
        self.stop.is_asked() || self.stop.clocks.of(0).is_asked()
    }

    fn is_given_up(&self) -> bool {
        self.stop.is_abandoned() || self.stop.clocks.of(0).is_given_up()
    }

    fn count(&self, metric: &str, by: f64) {
        self.meter.count(metric, by);
    }

    fn health(&self, health: Health, text: &str) {
        *self.gauges.said.lock() = Some((health, text.to_owned()));
    }
}

impl Run {
    /// In front of an event.
    pub(crate) fn check_stop(&self) -> Result<(), End> {
        if self.stop.is_asked() {
            return Err(End::Stopped);
        }
        Ok(())
    }

    /// In front of a window or batch.
    pub(crate) fn check_end(&self) -> Result<(), End> {
        if self.stop.is_ending() {
            return Err(End::Stopped);
        }
        Ok(())
    }

    /// Sets state and reason.
    pub(crate) fn stand(&self, state: State, reason: &str) {
        // One that was given up has a successor, or somebody's word about its state.
        if !self.stop.is_abandoned() {
            self.gauges.set(state, reason, self.clock.now_ns());
        }
    }

    /// The last state of the run.
    pub(crate) fn conclude(&self, end: End) {
        let (state, reason) = match end {
            End::Stopped => self.stop.then(),
            End::Finished(what) => (State::Stopped, what),
            End::Disabled(why) => (State::Disabled, why),
            End::Failed(why) => (State::Failed, why),
        };
        if matches!(state, State::Failed | State::Disabled) && !self.stop.is_ending() {
            tracing::error!(instance = &*self.id, "{state}: {reason}");
        }
        self.stand(state, &reason);
        self.progress.tell();
    }

    /// Where a worker or source stands, to whom no event says so.
    pub(crate) fn info(&self) -> FireInfo {
        let visible = self.engine.marks().visible.0;
        FireInfo {
            first_lsn: visible,
            last_lsn: visible,
            attempt: 1,
            is_replay: false,
            now: self.clock.now_ns(),
            deadline: i64::MAX,
        }
    }

    /// The calls of a worker or source.
    pub(crate) fn calls(&self) -> Calls<'_> {
        let scope = Scope::default();
        let mut calls = Calls::new(
            &self.engine,
            &self.id,
            &self.table,
            None,
            scope,
            self.info(),
        );
        calls.end_with(self);
        calls
    }

    /// What is pending in place of a timer that has fired or was given up: of a schedule, its next
    /// tick.
    pub(crate) fn behind(&self, fired: &DueTimer) -> Option<Timer> {
        let ticks = self.ticks.as_ref().filter(|ticks| ticks.is(&fired.key))?;
        ticks.next(self.clock.now_ns().max(fired.timer.due))
    }

    /// To be held while code of a library inside the server may run; `None` for any other.
    pub(crate) fn inside(&self, end: u64) -> Option<Inside<'_>> {
        let stands = || Stands {
            epoch: self.epoch,
            cursor: self.gauges.cursor.load(Relaxed),
            end,
        };
        self.slot.as_ref().map(|slot| slot.enter(stands()))
    }

    /// To be called now and then while a worker or source runs.
    pub(crate) fn tick(&self) {
        if let Some(slot) = &self.slot {
            slot.tick();
        }
    }

    /// Makes an object of the plugin; its panic is an error like any other.
    pub(crate) fn make<T>(
        &self,
        changed: Option<&Overlay>,
        make: impl FnOnce(&dyn Module, &serde_json::Value, &mut Init<'_>) -> Result<T, PluginError>,
    ) -> Result<T, String> {
        let _inside = self.inside(0);
        let mut state = StateView::read_only(&self.table, changed);
        let mut init = Init::new(&self.id, self.epoch, &self.zone);
        init.state = StateOf::new(&mut state);
        catch_unwind(AssertUnwindSafe(|| {
            make(&*self.module, &self.config, &mut init)
        }))
        .map_err(|panic| format!("the plugin panicked when made: {}", panic_text(&*panic)))?
        .map_err(|error| error.text)
    }

    /// A call whose length tells whether the plugin hangs.
    pub(crate) fn timed<T>(&self, call: impl FnOnce() -> T) -> T {
        let clock = self.stop.clocks.of(0);
        clock.begin(self.clock.monotonic());
        let result = call();
        clock.end();
        result
    }

    /// Counts a panic of the plugin and says what it was.
    pub(crate) fn panicked(&self, panic: &(dyn Any + Send)) -> String {
        let why = format!("panic: {}", panic_text(panic));
        self.gauges.failures.fetch_add(1, Relaxed);
        self.gauges.panics.fetch_add(1, Relaxed);
        self.meter.fires_panic.increment(1);
        tracing::error!(instance = &*self.id, "the plugin ended in a {why}");
        why
    }

    /// A plugin's last words may panic, too.
    pub(crate) fn closing(&self, close: impl FnOnce()) {
        let _inside = self.inside(0);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(close)) {
            tracing::error!(
                instance = &*self.id,
                "the plugin panicked when closed: {}",
                panic_text(&*panic)
            );
        }
    }

    /// Hands messages to the subscribers.
    pub(crate) fn send(&self, messages: Vec<(String, bytes::Bytes)>) {
        for (stream, payload) in messages {
            self.publisher.publish(&self.id, &stream, payload);
        }
    }
}
