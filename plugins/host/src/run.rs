//! One run of an instance, of whatever kind: who it is, how it is asked to stop, where its effects go.

use std::sync::Arc;

use disk::Clock;
use engine::{Engine, Origin};
use model::Zone;
use plugin_sdk::Module;

use crate::cursor::Book;
use crate::host::{Progress, Publisher};
use crate::meter::Meter;
use crate::status::{Gauges, State};
use crate::stop::Stop;

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
}

/// Why an instance no longer runs.
#[derive(Debug)]
pub(crate) enum End {
    Stopped,
    Disabled(String),
    Failed(String),
}

impl Run {
    pub(crate) fn check_stop(&self) -> Result<(), End> {
        if self.stop.is_asked() {
            return Err(End::Stopped);
        }
        Ok(())
    }

    /// Sets state and reason.
    pub(crate) fn stand(&self, state: State, reason: &str) {
        self.gauges.set(state, reason, self.clock.now_ns());
    }

    /// The last state of the run.
    pub(crate) fn conclude(&self, end: End) {
        let (state, reason) = match end {
            End::Stopped => (State::Stopped, String::new()),
            End::Disabled(why) => (State::Disabled, why),
            End::Failed(why) => (State::Failed, why),
        };
        if state != State::Stopped {
            tracing::error!(instance = &*self.id, "{state}: {reason}");
        }
        self.stand(state, &reason);
        self.progress.tell();
    }

    /// Hands messages to the subscribers.
    pub(crate) fn send(&self, messages: Vec<(String, bytes::Bytes)>) {
        for (stream, payload) in messages {
            self.publisher.publish(&self.id, &stream, payload);
        }
    }
}
