//! What could not be imported, and where it is.

use std::fmt;

/// Something that was left in the source: damaged, foreign, or without a place in mkts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// File or directory below the source, with `/` between parts.
    pub file: String,
    /// Byte where it begins, if it is about bytes of a file.
    pub offset: Option<u64>,
    /// What is wrong and what was done.
    pub what: String,
}

impl Fault {
    pub(super) fn new(file: &str, offset: impl Into<Option<u64>>, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            offset: offset.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} at byte {offset}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// Faults kept of one file: a file of noise must not fill memory or the screen.
const LISTED_MAX: usize = 100;

/// Collects the faults of one file; beyond a hundred they are only counted.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    more: u64,
}

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        if self.list.len() < LISTED_MAX {
            self.list.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// The faults so far, the last of them counting those beyond the limit.
    pub(super) fn take(&mut self, file: &str) -> Vec<Fault> {
        let mut list = std::mem::take(&mut self.list);
        if self.more > 0 {
            let what = format!("{} more of these were set aside", self.more);
            list.push(Fault::new(file, None, what));
            self.more = 0;
        }
        list
    }
}
