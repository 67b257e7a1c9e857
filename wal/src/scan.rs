//! Walks over the bytes of the log: the next frame, or how far the bytes are no frames.

use std::ops::Range;

use bytes::Bytes;
use disk::Disk;

use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, Header, KIND_SEGMENT_END};
use crate::segment::{SEGMENT_HEADER_BYTES, WAL_DIR, decode_header, parse_name, path_of};
use crate::{Lsn, Result};

/// One file of the log as recovery finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFile {
    pub(crate) first: Lsn,
    /// Length of the file, cut to a multiple of 8.
    pub(crate) bytes: u64,
    /// From its header; `None` if that is not in use.
    pub(crate) previous_end: Option<Lsn>,
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
        let previous_end = decode_header(store_id, first, &header)?;
        files.push(LogFile {
            first,
            bytes,
            previous_end,
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

/// One file's bytes, read whole.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) file: LogFile,
    store_id: [u8; 16],
    bytes: Bytes,
}

impl Buffer {
    pub(crate) fn read(disk: &dyn Disk, store_id: &[u8; 16], file: LogFile) -> Result<Self> {
        let bytes = disk.read_all(&path_of(file.first))?;
        Ok(Self {
            file,
            store_id: *store_id,
            bytes,
        })
    }

    /// The bytes of a range of the log, as far as they lie in this file.
    pub(crate) fn range(&self, from: Lsn, to: Lsn) -> Bytes {
        self.bytes.slice(self.offsets(from, to))
    }

    fn offsets(&self, from: Lsn, to: Lsn) -> Range<usize> {
        let len = self.bytes.len() as u64;
        let offset = |lsn: Lsn| lsn.0.saturating_sub(self.file.first.0).min(len) as usize;
        offset(from)..offset(to).max(offset(from))
    }

    /// Looks at `position`, which is at or behind the first frame's place.
    pub(crate) fn at(&self, position: Lsn) -> Found {
        if position >= self.file.limit {
            return Found::End;
        }
        let Some(header) = self.header_at(position) else {
            return Found::Bad(self.next_header(position));
        };
        let payload_start = position.advanced(FRAME_HEADER_BYTES);
        let payload_end = payload_start.advanced(u64::from(header.payload_len));
        let payload = self.range(payload_start, payload_end);
        if crc32fast::hash(&payload) == header.payload_crc {
            Found::Frame(header, payload)
        } else {
            // The header holds, so its length does: do not look for frames inside the payload.
            Found::Bad(header.end())
        }
    }

    /// Whether the frame that ends at `position` is a segment end.
    pub(crate) fn ended_at(&self, position: Lsn) -> bool {
        let start = Lsn(position.0.saturating_sub(FRAME_HEADER_BYTES));
        start >= self.file.frames_start()
            && self
                .header_at(start)
                .is_some_and(|header| header.kind == KIND_SEGMENT_END)
    }

    /// A header that holds, of a frame that ends within the file's limit.
    pub(crate) fn header_at(&self, position: Lsn) -> Option<Header> {
        let bytes = &self.bytes[self.offsets(position, position.advanced(FRAME_HEADER_BYTES))];
        let header = Header::decode(&self.store_id, position, bytes)?;
        (header.end() <= self.file.limit).then_some(header)
    }

    /// The next position from which a header can be read, or the limit.
    pub(crate) fn next_header(&self, after: Lsn) -> Lsn {
        let first = after.advanced(FRAME_ALIGN);
        let words = &self.bytes[self.offsets(first, self.file.limit)];
        // Nearly all of these are zeros or stale: one comparison each.
        for (index, word) in words.chunks_exact(FRAME_ALIGN as usize).enumerate() {
            let position = first.advanced(index as u64 * FRAME_ALIGN);
            if word == position.0.to_le_bytes() && self.header_at(position).is_some() {
                return position;
            }
        }
        self.file.limit
    }
}
