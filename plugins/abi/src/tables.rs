//! The structs.

use core::ffi::c_void;
use core::mem::{offset_of, size_of};

use crate::describe::{Call, Field, Table};
use crate::{QueryRows, ScanRow};

macro_rules! tables {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident = $c:literal {
            $( $(#[doc = $field_doc:literal])* $field:ident: $ty:ty, )*
        } calls {
                $( $(#[doc = $call_doc:literal])*
                fn $call:ident($($arg:ident: $arg_ty:ty),*) $(-> $answer:ty)?; )*
        }
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Debug, Clone, Copy)]
            #[repr(C)]
            pub struct $name {
                $( $(#[doc = $field_doc])* pub $field: $ty, )*
                $(
                    $(#[doc = $call_doc])*
                    pub $call: Option<unsafe extern "C" fn($($arg: $arg_ty),*) $(-> $answer)?>,
                )*
            }
        )*
        /// Every struct, in the order of the header.
        pub const TABLES: &[Table] = &[$( Table {
            name: $c,
            doc: &[$($doc),*],
            size: size_of::<$name>(),
            fields: &[$( Field {
                name: stringify!($field),
                doc: &[$($field_doc),*],
                ty: stringify!($ty),
                offset: offset_of!($name, $field),
            }, )*],
            calls: &[$( Call {
                name: stringify!($call),
                doc: &[$($call_doc),*],
                arguments: &[$( (stringify!($arg), stringify!($arg_ty)), )*],
                answer: concat!("" $(, stringify!($answer))?),
                offset: offset_of!($name, $call),
            }, )*],
        }, )*];
    };
}

tables! {
    /// Text or bytes, lent for the call. Frozen.
    Str = "mkts_str" {
        /// First byte; may be NULL if there is none.
        ptr: *const u8,
        /// Bytes.
        len: u64,
    } calls {}

    /// Bytes that change hands: the receiver releases them once, from any thread. Frozen.
    Buf = "mkts_buf" {
        /// First byte.
        ptr: *const u8,
        /// Bytes.
        len: u64,
        /// Whatever `release` needs.
        owner: *mut c_void,
    } calls {
        /// Frees the bytes; NULL if there is nothing to free.
        fn release(buf: *mut Buf);
    }

    /// How a call went, made by its caller with `size` set and zeros behind it.
    Status = "mkts_status" {
        /// Bytes of this struct.
        size: u32,
        /// The answer once more.
        code: i32,
        /// With `MKTS_RETRY`: not before this time has passed.
        retry_after_ms: u32,
        /// `MKTS_STATUS_` flags.
        flags: u32,
        /// What happened, in one line.
        msg: Buf,
    } calls {}

    /// One column. Frozen.
    Col = "mkts_col" {
        /// One of the `MKTS_TYPE_` numbers.
        ty: u16,
        /// `MKTS_COL_` flags.
        flags: u16,
        /// Bytes of one value.
        elem_bytes: u32,
        /// Name.
        name: Str,
        /// The values without gaps, beginning on a multiple of 8.
        data: *const c_void,
    } calls {}

    /// Rows of one bucket, lent for the call.
    Batch = "mkts_batch" {
        /// Bytes of this struct.
        size: u32,
        /// Columns, that of the times included.
        ncols: u32,
        /// Rows.
        nrows: u64,
        /// The columns, that of the times first.
        cols: *const Col,
        /// Bucket: `SYM/TF/AG`.
        key: Str,
        /// One of the `MKTS_ROWS_` numbers.
        row_kind: u32,
        /// To one object, equal numbers mean equal columns; 0 means nothing.
        schema_version: u32,
    } calls {}

    /// What one fire is about.
    Event = "mkts_event" {
        /// Bytes of this struct.
        size: u32,
        /// One of the `MKTS_EVENT_` numbers.
        ty: u32,
        /// Position of the first commit.
        first_lsn: u64,
        /// Position of the last commit.
        last_lsn: u64,
        /// Plus one at each start of the instance.
        epoch: u64,
        /// When the fire has run too long (wall clock).
        deadline_ns: u64,
        /// 1 for the first attempt.
        attempt: u32,
        /// `MKTS_EVENT_REPLAY`.
        flags: u32,
        /// The rows of a write, else NULL.
        batch: *const Batch,
        /// Bucket, or key of the timer.
        key: Str,
        /// Payload of the timer.
        payload: Str,
        /// First time of a gap; when a timer was due.
        from_ns: i64,
        /// Last time of a gap.
        to_ns: i64,
    } calls {}

    /// What an object is told when it is made.
    Init = "mkts_init" {
        /// Bytes of this struct.
        size: u32,
        /// One of the `MKTS_KIND_` numbers.
        kind: u32,
        /// Instance id.
        instance: Str,
        /// Plus one at each start of the instance.
        epoch: u64,
        /// Version of the stored state.
        state_version: u32,
        /// `MKTS_INIT_` flags.
        flags: u32,
        /// Handle for reading state, valid for this call.
        state: *mut c_void,
        /// Time zone of the server, where days and weeks begin: `America/New_York`.
        timezone: Str,
    } calls {}

    /// Where a source puts its rows; valid for one call.
    SourceOut = "mkts_source_out" {
        /// Bytes of this struct.
        size: u32,
        /// Rows the batch takes.
        max_rows: u32,
        /// Bytes the batch takes.
        max_bytes: u64,
        /// Handle for these calls.
        h: *mut c_void,
    } calls {
        /// Adds rows; a missing bucket is made.
        fn append(h: *mut c_void, key: Str, batch: *const Batch, status: *mut Status) -> i32;
        /// The token behind the rows appended so far; stored in their commit.
        fn set_resume(h: *mut c_void, token: Str) -> i32;
    }

    /// What the plugin offers; lives for ever.
    Plugin = "mkts_plugin" {
        /// Bytes of this struct.
        size: u32,
        /// Least minor number of a host that it can work with.
        abi_minor_min: u32,
        /// The JSON of the manifest section.
        manifest: Str,
    } calls {
        /// Whether it runs this config; nothing is started. From any thread.
        fn check(config_json: Str, status: *mut Status) -> i32;
        /// Makes an object; NULL if it cannot, with the reason in `status`.
        fn create(kind: u32, config_json: Str, init: *const Init, status: *mut Status) -> *mut c_void;
        /// Ends an object and its threads; `reason` is one of the `MKTS_CLOSE_` numbers.
        fn destroy(inst: *mut c_void, reason: u32);
        /// Brings state of version `from` to the present one, before `create`.
        fn migrate(from: u32, state: *mut c_void, status: *mut Status) -> i32;
        /// One event of a trigger. Never entered twice at once for one object; the thread may
        /// change.
        fn fire(inst: *mut c_void, ctx: *mut c_void, event: *const Event, status: *mut Status) -> i32;
        /// Runs a worker, on a thread of its own, until `cancelled`.
        fn run(inst: *mut c_void, ctx: *mut c_void, status: *mut Status) -> i32;
        /// Opens the feed of a source behind `resume`; a token whose `ptr` is NULL is none.
        fn open(inst: *mut c_void, params: Str, resume: Str, status: *mut Status) -> i32;
        /// Appends rows until `out` is full, `deadline_ns` (wall clock) is reached or the feed ends:
        /// one of the `MKTS_MORE_` numbers, or a failure.
        fn next_batch(inst: *mut c_void, ctx: *mut c_void, out: *const SourceOut, deadline_ns: i64, status: *mut Status) -> i32;
        /// Asks an object to end what it does. At any time, from any thread; sets a flag and never
        /// blocks.
        fn cancel(inst: *mut c_void);
        /// How far a source with an end is: from 0 to 1, and words for people. `MKTS_NOT_FOUND` if
        /// it does not know.
        fn progress(inst: *mut c_void, share: *mut f64, text: *mut Buf) -> i32;
    }

    /// What the host offers; lives for ever. `ctx` is the handle given to a call, valid until it
    /// returns, on any thread; later the answer is `MKTS_STALE`. Calls copy what they are given,
    /// never unwind and never call back into the same object.
    Host = "mkts_host" {
        /// Bytes of this struct.
        size: u32,
        /// Major number of the border.
        abi_major: u32,
        /// Minor number of the border.
        abi_minor: u32,
        /// Zero.
        zero: u32,
        /// Version of the server.
        version: Str,
    } calls {
        /// Writes a line to the server's log; `kv_json` may be empty.
        fn log(level: u32, target: Str, msg: Str, kv_json: Str);
        /// Wall clock; during a call of the host that of its start.
        fn now_ns() -> i64;
        /// Adds to a metric that the manifest names; `labels` may be empty.
        fn metric_add(id: Str, labels: Str, by: f64);
        /// Whether the call is to end: 0 if not.
        fn cancelled(ctx: *mut c_void) -> i32;
        /// When the call has run too long (wall clock); 0 for never.
        fn deadline_ns(ctx: *mut c_void) -> i64;
        /// Writes rows, once the call is committed. A missing bucket is made. `flags` is 0.
        fn write(ctx: *mut c_void, key: Str, batch: *const Batch, flags: u32, status: *mut Status) -> i32;
        /// The bytes of a key; `MKTS_NOT_FOUND` if it is not there.
        fn state_get(ctx: *mut c_void, key: Str, out: *mut Buf) -> i32;
        /// Sets the bytes of a key.
        fn state_put(ctx: *mut c_void, key: Str, value: Str) -> i32;
        /// Removes a key.
        fn state_delete(ctx: *mut c_void, key: Str) -> i32;
        /// Adds to a counter, which begins at 0; `out` is its new value.
        fn state_incr(ctx: *mut c_void, key: Str, by: i64, out: *mut i64) -> i32;
        /// A counter; 0 if it is not there.
        fn state_counter(ctx: *mut c_void, key: Str, out: *mut i64) -> i32;
        /// The first `limit` keys with a prefix, ascending.
        fn state_scan(ctx: *mut c_void, prefix: Str, limit: u64, callback: Option<ScanRow>, user: *mut c_void) -> i32;
        /// Sets a timer; the same key replaces.
        fn timer_set(ctx: *mut c_void, key: Str, due_ns: i64, payload: Str) -> i32;
        /// Forgets a timer.
        fn timer_cancel(ctx: *mut c_void, key: Str) -> i32;
        /// Reads rows: `{"key": "A/1Min/OHLCV", "from": ns, "to": ns, "columns": ["Close"],
        /// "first": 10}`; all but `key` may be left out, `last` instead of `first` counts from the
        /// end. `MKTS_NOT_FOUND` if there is no such bucket.
        fn query(ctx: *mut c_void, request_json: Str, callback: Option<QueryRows>, user: *mut c_void, status: *mut Status) -> i32;
        /// Sends a message to the subscribers of a stream, once the call is committed.
        fn publish(ctx: *mut c_void, stream: Str, payload: Str) -> i32;
        /// Says how the plugin is; `level` is one of the `MKTS_HEALTH_` numbers.
        fn health_set(ctx: *mut c_void, level: u32, text: Str) -> i32;
        /// Of a worker: makes what it did so far one commit, visible on return.
        fn commit(ctx: *mut c_void, status: *mut Status) -> i32;
        /// Of a worker: pauses; `MKTS_CANCELLED` if it is to end.
        fn sleep(ctx: *mut c_void, ns: u64) -> i32;
        /// Why the last call of this thread that has no status failed.
        fn last_error(out: *mut Buf) -> i32;
        /// Since minor 1: deletes the rows of a bucket with times from `from_ns` to `to_ns`, once the
        /// call is committed, also those that it wrote before.
        fn delete_range(ctx: *mut c_void, key: Str, from_ns: i64, to_ns: i64, status: *mut Status) -> i32;
    }
}

impl Str {
    /// Lends bytes.
    pub const fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len() as u64,
        }
    }

    /// No bytes at all.
    pub const fn none() -> Self {
        Self {
            ptr: core::ptr::null(),
            len: 0,
        }
    }
}

impl Buf {
    /// No bytes.
    pub const fn empty() -> Self {
        Self {
            ptr: core::ptr::null(),
            len: 0,
            owner: core::ptr::null_mut(),
            release: None,
        }
    }
}

impl Status {
    /// As a caller hands it over.
    pub const fn new() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            code: 0,
            retry_after_ms: 0,
            flags: 0,
            msg: Buf::empty(),
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}
