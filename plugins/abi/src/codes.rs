//! Numbers with a name.

use crate::describe::Constant;

macro_rules! constants {
    ($( $(#[doc = $doc:literal])* $name:ident: $ty:ty = $value:expr; )*) => {
        $( $(#[doc = $doc])* pub const $name: $ty = $value; )*
        /// Every number with a name, in the order of the header.
        pub const CONSTANTS: &[Constant] = &[
            $( Constant { name: stringify!($name), doc: &[$($doc),*], value: $value as i64 }, )*
        ];
    };
}

constants! {
    /// Answer: all is well.
    OK: i32 = 0;
    /// Answer of `fire`: try again, not before `retry_after_ms` if that is not 0.
    RETRY: i32 = 1;
    /// Answer of `fire`: give this event up, go on with the next.
    SKIP: i32 = 2;
    /// Any failure. As the answer of `fire` any negative number means: try again, unless the status
    /// has the flag `STATUS_FATAL`. Negative numbers without a name mean this one.
    ERR: i32 = -1;
    /// A wrong config; the message begins with `config` and the path of the key: `config.a[2]: ...`.
    CONFIG: i32 = -2;
    /// Host and plugin do not fit together.
    ABI: i32 = -3;
    /// A handle used after its call was over.
    STALE: i32 = -4;
    /// A documented limit is passed.
    LIMIT: i32 = -5;
    /// It took too long.
    TIMEOUT: i32 = -6;
    /// The host asked the plugin to end.
    CANCELLED: i32 = -7;
    /// This host does not offer the call here.
    UNSUPPORTED: i32 = -8;
    /// The answer of an older start or attempt.
    FENCED: i32 = -9;
    /// It is there already.
    EXISTS: i32 = -10;
    /// It is not there.
    NOT_FOUND: i32 = -11;
    /// A counter where bytes are wanted, or the reverse.
    TYPE: i32 = -12;
    /// A panic, caught at the border.
    PANIC: i32 = -100;

    /// Flag of a status: the instance cannot go on.
    STATUS_FATAL: u32 = 1;

    /// Kind: fires after durable writes.
    KIND_TRIGGER: u32 = 1;
    /// Kind: runs beside the server for as long as it likes.
    KIND_BGWORKER: u32 = 2;
    /// Kind: hands rows to the host, which owns the loop.
    KIND_SOURCE: u32 = 3;

    /// Type of a column: 32-bit float. Columns of types not named here are to be skipped.
    TYPE_F32: u16 = 0;
    /// Type of a column: 32-bit signed integer.
    TYPE_I32: u16 = 1;
    /// Type of a column: 64-bit float.
    TYPE_F64: u16 = 2;
    /// Type of a column: 64-bit signed integer.
    TYPE_I64: u16 = 3;
    /// Type of a column: 8-bit signed integer.
    TYPE_I8: u16 = 5;
    /// Type of a column: 16-bit signed integer.
    TYPE_I16: u16 = 9;
    /// Type of a column: 8-bit unsigned integer.
    TYPE_U8: u16 = 10;
    /// Type of a column: 16-bit unsigned integer.
    TYPE_U16: u16 = 11;
    /// Type of a column: 32-bit unsigned integer.
    TYPE_U32: u16 = 12;
    /// Type of a column: 64-bit unsigned integer.
    TYPE_U64: u16 = 13;
    /// Type of a column: text of up to 16 code points, 32 bits each, padded with zeros.
    TYPE_STR16: u16 = 14;

    /// Flag of a column: the times of the rows, `I64` nanoseconds since 1970 (UTC), named `Epoch`.
    /// It is the first column of every batch, and the only one with this flag.
    COL_TIME: u16 = 1;

    /// Kind of rows: time is floored to the timeframe, one row per time.
    ROWS_BAR: u32 = 0;
    /// Kind of rows: every row is kept.
    ROWS_TICK: u32 = 1;

    /// Event: new rows, in `batch`.
    EVENT_WRITE: u32 = 1;
    /// Event: rows of `key` from `from_ns` to `to_ns` (inclusive) may have changed, read them again.
    EVENT_GAP: u32 = 2;
    /// Event: the bucket `key` was dropped.
    EVENT_DELETED: u32 = 3;
    /// Event: the timer `key`, with its `payload`, was due at `from_ns`.
    EVENT_TIMER: u32 = 4;
    /// Flag of an event: it may have been fired before a restart.
    EVENT_REPLAY: u32 = 1;

    /// Flag of a start: the first of the instance.
    INIT_FIRST: u32 = 1;
    /// Flag of a start: the last one ended in a crash.
    INIT_AFTER_CRASH: u32 = 2;
    /// Flag of a start: it is a test.
    INIT_HARNESS: u32 = 4;

    /// Why an object ends: the server stops, or the instance is switched off.
    CLOSE_STOP: u32 = 0;
    /// Why an object ends: it panicked.
    CLOSE_PANIC: u32 = 1;
    /// Why an object ends: its effects were dropped, and the events fire again.
    CLOSE_AGAIN: u32 = 2;
    /// Why an object ends: a new version or config takes its place.
    CLOSE_RELOAD: u32 = 3;

    /// Answer of `next_batch`: there is more at once.
    MORE_FULL: i32 = 0;
    /// Answer of `next_batch`: there is nothing more for now; a partial batch is valid.
    MORE_TIMEOUT: i32 = 1;
    /// Answer of `next_batch`: the feed has ended for good.
    MORE_END: i32 = 2;

    /// Level of a line in the log: something failed.
    LOG_ERROR: u32 = 1;
    /// Level of a line in the log: something is odd.
    LOG_WARN: u32 = 2;
    /// Level of a line in the log: worth knowing.
    LOG_INFO: u32 = 3;
    /// Level of a line in the log: for the author.
    LOG_DEBUG: u32 = 4;

    /// Health: all is well.
    HEALTH_OK: u32 = 0;
    /// Health: it works, with something missing.
    HEALTH_DEGRADED: u32 = 1;
    /// Health: it cannot do its work.
    HEALTH_FAILING: u32 = 2;

    /// Kind of a value of the state store: bytes.
    STATE_BYTES: u32 = 1;
    /// Kind of a value of the state store: a counter.
    STATE_COUNTER: u32 = 2;
}
