//! Doors for tests that feed recovery bytes of their own; no part of the API.

use crate::Lsn;
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, header_crc, u32_at, u64_at};
use crate::segment::{SEGMENT_HEADER_BYTES, encode_header};

/// Puts right the checksums of the segment that begins at `first`: its header's, and those of
/// whatever lies at its own LSN and so may be a frame. Random bytes would die there.
pub fn reseal(bytes: &mut [u8], store_id: &[u8; 16], first: Lsn) {
    let header = SEGMENT_HEADER_BYTES as usize;
    if let Some(found) = bytes.get_mut(..header) {
        let previous_end = u64_at(found, 40).min(first.0);
        found.copy_from_slice(&encode_header(store_id, first, Lsn(previous_end)));
    }
    let frame = FRAME_HEADER_BYTES as usize;
    let mut at = header;
    while at + frame <= bytes.len() {
        if u64_at(bytes, at) == first.0 + at as u64 {
            let payload = at + frame..at + frame + u32_at(bytes, at + 24) as usize;
            if let Some(payload) = bytes.get(payload) {
                let crc = crc32fast::hash(payload);
                bytes[at + 28..at + 32].copy_from_slice(&crc.to_le_bytes());
            }
            let crc = header_crc(store_id, &bytes[at..at + 36]);
            bytes[at + 36..at + 40].copy_from_slice(&crc.to_le_bytes());
        }
        at += FRAME_ALIGN as usize;
    }
}
