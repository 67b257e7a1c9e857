//! I10: nothing reads a page before its CRC.
//!
//! Opening verifies header, footer, directory and page tables with their checksums and that they
//! hang together; a page is verified when it is first touched in the process's life.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use disk::Disk;
use model::{Column, ColumnBatch, ColumnType, Schema};

use super::format::{
    CHUNK_ENTRY_BYTES, ChunkEntry, FOOTER_BYTES, Footer, HEADER_BYTES, check_header, path_of,
};
use crate::catalog::{BucketId, BucketInfo};
use crate::codec::Codec;
use crate::latest::Latest;
use crate::manifest::SegmentEntry;
use crate::page::{self, PAGE_ENTRY_BYTES, PAGE_ROWS_MAX, PageEntry};
use crate::{Error, tail};

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    file: String,
    sequence: u64,
    bytes: Bytes,
    chunks: Vec<Meta>,
    /// One bit per page: its checksum held. Relaxed: two readers may both compute it.
    verified: Vec<AtomicU64>,
}

/// One chunk of an open segment.
#[derive(Debug)]
struct Meta {
    entry: ChunkEntry,
    /// `starts[p]` is the first row of page `p`; one more at the end.
    starts: Box<[u32]>,
    /// Number of its first page among all pages of the segment.
    first_page: usize,
}

/// One bucket's rows in one segment.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) min: i64,
    pub(crate) max: i64,
    index: usize,
    segment: Arc<Segment>,
}

impl Segment {
    /// Opens the segment that the manifest names.
    pub(crate) fn open(
        disk: &dyn Disk,
        named: &SegmentEntry,
        store_id: &[u8; 16],
    ) -> Result<Self, Error> {
        let file = path_of(named.sequence);
        // Compared before mapping: a shorter file must not be touched through a mapping.
        let found = disk.len(&file)?;
        if found != named.bytes || found < (HEADER_BYTES + FOOTER_BYTES) as u64 {
            let what = format!("the file has {found} bytes, not {}", named.bytes);
            return Err(Error::corrupt(&file, 0, what));
        }
        let bytes = disk.map(&file)?.bytes();
        check_header(&file, &bytes, named.sequence, store_id)?;
        let footer_at = bytes.len() - FOOTER_BYTES;
        let footer = Footer::decode(&bytes[footer_at..])
            .filter(|(footer, crc)| footer.file_bytes == found && *crc == named.footer_crc);
        let Some((footer, _)) = footer else {
            let what = "the footer is not this segment's";
            return Err(Error::corrupt(&file, footer_at, what));
        };
        let chunks = read_directory(&file, &bytes[..footer_at], &footer)?;
        let pages = chunks
            .last()
            .map_or(0, |last| last.first_page + last.entry.page_count());
        Ok(Self {
            file,
            sequence: named.sequence,
            bytes,
            chunks,
            verified: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Chunks with their buckets and the last row of each.
    pub(crate) fn chunks(self: &Arc<Self>) -> impl Iterator<Item = (BucketId, Chunk, Latest)> {
        self.chunks.iter().enumerate().map(|(index, meta)| {
            let chunk = Chunk {
                min: meta.entry.min,
                max: meta.entry.max,
                index,
                segment: self.clone(),
            };
            (meta.entry.bucket, chunk, self.latest(meta))
        })
    }

    fn latest(&self, meta: &Meta) -> Latest {
        let end = meta.entry.table as usize + meta.entry.table_bytes();
        let start = end - usize::from(meta.entry.latest_words) * 8;
        // A copy: the row lives in memory, not on a page that may have been evicted.
        let row = Bytes::copy_from_slice(&self.bytes[start..end]);
        Latest::decode(row).expect("the directory was checked: it has a word at least")
    }

    fn page_entry(&self, meta: &Meta, column: usize, page: usize) -> PageEntry {
        let number = column * meta.entry.pages as usize + page;
        let at = meta.entry.table as usize + number * PAGE_ENTRY_BYTES;
        PageEntry::decode(&self.bytes[at..at + PAGE_ENTRY_BYTES])
            .expect("the slice is an entry's length")
    }

    /// The bytes of a page, after its checksum.
    fn page_bytes(
        &self,
        meta: &Meta,
        column: usize,
        page: usize,
        info: &BucketInfo,
    ) -> Result<(PageEntry, Bytes), Error> {
        let entry = self.page_entry(meta, column, page);
        let number = meta.first_page + column * meta.entry.pages as usize + page;
        let start = entry.offset as usize;
        let bytes = self.bytes.slice(start..start + entry.bytes as usize);
        let (word, bit) = (&self.verified[number / 64], 1 << (number % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            if crc32fast::hash(&bytes) != entry.crc {
                return Err(self.damaged(&entry, info, "a page fails its checksum"));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok((entry, bytes))
    }

    fn damaged(&self, entry: &PageEntry, info: &BucketInfo, what: &str) -> Error {
        Error::Corrupt {
            file: self.file.clone(),
            offset: entry.offset,
            what: format!("{what} (bucket {})", info.key),
        }
    }

    /// Rows `rows` of a column; 0 is time. A view of the mapping if the pages are raw neighbours.
    fn column(
        &self,
        meta: &Meta,
        index: usize,
        ty: ColumnType,
        rows: Range<usize>,
        info: &BucketInfo,
    ) -> Result<Column, Error> {
        let first_page = meta.page_of(rows.start);
        let last_page = meta.page_of(rows.end - 1);
        let base = meta.starts[first_page] as usize;
        let wanted = rows.start - base..rows.end - base;
        if first_page == last_page {
            let (entry, bytes) = self.page_bytes(meta, index, first_page, info)?;
            return Ok(self.decode(ty, &entry, bytes, info)?.slice(wanted));
        }
        let mut pages = Vec::with_capacity(last_page - first_page + 1);
        for page in first_page..=last_page {
            pages.push(self.page_bytes(meta, index, page, info)?);
        }
        let column = match self.neighbours(ty, &pages, meta.starts[last_page + 1] as usize - base) {
            Some(column) => column,
            None => page::join(ty, &pages)
                .map_err(|bad| self.damaged(&pages[bad].0, info, "a page does not decode"))?,
        };
        Ok(column.slice(wanted))
    }

    fn decode(
        &self,
        ty: ColumnType,
        entry: &PageEntry,
        bytes: Bytes,
        info: &BucketInfo,
    ) -> Result<Column, Error> {
        page::decode(ty, entry, bytes)
            .ok_or_else(|| self.damaged(entry, info, "a page does not decode"))
    }

    /// Raw pages that lie one behind the other, as one slice of the mapping.
    fn neighbours(
        &self,
        ty: ColumnType,
        pages: &[(PageEntry, Bytes)],
        rows: usize,
    ) -> Option<Column> {
        let start = pages.first()?.0.offset;
        let mut end = start;
        for (entry, _) in pages {
            if entry.codec != Codec::Raw.code() || entry.offset != end {
                return None;
            }
            end += u64::from(entry.bytes);
        }
        if end - start != (rows * ty.size()) as u64 {
            return None;
        }
        Column::new(ty, self.bytes.slice(start as usize..end as usize)).ok()
    }
}

impl Meta {
    fn page_of(&self, row: usize) -> usize {
        self.starts.partition_point(|start| *start as usize <= row) - 1
    }
}

impl Chunk {
    fn meta(&self) -> &Meta {
        &self.segment.chunks[self.index]
    }

    /// Later wins.
    pub(crate) fn age(&self) -> u64 {
        self.segment.sequence
    }

    /// The rows with times in `from..=to`.
    pub(crate) fn rows_between(
        &self,
        from: i64,
        to: i64,
        info: &BucketInfo,
    ) -> Result<Range<usize>, Error> {
        let start = match from > self.min {
            true => self.partition_point(|time| time < from, info)?,
            false => 0,
        };
        let end = match to < self.max {
            true => self.partition_point(|time| time <= to, info)?,
            false => self.meta().entry.rows as usize,
        };
        Ok(start..end.max(start))
    }

    /// Number of leading rows with `before(time)`: pages by their bounds, then one page.
    fn partition_point(
        &self,
        before: impl Fn(i64) -> bool,
        info: &BucketInfo,
    ) -> Result<usize, Error> {
        let meta = self.meta();
        let pages = meta.entry.pages as usize;
        let (mut low, mut high) = (0, pages);
        while low < high {
            let middle = usize::midpoint(low, high);
            let (_, max) = self.segment.page_entry(meta, 0, middle).times();
            if before(max) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == pages {
            return Ok(meta.entry.rows as usize);
        }
        let (entry, bytes) = self.segment.page_bytes(meta, 0, low, info)?;
        let times = self.segment.decode(ColumnType::I64, &entry, bytes, info)?;
        let times = times.values::<i64>().expect("times are I64");
        Ok(meta.starts[low] as usize + times.partition_point(|time| before(*time)))
    }

    /// Rows `rows`, which are not none, with the columns named.
    pub(crate) fn read(
        &self,
        rows: Range<usize>,
        columns: &[usize],
        schema: &Schema,
        info: &BucketInfo,
    ) -> Result<ColumnBatch, Error> {
        let (segment, meta) = (&self.segment, self.meta());
        if usize::from(meta.entry.columns) != info.schema.len()
            || meta.entry.schema_version != info.schema_version
        {
            let what = format!("a chunk has other columns than bucket {}", info.key);
            return Err(Error::corrupt(
                &segment.file,
                meta.entry.table as usize,
                what,
            ));
        }
        let times = segment.column(meta, 0, ColumnType::I64, rows.clone(), info)?;
        let mut read = Vec::with_capacity(columns.len());
        for index in columns {
            let ty = info.schema.columns()[*index].ty;
            read.push(segment.column(meta, index + 1, ty, rows.clone(), info)?);
        }
        Ok(tail::batch(schema, times, read))
    }
}

fn read_directory(file: &str, bytes: &[u8], footer: &Footer) -> Result<Vec<Meta>, Error> {
    let bad = |at: u64, what: &str| Error::corrupt(file, at as usize, what);
    let directory_end = u64::from(footer.chunks)
        .checked_mul(CHUNK_ENTRY_BYTES as u64)
        .and_then(|len| footer.directory.checked_add(len));
    if directory_end != Some(footer.tables) || footer.tables > bytes.len() as u64 {
        return Err(bad(footer.directory, "the footer does not add up"));
    }
    let directory = &bytes[footer.directory as usize..footer.tables as usize];
    if crc32fast::hash(directory) != footer.directory_crc {
        return Err(bad(footer.directory, "the directory fails its checksum"));
    }
    if crc32fast::hash(&bytes[footer.tables as usize..]) != footer.tables_crc {
        return Err(bad(footer.tables, "the page tables fail their checksum"));
    }
    let mut chunks: Vec<Meta> = Vec::with_capacity(footer.chunks as usize);
    let mut first_page = 0;
    let mut table = footer.tables;
    for entry in directory.chunks_exact(CHUNK_ENTRY_BYTES) {
        let entry = ChunkEntry::decode(entry).expect("the slice is an entry's length");
        let before = chunks.last().map(|meta| meta.entry.bucket);
        let end = table + entry.table_bytes() as u64;
        let in_order = before.is_none_or(|before| before < entry.bucket);
        if entry.table != table || end > bytes.len() as u64 || !in_order || entry.latest_words == 0
        {
            return Err(bad(footer.directory, "the directory does not add up"));
        }
        let tables = &bytes[table as usize..end as usize];
        let Some(starts) = check_pages(tables, &entry, footer.directory) else {
            return Err(bad(table, "a page table does not add up"));
        };
        chunks.push(Meta {
            entry,
            starts,
            first_page,
        });
        first_page += entry.page_count();
        table = end;
    }
    if table != bytes.len() as u64 {
        return Err(bad(footer.tables, "the page tables do not add up"));
    }
    Ok(chunks)
}

/// The first row of each page, if all columns have the same pages and all lie before `end`.
fn check_pages(table: &[u8], chunk: &ChunkEntry, end: u64) -> Option<Box<[u32]>> {
    let pages = chunk.pages as usize;
    let mut starts = Vec::with_capacity(pages + 1);
    let mut row = 0_u32;
    let entries = table
        .chunks_exact(PAGE_ENTRY_BYTES)
        .take(chunk.page_count());
    for (number, entry) in entries.enumerate() {
        let entry = PageEntry::decode(entry)?;
        let rows = usize::from(entry.rows);
        let page_end = entry.offset.checked_add(entry.bytes.into())?;
        if rows == 0 || rows > PAGE_ROWS_MAX || page_end > end {
            return None;
        }
        if number < pages {
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
    (pages > 0 && u64::from(row) == chunk.rows).then(|| starts.into())
}
