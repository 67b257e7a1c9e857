//! One frame: a 40-byte header and a payload padded to 8 bytes (docs/wal.md).
//!
//! I4: a frame's LSN equals its position, so a byte pattern that was a frame elsewhere, or in an
//! earlier life of a recycled file, can never pass for one here.

use bytes::Bytes;

use crate::Lsn;

/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: u64 = 40;

/// Every frame begins and ends on a multiple of this.
pub(crate) const FRAME_ALIGN: u64 = 8;

/// The frame kind that ends a WAL segment. It and `KIND_CLOSED` belong to the log.
pub const KIND_SEGMENT_END: u8 = 8;

/// The mark at the end of a log that was closed in good order: nothing behind it reads as a frame.
/// It is no part of the log; the next open wipes it.
pub(crate) const KIND_CLOSED: u8 = 9;

const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGN));

/// What a caller hands to the log. The checksum is computed here, on the caller's thread.
#[derive(Clone, Debug)]
pub struct Payload {
    pub(crate) kind: u8,
    pub(crate) hops: u8,
    pub(crate) origin: u16,
    pub(crate) bytes: Bytes,
    pub(crate) crc: u32,
}

impl Payload {
    /// Prepares a payload of one of the caller's kinds.
    ///
    /// # Panics
    /// If `kind` is 8 or 9, which are the log's own.
    pub fn new(kind: u8, hops: u8, origin: u16, bytes: Bytes) -> Self {
        let own = matches!(kind, KIND_SEGMENT_END | KIND_CLOSED);
        assert!(!own, "kind {kind} belongs to the log");
        let crc = crc32fast::hash(&bytes);
        Self {
            kind,
            hops,
            origin,
            bytes,
            crc,
        }
    }

    /// Length of the payload in bytes.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// One frame as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameView {
    /// Where the frame begins.
    pub lsn: Lsn,
    /// Where it ends: the mark that covers it.
    pub end: Lsn,
    /// The durable LSN when the frame was written.
    pub synced: Lsn,
    /// Wall-clock time of writing, for display only.
    pub wall_ns: i64,
    /// The caller's kind.
    pub kind: u8,
    /// How many triggers led to this commit.
    pub hops: u8,
    /// Who wrote it.
    pub origin: u16,
    /// The payload; shares the buffer it was read into.
    pub payload: Bytes,
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) lsn: Lsn,
    pub(crate) synced: Lsn,
    pub(crate) wall_ns: i64,
    pub(crate) payload_len: u32,
    pub(crate) payload_crc: u32,
    pub(crate) kind: u8,
    pub(crate) hops: u8,
    pub(crate) origin: u16,
}

/// Bytes a frame takes with its header and padding.
pub(crate) fn frame_bytes(payload_len: u64) -> u64 {
    FRAME_HEADER_BYTES + payload_len.next_multiple_of(FRAME_ALIGN)
}

/// Checksum of a header's first 36 bytes, begun with the store id: a frame of another store, or
/// one embedded in a payload by somebody who does not know the id, is not a frame of this log.
pub(crate) fn header_crc(store_id: &[u8; 16], header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(store_id);
    hasher.update(header);
    hasher.finalize()
}

impl Header {
    /// Where the frame ends.
    pub(crate) fn end(&self) -> Lsn {
        self.lsn.advanced(frame_bytes(u64::from(self.payload_len)))
    }

    pub(crate) fn encode(&self, store_id: &[u8; 16]) -> [u8; FRAME_HEADER_BYTES as usize] {
        let mut bytes = [0; FRAME_HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(&self.lsn.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.synced.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.wall_ns.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[32] = self.kind;
        bytes[33] = self.hops;
        bytes[34..36].copy_from_slice(&self.origin.to_le_bytes());
        let crc = header_crc(store_id, &bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at `position`; `None` if these bytes are not a header of this log at
    /// this position. The LSN is compared first: stale and empty bytes cost one comparison.
    pub(crate) fn decode(store_id: &[u8; 16], position: Lsn, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES as usize)?;
        let header = Self {
            lsn: Lsn(u64_at(bytes, 0)),
            synced: Lsn(u64_at(bytes, 8)),
            wall_ns: i64::from_le_bytes(array_at(bytes, 16)),
            payload_len: u32_at(bytes, 24),
            payload_crc: u32_at(bytes, 28),
            kind: bytes[32],
            hops: bytes[33],
            origin: u16::from_le_bytes(array_at(bytes, 34)),
        };
        if header.lsn != position || header.synced > position {
            return None;
        }
        (header_crc(store_id, &bytes[..36]) == u32_at(bytes, 36)).then_some(header)
    }

    pub(crate) fn view(&self, payload: Bytes) -> FrameView {
        FrameView {
            lsn: self.lsn,
            end: self.end(),
            synced: self.synced,
            wall_ns: self.wall_ns,
            kind: self.kind,
            hops: self.hops,
            origin: self.origin,
            payload,
        }
    }
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N]
        .try_into()
        .expect("the slice has N bytes by construction")
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}
