//! Opening a log: finds its end, tells a torn end from damage in the middle.
//!
//! `S` is the highest `synced` of any frame header that holds (and of the caller's mark and the
//! segment headers' `previous end`): everything below it was promised. The first bad bytes at or
//! after `S` are the end of the log; bad bytes before `S` are damage. docs/wal.md has the proof
//! that a second recovery, after a crash at any point, finds the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use disk::{Clock, Disk};
use parking_lot::Mutex;

use crate::commit::{Current, Sink, Start, Wal};
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, KIND_SEGMENT_END};
use crate::scan::{self, Buffer, Found, LogFile};
use crate::segment::{WAL_DIR, path_of, remove_temporary};
use crate::shared::{Chain, Segment, Shared};
use crate::{FrameView, Lsn, Options, Result, WalError};

/// Where damaged bytes are set aside; nothing there is ever removed by mkts.
const QUARANTINE_DIR: &str = "quarantine";

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Where replay began.
    pub start: Lsn,
    /// The end of the log: everything below is durable now.
    pub end: Lsn,
    /// Frames visited.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Bytes after the end that still read as frames: a group that was never acknowledged.
    pub cut_bytes: u64,
    /// Promised bytes that are damaged or missing; replay went on behind each.
    pub quarantined: Vec<Damage>,
}

/// A stretch of promised bytes that recovery could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The WAL segment.
    pub file: String,
    /// Where the damage begins.
    pub from: Lsn,
    /// The next position that reads well.
    pub to: Lsn,
    /// The copy of the damaged bytes; `None` if there are none (a missing file).
    pub copy: Option<String>,
}

/// An opened log that does not run yet: replay is over, nothing was appended.
#[derive(Debug)]
pub struct Log {
    start: Start,
}

impl Log {
    /// Starts the committer. From now on `sink` hears of every commit.
    pub fn start<T: Send + 'static>(self, sink: Box<dyn Sink<T>>) -> Result<Wal<T>> {
        Wal::start(self.start, sink)
    }

    /// The end of the log.
    pub fn durable_lsn(&self) -> Lsn {
        self.start.shared.durable_lsn()
    }
}

/// Opens the log of a store below `wal/`, creating it if there is none, and calls `visit` with
/// every frame from `from` on, in LSN order. `from` is a mark below which the caller needs
/// nothing, and states that everything below it was durable.
///
/// Fails on I/O errors, on a log of another store or a newer version, and when `visit` fails;
/// never because of damaged frames.
pub fn open<E: From<WalError>>(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    store_id: [u8; 16],
    options: Options,
    from: Lsn,
    visit: &mut dyn FnMut(FrameView) -> Result<(), E>,
) -> Result<(Log, Recovered), E> {
    let from = Lsn(from.0.next_multiple_of(FRAME_ALIGN));
    let files = list_files(&*disk, &store_id)?;
    let mut recovery = Recovery::new(&*disk, store_id, files, from);
    recovery.replay(visit)?;
    recovery.make_durable()?;
    let plan = recovery.plan()?;
    let chain = recovery.chain(&plan, &options);
    let shared = Arc::new(Shared {
        disk: disk.clone(),
        store_id,
        options,
        durable: AtomicU64::new(plan.position.0),
        appended: AtomicU64::new(plan.position.0),
        poisoned: AtomicBool::new(false),
        chain: Mutex::new(chain),
    });
    let start = start(&*disk, shared, clock, plan)?;
    Ok((Log { start }, recovery.found))
}

fn list_files(disk: &dyn Disk, store_id: &[u8; 16]) -> Result<Vec<LogFile>> {
    disk.create_dir_all(WAL_DIR)?;
    remove_temporary(disk)?;
    scan::list(disk, store_id)
}

/// Where the committer goes on.
struct Plan {
    /// The segment to go on in, if it may be continued in place.
    current: Option<LogFile>,
    position: Lsn,
    next_first: Lsn,
    leftovers: Vec<String>,
}

fn start(disk: &dyn Disk, shared: Arc<Shared>, clock: Arc<dyn Clock>, plan: Plan) -> Result<Start> {
    let current = match plan.current {
        Some(file) => Some(Current {
            file: disk.open_write(&path_of(file.first))?,
            first: file.first,
            limit: file.file_end(),
            header: None,
        }),
        None => None,
    };
    let Plan {
        position,
        next_first,
        leftovers,
        ..
    } = plan;
    Ok(Start {
        shared,
        clock,
        current,
        position,
        next_first,
        leftovers,
    })
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    store_id: [u8; 16],
    files: Vec<LogFile>,
    from: Lsn,
    /// `S` as far as it is known.
    promised: Lsn,
    /// The end of the last header that holds, anywhere; known after the first bad bytes.
    last_header_end: Option<Lsn>,
    /// The file the log ends in, if its end is a place where a frame may be written.
    end_file: Option<usize>,
    found: Recovered,
}

impl<'a> Recovery<'a> {
    fn new(disk: &'a dyn Disk, store_id: [u8; 16], files: Vec<LogFile>, from: Lsn) -> Self {
        let previous_ends = files.iter().filter_map(|file| file.previous_end);
        let promised = previous_ends.max().unwrap_or(from).max(from);
        let found = Recovered {
            start: from,
            end: from,
            ..Recovered::default()
        };
        let (last_header_end, end_file) = (None, None);
        Self {
            disk,
            store_id,
            files,
            from,
            promised,
            last_header_end,
            end_file,
            found,
        }
    }

    fn replay<E: From<WalError>>(
        &mut self,
        visit: &mut dyn FnMut(FrameView) -> Result<(), E>,
    ) -> Result<(), E> {
        // Where the bytes of the log must go on; behind a segment end that is the next file.
        let mut expected = self.from;
        let start = self.files.iter().position(|file| self.from < file.limit);
        for index in start.unwrap_or(self.files.len())..self.files.len() {
            let file = self.files[index];
            if file.is_cut_off() {
                continue;
            }
            let mut position = self.from.max(file.frames_start());
            if self.from <= file.first && !self.enter(index, expected)? {
                return Ok(());
            }
            if self.from <= file.first {
                self.found.end = position;
            }
            let buffer = Buffer::read(self.disk, &self.store_id, file)?;
            expected = file.limit;
            if buffer.ended_at(position) {
                continue;
            }
            loop {
                match buffer.at(position) {
                    Found::End => break,
                    Found::Frame(header, payload) => {
                        position = header.end();
                        self.promised = self.promised.max(header.synced);
                        self.found.end = position;
                        if header.kind == KIND_SEGMENT_END {
                            break;
                        }
                        self.found.frames += 1;
                        self.found.bytes += header.end().0 - header.lsn.0;
                        visit(header.view(payload))?;
                    }
                    Found::Bad(to) => {
                        if !self.bad(index, &buffer, position, to)? {
                            self.end_file = Some(index);
                            return Ok(());
                        }
                        position = to;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the log goes on into this file, whose predecessor ended at `expected`.
    fn enter(&mut self, index: usize, expected: Lsn) -> Result<bool> {
        let file = self.files[index];
        let known = file.previous_end.is_some_and(|end| end <= expected);
        // The first file of a log begins wherever the older ones were released.
        if known {
            return Ok(true);
        }
        let to = if file.previous_end.is_some() {
            file.first
        } else {
            file.frames_start()
        };
        self.survey(index, file.frames_start())?;
        if expected >= self.promised {
            return Ok(false);
        }
        let copy = match file.previous_end {
            Some(_) => None,
            None => {
                let buffer = Buffer::read(self.disk, &self.store_id, file)?;
                self.quarantine(expected, to, &buffer.range(file.first, to))?
            }
        };
        self.found.quarantined.push(Damage {
            file: path_of(file.first),
            from: expected,
            to,
            copy,
        });
        Ok(true)
    }

    /// Judges bad bytes: true if they are damage (set aside, go on), false if the log ends here.
    fn bad(&mut self, index: usize, buffer: &Buffer, from: Lsn, to: Lsn) -> Result<bool> {
        self.survey(index, to)?;
        if from >= self.promised {
            self.found.end = from;
            if buffer.header_at(from).is_some() {
                self.found.cut_bytes = to.0 - from.0;
            }
            return Ok(false);
        }
        let copy = self.quarantine(from, to, &buffer.range(from, to))?;
        let file = path_of(buffer.file.first);
        self.found.quarantined.push(Damage {
            file,
            from,
            to,
            copy,
        });
        Ok(true)
    }

    /// Looks once at everything from here on, to know `S` and whether anything reads as a frame.
    fn survey(&mut self, index: usize, from: Lsn) -> Result<()> {
        if self.last_header_end.is_some() {
            return Ok(());
        }
        let mut last = Lsn::ZERO;
        for file in &self.files[index..] {
            if file.is_cut_off() {
                continue;
            }
            let buffer = Buffer::read(self.disk, &self.store_id, *file)?;
            let mut position = from.max(file.frames_start());
            while position < file.limit {
                match buffer.header_at(position) {
                    Some(header) => {
                        self.promised = self.promised.max(header.synced);
                        position = header.end();
                        last = position;
                    }
                    None => position = buffer.next_header(position),
                }
            }
        }
        self.last_header_end = Some(last);
        Ok(())
    }

    /// Copies damaged bytes; a second recovery finds the copy of the first.
    fn quarantine(&self, from: Lsn, to: Lsn, bytes: &[u8]) -> Result<Option<String>> {
        let path = format!("{QUARANTINE_DIR}/wal-{:016x}-{:016x}.bin", from.0, to.0);
        if !self.disk.exists(&path)? {
            self.disk.create_dir_all(QUARANTINE_DIR)?;
            let written = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
            disk::publish(self.disk, &path, |file| file.write_at(0, &bytes[..written]))?;
        }
        Ok(Some(path))
    }

    /// Writes what was never promised, but is going to be, once more, and syncs it. Without this
    /// the frames could be in the page cache only, and after a failed sync not even dirty there.
    fn make_durable(&mut self) -> Result<()> {
        for file in &self.files {
            let from = self.promised.max(file.first);
            let to = self.found.end.min(file.limit);
            if from >= to {
                continue;
            }
            let path = path_of(file.first);
            let offset = from.0 - file.first.0;
            let bytes = self.disk.read_at(&path, offset, (to.0 - from.0) as usize)?;
            let handle = self.disk.open_write(&path)?;
            handle.write_at(offset, &bytes)?;
            handle.sync_data()?;
        }
        Ok(())
    }

    /// Decides where to go on. Bytes behind the end that read as frames must never become part
    /// of the log: then a new segment begins beyond every file, and its header says where the
    /// log ended.
    fn plan(&mut self) -> Result<Plan> {
        let end = self.found.end;
        let last_header_end = self.last_header_end.unwrap_or(Lsn::ZERO);
        let stale = last_header_end > end;
        self.found.cut_bytes = self
            .found
            .cut_bytes
            .max(last_header_end.0.saturating_sub(end.0));

        let current = self.end_file.map(|index| self.files[index]).filter(|file| {
            let room = end.advanced(FRAME_HEADER_BYTES) <= file.file_end();
            !stale && room && file.limit == file.file_end() && file.previous_end.is_some()
        });
        let next_first = if stale {
            self.beyond()
        } else {
            self.next_in_order()
        };
        let unused = |file: &&LogFile| file.is_cut_off() || file.first >= end;
        let unused = self.files.iter().filter(unused).map(|file| file.first);
        let mut leftovers: Vec<String> = unused.filter(|f| *f != next_first).map(path_of).collect();
        if !stale {
            // A later segment may get the name of one of these: remove them before there is one.
            for path in leftovers.drain(..) {
                self.disk.unlink(&path)?;
            }
        }
        Ok(Plan {
            current,
            position: end,
            next_first,
            leftovers,
        })
    }

    /// Behind every file, so that no position is used twice.
    fn beyond(&self) -> Lsn {
        self.files
            .iter()
            .map(LogFile::file_end)
            .max()
            .unwrap_or(Lsn::ZERO)
            .max(self.found.end)
    }

    /// Right behind the last segment of the log, or where the log ends if that is further.
    fn next_in_order(&self) -> Lsn {
        let last = self.members().last().map_or(Lsn::ZERO, LogFile::file_end);
        last.max(self.found.end)
    }

    fn members(&self) -> impl DoubleEndedIterator<Item = &LogFile> {
        self.files
            .iter()
            .filter(|file| !file.is_cut_off() && file.first < self.found.end)
    }

    /// The segments readers may use: those of the replay, and older ones as far back as they
    /// follow each other. What is older still had been released.
    fn chain(&self, plan: &Plan, options: &Options) -> Chain {
        let mut chain = Chain {
            released_to: self.found.end,
            ..Chain::default()
        };
        let mut kept = true;
        for file in self.members().rev() {
            let followed = file.limit == chain.released_to || file.limit > self.found.start;
            let end = file.limit.min(self.found.end);
            let grows = plan
                .current
                .is_some_and(|current| current.first == file.first);
            let end = (!grows).then_some(end);
            let segment = Segment {
                first: file.first,
                end,
                bytes: file.bytes,
            };
            kept &= followed || chain.segments.is_empty();
            if kept {
                chain.segments.insert(0, segment);
                chain.released_to = file.previous_end.unwrap_or(file.first);
            } else if file.bytes == options.segment_bytes {
                chain.free.push_front(segment);
            }
        }
        chain.damaged = self
            .found
            .quarantined
            .iter()
            .map(|gap| (gap.from, gap.to))
            .collect();
        chain
    }
}
