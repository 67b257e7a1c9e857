//! The host as the server sees it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{CheckpointHook, Engine};
use model::Zone;
use plugin_sdk::BuiltIn;

use crate::entry::Entry;
use crate::status::InstanceStatus;

/// Takes the messages that plugins publish.
pub trait Publisher: Send + Sync {
    /// One message of an instance for the subscribers of a stream. Must not block.
    fn publish(&self, instance: &str, stream: &str, payload: Bytes);
}

/// Why the host cannot start.
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
    /// The system refused a thread.
    #[error("cannot start a dispatcher thread: {0}")]
    Thread(String),
}

/// Runs the instances of mkts.yml. Cheap to clone; the last clone stops them.
#[derive(Clone)]
pub struct Host {
    _inner: Arc<()>,
}

impl Host {
    /// Looks at every entry; to be called before the engine opens. An entry that cannot run becomes
    /// an instance in state `failed` or `missing`, with the reason.
    ///
    /// # Errors
    /// If such an entry is `required`.
    pub fn new(
        _entries: Vec<Entry>,
        _builtins: Vec<BuiltIn>,
        _zone: Zone,
        _publisher: Arc<dyn Publisher>,
    ) -> Result<Self, Error> {
        unimplemented!()
    }
    /// What the engine calls at open and at checkpoints.
    pub fn hook(&self) -> Arc<dyn CheckpointHook> {
        unimplemented!()
    }
    /// Starts every instance at its cursor. To be called before clients can write: a new instance
    /// starts at the newest commit of this moment.
    ///
    /// # Errors
    /// If the store refuses, or a `required` instance does not start.
    pub fn start(&self, _engine: Engine) -> Result<(), Error> {
        unimplemented!()
    }
    /// Every instance, in the order of the entries.
    pub fn status(&self) -> Vec<InstanceStatus> {
        unimplemented!()
    }
    /// Waits until every running instance has fired all commits visible at the call, and then, as
    /// far as time allows, those that came of it. Whether the first was reached in time.
    pub fn drain(&self, _deadline: Duration) -> bool {
        unimplemented!()
    }
    /// Stops every instance behind its current event and joins its thread; one that hangs is given
    /// up. The hook goes on working, so that the last checkpoint stores every cursor.
    pub fn stop(&self) {
        unimplemented!()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}
