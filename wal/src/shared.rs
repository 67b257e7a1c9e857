//! What the committer, the readers and the callers' handle know together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use disk::Disk;
use parking_lot::Mutex;

use crate::segment::{SEGMENT_HEADER_BYTES, path_of};
use crate::{Lsn, Options, Result};

/// One segment of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) first: Lsn,
    /// Where its frames end; `None` while it grows.
    pub(crate) end: Option<Lsn>,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// The beginning of a file of the log, see [`crate::Wal::parts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The WAL segment.
    pub path: String,
    /// Its first so many bytes.
    pub bytes: u64,
}

/// The log's files.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// In LSN order; readers may open these.
    pub(crate) segments: Vec<Segment>,
    /// Released segments that still have their old name, waiting to be used again.
    pub(crate) free: VecDeque<Segment>,
    /// Everything below was given back; the end of the last released segment.
    pub(crate) released_to: Lsn,
    /// Promised bytes that recovery found damaged; readers pass over them.
    pub(crate) damaged: Vec<(Lsn, Lsn)>,
}

/// Shared by everybody who holds the log.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store_id: [u8; 16],
    pub(crate) options: Options,
    /// Release in the committer after the sync, Acquire in readers and callers.
    pub(crate) durable: AtomicU64,
    pub(crate) appended: AtomicU64,
    pub(crate) poisoned: AtomicBool,
    /// Set before the queue is closed in good order: the committer marks the end.
    pub(crate) closing: AtomicBool,
    /// Nobody needs another segment any more: one that is being made is given up.
    pub(crate) stopping: AtomicBool,
    /// Short holds only: no I/O under this lock.
    pub(crate) chain: Mutex<Chain>,
}

impl Shared {
    pub(crate) fn durable_lsn(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// The oldest position a reader may start from.
    pub(crate) fn oldest(&self) -> Lsn {
        self.chain.lock().released_to
    }

    /// Where a read at `position` happens: the segment, and the position moved out of headers,
    /// gaps and damage. `None` past the last segment.
    pub(crate) fn locate(&self, mut position: Lsn) -> Option<(Segment, Lsn)> {
        let chain = self.chain.lock();
        for segment in &chain.segments {
            position = position.max(segment.first.advanced(SEGMENT_HEADER_BYTES));
            for (from, to) in &chain.damaged {
                if (*from..*to).contains(&position) {
                    position = *to;
                }
            }
            if segment.end.is_none_or(|end| position < end) {
                return Some((*segment, position));
            }
        }
        None
    }

    /// A file whose frames end below `to` is taken as a whole: what follows says where it ends.
    pub(crate) fn parts(&self, from: Lsn, to: Lsn) -> Vec<Part> {
        let chain = self.chain.lock();
        let segments = chain.segments.iter();
        let wanted = segments.filter(|s| s.first < to && s.end.is_none_or(|end| end > from));
        let parts = wanted.filter(|_| from < to).map(|segment| {
            let whole = segment.end.is_some_and(|end| end < to);
            Part {
                path: path_of(segment.first),
                bytes: if whole {
                    segment.bytes
                } else {
                    to.0 - segment.first.0
                },
            }
        });
        parts.collect()
    }

    /// Gives up the segments that lie wholly below `below`.
    pub(crate) fn release(&self, below: Lsn) -> Result<()> {
        let below = below.min(self.durable_lsn());
        let mut surplus = Vec::new();
        {
            let mut chain = self.chain.lock();
            let count = chain
                .segments
                .iter()
                .take_while(|s| s.end.is_some_and(|e| e <= below));
            let count = count.count();
            let released: Vec<Segment> = chain.segments.drain(..count).collect();
            if let Some(end) = released.last().and_then(|last| last.end) {
                chain.released_to = end;
            }
            for segment in released {
                let reusable = segment.bytes == self.options.segment_bytes;
                if reusable && chain.free.len() < self.options.recycle_max {
                    chain.free.push_back(segment);
                } else {
                    surplus.push(segment);
                }
            }
            chain.damaged.retain(|(_, to)| *to > below);
        }
        for segment in surplus {
            self.disk.unlink(&path_of(segment.first))?;
        }
        Ok(())
    }
}
