//! Every file-system call of mkts, real and simulated.
//!
//! The store's files are made, changed and removed through [`Disk`] and nowhere else, so the
//! same log and the same engine run on [`OsDisk`] and on `SimDisk` (feature `sim`), which
//! crashes at any step. Paths are relative to the store's root, with `/` between parts, and are
//! checked: nothing here can reach outside the root.
//!
//! What survives a crash is said at each method, in three words:
//! * **atomic**: after a crash the change is there wholly or not at all;
//! * **durable**: when the call has returned, the change survives every crash;
//! * **torn**: after a crash any subset of the 512-byte sectors may have the new bytes.
//!
//! A failed sync is final: the kernel may have dropped the bytes, so a second try that succeeds
//! proves nothing. Callers stop writing (poison), they never retry.
#![deny(unsafe_code)]

mod appender;
mod clock;
pub mod failpoint;
mod lock;
mod map;
mod os;
mod path;
mod publish;
#[cfg(feature = "sim")]
pub mod sim;
mod source;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use bytes::Bytes;

pub use appender::Appender;
pub use clock::{Clock, ManualClock, SystemClock};
pub use lock::Lock;
pub use map::Map;
pub use os::OsDisk;
pub use publish::publish;
#[cfg(feature = "sim")]
pub use sim::SimDisk;
pub use source::{Source, SourceEntry, SourceFile, SourceKind};

/// The file system below one store directory.
pub trait Disk: Send + Sync + Debug {
    /// Creates an empty file (mode 0600) that must not exist yet, for writing.
    ///
    /// The name is durable after [`Disk::sync_dir`] of its directory, the bytes after
    /// [`File::sync_data`]; neither implies the other.
    fn create(&self, path: &str) -> io::Result<Box<dyn File>>;

    /// Opens an existing file for writing in place. Only for files that are not published: WAL
    /// segments. Fails on a read-only file.
    fn open_write(&self, path: &str) -> io::Result<Box<dyn File>>;

    /// Opens a file for reading with read(2).
    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>>;

    /// Reads a whole file with read(2).
    fn read_all(&self, path: &str) -> io::Result<Bytes>;

    /// Reads at most `len` bytes from `offset`; fewer only where the file ends.
    fn read_at(&self, path: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        self.open_read(path)?.read_at(offset, len)
    }

    /// Maps a published file. The file must never change afterwards (I1).
    fn map(&self, path: &str) -> io::Result<Map>;

    /// Renames a file, replacing what `to` named. Atomic; durable after [`Disk::sync_dir`] of
    /// the target's directory (and of the source's, if it is another).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals in `dir` durable. `""` is the root.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Creates a directory (mode 0700) and its missing parents. Succeeds if it exists. The new
    /// names are durable when this returns.
    fn create_dir_all(&self, dir: &str) -> io::Result<()>;

    /// The names in `dir`, sorted, without `.` and `..`. `""` is the root.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// The length of a file in bytes.
    fn len(&self, path: &str) -> io::Result<u64>;

    /// Whether a file or directory of this name exists.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Gives a published file the name `to` on another disk as well, without a copy. False if that
    /// cannot be: another file system, or one without links. Durable after [`Disk::sync_dir`] of
    /// the target's directory.
    fn link(&self, from: &str, target: &dyn Disk, to: &str) -> io::Result<bool>;

    /// The directory itself, if this is the real disk: for [`Disk::link`].
    fn handle(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Removes an empty directory. Durable after [`Disk::sync_dir`] of its parent.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;

    /// Removes a file. Open handles and mappings stay usable. Atomic; durable after
    /// [`Disk::sync_dir`].
    fn unlink(&self, path: &str) -> io::Result<()>;

    /// Sets mode 0444: from now on [`Disk::open_write`] fails.
    fn set_readonly(&self, path: &str) -> io::Result<()>;

    /// Takes the store's exclusive lock, file `LOCK`. Fails at once, naming the holder's process
    /// id where it can be read, if somebody has it. A dead process holds nothing.
    fn lock(&self) -> io::Result<Lock>;

    /// Bytes that can still be written, if the file system tells.
    fn free_space(&self) -> io::Result<Option<u64>>;
}

/// A file open for writing. Dropping it closes it and syncs nothing.
pub trait File: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`, growing the file if needed. Torn. After an error an
    /// unknown part is written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes all slices one after the other at `offset`, in as few system calls as the system
    /// allows. Torn, as [`File::write_at`]. The slices are used up.
    fn write_vectored_at(&self, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes all bytes written so far, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// [`File::sync_data`] with all metadata (times, mode).
    fn sync_all(&self) -> io::Result<()>;

    /// The current length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets the length; new bytes are zero. Durable after [`File::sync_data`].
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// A file open for reading.
pub trait ReadFile: Send + Sync + Debug {
    /// Reads at most `len` bytes from `offset`; fewer only where the file ends.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;

    /// The current length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Whether an error says that the disk or a quota is full. Such an error may go away by itself.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Names the call and the file in an error and keeps its kind.
pub(crate) fn context<T>(result: io::Result<T>, call: &str, path: &str) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{call} {path:?}: {error}")))
}
