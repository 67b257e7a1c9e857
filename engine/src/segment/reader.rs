//! I10: nothing reads a page before its CRC.
//!
//! Opening verifies header, footer, directory and last rows with their checksums and that they
//! hang together. The page table of a chunk and each page are verified when they are first touched
//! in the process's life: opening takes the time of the number of chunks, not of the rows.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use disk::Disk;
use model::{Column, ColumnBatch, ColumnType, Schema};
use wal::Lsn;

use super::directory::{Meta, Table, read_directory, read_table};
use super::format::{FOOTER_BYTES, Footer, HEADER_BYTES, check_header, path_of};
use crate::catalog::{BucketId, BucketInfo};
use crate::codec::Codec;
use crate::latest::Latest;
use crate::manifest::SegmentEntry;
use crate::page::{self, Bounds, Encoded, PageEntry};
use crate::{Error, tail};

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    file: String,
    named: SegmentEntry,
    footer: Footer,
    bytes: Bytes,
    chunks: Vec<Meta>,
}

/// Rows of one bucket in one segment.
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
        Ok(Self {
            file,
            named: named.clone(),
            footer,
            bytes,
            chunks,
        })
    }

    /// The file and its place among the others.
    pub(crate) fn named(&self) -> &SegmentEntry {
        &self.named
    }

    /// The commits it covers: from, to.
    pub(crate) fn lsns(&self) -> (Lsn, Lsn) {
        (self.footer.first_lsn, self.footer.last_lsn)
    }

    /// Chunks with their buckets, by bucket and time.
    pub(crate) fn chunks(self: &Arc<Self>) -> impl Iterator<Item = (BucketId, Chunk)> {
        self.chunk_range(0..self.chunks.len())
    }

    /// Chunks that nobody has read yet.
    #[cfg(test)]
    pub(crate) fn untouched(&self) -> usize {
        let chunks = self.chunks.iter();
        chunks.filter(|meta| meta.table.get().is_none()).count()
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Some of [`Segment::chunks`].
    pub(crate) fn chunk_range(
        self: &Arc<Self>,
        range: Range<usize>,
    ) -> impl Iterator<Item = (BucketId, Chunk)> {
        let first = range.start;
        self.chunks[range]
            .iter()
            .enumerate()
            .map(move |(index, meta)| {
                let chunk = Chunk {
                    min: meta.entry.min,
                    max: meta.entry.max,
                    index: first + index,
                    segment: self.clone(),
                };
                (meta.entry.bucket, chunk)
            })
    }

    fn latest(&self, meta: &Meta) -> Latest {
        let end = meta.latest + meta.entry.latest_bytes();
        // A copy: the row lives in memory, not on a page that may have been evicted.
        let row = Bytes::copy_from_slice(&self.bytes[meta.latest..end]);
        Latest::decode(row).expect("the directory was checked: it has a word at least")
    }

    /// The page table of a chunk, verified.
    fn table<'a>(&self, meta: &'a Meta, info: &BucketInfo) -> Result<&'a Table, Error> {
        if let Some(table) = meta.table.get() {
            return Ok(table);
        }
        let start = meta.entry.table as usize;
        let bytes = &self.bytes[start..start + meta.entry.table_bytes()];
        let table = read_table(bytes, &meta.entry, self.footer.tables).map_err(|what| {
            let what = format!("{what} (bucket {})", info.key);
            Error::corrupt(&self.file, start, what)
        })?;
        // Two readers may both have made it.
        Ok(meta.table.get_or_init(|| Box::new(table)))
    }

    fn page_entry(&self, meta: &Meta, column: usize, page: usize) -> PageEntry {
        let number = column * meta.entry.pages as usize + page;
        let table = &self.bytes[meta.entry.table as usize..];
        let entry = meta.entry.page(table, number);
        entry.expect("the page table was verified")
    }

    /// The bytes of a page, after its checksum.
    fn page_bytes(
        &self,
        meta: &Meta,
        column: usize,
        page: usize,
        info: &BucketInfo,
    ) -> Result<(PageEntry, Bytes), Error> {
        let table = self.table(meta, info)?;
        let entry = self.page_entry(meta, column, page);
        let number = column * meta.entry.pages as usize + page;
        let start = entry.offset as usize;
        let bytes = self.bytes.slice(start..start + entry.bytes as usize);
        let (word, bit) = (&table.verified[number / 64], 1 << (number % 64));
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
        let table = self.table(meta, info)?;
        let first_page = table.page_of(rows.start);
        let last_page = table.page_of(rows.end - 1);
        let base = table.starts[first_page] as usize;
        let wanted = rows.start - base..rows.end - base;
        let mut pages = Vec::with_capacity(last_page - first_page + 1);
        for page in first_page..=last_page {
            pages.push(self.page_bytes(meta, index, page, info)?);
        }
        let whole = table.starts[last_page + 1] as usize - base;
        if let Some(column) = self.neighbours(ty, &pages, whole) {
            return Ok(column.slice(wanted));
        }
        page::join(ty, &pages, wanted)
            .map_err(|bad| self.damaged(&pages[bad].0, info, "a page does not decode"))
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

impl Chunk {
    fn meta(&self) -> &Meta {
        &self.segment.chunks[self.index]
    }

    /// Later wins.
    pub(crate) fn age(&self) -> u64 {
        self.segment.named.age
    }

    /// Every commit that it has rows of begins below.
    pub(crate) fn last_lsn(&self) -> Lsn {
        self.segment.footer.last_lsn
    }

    pub(crate) fn schema_version(&self) -> u32 {
        self.meta().entry.schema_version
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.meta().entry.rows as usize
    }

    /// Pages of each column.
    pub(crate) fn pages(&self) -> usize {
        self.meta().entry.pages as usize
    }

    /// Its last row.
    pub(crate) fn latest(&self) -> Latest {
        self.segment.latest(self.meta())
    }

    /// The rows that pages hold.
    pub(crate) fn page_rows(
        &self,
        pages: Range<usize>,
        info: &BucketInfo,
    ) -> Result<Range<usize>, Error> {
        let table = self.segment.table(self.meta(), info)?;
        Ok(table.starts[pages.start] as usize..table.starts[pages.end] as usize)
    }

    /// Least and greatest time of a page.
    pub(crate) fn page_times(&self, page: usize, info: &BucketInfo) -> Result<(i64, i64), Error> {
        self.segment.table(self.meta(), info)?;
        Ok(self.segment.page_entry(self.meta(), 0, page).times())
    }

    /// The pages with times in `from..=to`.
    pub(crate) fn pages_between(
        &self,
        from: i64,
        to: i64,
        info: &BucketInfo,
    ) -> Result<Range<usize>, Error> {
        let (segment, meta) = (&self.segment, self.meta());
        segment.table(meta, info)?;
        let times = |page| segment.page_entry(meta, 0, page).times();
        let first = partition_point(self.pages(), |page| times(page).1 < from);
        let end = partition_point(self.pages(), |page| times(page).0 <= to);
        Ok(first..end.max(first))
    }

    /// Bounds of the values of a page of a column, if they are known; `ty` is the chunk's.
    pub(crate) fn page_bounds(
        &self,
        column: usize,
        ty: ColumnType,
        page: usize,
        info: &BucketInfo,
    ) -> Result<Option<Bounds>, Error> {
        let (segment, meta) = (&self.segment, self.meta());
        segment.table(meta, info)?;
        // Whether it is that schema's is found out by whoever reads.
        let is_there = column < usize::from(meta.entry.columns);
        let entry = is_there.then(|| segment.page_entry(meta, column + 1, page));
        Ok(entry.and_then(|entry| entry.bounds(ty)))
    }

    /// A page as it stands, after its checksum, with its bounds; column 0 is time.
    pub(crate) fn page(
        &self,
        column: usize,
        page: usize,
        info: &BucketInfo,
    ) -> Result<Encoded, Error> {
        let (segment, meta) = (&self.segment, self.meta());
        segment.table(meta, info)?;
        let mut entry = segment.page_entry(meta, column, page);
        let start = entry.offset as usize;
        let bytes = segment.bytes.slice(start..start + entry.bytes as usize);
        // Whatever was found earlier: a copy may outlive the original by years.
        if crc32fast::hash(&bytes) != entry.crc {
            return Err(segment.damaged(&entry, info, "a page fails its checksum"));
        }
        if meta.entry.is_short() && column > 0 {
            let ty = info.schema.columns()[column - 1].ty;
            entry.set_bounds(&segment.decode(ty, &entry, bytes.clone(), info)?);
        }
        Ok(Encoded { bytes, entry })
    }

    /// One row; `info` has the chunk's schema.
    pub(crate) fn row(&self, row: usize, info: &BucketInfo) -> Result<Latest, Error> {
        if row + 1 == self.rows() {
            return Ok(self.latest());
        }
        let all: Vec<usize> = (0..info.schema.len()).collect();
        let batch = self.read(row..row + 1, &all, &info.schema, info)?;
        Ok(Latest::of_batch(&batch, 0))
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
        let table = self.segment.table(meta, info)?;
        let low = partition_point(self.pages(), |page| {
            before(self.segment.page_entry(meta, 0, page).times().1)
        });
        if low == self.pages() {
            return Ok(meta.entry.rows as usize);
        }
        let (entry, bytes) = self.segment.page_bytes(meta, 0, low, info)?;
        let times = self.segment.decode(ColumnType::I64, &entry, bytes, info)?;
        let times = times.values::<i64>().expect("times are I64");
        Ok(table.starts[low] as usize + times.partition_point(|time| before(*time)))
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

/// How many of `0..count` lead with `before`.
fn partition_point(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
