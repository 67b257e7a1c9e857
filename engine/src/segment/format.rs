//! Byte layout of a segment (docs/format.md): header, pages, page tables, directory, last rows,
//! footer.

use wal::Lsn;

use crate::Error;
use crate::catalog::{BucketId, check_start};
use crate::fields::Fields;
use crate::page::{PAGE_ENTRY_BYTES, PAGE_ROWS_MAX, PageEntry};

pub(crate) const SEGMENTS_DIR: &str = "segments";
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const FOOTER_BYTES: usize = 64;
pub(crate) const CHUNK_ENTRY_BYTES: usize = 48;

/// Rows per chunk: what a merge or a bulk load holds of a bucket in memory. A chunk has more only
/// if more ticks than this have one time, which is never cut.
pub(crate) const CHUNK_ROWS_MAX: usize = 1 << 20;

/// A chunk of one page of fewer rows has a short page table, without bounds of values: whatever is
/// asked of so few rows is soon read, and a checkpoint of many buckets makes as many such chunks.
const SHORT_ROWS: u32 = (PAGE_ROWS_MAX / 2) as u32;

/// In front of the entries of a short table: offset of the first page.
const SHORT_HEAD_BYTES: usize = 8;
const SHORT_ENTRY_BYTES: usize = 16;

const MAGIC: &[u8; 8] = b"MKTSSEG\0";
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"SEGE");
/// Major version in the high half; a newer major is refused.
const VERSION: u32 = 1 << 16;

pub(crate) fn path_of(sequence: u64) -> String {
    format!("{SEGMENTS_DIR}/{sequence:08}.seg")
}

pub(crate) fn encode_header(sequence: u64, store_id: &[u8; 16]) -> Vec<u8> {
    let mut target = MAGIC.to_vec();
    target.extend_from_slice(&VERSION.to_le_bytes());
    target.extend_from_slice(&[0; 4]);
    target.extend_from_slice(&sequence.to_le_bytes());
    target.extend_from_slice(store_id);
    target.resize(HEADER_BYTES - 4, 0);
    crate::fields::seal(target)
}

pub(crate) fn check_header(
    file: &str,
    bytes: &[u8],
    sequence: u64,
    store_id: &[u8; 16],
) -> Result<(), Error> {
    check_start(file, &mut Fields::new(bytes), MAGIC, VERSION)?;
    if bytes.get(..HEADER_BYTES) != Some(&encode_header(sequence, store_id)[..]) {
        return Err(Error::corrupt(file, 0, "the header is not this segment's"));
    }
    Ok(())
}

/// The end of the file: where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Offset of the page tables, where the pages end.
    pub(crate) tables: u64,
    /// Offset of the directory, where the page tables end.
    pub(crate) directory: u64,
    /// Offset of the last rows, where the directory ends. They end at the footer.
    pub(crate) latest: u64,
    pub(crate) chunks: u32,
    /// CRC of directory and last rows.
    pub(crate) directory_crc: u32,
    /// Commits covered: from, to.
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) file_bytes: u64,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut target = Vec::with_capacity(FOOTER_BYTES);
        target.extend_from_slice(&self.tables.to_le_bytes());
        target.extend_from_slice(&self.directory.to_le_bytes());
        target.extend_from_slice(&self.latest.to_le_bytes());
        target.extend_from_slice(&self.chunks.to_le_bytes());
        target.extend_from_slice(&self.directory_crc.to_le_bytes());
        target.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        target.extend_from_slice(&self.last_lsn.0.to_le_bytes());
        target.extend_from_slice(&self.file_bytes.to_le_bytes());
        target.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        crate::fields::seal(target)
    }

    /// The footer and its checksum.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let body = crate::fields::unseal(bytes)?;
        let mut fields = Fields::new(body);
        let footer = Self {
            tables: fields.u64()?,
            directory: fields.u64()?,
            latest: fields.u64()?,
            chunks: fields.u32()?,
            directory_crc: fields.u32()?,
            first_lsn: Lsn(fields.u64()?),
            last_lsn: Lsn(fields.u64()?),
            file_bytes: fields.u64()?,
        };
        if fields.u32()? != FOOTER_MAGIC || !fields.is_empty() {
            return None;
        }
        Some((footer, Fields::new(&bytes[FOOTER_BYTES - 4..]).u32()?))
    }
}

/// One entry of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    pub(crate) bucket: BucketId,
    pub(crate) schema_version: u32,
    pub(crate) rows: u32,
    /// Pages of each column.
    pub(crate) pages: u32,
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Offset of the page table in the file.
    pub(crate) table: u64,
    pub(crate) table_crc: u32,
    /// Columns, time not counted.
    pub(crate) columns: u16,
    /// Length of its last row, among the last rows, in units of 8 bytes.
    pub(crate) latest_words: u16,
}

impl ChunkEntry {
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.bucket.0.to_le_bytes());
        target.extend_from_slice(&self.schema_version.to_le_bytes());
        target.extend_from_slice(&self.rows.to_le_bytes());
        target.extend_from_slice(&self.pages.to_le_bytes());
        target.extend_from_slice(&self.min.to_le_bytes());
        target.extend_from_slice(&self.max.to_le_bytes());
        target.extend_from_slice(&self.table.to_le_bytes());
        target.extend_from_slice(&self.table_crc.to_le_bytes());
        target.extend_from_slice(&self.columns.to_le_bytes());
        target.extend_from_slice(&self.latest_words.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            bucket: BucketId(fields.u32()?),
            schema_version: fields.u32()?,
            rows: fields.u32()?,
            pages: fields.u32()?,
            min: fields.i64()?,
            max: fields.i64()?,
            table: fields.u64()?,
            table_crc: fields.u32()?,
            columns: fields.u16()?,
            latest_words: fields.u16()?,
        })
    }

    /// Pages of all columns, time first.
    pub(crate) fn page_count(&self) -> usize {
        self.pages as usize * (usize::from(self.columns) + 1)
    }

    /// Whether the page table is a short one.
    pub(crate) fn is_short(&self) -> bool {
        self.pages == 1 && self.rows < SHORT_ROWS
    }

    pub(crate) fn table_bytes(&self) -> usize {
        match self.is_short() {
            true => SHORT_HEAD_BYTES + self.page_count() * SHORT_ENTRY_BYTES,
            false => self.page_count() * PAGE_ENTRY_BYTES,
        }
    }

    /// Appends the page table; `pages` have their offsets.
    pub(crate) fn encode_table(&self, pages: &[PageEntry], target: &mut Vec<u8>) {
        if !self.is_short() {
            pages.iter().for_each(|page| page.encode(target));
            return;
        }
        let first = pages.first().map_or(0, |page| page.offset);
        target.extend_from_slice(&first.to_le_bytes());
        for page in pages {
            let offset = u32::try_from(page.offset - first);
            let offset = offset.expect("1025 pages of 2048 rows are less than 4 GiB");
            let [exponent] = page.exponent.to_le_bytes();
            target.extend_from_slice(&offset.to_le_bytes());
            target.extend_from_slice(&page.bytes.to_le_bytes());
            target.extend_from_slice(&[page.codec, exponent, 0, 0]);
            target.extend_from_slice(&page.crc.to_le_bytes());
        }
    }

    /// Entry `number` of the page table. Of a short one only times have bounds: the chunk's.
    pub(crate) fn page(&self, table: &[u8], number: usize) -> Option<PageEntry> {
        if !self.is_short() {
            let at = number.checked_mul(PAGE_ENTRY_BYTES)?;
            return PageEntry::decode(table.get(at..)?.get(..PAGE_ENTRY_BYTES)?);
        }
        let first = Fields::new(table).u64()?;
        let at = number.checked_mul(SHORT_ENTRY_BYTES)?;
        let mut fields = Fields::new(table.get(SHORT_HEAD_BYTES..)?.get(at..)?);
        let (offset, bytes) = (fields.u32()?, fields.u32()?);
        let codec = fields.u8()?;
        let exponent = i8::from_le_bytes([fields.u8()?]);
        fields.u16()?;
        let mut page = PageEntry {
            offset: first.checked_add(offset.into())?,
            bytes,
            rows: u16::try_from(self.rows).ok()?,
            codec,
            exponent,
            flags: 0,
            crc: fields.u32()?,
            min: [0; 8],
            max: [0; 8],
        };
        if number == 0 {
            page.set_times(self.min, self.max);
        }
        Some(page)
    }

    /// All entries of the page table, which has its length; `None` if an offset is beyond u64.
    pub(crate) fn page_entries(&self, table: &[u8]) -> Option<Vec<PageEntry>> {
        let numbers = 0..self.page_count();
        numbers.map(|number| self.page(table, number)).collect()
    }

    /// Where in the page table the checksum of a page is.
    pub(crate) fn page_crc_at(&self, number: usize) -> usize {
        match self.is_short() {
            true => SHORT_HEAD_BYTES + number * SHORT_ENTRY_BYTES + 12,
            false => number * PAGE_ENTRY_BYTES + 20,
        }
    }

    pub(crate) fn latest_bytes(&self) -> usize {
        usize::from(self.latest_words) * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_have_their_sizes() {
        assert_eq!(encode_header(1, &[7; 16]).len(), HEADER_BYTES);
        let footer = Footer {
            tables: 1,
            directory: 2,
            latest: 3,
            chunks: 4,
            directory_crc: 5,
            first_lsn: Lsn(6),
            last_lsn: Lsn(7),
            file_bytes: 8,
        };
        let bytes = footer.encode();
        assert_eq!(bytes.len(), FOOTER_BYTES);
        assert_eq!(Footer::decode(&bytes).map(|found| found.0), Some(footer));
        let entry = ChunkEntry {
            bucket: BucketId(1),
            schema_version: 2,
            rows: 3,
            pages: 4,
            min: -5,
            max: 6,
            table: 7,
            table_crc: 8,
            columns: 9,
            latest_words: 10,
        };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(bytes.len(), CHUNK_ENTRY_BYTES);
        assert_eq!(ChunkEntry::decode(&bytes), Some(entry));
    }

    #[test]
    fn a_page_table_comes_back_short_or_not() {
        let page = |number: u64, rows: u16| PageEntry {
            offset: 4096 + 8 * number,
            bytes: 7,
            rows,
            codec: 3,
            exponent: -4,
            flags: 0,
            crc: 90 + number as u32,
            min: [0; 8],
            max: [0; 8],
        };
        for (rows, is_short, bytes) in [(2047, true, 8 + 3 * 16), (2048, false, 3 * 40)] {
            let chunk = ChunkEntry {
                bucket: BucketId(1),
                schema_version: 1,
                rows,
                pages: 1,
                min: -5,
                max: 6,
                table: 64,
                table_crc: 0,
                columns: 2,
                latest_words: 3,
            };
            let mut pages: Vec<PageEntry> = (0..3).map(|n| page(n, rows as u16)).collect();
            pages[0].set_times(-5, 6);
            let mut table = Vec::new();
            chunk.encode_table(&pages, &mut table);
            assert_eq!((chunk.is_short(), table.len()), (is_short, bytes));
            assert_eq!(chunk.table_bytes(), bytes);
            assert_eq!(chunk.page_entries(&table), Some(pages.clone()));
            for (number, page) in pages.iter().enumerate() {
                let crc = &table[chunk.page_crc_at(number)..][..4];
                assert_eq!(crc, page.crc.to_le_bytes());
            }
            assert_eq!(chunk.page_entries(&table[..bytes - 1]), None);
            let many = ChunkEntry { pages: 2, ..chunk };
            assert!(!many.is_short());
        }
    }
}
