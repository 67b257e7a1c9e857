//! What the helpers for sources have in common: pieces of a feed, and how they become batches.

use std::time::{Duration, Instant};

use model::{BucketKey, ColumnBatch, RowKind};

use crate::error::{Code, PluginError};
use crate::source::SourceOut;

/// One piece of a feed: rows of one bucket, and the token to resume behind them.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Bucket; made if it is missing.
    pub key: BucketKey,
    /// Its kind.
    pub kind: RowKind,
    /// The rows.
    pub rows: ColumnBatch,
    /// Where to open the feed next time; `None` if it cannot be opened between this and the next.
    pub resume: Option<Vec<u8>>,
}

impl Piece {
    /// A piece behind which the feed cannot be opened.
    pub fn new(key: BucketKey, kind: RowKind, rows: ColumnBatch) -> Self {
        Self {
            key,
            kind,
            rows,
            resume: None,
        }
    }

    /// The same piece with the token to resume behind it.
    #[must_use]
    pub fn resume(mut self, token: impl Into<Vec<u8>>) -> Self {
        self.resume = Some(token.into());
        self
    }
}

/// Limits of the batches a helper makes, within those of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Pieces of one batch.
    pub pieces: usize,
    /// Bytes of one piece; a larger one is an error.
    pub piece_bytes: usize,
    /// How long a batch that has something waits for more. It never waits longer than the host does.
    pub linger: Duration,
}

impl Default for BatchOptions {
    /// 1024 pieces of at most 4 MiB, 50 ms.
    fn default() -> Self {
        Self {
            pieces: 1024,
            piece_bytes: 4 << 20,
            linger: Duration::from_millis(50),
        }
    }
}

impl BatchOptions {
    /// Refuses a piece that is too large.
    pub(crate) fn check(&self, piece: &Piece) -> Result<(), PluginError> {
        let bytes = piece.rows.bytes();
        if bytes <= self.piece_bytes {
            return Ok(());
        }
        Err(PluginError::new(
            Code::Limit,
            format!(
                "LIMIT: a piece of {bytes} bytes for {} (at most {}); hand it over in smaller ones",
                piece.key, self.piece_bytes
            ),
        ))
    }
}

/// A batch in the making.
pub(crate) struct Batching<'a, 'b> {
    options: BatchOptions,
    out: &'a mut SourceOut<'b>,
    deadline: Instant,
    pieces: usize,
    first: Option<Instant>,
}

impl<'a, 'b> Batching<'a, 'b> {
    pub(crate) fn new(
        options: BatchOptions,
        out: &'a mut SourceOut<'b>,
        deadline: Instant,
    ) -> Self {
        Self {
            options,
            out,
            deadline,
            pieces: 0,
            first: None,
        }
    }

    pub(crate) fn add(&mut self, piece: Piece) -> Result<(), PluginError> {
        self.options.check(&piece)?;
        self.out.append(&piece.key, piece.kind, piece.rows)?;
        if let Some(token) = piece.resume {
            self.out.set_resume(&token)?;
        }
        self.pieces += 1;
        self.first.get_or_insert_with(Instant::now);
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.pieces >= self.options.pieces || self.out.is_full()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.out.is_cancelled()
    }

    /// How long more may be waited for.
    pub(crate) fn left(&self) -> Duration {
        let linger = self.first.map(|first| first + self.options.linger);
        let until = linger.map_or(self.deadline, |linger| linger.min(self.deadline));
        until.saturating_duration_since(Instant::now())
    }
}

/// A host that keeps what it is given.
#[cfg(test)]
pub(crate) mod fake {
    use model::{Column, ColumnDef, ColumnType, Schema};

    use super::*;
    use crate::ctx::Level;
    use crate::source::SourceCalls;

    #[derive(Default)]
    pub(crate) struct Host {
        pub(crate) times: Vec<i64>,
        pub(crate) token: Option<Vec<u8>>,
        pub(crate) rows_max: usize,
        pub(crate) is_cancelled: bool,
    }

    impl SourceCalls for Host {
        fn append(
            &mut self,
            _key: &BucketKey,
            _kind: RowKind,
            rows: ColumnBatch,
        ) -> Result<(), PluginError> {
            self.times.extend(rows.times());
            Ok(())
        }
        fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
            self.token = Some(token.into());
            Ok(())
        }
        fn room(&self) -> (usize, usize) {
            (self.rows_max.saturating_sub(self.times.len()), 1 << 20)
        }
        fn is_cancelled(&self) -> bool {
            self.is_cancelled
        }
        fn log(&mut self, _level: Level, _text: &str) {}
    }

    impl Host {
        pub(crate) fn new() -> Self {
            Self {
                rows_max: 100,
                ..Self::default()
            }
        }
    }

    /// A piece of rows at these times, with the last as token.
    pub(crate) fn piece(times: &[i64]) -> Piece {
        let schema = Schema::new(vec![ColumnDef::new("Price", ColumnType::F64)]).unwrap();
        let prices = vec![Column::from_values(vec![1.0; times.len()])];
        let rows = ColumnBatch::new(schema, Column::from_values(times.to_vec()), prices).unwrap();
        let key = BucketKey::parse("A/1Min/T").unwrap();
        Piece::new(key, RowKind::Tick, rows).resume(times[times.len() - 1].to_le_bytes())
    }

    /// A deadline that no test reaches.
    pub(crate) fn late() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }
}
