//! Bulk load: rows straight into one segment, past the log.

/// What [`crate::Engine::ingest`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Rows, after bars of equal times were reduced to one.
    pub rows: u64,
    /// Bytes of the segment.
    pub bytes: u64,
}
