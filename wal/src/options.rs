//! Limits of the log, each with its reason.

use std::time::Duration;

/// When an accepted commit is synced. Visibility follows the sync in both modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// As soon as the disk is free: the caller acknowledges when the sink has the commit.
    Commit,
    /// At most once in this time: the caller acknowledges when `append` returns.
    Interval(Duration),
}

/// Limits of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a WAL segment. 64 MiB: large enough that making one is rare, small enough that
    /// space comes back soon after a checkpoint. A multiple of 8.
    pub segment_bytes: u64,
    /// Bytes one group may have. 8 MiB: more would delay the first writer of the group by more
    /// than a sync.
    pub group_bytes_max: u64,
    /// Payload bytes waiting for the committer; beyond, `append` blocks.
    pub queue_bytes_max: u64,
    /// Largest payload; also limited by `segment_bytes`.
    pub frame_bytes_max: u64,
    /// Released segments kept for reuse; more are removed.
    pub recycle_max: usize,
    /// Bytes of the disk that no new segment takes. 64 MiB: room for the checkpoint that frees the
    /// log, and for an orderly stop, when writers have filled the rest.
    pub reserve_bytes: u64,
    /// When commits are synced.
    pub sync: SyncMode,
    /// Prepare the next segment on a thread of its own, so that no commit waits for it. Off in
    /// simulations, where the order of disk calls must repeat.
    pub prepare_ahead: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            group_bytes_max: 8 << 20,
            queue_bytes_max: 64 << 20,
            frame_bytes_max: 32 << 20,
            recycle_max: 8,
            reserve_bytes: 64 << 20,
            sync: SyncMode::Commit,
            prepare_ahead: true,
        }
    }
}
