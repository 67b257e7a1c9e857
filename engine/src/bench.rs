//! Pages by themselves, for benches/codec.rs. Not part of the interface.

use bytes::Bytes;
use model::{Column, ColumnType};

use crate::codec::grid::Grid;
use crate::page::{self, PAGE_ROWS_MAX, PageEntry};

/// A column as a segment has it.
#[derive(Debug, Clone)]
pub struct Pages {
    ty: ColumnType,
    pages: Vec<(PageEntry, Bytes)>,
}

impl Pages {
    /// Encodes a column; the grid of times is step and anchor.
    pub fn encode(values: &Column, grid: Option<(i64, i64)>) -> Self {
        let grid = grid.map(|(step, anchor)| Grid { step, anchor });
        let pages = (0..values.len()).step_by(PAGE_ROWS_MAX).map(|start| {
            let end = values.len().min(start + PAGE_ROWS_MAX);
            let page = page::encode(&values.slice(start..end), grid);
            (page.entry, page.bytes)
        });
        Self {
            ty: values.ty(),
            pages: pages.collect(),
        }
    }

    /// The values; `None` never happens to pages just encoded.
    pub fn decode(&self) -> Option<Column> {
        page::join(self.ty, &self.pages).ok()
    }

    /// Bytes of the pages without their entries in the page table.
    pub fn bytes(&self) -> usize {
        self.pages.iter().map(|(_, page)| page.len()).sum()
    }

    /// The numbers of the codecs, page by page.
    pub fn codecs(&self) -> Vec<u8> {
        self.pages.iter().map(|(entry, _)| entry.codec).collect()
    }
}
