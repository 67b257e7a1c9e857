//! Segments: immutable data files, each with one chunk per bucket that had rows.
//!
//! One writer, one reader, one layout; a file is never touched after it got its name (I1).

mod format;
mod reader;
mod writer;

pub(crate) use format::{SEGMENTS_DIR, path_of};
pub(crate) use reader::{Chunk, Segment};
pub(crate) use writer::{Writer, Written};
