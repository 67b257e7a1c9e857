//! What the parts of one statement share.

use std::sync::{Arc, OnceLock};

use engine::{Engine, Snapshot};
use model::Zone;

use crate::{Caller, Dialect};

/// What the parts of one statement share: functions, rewriters and nodes are made with it.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// The store.
    pub(crate) engine: Engine,
    /// Whom it runs for; buckets named by arguments of functions are checked with it.
    pub(crate) caller: Caller,
    /// Zone of times that name none.
    pub(crate) zone: Zone,
    /// The time at which the statement began (ns).
    pub(crate) now: i64,
    /// Buckets that a pattern may match.
    pub(crate) buckets_max: usize,
    /// All that it reads, once its tables are open.
    pub(crate) snapshot: OnceLock<Arc<Snapshot>>,
}

impl Shared {
    pub(crate) fn dialect(&self) -> Dialect {
        self.caller.dialect
    }
}

pub(crate) type SharedRef = Arc<Shared>;
