//! Sources of events: the host owns the loop and the place, the plugin fetches and converts.
//!
//! Rows of a batch and the token to resume behind them become one commit, so a feed that can be
//! read again from its token is stored exactly once.

use std::time::Instant;

use model::{BucketKey, ColumnBatch, RowKind};

use crate::ctx::Level;
use crate::error::PluginError;
use crate::plugin::Plugin;

/// A plugin that brings rows from outside.
pub trait Source: Plugin {
    /// Opens the feed behind `resume`, the token committed last; `None` at the very first time.
    ///
    /// # Errors
    /// If it cannot; the entry's `restart:` decides what follows.
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError>;

    /// Appends rows until `out` is full, `deadline` is reached or the feed ends. A batch that ends at
    /// the deadline may be partial or empty.
    ///
    /// # Errors
    /// If the feed fails: what was appended in this call is dropped, and the feed opened anew.
    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError>;

    /// How far a feed with an end is: a share from 0 to 1 and words for people.
    fn progress(&mut self) -> Option<Progress> {
        None
    }
}

/// Why a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// There is more at once.
    Full,
    /// There is nothing more for now.
    Timeout,
    /// The feed has ended for good.
    End,
}

/// How far a source is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// From 0 to 1.
    pub share: f64,
    /// For people: "3 of 7 files".
    pub text: String,
}

/// The calls a host offers to a source; the other half of [`SourceOut`].
pub trait SourceCalls: Send {
    /// See [`SourceOut::append`].
    ///
    /// # Errors
    /// If the rows cannot be written.
    fn append(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError>;
    /// See [`SourceOut::set_resume`].
    ///
    /// # Errors
    /// If the token is too long.
    fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError>;
    /// Rows and bytes that the batch still takes.
    fn room(&self) -> (usize, usize);
    /// Whether the source is to end.
    fn is_cancelled(&self) -> bool;
    /// Writes a line to the server's log.
    fn log(&mut self, level: Level, text: &str);
}

/// Where a source puts its rows; valid during one call.
pub struct SourceOut<'a> {
    host: &'a mut dyn SourceCalls,
}

impl<'a> SourceOut<'a> {
    /// Wraps the calls of a host.
    pub fn new(host: &'a mut dyn SourceCalls) -> Self {
        Self { host }
    }

    /// The calls themselves, for a host that hands them on.
    pub fn calls(&mut self) -> &mut (dyn SourceCalls + 'a) {
        self.host
    }

    /// Adds rows to the batch. A missing bucket is made, of this kind.
    ///
    /// # Errors
    /// If the rows do not fit the bucket or the batch.
    pub fn append(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        self.host.append(key, kind, rows)
    }

    /// The token behind the rows appended so far; stored in their commit.
    ///
    /// # Errors
    /// If the token is longer than a state value.
    pub fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        self.host.set_resume(token)
    }

    /// Rows and bytes that the batch still takes.
    pub fn room(&self) -> (usize, usize) {
        self.host.room()
    }

    /// Whether the batch takes no more.
    pub fn is_full(&self) -> bool {
        let (rows, bytes) = self.room();
        rows == 0 || bytes == 0
    }

    /// Whether the source is to end.
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// Writes a line to the server's log, marked with the instance.
    pub fn log(&mut self, level: Level, text: &str) {
        self.host.log(level, text);
    }
}

impl std::fmt::Debug for SourceOut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, bytes) = self.room();
        write!(f, "SourceOut(room for {rows} rows, {bytes} bytes)")
    }
}
