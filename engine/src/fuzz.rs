//! Doors for tests that feed the decoders bytes of their own; no part of the API.
//!
//! Random bytes die at the first checksum. What is resealed here passes it, so that everything
//! behind is reached.

use std::collections::BTreeSet;

use crate::fields::seal;
use crate::manifest::Manifest;
use crate::page::PageEntry;
use crate::segment::format::{CHUNK_ENTRY_BYTES, ChunkEntry, FOOTER_BYTES, Footer, HEADER_BYTES};

/// The entries of every page, as far as directory and page tables can be read.
fn pages(bytes: &[u8]) -> Vec<PageEntry> {
    chunks(bytes)
        .iter()
        .flat_map(|chunk| tables_of(bytes, chunk))
        .collect()
}

fn chunks(bytes: &[u8]) -> Vec<ChunkEntry> {
    let footer = bytes.len().checked_sub(FOOTER_BYTES);
    let footer = footer.and_then(|at| Footer::decode(&bytes[at..]));
    let Some((footer, _)) = footer else {
        return Vec::new();
    };
    let directory = bytes.get(footer.directory as usize..footer.latest as usize);
    let entries = directory
        .unwrap_or_default()
        .chunks_exact(CHUNK_ENTRY_BYTES);
    entries.filter_map(ChunkEntry::decode).collect()
}

fn tables_of(bytes: &[u8], chunk: &ChunkEntry) -> Vec<PageEntry> {
    let start = chunk.table as usize;
    let table = start.checked_add(chunk.table_bytes());
    let table = table.and_then(|end| bytes.get(start..end));
    let table = table.and_then(|table| chunk.page_entries(table));
    table.unwrap_or_default()
}

/// The numbers of the codecs that pages of a segment have.
pub fn codecs_of_segment(bytes: &[u8]) -> BTreeSet<u8> {
    pages(bytes).iter().map(|page| page.codec).collect()
}

/// Makes the last four bytes the checksum of the others: `MANIFEST`, a catalog.
pub fn reseal(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len().saturating_sub(4));
    *bytes = seal(std::mem::take(bytes));
}

/// Gives `MANIFEST` a store's id, and one of its segments this length and footer.
pub fn adopt_manifest(manifest: &mut Vec<u8>, store_id: &[u8; 16], segment: Option<&[u8]>) {
    if manifest.len() < 32 {
        return;
    }
    manifest[16..32].copy_from_slice(store_id);
    if let (Some(segment), Ok(mut decoded)) = (segment, {
        reseal(manifest);
        Manifest::decode(manifest)
    }) && let Some(crc) = segment.last_chunk::<4>()
        && let Some(entry) = decoded.segments.first_mut()
    {
        entry.bytes = segment.len() as u64;
        entry.footer_crc = u32::from_le_bytes(*crc);
        *manifest = decoded.encode();
    }
    reseal(manifest);
}

/// Puts right every checksum of a segment, as far as its parts can be found, and the store's id.
pub fn reseal_segment(bytes: &mut [u8], store_id: &[u8; 16]) {
    if bytes.len() < HEADER_BYTES + FOOTER_BYTES {
        return;
    }
    bytes[24..40].copy_from_slice(store_id);
    put_crc(bytes, 0..HEADER_BYTES - 4, HEADER_BYTES - 4);
    let footer_at = bytes.len() - FOOTER_BYTES;
    // Of itself first, else nothing else is found.
    let length = bytes.len() as u64;
    bytes[footer_at + 48..footer_at + 56].copy_from_slice(&length.to_le_bytes());
    put_crc(
        bytes,
        footer_at..footer_at + FOOTER_BYTES - 4,
        bytes.len() - 4,
    );
    for chunk in chunks(bytes) {
        let table = chunk.table as usize;
        for (index, page) in tables_of(bytes, &chunk).into_iter().enumerate() {
            let start = page.offset as usize;
            let crc_at = table + chunk.page_crc_at(index);
            put_crc(
                bytes,
                start..start.saturating_add(page.bytes as usize),
                crc_at,
            );
        }
    }
    reseal_directory(bytes, footer_at);
}

fn reseal_directory(bytes: &mut [u8], footer_at: usize) {
    let Some((footer, _)) = Footer::decode(&bytes[footer_at..]) else {
        return;
    };
    for (index, chunk) in chunks(bytes).into_iter().enumerate() {
        let at = footer.directory as usize + index * CHUNK_ENTRY_BYTES;
        let table = chunk.table as usize;
        put_crc(
            bytes,
            table..table.saturating_add(chunk.table_bytes()),
            at + 40,
        );
    }
    put_crc(bytes, footer.directory as usize..footer_at, footer_at + 28);
    put_crc(
        bytes,
        footer_at..footer_at + FOOTER_BYTES - 4,
        footer_at + FOOTER_BYTES - 4,
    );
}

/// Writes the checksum of a range of the bytes at `at`, if both are inside.
fn put_crc(bytes: &mut [u8], of: std::ops::Range<usize>, at: usize) {
    let crc = bytes.get(of).map(crc32fast::hash);
    if let (Some(crc), Some(place)) = (crc, bytes.get_mut(at..at.saturating_add(4))) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}
