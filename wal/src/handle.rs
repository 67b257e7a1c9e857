//! The callers' side: the handle, the sink, what a commit looks like when it is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::commit::{self, Start};
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, Payload};
use crate::queue::{Item, Queue};
use crate::reader::Reader;
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::shared::Shared;
use crate::{Lsn, Part, Result, WalError};

/// A commit that is durable, with the token it was appended with.
#[derive(Debug)]
pub struct Committed<T> {
    /// Where the frame begins.
    pub lsn: Lsn,
    /// Where it ends: the mark that covers it.
    pub end: Lsn,
    /// Wall-clock time of writing, for display only.
    pub wall_ns: i64,
    /// The caller's kind.
    pub kind: u8,
    /// How many triggers led to this commit.
    pub hops: u8,
    /// Who wrote it.
    pub origin: u16,
    /// The very bytes that were appended.
    pub payload: Bytes,
    /// What came with it.
    pub token: T,
}

/// Hears of every commit's outcome, on the committer thread. While it works no commit is
/// written: apply, wake, return. It must not append to the same log (the queue may be full).
pub trait Sink<T>: Send {
    /// The group is durable; in LSN order.
    fn durable(&mut self, group: Vec<Committed<T>>);

    /// A sync of the log returned Ok after this time; for those who count.
    fn synced(&mut self, _took: std::time::Duration) {}

    /// These commits did not become durable and never will as far as this process knows. After
    /// [`WalError::DiskFull`] the log goes on; after any other error it is poisoned.
    fn failed(&mut self, tokens: Vec<T>, error: &WalError);
}

/// The running log. Dropping it closes it.
#[derive(Debug)]
pub struct Wal<T: Send + 'static> {
    shared: Arc<Shared>,
    queue: Arc<Queue<T>>,
    payload_bytes_max: u64,
    committer: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Wal<T> {
    /// Queues one commit; blocks while the queue is full. The token goes to the sink. On an
    /// error the commit was not queued and the token is dropped.
    pub fn append(&self, payload: Payload, token: T) -> Result<()> {
        let item = self.check(payload, token)?;
        let bytes = item.bytes();
        self.queue.push([item], bytes)
    }

    /// Queues several commits as neighbours, in this order, all or none.
    pub fn append_all(&self, commits: Vec<(Payload, T)>) -> Result<()> {
        let items: Result<Vec<_>> = commits.into_iter().map(|(p, t)| self.check(p, t)).collect();
        let items = items?;
        let bytes = items.iter().map(Item::bytes).sum();
        self.queue.push(items, bytes)
    }

    fn check(&self, payload: Payload, token: T) -> Result<Item<T>> {
        if payload.len() > self.payload_bytes_max {
            let limit = self.payload_bytes_max;
            return Err(WalError::TooLarge {
                bytes: payload.len(),
                limit,
            });
        }
        Ok(Item { payload, token })
    }

    /// Waits until the outcome of everything queued so far is known to the sink; does not wait
    /// for the interval. Fails if the log is poisoned or (with `SyncMode::Interval`) full.
    pub fn flush(&self) -> Result<()> {
        self.queue.flush()
    }

    /// Every frame that begins below is on stable storage.
    pub fn durable_lsn(&self) -> Lsn {
        self.shared.durable_lsn()
    }

    /// Every frame that begins below was at least handed to the disk.
    pub fn appended_lsn(&self) -> Lsn {
        Lsn(self.shared.appended.load(Ordering::Acquire))
    }

    /// Whether a write or sync has failed: nothing is written any more.
    pub fn poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Acquire)
    }

    /// The largest payload that [`Wal::append`] takes.
    pub fn payload_bytes_max(&self) -> u64 {
        self.payload_bytes_max
    }

    /// Reads frames from `from` on, which must be a mark or a frame's LSN. A position below
    /// [`Wal::oldest`] gives [`WalError::Released`] at the first read.
    pub fn reader(&self, from: Lsn) -> Reader {
        Reader::new(self.shared.clone(), from)
    }

    /// Allows the reuse of segments that lie wholly below `below`.
    pub fn release(&self, below: Lsn) -> Result<()> {
        self.shared.release(below)
    }

    /// The oldest position a reader may start from.
    pub fn oldest(&self) -> Lsn {
        self.shared.oldest()
    }

    /// The files that hold the frames from `from` up to `to`, a mark below which all is durable,
    /// with the bytes of each to copy. They stay as long as nobody releases what they hold.
    pub fn parts(&self, from: Lsn, to: Lsn) -> Vec<Part> {
        self.shared.parts(from, to)
    }

    /// Commits what is queued, marks the end, so that the next open need not look for it, and stops
    /// the committer. Fails if the log is poisoned.
    pub fn close(mut self) -> Result<()> {
        self.shared.closing.store(true, Ordering::Release);
        self.stop();
        if self.poisoned() {
            Err(WalError::Poisoned)
        } else {
            Ok(())
        }
    }

    fn stop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.committer.take() {
            // A panic of the committer has poisoned the log and was printed.
            let _ = thread.join();
        }
    }

    pub(crate) fn start(start: Start, sink: Box<dyn Sink<T>>) -> Result<Self> {
        let shared = start.shared.clone();
        let queue = Arc::new(Queue::new(&shared.options));
        let payload_bytes_max = payload_bytes_max(&shared);
        let committer = Some(commit::spawn(start, queue.clone(), sink)?);
        Ok(Self {
            shared,
            queue,
            payload_bytes_max,
            committer,
        })
    }
}

impl<T: Send + 'static> Drop for Wal<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A frame and the segment end behind it must fit into one segment.
fn payload_bytes_max(shared: &Shared) -> u64 {
    let overhead = SEGMENT_HEADER_BYTES + 2 * FRAME_HEADER_BYTES;
    let room = shared.options.segment_bytes.saturating_sub(overhead);
    shared
        .options
        .frame_bytes_max
        .min(room / FRAME_ALIGN * FRAME_ALIGN)
        .min(u64::from(u32::MAX))
}
