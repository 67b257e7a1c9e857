//! What a merge asks of a view, and does to it.

use std::sync::Arc;

use crate::segment::Chunk;
use crate::view::View;

impl View {
    /// The same bucket with these chunks, by least time, and nothing else.
    pub(super) fn of_chunks(&self, chunks: Vec<Chunk>) -> Self {
        Self {
            chunks: Arc::new(chunks),
            ..self.only_chunks()
        }
    }

    /// Whether rows of a chunk with these times are deleted.
    pub(super) fn is_masked(&self, chunk: &Chunk, min: i64, max: i64) -> bool {
        let mut masks = self.masks.iter();
        masks.any(|mask| mask.applies(chunk.last_lsn(), min, max))
    }

    /// Rows of a chunk that are deleted, about: those of pages that are deleted as a whole.
    pub(super) fn masked_rows(&self, chunk: &Chunk) -> u64 {
        if !self.is_masked(chunk, chunk.min, chunk.max) {
            return 0;
        }
        let is_deleted = |min, max| self.live(chunk.last_lsn(), min, max).is_empty();
        if is_deleted(chunk.min, chunk.max) {
            return chunk.rows() as u64;
        }
        let mut rows = 0;
        for page in 0..chunk.pages() {
            // A table that does not read is for those who need it.
            let Ok((min, max)) = chunk.page_times(page, &self.info) else {
                return rows;
            };
            let Ok(in_page) = chunk.page_rows(page..page + 1, &self.info) else {
                return rows;
            };
            if is_deleted(min, max) {
                rows += in_page.len() as u64;
            }
        }
        rows
    }

    /// Puts the chunks that a merge made in the place of those it was made of. They have the same
    /// rows, so the last row stays what it is.
    pub(super) fn replace_chunks(&mut self, merged_ages: &[u64], new: Vec<Chunk>) {
        let kept = self
            .chunks
            .iter()
            .filter(|c| !merged_ages.contains(&c.age()));
        let mut chunks: Vec<Chunk> = kept.cloned().chain(new).collect();
        chunks.sort_by_key(|chunk| chunk.min);
        self.chunks = Arc::new(chunks);
    }
}
