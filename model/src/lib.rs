//! Vocabulary and pure functions of mkts. No I/O, no threads, no unsafe code.
//!
//! Glossary (one word per thing, everywhere):
//!
//! * **bucket**: rows of one symbol, timeframe and attribute group, named by a [`BucketKey`]
//!   (`AAPL/1Min/OHLCV`).
//! * **timeframe**: the length of one bar of a bucket, a [`Timeframe`].
//! * **bar**: a row of a bucket that keeps one row per time ([`RowKind::Bar`]); the last write wins.
//! * **tick**: a row of a bucket that keeps every row ([`RowKind::Tick`]), ordered by time.
//! * **schema**: the columns of a bucket, each a name and a [`ColumnType`]. Time is not a column of
//!   the schema: it is kept apart, as nanoseconds since 1970 in UTC.
//! * **batch**: rows as columns, a [`ColumnBatch`].
//! * **window**: the half-open span of time that one bar covers, a [`Window`].
//! * **on-pattern**: which buckets a trigger sees, a [`KeyPattern`].
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("mkts stores and sends little-endian values and supports little-endian hosts only");

mod batch;
mod candle;
pub mod functions;
mod key;
mod pattern;
mod scalar;
mod schema;
mod time;
mod timeframe;
mod zone;

pub use batch::{BatchBuilder, BatchError, Column, ColumnBatch, Value};
pub use candle::{Aggregation, RollUp, Windows, roll_up};
pub use key::{BucketKey, ITEM_BYTES_MAX, KeyError, check_item};
pub use pattern::{KeyPattern, PATTERN_BYTES_MAX, PatternError};
pub use scalar::Scalar;
pub use schema::{
    COLUMN_NAME_BYTES_MAX, COLUMNS_MAX, ColumnDef, ColumnType, RowKind, Schema, SchemaError,
};
pub use time::{NANOS_PER_SECOND, TIME_MAX, TIME_MIN, TimeError, epoch_and_nanos, time_from_epoch};
pub use timeframe::{Timeframe, TimeframeError, Unit, Window};
pub use zone::{Zone, ZoneError};
