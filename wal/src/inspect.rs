//! A look at a log that changes no byte of it: the frames recovery would replay, and what it
//! would say of the rest. For a log that nobody writes.

use disk::Disk;

use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, header_crc, u32_at};
use crate::replay::{Replay, copy_path};
use crate::scan::{self, LogFile, Scan};
use crate::segment::{SEGMENT_HEADER_BYTES, WAL_DIR, id_of_header, parse_name, path_of};
use crate::{Damage, FrameView, Lsn, Result, WalError};

/// What a file below `wal/` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// It holds frames of the log.
    InUse,
    /// It has no valid header: prepared ahead, recycled and not yet begun, torn at its first
    /// write, or its header is damaged (then [`Inspection::damage`] or [`Inspection::torn`] says
    /// so).
    NotInUse,
    /// A later header says that nothing of it belongs to the log.
    CutOff,
    /// Older than the log; the next release or open removes it.
    Released,
}

/// A file below `wal/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedFile {
    /// Path below the root.
    pub path: String,
    /// Position of its first byte.
    pub first: Lsn,
    /// Length.
    pub bytes: u64,
    /// What it is.
    pub state: FileState,
}

/// Bytes at the end of the log that look like a frame and are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: String,
    /// Where the log ends.
    pub from: Lsn,
    /// Where what reads like frames ends.
    pub to: Lsn,
}

/// What [`inspect`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// All files with names of the log, in LSN order.
    pub files: Vec<InspectedFile>,
    /// Names below `wal/` that are none of the log's.
    pub foreign: Vec<String>,
    /// Where the visit began: the oldest frame that is still there.
    pub start: Lsn,
    /// The end of the log.
    pub end: Lsn,
    /// The mark of a good close lies there: the next open need not look behind it.
    pub closed: bool,
    /// Frames visited.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// What was never acknowledged, as far as a log can tell: recovery cuts it off.
    pub torn: Option<Torn>,
    /// Promised bytes that are damaged or missing. Nothing is copied.
    pub damage: Vec<Damage>,
}

/// Visits every frame that is still in the log, also those below `checkpoint`, the mark below
/// which everything is known to have been durable.
///
/// Fails as [`crate::open`] does: on I/O errors, on a log of another store or a newer version,
/// and when `visit` fails; never because of damaged frames.
pub fn inspect<E: From<WalError>>(
    disk: &dyn Disk,
    store_id: [u8; 16],
    checkpoint: Lsn,
    visit: &mut dyn FnMut(FrameView) -> Result<(), E>,
) -> Result<Inspection, E> {
    let checkpoint = Lsn(checkpoint.0.next_multiple_of(FRAME_ALIGN));
    let mut found = Inspection {
        start: checkpoint,
        end: checkpoint,
        ..Inspection::default()
    };
    if !disk.exists(WAL_DIR).map_err(WalError::from)? {
        return Ok(found);
    }
    let names = disk.list(WAL_DIR).map_err(WalError::from)?;
    found.foreign = names
        .into_iter()
        .filter(|name| parse_name(name).is_none())
        .collect();
    let files = scan::list(disk, &store_id)?;
    let oldest = oldest(&files, checkpoint);
    found.files = files.iter().map(|file| describe(file, oldest)).collect();
    let mut replay = Replay::new(disk, store_id, files, oldest);
    replay.only_look(checkpoint);
    replay.run(visit)?;
    found.start = oldest;
    found.end = replay.found.end;
    found.closed = replay.closed;
    found.frames = replay.found.frames;
    found.bytes = replay.found.bytes;
    found.torn = torn(&replay)?;
    found.damage = replay.found.quarantined;
    Ok(found)
}

/// Copies the damage at or above `checkpoint` into the quarantine, as recovery does, and returns
/// where the copies are. Of a file that is missing the copy is empty.
pub fn set_aside(disk: &dyn Disk, store_id: [u8; 16], checkpoint: Lsn) -> Result<Vec<String>> {
    let checkpoint = Lsn(checkpoint.0.next_multiple_of(FRAME_ALIGN));
    let files = scan::list(disk, &store_id)?;
    let mut replay = Replay::new(disk, store_id, files, checkpoint);
    replay.run::<WalError>(&mut |_| Ok(()))?;
    let mut copies = Vec::new();
    for gap in &replay.found.quarantined {
        copies.extend(match &gap.copy {
            Some(copy) => Some(copy.clone()),
            None => replay.quarantine(gap.from, gap.to, &[])?,
        });
    }
    Ok(copies)
}

/// Where [`set_aside`] and recovery put the copy of a damaged stretch.
pub fn quarantine_path(damage: &Damage) -> String {
    copy_path(damage.from, damage.to)
}

/// The store that the log below `wal/` belongs to: from the first header that holds.
pub fn store_id(disk: &dyn Disk) -> Result<Option<[u8; 16]>> {
    if !disk.exists(WAL_DIR)? {
        return Ok(None);
    }
    for first in disk
        .list(WAL_DIR)?
        .iter()
        .filter_map(|name| parse_name(name))
    {
        let header = disk.read_at(&path_of(first), 0, SEGMENT_HEADER_BYTES as usize)?;
        if let Some(id) = id_of_header(&header) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The first position of the files that follow each other up to the one that holds `mark`.
fn oldest(files: &[LogFile], mark: Lsn) -> Lsn {
    let mut files = files.iter().filter(|file| !file.is_cut_off());
    let mut start = mark;
    // Where the file before ended, while everything since followed without a gap.
    let mut end = None;
    for file in files.by_ref() {
        let begins = file.previous_end.unwrap_or(file.first);
        if end != Some(begins) {
            start = file.first;
        }
        end = Some(file.limit);
        if mark < file.limit {
            break;
        }
    }
    start.min(mark)
}

fn describe(file: &LogFile, oldest: Lsn) -> InspectedFile {
    let state = match file {
        file if file.is_cut_off() => FileState::CutOff,
        file if file.limit <= oldest => FileState::Released,
        file if file.previous_end.is_none() => FileState::NotInUse,
        _ => FileState::InUse,
    };
    InspectedFile {
        path: path_of(file.first),
        first: file.first,
        bytes: file.bytes,
        state,
    }
}

/// Whether somebody began to write a frame where the log ends.
fn torn(replay: &Replay<'_>) -> Result<Option<Torn>> {
    let end = replay.found.end;
    let file = replay.files.iter().find(|file| {
        let begins = file.frames_start() <= end || file.first == end;
        !file.is_cut_off() && begins && end < file.limit
    });
    let Some(file) = file else {
        return Ok(None);
    };
    let cut = end.advanced(replay.found.cut_bytes);
    let mut to = replay.last_header_end.unwrap_or(end).max(cut);
    if to <= end && !replay.closed && looks_begun(replay, file, end)? {
        to = end.advanced(FRAME_HEADER_BYTES);
    }
    Ok((to > end).then(|| Torn {
        file: path_of(file.first),
        from: end,
        to,
    }))
}

/// A header whose LSN is right and whose checksum fails, or the other way round. In a recycled
/// file everything else behind the end is indistinguishable from what an earlier life left.
fn looks_begun(replay: &Replay<'_>, file: &LogFile, at: Lsn) -> Result<bool> {
    if at < file.frames_start() {
        return Ok(false);
    }
    let scan = Scan::open(replay.disk, &replay.store_id, *file)?;
    let bytes = scan.range(at, at.advanced(FRAME_HEADER_BYTES))?;
    if bytes.len() < FRAME_HEADER_BYTES as usize {
        return Ok(false);
    }
    let position = at.0.to_le_bytes();
    let crc = header_crc(&replay.store_id, &[&position, &bytes[8..36]].concat());
    Ok(bytes[..8] == position || u32_at(&bytes, 36) == crc)
}
