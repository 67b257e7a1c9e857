//! A sequential reader that can follow the growing log.
//!
//! Reads whole pieces of a segment with read(2), never past the durable LSN, and checks every
//! frame. It holds nothing back: a segment released while it is read is noticed by the frames'
//! LSNs, not prevented.

use std::sync::Arc;

use bytes::Bytes;
use disk::ReadFile;

use crate::frame::{FRAME_HEADER_BYTES, Header, KIND_SEGMENT_END};
use crate::segment::path_of;
use crate::shared::{Segment, Shared};
use crate::{FrameView, Lsn, Result, WalError};

/// Bytes per read: large enough for the disk's full speed, small enough for many readers; tiny
/// in tests, so that frames cross the chunks of small logs.
const CHUNK_BYTES: u64 = if cfg!(test) { 256 } else { 256 << 10 };

/// Reads frames in LSN order up to the durable LSN. Made by `Wal::reader`.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    position: Lsn,
    open: Option<(Segment, Box<dyn ReadFile>)>,
    /// Bytes of the log from `chunk_start` on.
    chunk: Bytes,
    chunk_start: Lsn,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: Lsn) -> Self {
        Self {
            shared,
            position: from,
            open: None,
            chunk: Bytes::new(),
            chunk_start: from,
        }
    }

    /// Everything below this has been returned.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The next frame, or `None` when the reader has caught up with the durable LSN; call again
    /// when that has moved. After [`WalError::Released`] or [`WalError::Corrupt`] the position
    /// does not move.
    pub fn next_frame(&mut self) -> Result<Option<FrameView>> {
        loop {
            if self.position < self.shared.oldest() {
                return Err(self.released());
            }
            let durable = self.shared.durable_lsn();
            let Some((segment, position)) = self.shared.locate(self.position) else {
                return Ok(None);
            };
            if position >= durable {
                return Ok(None);
            }
            let limit = segment.end.unwrap_or(durable).min(durable);
            let frame = self.frame_at(segment, position, limit)?;
            self.position = frame.end;
            if frame.kind != KIND_SEGMENT_END {
                return Ok(Some(frame));
            }
            // Nothing behind a segment end is a frame, wherever the next header says it ended.
            self.position = segment.end.unwrap_or(frame.end);
        }
    }

    fn frame_at(&mut self, segment: Segment, position: Lsn, limit: Lsn) -> Result<FrameView> {
        let store_id = self.shared.store_id;
        let bytes = self.bytes_at(segment, position, limit, FRAME_HEADER_BYTES)?;
        let Some(header) = Header::decode(&store_id, position, &bytes) else {
            return Err(self.broken(segment, position, "no frame header"));
        };
        if header.end() > limit {
            return Err(self.broken(segment, position, "the frame is longer than the log"));
        }
        let frame = self.bytes_at(segment, position, limit, header.end().0 - position.0)?;
        let start = FRAME_HEADER_BYTES as usize;
        let payload = frame.slice(start..start + header.payload_len as usize);
        if crc32fast::hash(&payload) != header.payload_crc {
            return Err(self.broken(segment, position, "the payload fails its checksum"));
        }
        Ok(header.view(payload))
    }

    /// Exactly `len` bytes at `position`, from the chunk if it has them.
    fn bytes_at(&mut self, segment: Segment, position: Lsn, limit: Lsn, len: u64) -> Result<Bytes> {
        let inside = self.chunk_start <= position
            && position.0 + len <= self.chunk_start.0 + self.chunk.len() as u64;
        if !inside {
            let want = (limit.0 - position.0).min(len.max(CHUNK_BYTES));
            let offset = position.0 - segment.first.0;
            self.chunk = self.file(segment)?.read_at(offset, want as usize)?;
            self.chunk_start = position;
        }
        let start = (position.0 - self.chunk_start.0) as usize;
        if self.chunk.len() < start + len as usize {
            return Err(self.broken(segment, position, "the file ends inside a frame"));
        }
        Ok(self.chunk.slice(start..start + len as usize))
    }

    fn file(&mut self, segment: Segment) -> Result<&dyn ReadFile> {
        if self
            .open
            .as_ref()
            .is_none_or(|(open, _)| open.first != segment.first)
        {
            let file = match self.shared.disk.open_read(&path_of(segment.first)) {
                Ok(file) => file,
                Err(_) if self.shared.oldest() > segment.first => {
                    return Err(self.released());
                }
                Err(error) => return Err(error.into()),
            };
            self.open = Some((segment, file));
        }
        let (_, file) = self.open.as_ref().expect("opened above");
        Ok(&**file)
    }

    /// Bytes that are no frame: either released and overwritten while we read, or damaged.
    fn broken(&mut self, segment: Segment, position: Lsn, what: &str) -> WalError {
        self.chunk = Bytes::new();
        self.open = None;
        if self.shared.oldest() > position {
            return self.released();
        }
        let offset = position.0 - segment.first.0;
        WalError::Corrupt {
            file: path_of(segment.first),
            offset,
            what: what.to_owned(),
        }
    }

    fn released(&self) -> WalError {
        WalError::Released {
            from: self.position,
            oldest: self.shared.oldest(),
        }
    }
}
