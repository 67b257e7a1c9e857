//! The exclusive lock of a store directory.

use std::any::Any;
use std::fmt;

/// The name of the lock file in the store's root.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// Held while a store is open; dropping it gives the lock back.
pub struct Lock {
    _guard: Box<dyn Any + Send + Sync>,
}

impl Lock {
    pub(crate) fn new(guard: impl Any + Send + Sync) -> Self {
        Self {
            _guard: Box::new(guard),
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}
