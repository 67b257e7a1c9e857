//! What can be asked. Field names are those of the JSON.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::RowKind;
use serde::Deserialize;

/// One line of stdin.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Opens a store, made if missing. The answer counts the rows replayed from the log.
    Open {
        dir: PathBuf,
        #[serde(default)]
        options: StoreOptions,
    },
    /// Loads a file of columns; reading the file is not timed. Durable when it is answered.
    Ingest {
        #[serde(flatten)]
        table: Table,
        #[serde(default)]
        how: How,
    },
    /// Gives all rows of a file, some time later, to each bucket, in one segment that has their pages
    /// once: a store as large as none is made honestly in seconds. Not timed.
    Fill {
        #[serde(flatten)]
        table: Table,
        /// Nanoseconds added to each time.
        #[serde(default)]
        later: i64,
    },
    /// Commits of one row, each durable before the writer goes on, by `writers` threads.
    Append {
        key: String,
        /// Rows in all.
        rows: u64,
        #[serde(default = "one")]
        writers: u64,
    },
    /// Rows of a span of time, all columns.
    Range {
        key: String,
        #[serde(default = "min")]
        from: i64,
        #[serde(default = "max")]
        to: i64,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// The last rows of one bucket.
    Last {
        key: String,
        count: usize,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// The last row of each bucket.
    LastOfAll {
        #[serde(flatten)]
        keys: Keys,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// One column of many buckets.
    Column {
        #[serde(flatten)]
        keys: Keys,
        column: String,
        #[serde(default = "min")]
        from: i64,
        #[serde(default = "max")]
        to: i64,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// Open, High, Low, Close and Volume rolled up to a coarser timeframe.
    Aggregate {
        key: String,
        timeframe: String,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// The quote that stood at each trade: the last one not after it.
    Asof {
        trades: String,
        quotes: String,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// A statement of SQL over the store.
    Sql {
        text: String,
        #[serde(default = "threads")]
        threads: usize,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// A plain copy of as many values as a bucket has, out of memory: what no read can beat that
    /// hands out values of its own.
    Copy {
        key: String,
        #[serde(flatten)]
        repeat: Repeat,
    },
    /// Tails into a segment.
    Checkpoint,
    /// Merges until none is due.
    Merge,
    /// Closes and opens again; the opening is timed.
    Reopen,
    /// Bytes on disk and in memory.
    Stats,
    /// Ends the store.
    Close,
}

fn one() -> u64 {
    1
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn min() -> i64 {
    i64::MIN
}

fn max() -> i64 {
    i64::MAX
}

/// Options of the store that differ from its defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreOptions {
    pub(crate) tail_bytes_max: Option<usize>,
    pub(crate) wal_bytes_max: Option<u64>,
    pub(crate) merge: Option<bool>,
}

/// A file of little-endian columns: all times (i64, nanoseconds), then each column, one behind the
/// other. With `prefix` and `count` the rows are those of as many buckets, in equal shares.
#[derive(Debug, Deserialize)]
pub(crate) struct Table {
    #[serde(flatten)]
    pub(crate) keys: Keys,
    pub(crate) kind: Kind,
    pub(crate) file: PathBuf,
    pub(crate) rows: usize,
    /// Names and types, `f64` or `i32`.
    pub(crate) columns: Vec<(String, String)>,
}

/// One bucket, or those named `{prefix}00000/1Min/OHLCV` and on.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Keys {
    One { key: String },
    Many { prefix: String, count: usize },
}

impl Keys {
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::One { key } => vec![key.clone()],
            Self::Many { prefix, count } => (0..*count)
                .map(|number| format!("{prefix}{number:05}/1Min/OHLCV"))
                .collect(),
        }
    }
}

/// Kind of rows.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Bar,
    Tick,
}

impl From<Kind> for RowKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bar => Self::Bar,
            Kind::Tick => Self::Tick,
        }
    }
}

/// Which way rows go in.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    /// Past the log, into a segment.
    #[default]
    Ingest,
    /// Through the log, in commits as large as a frame may be.
    Write,
}

/// How often something is done; the median counts.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Repeat {
    /// At most so often.
    #[serde(default = "once")]
    repeat: usize,
    /// And not again after so long.
    #[serde(default = "second")]
    budget_ms: u64,
}

fn once() -> usize {
    1
}

fn second() -> u64 {
    1000
}

impl Repeat {
    /// Nanoseconds of each time, and what the last one gave.
    pub(crate) fn time<T>(
        self,
        mut f: impl FnMut() -> crate::Result<T>,
    ) -> crate::Result<(Vec<u64>, T)> {
        let end = Instant::now() + Duration::from_millis(self.budget_ms);
        let mut times = Vec::with_capacity(self.repeat);
        loop {
            let began = Instant::now();
            let result = f()?;
            times.push(began.elapsed().as_nanos() as u64);
            if times.len() >= self.repeat || Instant::now() >= end {
                return Ok((times, result));
            }
        }
    }
}
