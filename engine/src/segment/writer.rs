//! Writes chunks in order, then page tables, directory, last rows and footer.

use std::io::{self, Write};

use disk::{Appender, File};
use wal::Lsn;

use super::builder::Pages;
use super::format::{CHUNK_ENTRY_BYTES, ChunkEntry, FOOTER_BYTES, Footer, encode_header};
use crate::catalog::BucketInfo;
use crate::page::{self, PAGE_ALIGN, PageEntry};

/// A segment on its way to the disk.
pub(crate) struct Writer<'a> {
    out: Appender<'a>,
    /// `table` counts from the start of the tables until `finish`.
    entries: Vec<ChunkEntry>,
    tables: Vec<u8>,
    latest: Vec<u8>,
    rows: u64,
    /// Of one chunk; kept for the memory.
    table: Vec<PageEntry>,
}

/// What `finish` wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) footer_crc: u32,
    pub(crate) rows: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(file: &'a dyn File, sequence: u64, store_id: &[u8; 16]) -> io::Result<Self> {
        let mut out = Appender::new(file);
        out.write_all(&encode_header(sequence, store_id))?;
        Ok(Self {
            out,
            entries: Vec::new(),
            tables: Vec::new(),
            latest: Vec::new(),
            rows: 0,
            table: Vec::new(),
        })
    }

    /// Adds a chunk; one without rows is left out. They come ordered by bucket and time.
    pub(crate) fn chunk(&mut self, pages: &Pages) -> io::Result<()> {
        let Some(latest) = &pages.latest else {
            return Ok(());
        };
        let info = &pages.info;
        let in_order = self.entries.last().is_none_or(|before| {
            before.bucket < info.id || (before.bucket == info.id && before.max < pages.min)
        });
        assert!(in_order, "chunks come in order of bucket and time");
        let mut entry = ChunkEntry {
            bucket: info.id,
            schema_version: info.schema_version,
            rows: u32::try_from(pages.rows).expect("a chunk has about a million rows"),
            pages: u32::try_from(pages.columns[0].len()).expect("fewer pages than rows"),
            min: pages.min,
            max: latest.time(),
            table: self.tables.len() as u64,
            table_crc: 0,
            columns: u16::try_from(info.schema.len()).expect("at most 1024 columns"),
            latest_words: u16::try_from(latest.bytes().len() / 8).expect("at most 8193 words"),
        };
        let mut table = std::mem::take(&mut self.table);
        table.clear();
        for column in &pages.columns {
            assert!(
                column.len() == pages.columns[0].len(),
                "all columns have the pages of time"
            );
            for page in column {
                self.align(page::align_of(page.bytes.len()))?;
                let offset = self.out.position();
                table.push(PageEntry {
                    offset,
                    ..page.entry
                });
                self.out.write_all(&page.bytes)?;
            }
        }
        let start = self.tables.len();
        entry.encode_table(&table, &mut self.tables);
        entry.table_crc = crc32fast::hash(&self.tables[start..]);
        self.table = table;
        self.latest.extend_from_slice(latest.bytes());
        self.rows += pages.rows as u64;
        self.entries.push(entry);
        Ok(())
    }

    /// Bytes handed to the disk so far.
    pub(crate) fn flushed(&self) -> u64 {
        self.out.flushed()
    }

    /// Adds a chunk for another bucket of the same schema with the pages of the chunk before it,
    /// which are in the file once. Nothing but a bench asks for this; readers see no difference.
    pub(crate) fn again(&mut self, info: &BucketInfo) {
        let Some(before) = self.entries.last().copied() else {
            return;
        };
        assert!(before.bucket < info.id, "chunks come in order of buckets");
        let table = before.table as usize;
        self.tables.extend_from_within(table..);
        let latest = self.latest.len() - before.latest_bytes();
        self.latest.extend_from_within(latest..);
        self.rows += u64::from(before.rows);
        self.entries.push(ChunkEntry {
            bucket: info.id,
            schema_version: info.schema_version,
            table: table as u64 + before.table_bytes() as u64,
            ..before
        });
    }

    fn align(&mut self, to: u64) -> io::Result<()> {
        let position = self.out.position();
        let padding = position.next_multiple_of(to) - position;
        self.out.write_all(&[0; PAGE_ALIGN][..padding as usize])
    }

    /// Writes the rest. The segment covers the commits `first_lsn..last_lsn`.
    pub(crate) fn finish(mut self, first_lsn: Lsn, last_lsn: Lsn) -> io::Result<Written> {
        self.align(PAGE_ALIGN as u64)?;
        let tables = self.out.position();
        let directory = tables + self.tables.len() as u64;
        let latest = directory + (self.entries.len() * CHUNK_ENTRY_BYTES) as u64;
        let mut end = Vec::with_capacity((latest - directory) as usize + self.latest.len());
        for entry in &mut self.entries {
            entry.table += tables;
            entry.encode(&mut end);
        }
        end.extend_from_slice(&self.latest);
        let footer = Footer {
            tables,
            directory,
            latest,
            chunks: u32::try_from(self.entries.len()).expect("far fewer chunks"),
            directory_crc: crc32fast::hash(&end),
            first_lsn,
            last_lsn,
            file_bytes: directory + (end.len() + FOOTER_BYTES) as u64,
        };
        let footer_bytes = footer.encode();
        self.out.write_all(&self.tables)?;
        self.out.write_all(&end)?;
        self.out.write_all(&footer_bytes)?;
        let bytes = self.out.finish()?;
        assert!(bytes == footer.file_bytes, "the footer ends the file");
        let crc = footer_bytes.last_chunk().expect("the footer has 64 bytes");
        Ok(Written {
            bytes,
            footer_crc: u32::from_le_bytes(*crc),
            rows: self.rows,
        })
    }
}
