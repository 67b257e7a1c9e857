//! Segments: immutable data files with chunks, each of which holds rows of one bucket.
//!
//! One writer, one reader, one layout; a file is never touched after it got its name (I1). The
//! chunks of a segment are ordered by bucket and time; those of one bucket share no time.

mod builder;
mod directory;
mod fill;
pub(crate) mod format;
mod parallel;
mod reader;
mod writer;

pub(crate) use builder::{ChunkBuilder, cut};
pub(crate) use fill::{Source, fill};
pub(crate) use format::{
    CHUNK_ENTRY_BYTES, CHUNK_ROWS_MAX, ChunkEntry, FOOTER_BYTES, Footer, HEADER_BYTES,
    SEGMENTS_DIR, check_header, path_of,
};
pub(crate) use reader::{Chunk, Segment};
pub(crate) use writer::{Writer, Written};
