//! Walks over the bytes of the log: the next frame, or how far the bytes are no frames.

use bytes::Bytes;
use disk::{Disk, ReadFile};

use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, Header, KIND_SEGMENT_END};
use crate::segment::{Begun, SEGMENT_HEADER_BYTES, WAL_DIR, decode_header, parse_name, path_of};
use crate::{Lsn, Result};

/// Bytes read at once: enough for the disk's full speed, little enough for the allocator to hand
/// out the same warm memory again and again (64 MiB at once reads at a third of the speed).
/// Tiny in tests, so that frames cross the windows of small logs.
const WINDOW_BYTES: u64 = if cfg!(test) { 256 } else { 1 << 20 };

/// One file of the log as recovery finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFile {
    pub(crate) first: Lsn,
    /// Length of the file, cut to a multiple of 8.
    pub(crate) bytes: u64,
    /// From its header; `None` if that is not in use.
    pub(crate) previous_end: Option<Lsn>,
    /// Its first bytes are the header of another place.
    pub(crate) untouched: bool,
    /// Frames of the log end here: the file's end, or what a later header says.
    pub(crate) limit: Lsn,
}

impl LogFile {
    /// Whether a later header says that nothing of this file belongs to the log.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.limit <= self.first
    }

    pub(crate) fn file_end(&self) -> Lsn {
        self.first.advanced(self.bytes)
    }

    pub(crate) fn frames_start(&self) -> Lsn {
        self.first.advanced(SEGMENT_HEADER_BYTES)
    }
}

/// All segment files in LSN order, with their headers read.
pub(crate) fn list(disk: &dyn Disk, store_id: &[u8; 16]) -> Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for first in disk
        .list(WAL_DIR)?
        .iter()
        .filter_map(|name| parse_name(name))
    {
        let path = path_of(first);
        let bytes = disk.len(&path)? / FRAME_ALIGN * FRAME_ALIGN;
        let header = disk.read_at(&path, 0, SEGMENT_HEADER_BYTES as usize)?;
        let begun = decode_header(store_id, first, &header)?;
        files.push(LogFile {
            first,
            bytes,
            previous_end: match begun {
                Begun::Yes(previous_end) => Some(previous_end),
                Begun::No | Begun::Unknown => None,
            },
            untouched: begun == Begun::No,
            limit: first.advanced(bytes),
        });
    }
    files.sort_unstable_by_key(|file| file.first);
    let mut limit = Lsn(u64::MAX);
    for file in files.iter_mut().rev() {
        file.limit = file.limit.min(limit);
        if !file.is_cut_off() {
            limit = file.first.min(file.previous_end.unwrap_or(file.first));
        }
    }
    Ok(files)
}

/// What lies at a position.
#[derive(Debug)]
pub(crate) enum Found {
    /// A frame whose checksums hold.
    Frame(Header, Bytes),
    /// Bytes that are no frame, up to here: the next frame header, or the end.
    Bad(Lsn),
    /// The end of the segment's frames.
    End,
}

/// One file, seen through a window that moves along.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) file: LogFile,
    store_id: [u8; 16],
    handle: Box<dyn ReadFile>,
    window: Bytes,
    window_start: Lsn,
    /// Bytes of the frame before: neighbours are often alike, so windows end where frames do, and
    /// none is read twice.
    last_frame: u64,
}

impl Scan {
    pub(crate) fn open(disk: &dyn Disk, store_id: &[u8; 16], file: LogFile) -> Result<Self> {
        let handle = disk.open_read(&path_of(file.first))?;
        let (window, window_start) = (Bytes::new(), file.first);
        Ok(Self {
            file,
            store_id: *store_id,
            handle,
            window,
            window_start,
            last_frame: 0,
        })
    }

    /// The bytes of a range of the log, as far as they lie in this file.
    pub(crate) fn range(&self, from: Lsn, to: Lsn) -> Result<Bytes> {
        let from = from.max(self.file.first);
        let to = to.min(self.file.file_end()).max(from);
        Ok(self
            .handle
            .read_at(from.0 - self.file.first.0, (to.0 - from.0) as usize)?)
    }

    /// Bytes from `position` on, at least `len` of them unless the file ends.
    fn window_at(&mut self, position: Lsn, len: u64) -> Result<&[u8]> {
        let window_end = self.window_start.advanced(self.window.len() as u64);
        if position < self.window_start || position.advanced(len) > window_end {
            let frames = WINDOW_BYTES.checked_div(self.last_frame);
            let window = frames.map_or(WINDOW_BYTES, |count| self.last_frame * count.max(1));
            self.window = self.range(position, position.advanced(len.max(window)))?;
            self.window_start = position;
        }
        Ok(&self.window[(position.0 - self.window_start.0) as usize..])
    }

    /// Looks at `position`, which is at or behind the first frame's place.
    pub(crate) fn at(&mut self, position: Lsn) -> Result<Found> {
        if position >= self.file.limit {
            return Ok(Found::End);
        }
        let Some(header) = self.header_at(position)? else {
            self.last_frame = 0;
            return Ok(Found::Bad(self.next_header(position)?));
        };
        self.window_at(position, header.end().0 - position.0)?;
        let start = (position.0 - self.window_start.0 + FRAME_HEADER_BYTES) as usize;
        let end = start + header.payload_len as usize;
        let whole = end <= self.window.len();
        if whole && crc32fast::hash(&self.window[start..end]) == header.payload_crc {
            self.last_frame = header.end().0 - position.0;
            return Ok(Found::Frame(header, self.window.slice(start..end)));
        }
        // The header holds, so its length does: do not look for frames inside the payload.
        Ok(Found::Bad(header.end()))
    }

    /// Whether the frame that ends at `position` is a segment end.
    pub(crate) fn ended_at(&mut self, position: Lsn) -> Result<bool> {
        let start = Lsn(position.0.saturating_sub(FRAME_HEADER_BYTES));
        if start < self.file.frames_start() {
            return Ok(false);
        }
        let header = self.header_at(start)?;
        Ok(header.is_some_and(|header| header.kind == KIND_SEGMENT_END))
    }

    /// A header that holds, of a frame that ends within the file's limit.
    pub(crate) fn header_at(&mut self, position: Lsn) -> Result<Option<Header>> {
        let (limit, store_id) = (self.file.limit, self.store_id);
        let bytes = self.window_at(position, FRAME_HEADER_BYTES)?;
        let header = Header::decode(&store_id, position, bytes);
        Ok(header.filter(|header| header.end() <= limit))
    }

    /// The next position behind `after` from which a header can be read, or the limit.
    pub(crate) fn next_header(&mut self, after: Lsn) -> Result<Lsn> {
        let mut position = after.advanced(FRAME_ALIGN);
        while position < self.file.limit {
            let words = self.window_at(position, FRAME_ALIGN)?;
            if words.len() < FRAME_ALIGN as usize {
                break;
            }
            match first_own_lsn(words, position) {
                Ok(candidate) if self.header_at(candidate)?.is_some() => return Ok(candidate),
                Ok(candidate) => position = candidate.advanced(FRAME_ALIGN),
                Err(end) => position = end,
            }
        }
        Ok(self.file.limit)
    }
}

/// The first word that equals its own position, or where the words end. Nearly everything this
/// sees is zeros or stale. No frame begins at 0, so whole blocks of zeros are passed over.
fn first_own_lsn(words: &[u8], start: Lsn) -> Result<Lsn, Lsn> {
    let mut position = start;
    for block in words.chunks(SKIP_BYTES) {
        if !is_zero(block) {
            let words = block.chunks_exact(FRAME_ALIGN as usize);
            for (at, word) in (position.0..).step_by(FRAME_ALIGN as usize).zip(words) {
                if word == at.to_le_bytes() {
                    return Ok(Lsn(at));
                }
            }
        }
        position = position.advanced(block.len() as u64 / FRAME_ALIGN * FRAME_ALIGN);
    }
    Err(position)
}

/// A multiple of the alignment.
const SKIP_BYTES: usize = 4096;

/// Without a branch for each word, so that it runs as fast as the memory.
fn is_zero(block: &[u8]) -> bool {
    let words = block.chunks_exact(FRAME_ALIGN as usize);
    let any = words.fold(0, |any, word| {
        any | u64::from_le_bytes(word.try_into().expect("eight bytes"))
    });
    any == 0
}
