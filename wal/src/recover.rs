//! Opening a log: replay, then the decision where to go on. docs/wal.md has the argument that a
//! second recovery, after a crash at any point, finds the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use disk::{Clock, Disk};
use parking_lot::Mutex;

use crate::commit::{Current, Start};
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES};
use crate::replay::Replay;
use crate::scan::{self, LogFile};
use crate::segment::{WAL_DIR, path_of, remove_temporary};
use crate::shared::{Chain, Segment, Shared};
use crate::{FrameView, Lsn, Options, Result, Sink, Wal, WalError};

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
    /// The copy of the damaged bytes; `None` if there are none (a missing file), or if nobody was
    /// to copy them ([`crate::inspect`]).
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
    let mut replay = Replay::new(&*disk, store_id, files, from);
    replay.run(visit)?;
    replay.make_durable()?;
    let plan = replay.plan(options.segment_bytes)?;
    let chain = replay.chain(&plan, &options);
    let shared = Arc::new(Shared {
        disk: disk.clone(),
        store_id,
        options,
        durable: AtomicU64::new(plan.position.0),
        appended: AtomicU64::new(plan.position.0),
        poisoned: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        chain: Mutex::new(chain),
    });
    let start = start(&*disk, shared, clock, plan)?;
    Ok((Log { start }, replay.found))
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

impl Replay<'_> {
    /// Decides where to go on, and makes ready for it. Bytes behind the end that read as frames must never become part
    /// of the log: then a new segment begins beyond every file, and its header says where the
    /// log ended.
    fn plan(&mut self, segment_bytes: u64) -> Result<Plan> {
        let end = self.found.end;
        let last_header_end = self.last_header_end.unwrap_or(Lsn::ZERO);
        // With damage in front of it, the mark of a good close is what says that it is damage.
        let evidence = self.closed && !self.found.quarantined.is_empty();
        let stale = last_header_end > end || evidence;
        self.found.cut_bytes = self
            .found
            .cut_bytes
            .max(last_header_end.0.saturating_sub(end.0));

        let current = self.end_file.filter(|file| {
            let room = end.advanced(FRAME_HEADER_BYTES) <= file.file_end();
            !stale && room && file.limit == file.file_end() && file.previous_end.is_some()
        });
        let next_first = if stale || !self.unread.is_empty() {
            self.beyond()
        } else {
            self.next_in_order()
        };
        let unused = |file: &&LogFile| file.is_cut_off() || file.first >= end;
        let unused = self.files.iter().filter(unused).map(|file| file.first);
        let mut leftovers: Vec<String> = unused.filter(|f| *f != next_first).map(path_of).collect();
        if !stale {
            self.wipe_mark()?;
            if let Some(file) = self.unread.first().filter(|f| f.bytes == segment_bytes) {
                // Under another name nothing in it can pass for a frame.
                let path = path_of(file.first);
                self.disk.rename(&path, &path_of(next_first))?;
                leftovers.retain(|leftover| *leftover != path);
            }
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
