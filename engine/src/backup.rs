//! A consistent copy of the running store.

use wal::Lsn;

/// What [`crate::Engine::backup`] made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backup {
    /// Every commit that begins below is in the copy, and nothing else.
    pub visible: Lsn,
    /// Files.
    pub files: usize,
    /// Bytes shared with the store by hard links.
    pub linked_bytes: u64,
    /// Bytes copied.
    pub copied_bytes: u64,
}
