//! Group commit: the committer thread.
//!
//! I2 and I3 live here: the durable LSN moves, and the sink hears of a commit, only after the
//! sync that covers it returned Ok. I11: the first failed write or sync of the log poisons it;
//! a sync is never tried again.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use disk::{Clock, File, failpoint};

use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, Header, KIND_CLOSED, KIND_SEGMENT_END};
use crate::handle::{Committed, Sink};
use crate::prepare::Preparer;
use crate::queue::{Item, Queue};
use crate::segment::{SEGMENT_HEADER_BYTES, WAL_DIR, encode_header};
use crate::shared::{Segment, Shared};
use crate::{Lsn, Result, SyncMode, WalError};

/// Payloads up to this size are copied next to their headers, so that a thousand small frames
/// are one slice of one system call; copying a larger one would cost more than its slice.
const COPY_BYTES_MAX: usize = 4096;

/// How long the committer waits for space before it looks again (`SyncMode::Interval`).
const FULL_RETRY: Duration = Duration::from_millis(100);

/// Where recovery left the log.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) current: Option<Current>,
    pub(crate) position: Lsn,
    pub(crate) next_first: Lsn,
    pub(crate) leftovers: Vec<String>,
}

/// The segment that grows.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) file: Box<dyn File>,
    pub(crate) first: Lsn,
    /// Where the file ends.
    pub(crate) limit: Lsn,
    /// Its header, until it has been written with the first group.
    pub(crate) header: Option<[u8; SEGMENT_HEADER_BYTES as usize]>,
}

/// Starts the committer thread where recovery left the log.
pub(crate) fn spawn<T: Send + 'static>(
    start: Start,
    queue: Arc<Queue<T>>,
    sink: Box<dyn Sink<T>>,
) -> Result<JoinHandle<()>> {
    let mut committer = Committer {
        preparer: Preparer::start(start.shared.clone())?,
        shared: start.shared,
        queue,
        clock: start.clock,
        sink,
        current: start.current,
        position: start.position,
        next_first: start.next_first,
        leftovers: start.leftovers,
        pending: VecDeque::new(),
        last_sync: None,
        scratch: Vec::new(),
        full: false,
    };
    if committer.room() < committer.shared.options.segment_bytes / 2 {
        committer.preparer.order(committer.next_first);
    }
    let thread = std::thread::Builder::new().name("wal-commit".to_owned());
    Ok(thread.spawn(move || committer.run())?)
}

struct Committer<T> {
    shared: Arc<Shared>,
    queue: Arc<Queue<T>>,
    clock: Arc<dyn Clock>,
    sink: Box<dyn Sink<T>>,
    preparer: Preparer,
    current: Option<Current>,
    /// The LSN of the next frame in the current segment; the end of the log.
    position: Lsn,
    /// Where the next segment will begin.
    next_first: Lsn,
    /// Files of a cut end. They go when the log is durable beyond them, and not before: until
    /// then they are evidence of how far the log once reached.
    leftovers: Vec<String>,
    pending: VecDeque<Item<T>>,
    last_sync: Option<Instant>,
    scratch: Vec<u8>,
    /// New commits are refused until there is space for a segment.
    full: bool,
}

/// Poisons the log if the committer unwinds (a panic in the sink): writers must not wait for
/// ever.
struct PoisonOnPanic<T> {
    shared: Arc<Shared>,
    queue: Arc<Queue<T>>,
}

impl<T> Drop for PoisonOnPanic<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.poisoned.store(true, Ordering::Release);
            drop(self.queue.poison());
        }
    }
}

impl<T> Committer<T> {
    fn run(&mut self) {
        let _guard = PoisonOnPanic {
            shared: self.shared.clone(),
            queue: self.queue.clone(),
        };
        let sync = self.shared.options.sync;
        while self.queue.take(&mut self.pending, sync, self.last_sync) {
            while !self.pending.is_empty() {
                match self.commit_group() {
                    Ok(()) => self.space_again(),
                    Err(WalError::DiskFull) => self.disk_full(),
                    Err(error) => return self.poison(&error),
                }
            }
        }
        if self.shared.closing.load(Ordering::Acquire) {
            // Without the mark the next open is slower, nothing else: it holds or it does not.
            let _ = self.mark_end();
        }
    }

    /// Bytes left in the current segment.
    fn room(&self) -> u64 {
        let limit = self.current.as_ref().map_or(self.position, |c| c.limit);
        limit.0.saturating_sub(self.position.0)
    }

    /// Says at the end of the log that nothing behind it reads as a frame.
    fn mark_end(&mut self) -> Result<()> {
        let known = self.leftovers.is_empty();
        let Some(current) = self
            .current
            .as_ref()
            .filter(|c| known && c.header.is_none())
        else {
            return Ok(());
        };
        // Names that were taken from files behind the end must not come back.
        self.shared.disk.sync_dir(WAL_DIR)?;
        let bytes = self.own_frame(KIND_CLOSED).encode(&self.shared.store_id);
        let offset = self.position.0 - current.first.0;
        current.file.write_at(offset, &bytes)?;
        Ok(current.file.sync_data()?)
    }

    /// A frame of the log itself, at its end.
    fn own_frame(&self, kind: u8) -> Header {
        Header {
            lsn: self.position,
            synced: self.shared.durable_lsn(),
            wall_ns: self.clock.now_ns(),
            payload_len: 0,
            payload_crc: crc32fast::hash(&[]),
            kind,
            hops: 0,
            origin: 0,
        }
    }

    /// Writes, syncs and hands over one group from the front of `pending`.
    fn commit_group(&mut self) -> Result<()> {
        let first_bytes = self.pending.front().map_or(0, Item::bytes);
        if !self.fits(self.position, first_bytes) {
            self.rotate()?;
        }
        let group = self.take_group();
        match self.write_group(&group) {
            Ok(committed_headers) => {
                self.hand_over(group, committed_headers);
                Ok(())
            }
            Err(error) => {
                // Back to the front: `poison` tells the sink about all of them at once.
                for item in group.into_iter().rev() {
                    self.pending.push_front(item);
                }
                Err(error)
            }
        }
    }

    /// Whether a frame at `position` leaves room for the segment end.
    fn fits(&self, position: Lsn, bytes: u64) -> bool {
        let end = position.advanced(bytes + FRAME_HEADER_BYTES);
        self.current
            .as_ref()
            .is_some_and(|current| end <= current.limit)
    }

    fn take_group(&mut self) -> Vec<Item<T>> {
        let mut end = self.position;
        let mut group = Vec::with_capacity(self.pending.len());
        while let Some(item) = self.pending.front() {
            let bytes = item.bytes();
            let within = end.0 - self.position.0 + bytes <= self.shared.options.group_bytes_max;
            if !self.fits(end, bytes) || !(within || group.is_empty()) {
                break;
            }
            end = end.advanced(bytes);
            group.extend(self.pending.pop_front());
        }
        group
    }

    /// Numbers the frames, writes them with one call and syncs once.
    fn write_group(&mut self, group: &[Item<T>]) -> Result<Vec<Header>> {
        let headers = self.number(group);
        let current = self
            .current
            .as_mut()
            .expect("commit_group rotates when there is none");
        let end = headers.last().map_or(self.position, Header::end);
        assert!(
            end.advanced(FRAME_HEADER_BYTES) <= current.limit,
            "a frame crosses its segment"
        );

        let mut start = self.position.0 - current.first.0;
        self.scratch.clear();
        if let Some(header) = current.header.take() {
            self.scratch.extend_from_slice(&header);
            start -= SEGMENT_HEADER_BYTES;
        }
        let pieces = encode(&mut self.scratch, &self.shared.store_id, &headers, group);
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| p.slice(&self.scratch)).collect();
        self.shared.appended.store(end.0, Ordering::Release);
        current.file.write_vectored_at(start, &mut slices)?;
        failpoint::pass("wal.after_write");
        self.sync_to(end)?;
        failpoint::pass("wal.after_sync");
        Ok(headers)
    }

    fn number(&self, group: &[Item<T>]) -> Vec<Header> {
        let synced = self.shared.durable_lsn();
        let wall_ns = self.clock.now_ns();
        let mut lsn = self.position;
        let numbered = group.iter().map(|Item { payload, .. }| {
            let header = Header {
                lsn,
                synced,
                wall_ns,
                payload_len: payload.bytes.len() as u32,
                payload_crc: payload.crc,
                kind: payload.kind,
                hops: payload.hops,
                origin: payload.origin,
            };
            lsn = header.end();
            header
        });
        numbered.collect()
    }

    /// The one place where the durable LSN moves.
    fn sync_to(&mut self, end: Lsn) -> Result<()> {
        let current = self.current.as_ref().expect("there is a segment to sync");
        let begun = Instant::now();
        current.file.sync_data()?;
        let now = Instant::now();
        self.position = end;
        self.last_sync = Some(now);
        self.shared.durable.store(end.0, Ordering::Release);
        self.sink.synced(now - begun);
        Ok(())
    }

    fn hand_over(&mut self, group: Vec<Item<T>>, headers: Vec<Header>) {
        let count = group.len() as u64;
        let committed = group
            .into_iter()
            .zip(headers)
            .map(|(item, header)| Committed {
                lsn: header.lsn,
                end: header.end(),
                wall_ns: header.wall_ns,
                kind: header.kind,
                hops: header.hops,
                origin: header.origin,
                payload: item.payload.bytes,
                token: item.token,
            });
        self.sink.durable(committed.collect());
        self.queue.finish(count);
        self.remove_leftovers();
        // Not before: a process that only reads needs no other segment.
        self.preparer.order(self.next_first);
    }

    /// Ends the current segment and goes on in the next. `DiskFull` leaves everything as it was.
    fn rotate(&mut self) -> Result<()> {
        let file = self.preparer.take(self.next_first)?;
        if self.current.is_some() {
            self.end_segment()?;
        }
        let first = self.next_first;
        let bytes = self.shared.options.segment_bytes;
        self.current = Some(Current {
            file,
            first,
            limit: first.advanced(bytes),
            header: Some(encode_header(&self.shared.store_id, first, self.position)),
        });
        {
            let mut chain = self.shared.chain.lock();
            if let Some(last) = chain.segments.last_mut() {
                last.end = last.end.or(Some(self.position));
            }
            chain.segments.push(Segment {
                first,
                end: None,
                bytes,
            });
        }
        self.position = first.advanced(SEGMENT_HEADER_BYTES);
        self.next_first = first.advanced(bytes);
        self.preparer.order(self.next_first);
        failpoint::pass("wal.rotated");
        Ok(())
    }

    fn end_segment(&mut self) -> Result<()> {
        let header = self.own_frame(KIND_SEGMENT_END);
        let current = self.current.as_ref().expect("the caller looked");
        let bytes = header.encode(&self.shared.store_id);
        self.shared
            .appended
            .store(header.end().0, Ordering::Release);
        current
            .file
            .write_at(self.position.0 - current.first.0, &bytes)?;
        self.sync_to(header.end())
    }

    /// Not on the commit's way: what cannot be removed now is found again at the next open.
    fn remove_leftovers(&mut self) {
        for path in self.leftovers.drain(..) {
            let _ = self.shared.disk.unlink(&path);
        }
    }

    /// Nothing was promised yet with `SyncMode::Commit`, so the writers are told and may retry.
    /// With an interval they were told that it is queued: it stays queued.
    fn disk_full(&mut self) {
        let keep = self.shared.options.sync != SyncMode::Commit;
        if keep {
            self.full = true;
            if self.queue.set_full(true, FULL_RETRY) {
                return;
            }
        }
        let items = std::mem::take(&mut self.pending);
        let count = items.len() as u64;
        let tokens = items.into_iter().map(|item| item.token).collect();
        self.sink.failed(tokens, &WalError::DiskFull);
        self.queue.finish(count);
    }

    fn space_again(&mut self) {
        if self.full {
            self.full = false;
            self.queue.set_full(false, Duration::ZERO);
        }
    }

    fn poison(&mut self, error: &WalError) {
        self.shared.poisoned.store(true, Ordering::Release);
        let queued = self.queue.poison();
        let items = std::mem::take(&mut self.pending).into_iter().chain(queued);
        let tokens = items.map(|item| item.token).collect();
        self.sink.failed(tokens, error);
    }
}

/// A stretch of bytes to write: small ones lie in the scratch buffer, large payloads where they
/// are.
enum Piece<'a> {
    Scratch(usize, usize),
    Payload(&'a [u8]),
}

impl Piece<'_> {
    fn slice<'s>(&'s self, scratch: &'s [u8]) -> IoSlice<'s> {
        match self {
            Self::Scratch(from, to) => IoSlice::new(&scratch[*from..*to]),
            Self::Payload(bytes) => IoSlice::new(bytes),
        }
    }
}

fn encode<'a, T>(
    scratch: &mut Vec<u8>,
    store_id: &[u8; 16],
    headers: &[Header],
    group: &'a [Item<T>],
) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut written = 0;
    for (header, item) in headers.iter().zip(group) {
        let payload = &item.payload.bytes;
        scratch.extend_from_slice(&header.encode(store_id));
        if payload.len() <= COPY_BYTES_MAX {
            scratch.extend_from_slice(payload);
        } else {
            pieces.push(Piece::Scratch(written, scratch.len()));
            pieces.push(Piece::Payload(payload));
            written = scratch.len();
        }
        let padding = payload.len().next_multiple_of(FRAME_ALIGN as usize) - payload.len();
        scratch.extend_from_slice(&[0; FRAME_ALIGN as usize][..padding]);
    }
    pieces.push(Piece::Scratch(written, scratch.len()));
    pieces
}
