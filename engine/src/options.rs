//! Every limit and default in one struct, each with its reason.

use std::time::Duration;

use model::Zone;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// After the sync that holds it.
    Commit,
    /// Once queued; a sync follows at most this much later.
    Interval(Duration),
}

/// Limits and defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a write is acknowledged.
    pub sync: SyncMode,
    /// Zone of days and weeks.
    pub zone: Zone,
    /// Tail bytes that start a checkpoint. 64 MiB: large enough that a segment is worth a file,
    /// small enough that memory stays flat and a restart replays in a fraction of a second.
    pub tail_bytes_max: usize,
    /// WAL bytes not yet checkpointed that make writers wait. 1 GiB bounds both the time of a
    /// replay and the memory of tails when the disk is slower than the writers.
    pub wal_bytes_max: u64,
    /// Largest frame. 32 MiB: a frame is one atomic piece in memory several times over.
    pub frame_bytes_max: usize,
    /// Size of a WAL segment (64 MiB): two of the largest frames.
    pub wal_segment_bytes: u64,
    /// Bytes of the disk that the log leaves free. 64 MiB: a checkpoint, which frees the log, and an
    /// orderly stop fit when writers have filled the rest.
    pub disk_reserve_bytes: u64,
    /// Newest frames kept in memory for followers. 64 MiB: about what a checkpoint covers, so
    /// that triggers a few seconds late read no files.
    pub follow_bytes: usize,
    /// Hops after which rows are stored but not offered to triggers: no chain of plugins is
    /// deeper, and a circle must end.
    pub hops_max: u8,
    /// Whether segments are merged by themselves after checkpoints. Off for tests and for a bulk
    /// load that merges once at its end.
    pub merge: bool,
    /// Prepare the next WAL segment on a thread of its own. Off in simulations whose order of
    /// disk calls must repeat.
    pub prepare_ahead: bool,
    /// Write what a start replayed into a segment before the store serves, not behind its back. On
    /// in simulations whose order of disk calls must repeat.
    pub checkpoint_before_serving: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: SyncMode::Commit,
            zone: Zone::utc(),
            tail_bytes_max: 64 << 20,
            wal_bytes_max: 1 << 30,
            frame_bytes_max: 32 << 20,
            wal_segment_bytes: 64 << 20,
            disk_reserve_bytes: 64 << 20,
            follow_bytes: 64 << 20,
            hops_max: 8,
            merge: true,
            prepare_ahead: true,
            checkpoint_before_serving: false,
        }
    }
}

impl Options {
    pub(crate) fn wal(&self) -> wal::Options {
        wal::Options {
            segment_bytes: self.wal_segment_bytes,
            frame_bytes_max: self.frame_bytes_max as u64,
            reserve_bytes: self.disk_reserve_bytes,
            sync: match self.sync {
                SyncMode::Commit => wal::SyncMode::Commit,
                SyncMode::Interval(interval) => wal::SyncMode::Interval(interval),
            },
            prepare_ahead: self.prepare_ahead,
            ..wal::Options::default()
        }
    }
}
