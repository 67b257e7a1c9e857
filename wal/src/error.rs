//! What can go wrong with the log, by what the caller can do about it.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Lsn;

/// Result of the log's calls.
pub type Result<T, E = WalError> = std::result::Result<T, E>;

/// An error of the log. Cheap to clone: every writer of a failed group gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WalError {
    /// A file-system call failed.
    Io(Arc<io::Error>),
    /// An earlier write or sync failed: nothing is written any more until the store is reopened.
    Poisoned,
    /// No space for another WAL segment. Nothing was promised; try again when there is space.
    DiskFull,
    /// The payload can never fit into a frame.
    TooLarge {
        /// Length of the payload.
        bytes: u64,
        /// The largest payload allowed.
        limit: u64,
    },
    /// Bytes of the log that fail their checks.
    Corrupt {
        /// The file, relative to the store's root.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The position was given back with `Wal::release` and may be overwritten.
    Released {
        /// The position asked for.
        from: Lsn,
        /// The oldest position that is still there.
        oldest: Lsn,
    },
    /// The log was closed.
    Closed,
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "wal: {error}"),
            Self::Poisoned => f.write_str(
                "wal: an earlier write or sync failed, the log takes no more writes until restart",
            ),
            Self::DiskFull => f.write_str("wal: disk full, no space for another WAL segment"),
            Self::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "wal: a commit of {bytes} bytes exceeds the limit of {limit} bytes"
                )
            }
            Self::Corrupt { file, offset, what } => {
                write!(f, "wal: {file} is damaged at byte {offset}: {what}")
            }
            Self::Released { from, oldest } => {
                write!(
                    f,
                    "wal: position {from} was released, the oldest kept is {oldest}"
                )
            }
            Self::Closed => f.write_str("wal: the log is closed"),
        }
    }
}

impl std::error::Error for WalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<io::Error> for WalError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
