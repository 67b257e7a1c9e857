//! What opening a segment reads, and the page table of a chunk, which is read when it is needed.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use super::format::{CHUNK_ENTRY_BYTES, ChunkEntry, Footer, HEADER_BYTES};
use crate::Error;
use crate::page::PAGE_ROWS_MAX;

/// One chunk of an open segment.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) entry: ChunkEntry,
    /// Where its last row begins in the file.
    pub(super) latest: usize,
    /// Made when the chunk is first read.
    pub(super) table: OnceLock<Box<Table>>,
}

/// What is known of the pages of a chunk whose page table was verified.
#[derive(Debug)]
pub(super) struct Table {
    /// `starts[p]` is the first row of page `p`; one more at the end.
    pub(super) starts: Box<[u32]>,
    /// One bit per page: its checksum held. Relaxed: two readers may both compute it.
    pub(super) verified: Box<[AtomicU64]>,
}

impl Table {
    pub(super) fn page_of(&self, row: usize) -> usize {
        self.starts.partition_point(|start| *start as usize <= row) - 1
    }
}

/// Verifies directory and last rows; `bytes` are those before the footer.
pub(super) fn read_directory(
    file: &str,
    bytes: &[u8],
    footer: &Footer,
) -> Result<Vec<Meta>, Error> {
    let bad = |at: u64, what: &str| Error::corrupt(file, at as usize, what);
    let directory_end = u64::from(footer.chunks)
        .checked_mul(CHUNK_ENTRY_BYTES as u64)
        .and_then(|len| footer.directory.checked_add(len));
    let in_order = HEADER_BYTES as u64 <= footer.tables
        && footer.tables <= footer.directory
        && directory_end == Some(footer.latest)
        && footer.latest <= bytes.len() as u64;
    if !in_order {
        return Err(bad(footer.directory, "the footer does not add up"));
    }
    if crc32fast::hash(&bytes[footer.directory as usize..]) != footer.directory_crc {
        return Err(bad(footer.directory, "the directory fails its checksum"));
    }
    let directory = &bytes[footer.directory as usize..footer.latest as usize];
    let mut chunks: Vec<Meta> = Vec::with_capacity(footer.chunks as usize);
    let mut table = footer.tables;
    let mut latest = footer.latest as usize;
    for entry in directory.chunks_exact(CHUNK_ENTRY_BYTES) {
        let entry = ChunkEntry::decode(entry).expect("the slice is an entry's length");
        let before = chunks.last().map(|meta| &meta.entry);
        if entry.table != table || entry.latest_words == 0 || !follows(before, &entry) {
            return Err(bad(footer.directory, "the directory does not add up"));
        }
        chunks.push(Meta {
            entry,
            latest,
            table: OnceLock::new(),
        });
        table += entry.table_bytes() as u64;
        latest += entry.latest_bytes();
    }
    if table != footer.directory || latest != bytes.len() {
        return Err(bad(footer.directory, "the directory does not add up"));
    }
    Ok(chunks)
}

/// Chunks are ordered by bucket and time, and share no time within a bucket.
fn follows(before: Option<&ChunkEntry>, entry: &ChunkEntry) -> bool {
    let whole = entry.rows > 0 && entry.pages > 0 && entry.min <= entry.max;
    whole
        && before.is_none_or(|before| {
            before.bucket < entry.bucket
                || (before.bucket == entry.bucket && before.max < entry.min)
        })
}

/// Verifies the page table of a chunk: checksum, all columns with the same pages, all of them
/// before `end`, times as the directory says. `Err` says what is wrong.
pub(super) fn read_table(
    table: &[u8],
    chunk: &ChunkEntry,
    end: u64,
) -> Result<Table, &'static str> {
    if crc32fast::hash(table) != chunk.table_crc {
        return Err("a page table fails its checksum");
    }
    let starts = check_pages(table, chunk, end).ok_or("a page table does not add up")?;
    let words = chunk.page_count().div_ceil(64);
    Ok(Table {
        starts,
        verified: (0..words).map(|_| AtomicU64::new(0)).collect(),
    })
}

fn check_pages(table: &[u8], chunk: &ChunkEntry, end: u64) -> Option<Box<[u32]>> {
    let pages = chunk.pages as usize;
    let mut starts = Vec::with_capacity(pages + 1);
    let mut row = 0_u32;
    let mut max = chunk.min;
    for number in 0..chunk.page_count() {
        let entry = chunk.page(table, number)?;
        let rows = usize::from(entry.rows);
        let page_end = entry.offset.checked_add(entry.bytes.into())?;
        let inside = entry.offset >= HEADER_BYTES as u64 && page_end <= end;
        if rows == 0 || rows > PAGE_ROWS_MAX || !inside {
            return None;
        }
        if number < pages {
            let (first, last) = entry.times();
            if first < max || last < first {
                return None;
            }
            max = last;
            starts.push(row);
            row = row.checked_add(entry.rows.into())?;
            if number + 1 == pages {
                starts.push(row);
            }
        } else {
            let page = number % pages;
            if starts[page + 1] - starts[page] != u32::from(entry.rows) {
                return None;
            }
        }
    }
    (row == chunk.rows && max == chunk.max).then(|| starts.into())
}
