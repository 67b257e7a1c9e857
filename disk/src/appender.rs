//! Sequential writing of a new file in large pieces.

use std::io::{self, Write};

use crate::File;

/// Large enough that the cost of a call vanishes, small enough to stay in a level-2 cache.
const BUFFER_BYTES: usize = 256 * 1024;

/// Appends to a [`File`] through a buffer. [`Appender::finish`] writes the rest; syncing stays
/// with the caller.
#[derive(Debug)]
pub struct Appender<'a> {
    file: &'a dyn File,
    /// Where the buffer's first byte goes.
    offset: u64,
    buffer: Vec<u8>,
}

impl<'a> Appender<'a> {
    /// Appends from the beginning of a new file.
    pub fn new(file: &'a dyn File) -> Self {
        Self {
            file,
            offset: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        }
    }

    /// Bytes appended so far: where the next byte will be.
    pub fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Bytes written to the file so far; the rest is buffered.
    pub fn flushed(&self) -> u64 {
        self.offset
    }

    /// Writes out what is buffered and returns the length of the file.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        Ok(self.offset)
    }
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.file.write_at(self.offset, bytes)?;
            self.offset += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(self.offset, &self.buffer)?;
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}
