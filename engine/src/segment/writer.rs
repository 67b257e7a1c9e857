//! Writes chunks in order, then directory, page tables and footer.

use std::io::{self, Write};

use disk::{Appender, File};
use model::{Column, ColumnBatch, ColumnType};
use wal::Lsn;

use super::format::{ChunkEntry, FOOTER_BYTES, Footer, encode_header};
use crate::catalog::BucketInfo;
use crate::codec::grid::Grid;
use crate::latest::Latest;
use crate::page::{self, PAGE_ALIGN, PAGE_ROWS_MAX};

/// A segment on its way to the disk.
pub(crate) struct Writer<'a> {
    out: Appender<'a>,
    /// `table` counts from the start of the tables until `finish`.
    entries: Vec<ChunkEntry>,
    tables: Vec<u8>,
}

/// What `finish` wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) footer_crc: u32,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(file: &'a dyn File, sequence: u64, store_id: &[u8; 16]) -> io::Result<Self> {
        let mut out = Appender::new(file);
        out.write_all(&encode_header(sequence, store_id))?;
        Ok(Self {
            out,
            entries: Vec::new(),
            tables: Vec::new(),
        })
    }

    /// Adds the rows of a bucket: batches in scan order, each with a row. Buckets come in the
    /// order of their numbers.
    pub(crate) fn chunk(
        &mut self,
        info: &BucketInfo,
        grid: Option<Grid>,
        batches: &[ColumnBatch],
    ) -> io::Result<()> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Ok(());
        };
        let before = self.entries.last().map(|entry| entry.bucket);
        assert!(before.is_none_or(|b| b < info.id), "chunks in bucket order");
        let rows: usize = batches.iter().map(ColumnBatch::rows).sum();
        let latest = Latest::of_batch(last, last.rows() - 1);
        self.entries.push(ChunkEntry {
            bucket: info.id,
            schema_version: info.schema_version,
            rows: rows as u64,
            min: first.times()[0],
            max: latest.time(),
            table: self.tables.len() as u64,
            pages: u32::try_from(rows.div_ceil(PAGE_ROWS_MAX)).expect("far fewer pages"),
            columns: u16::try_from(info.schema.len()).expect("at most 1024 columns"),
            latest_words: u16::try_from(latest.bytes().len() / 8).expect("at most 8193 words"),
        });
        let times = batches.iter().map(ColumnBatch::time_column);
        self.column(ColumnType::I64, times, rows, grid)?;
        for (index, def) in info.schema.columns().iter().enumerate() {
            let values = batches.iter().map(|batch| &batch.columns()[index]);
            self.column(def.ty, values, rows, None)?;
        }
        self.tables.extend_from_slice(latest.bytes());
        Ok(())
    }

    fn column<'c>(
        &mut self,
        ty: ColumnType,
        mut pieces: impl ExactSizeIterator<Item = &'c Column>,
        rows: usize,
        grid: Option<Grid>,
    ) -> io::Result<()> {
        let whole = if pieces.len() == 1 {
            pieces.next().expect("there is one").clone()
        } else {
            let mut bytes = Vec::with_capacity(rows * ty.size());
            pieces.for_each(|piece| bytes.extend_from_slice(piece.bytes()));
            Column::new(ty, bytes.into()).expect("columns hold whole values")
        };
        assert!(whole.len() == rows, "all columns have the rows of time");
        let mut start = 0;
        while start < rows {
            let end = rows.min(start + PAGE_ROWS_MAX);
            self.page(&whole.slice(start..end), grid)?;
            start = end;
        }
        Ok(())
    }

    fn page(&mut self, values: &Column, grid: Option<Grid>) -> io::Result<()> {
        self.align()?;
        let mut page = page::encode(values, grid);
        page.entry.offset = self.out.position();
        page.entry.encode(&mut self.tables);
        self.out.write_all(&page.bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let position = self.out.position();
        let padding = position.next_multiple_of(PAGE_ALIGN as u64) - position;
        self.out.write_all(&[0; PAGE_ALIGN][..padding as usize])
    }

    /// Writes the rest. The segment covers the commits `first_lsn..last_lsn`.
    pub(crate) fn finish(mut self, first_lsn: Lsn, last_lsn: Lsn) -> io::Result<Written> {
        self.align()?;
        let directory_offset = self.out.position();
        let directory_bytes = self.entries.len() * super::format::CHUNK_ENTRY_BYTES;
        let tables_offset = directory_offset + directory_bytes as u64;
        let mut directory = Vec::with_capacity(directory_bytes);
        for entry in &mut self.entries {
            entry.table += tables_offset;
            entry.encode(&mut directory);
        }
        let tables_end = tables_offset + self.tables.len() as u64;
        let footer = Footer {
            directory: directory_offset,
            tables: tables_offset,
            chunks: u32::try_from(self.entries.len()).expect("numbers of buckets are 32 bits"),
            directory_crc: crc32fast::hash(&directory),
            tables_crc: crc32fast::hash(&self.tables),
            first_lsn,
            last_lsn,
            file_bytes: tables_end + FOOTER_BYTES as u64,
        };
        let footer_bytes = footer.encode();
        self.out.write_all(&directory)?;
        self.out.write_all(&self.tables)?;
        self.out.write_all(&footer_bytes)?;
        let bytes = self.out.finish()?;
        assert!(bytes == footer.file_bytes, "the footer ends the file");
        let crc = footer_bytes.last_chunk().expect("the footer has 64 bytes");
        Ok(Written {
            bytes,
            footer_crc: u32::from_le_bytes(*crc),
        })
    }
}
