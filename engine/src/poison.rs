//! I11: after poison no write succeeds.
//!
//! The first failed write or sync of the log, a segment or the manifest sets the flag for the
//! rest of the process's life. Reads go on with what was published before.

use std::sync::OnceLock;

use crate::Error;

#[derive(Debug, Default)]
pub(crate) struct Poison {
    reason: OnceLock<String>,
}

impl Poison {
    /// The first reason stays.
    pub(crate) fn set(&self, reason: String) {
        let _ = self.reason.set(reason);
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned(reason.to_owned())),
        }
    }
}
