//! What can go wrong, by what the caller can do about it.

use model::{BucketKey, Schema};
use wal::{Lsn, WalError};

/// Error of the store. Every text names the thing and is one line.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such bucket.
    #[error("no bucket {0}")]
    NotFound(BucketKey),
    /// Bucket is there already.
    #[error("bucket {0} exists already")]
    Exists(BucketKey),
    /// Columns given and columns stored differ.
    #[error("unable to match data columns ({given:?}) to bucket columns ({stored:?})")]
    SchemaMismatch {
        /// Of the request.
        given: Schema,
        /// Of the bucket.
        stored: Schema,
    },
    /// A value of the request is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// Over a limit, which is named.
    #[error("{what}: {found} is over the limit of {limit} ({option})")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Found.
        found: u64,
        /// Allowed.
        limit: u64,
        /// The option that sets it.
        option: &'static str,
    },
    /// Damaged bytes.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// File below the root.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// An earlier write or sync failed; only reads go on until a restart.
    #[error(
        "the store stopped taking writes after a disk error: {0}; restart the server to recover"
    )]
    Poisoned(String),
    /// No space.
    #[error("disk is full: {0}")]
    DiskFull(String),
    /// Another process holds the directory.
    #[error("{0}")]
    Locked(String),
    /// Log was released before a follower read it.
    #[error("log before {oldest:?} is gone, wanted {wanted:?}")]
    Released {
        /// Wanted.
        wanted: Lsn,
        /// Oldest there.
        oldest: Lsn,
    },
    /// The engine is closed.
    #[error("the store is closed")]
    Closed,
    /// Other failure of the file system.
    #[error("{0}")]
    Io(String),
}

impl Error {
    pub(crate) fn corrupt(file: &str, offset: usize, what: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            offset: offset as u64,
            what: what.into(),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if disk::is_full(&error) {
            Self::DiskFull(error.to_string())
        } else {
            Self::Io(error.to_string())
        }
    }
}

impl From<WalError> for Error {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Io(error) => Self::Io(error.to_string()),
            WalError::Poisoned => Self::Poisoned("the log failed".to_owned()),
            WalError::DiskFull => Self::DiskFull("no space for another WAL segment".to_owned()),
            WalError::TooLarge { bytes, limit } => Self::Limit {
                what: "bytes of one commit",
                found: bytes,
                limit,
                option: "frame_bytes_max",
            },
            WalError::Corrupt { file, offset, what } => Self::Corrupt { file, offset, what },
            WalError::Released { from, oldest } => Self::Released {
                wanted: from,
                oldest,
            },
            WalError::Closed => Self::Closed,
            other => Self::Io(other.to_string()),
        }
    }
}
