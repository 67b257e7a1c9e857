//! Doors for tests that feed the decoders bytes of their own; no part of the API.
//!
//! Random bytes die at the first checksum. What is resealed here passes it, so that everything
//! behind is reached.

use std::collections::BTreeSet;

use crate::fields::seal;
use crate::page::{PAGE_ENTRY_BYTES, PageEntry};
use crate::segment::format::{CHUNK_ENTRY_BYTES, ChunkEntry, FOOTER_BYTES, Footer};

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
    let entries = table.unwrap_or_default().chunks_exact(PAGE_ENTRY_BYTES);
    entries.filter_map(PageEntry::decode).collect()
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
