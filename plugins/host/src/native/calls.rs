//! The functions of the host's table.
//!
//! Each finds the host's calls behind a handle, copies what it was lent and answers with a code; a
//! panic of ours ends here. What a function lends back to the plugin is lent after the handle is
//! free again, so that the plugin may call us meanwhile.

use std::cell::RefCell;
use std::ffi::c_void;
use std::time::Duration;

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};
use plugin_abi::{
    Batch, Buf, CANCELLED, HEALTH_DEGRADED, HEALTH_OK, LOG_DEBUG, LOG_ERROR, LOG_WARN, NOT_FOUND,
    OK, QueryRows, STALE, STATE_BYTES, STATE_COUNTER, ScanRow, Status, Str,
};
use plugin_sdk::export::{self, Reader, View};
use plugin_sdk::{Code, Health, HostCalls, Level, PluginError, Query, QueryLimit, StateValue};
use serde::Deserialize;

use super::handle::{self, Target};

thread_local! {
    /// Why the last call of this thread that has no status failed.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

type Answer = Result<i32, PluginError>;

/// Runs the body of a function: no panic passes.
fn contained(body: impl FnOnce() -> Answer) -> Answer {
    export::contained(body).unwrap_or_else(|panic| {
        tracing::error!("a call of a plugin ended in a panic of the server: {panic}");
        Err(PluginError::new(Code::Panic, panic))
    })
}

/// Answers with a code and keeps the words.
pub(super) fn plain(body: impl FnOnce() -> Answer) -> i32 {
    contained(body).unwrap_or_else(|error| {
        LAST.set(error.text);
        error.code as i32
    })
}

/// Answers with a code and puts the words into a status.
pub(super) unsafe fn told(status: *mut Status, body: impl FnOnce() -> Answer) -> i32 {
    contained(body).unwrap_or_else(|error| {
        let code = error.code as i32;
        // SAFETY: the caller's status, as long as it says.
        unsafe {
            if !status.is_null() && (*status).size as usize >= size_of::<Status>() {
                (*status).code = code;
                (*status).msg = export::give(error.text);
            }
        }
        code
    })
}

pub(super) fn stale() -> PluginError {
    PluginError::new(
        Code::Stale,
        "STALE: this handle belongs to a call that is over",
    )
}

/// The calls of a fire or a worker.
fn calls<R>(
    ctx: *mut c_void,
    call: &str,
    with: impl FnOnce(&mut dyn HostCalls) -> Result<R, PluginError>,
) -> Result<R, PluginError> {
    let result = handle::with(ctx, |target| match target {
        Target::Fire(calls) => with(calls),
        Target::Worker(calls) => with(calls.as_host()),
        Target::Source(_) | Target::State(_) => Err(PluginError::unsupported(call)),
    });
    result.unwrap_or_else(|| Err(stale()))
}

/// The state store behind a handle.
fn state<R>(
    ctx: *mut c_void,
    with: impl FnOnce(&mut dyn plugin_sdk::StateCalls) -> Result<R, PluginError>,
) -> Result<R, PluginError> {
    let none = || PluginError::unsupported("the state store");
    let result = handle::with(ctx, |target| match target {
        Target::Fire(calls) => with(calls.state().ok_or_else(none)?),
        Target::Worker(calls) => with(calls.as_host().state().ok_or_else(none)?),
        Target::State(calls) => with(calls),
        Target::Source(_) => Err(none()),
    });
    result.unwrap_or_else(|| Err(stale()))
}

/// Text of the plugin.
unsafe fn text<'a>(of: &Str, what: &str) -> Result<&'a str, PluginError> {
    // SAFETY: lent for the call.
    unsafe { export::text(of) }.ok_or_else(|| PluginError::from(format!("{what} is no UTF-8")))
}

/// Rows of the plugin.
pub(super) unsafe fn rows(
    key: &Str,
    batch: *const Batch,
) -> Result<(BucketKey, RowKind, ColumnBatch), PluginError> {
    // SAFETY: lent for the call.
    unsafe {
        let key = BucketKey::parse(text(key, "the key")?)
            .map_err(|error| PluginError::from(error.to_string()))?;
        let batch =
            export::read_sized(batch).ok_or_else(|| PluginError::from("the batch is NULL"))?;
        let (kind, rows) = Reader::default().rows(&batch, false)?;
        Ok((key, kind, rows))
    }
}

pub(super) unsafe extern "C" fn log(level: u32, target: Str, msg: Str, kv_json: Str) {
    plain(|| {
        // SAFETY: lent for the call.
        let [target, msg, details] =
            unsafe { [target, msg, kv_json].map(|of| lossy(export::bytes(&of))) };
        let level = match level {
            LOG_ERROR => Level::Error,
            LOG_WARN => Level::Warn,
            LOG_DEBUG => Level::Debug,
            _ => Level::Info,
        };
        let line = if target.is_empty() {
            msg
        } else {
            format!("{target}: {msg}")
        };
        if !details.is_empty() {
            tracing::debug!(details, "{line}");
        }
        let logged = handle::with_current(|call| match call {
            Target::Fire(calls) => calls.log(level, &line),
            Target::Worker(calls) => calls.as_host().log(level, &line),
            Target::Source(calls) => calls.log(level, &line),
            Target::State(_) => without_call(level, &line),
        });
        if logged.is_none() {
            without_call(level, &line);
        }
        Ok(OK)
    });
}

/// A line of a thread that is in no call of ours: which instance it belongs to is not known.
fn without_call(level: Level, line: &str) {
    match level {
        Level::Error => tracing::error!("plugin: {line}"),
        Level::Warn => tracing::warn!("plugin: {line}"),
        Level::Info => tracing::info!("plugin: {line}"),
        Level::Debug => tracing::debug!("plugin: {line}"),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) unsafe extern "C" fn now_ns() -> i64 {
    let current = export::contained(|| {
        handle::with_current(|call| match call {
            Target::Fire(calls) => Some(calls.info().now),
            Target::Worker(calls) => Some(calls.info().now),
            Target::Source(_) | Target::State(_) => None,
        })
    });
    current.ok().flatten().flatten().unwrap_or_else(wall_clock)
}

/// Wall clock.
pub(super) fn wall_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, crate::fire::nanos)
}

pub(super) unsafe extern "C" fn metric_add(id: Str, _labels: Str, by: f64) {
    plain(|| {
        // SAFETY: lent for the call.
        let id = unsafe { text(&id, "a metric's name") }?;
        handle::with_current(|call| match call {
            Target::Fire(calls) => calls.count(id, by),
            Target::Worker(calls) => calls.as_host().count(id, by),
            Target::Source(_) | Target::State(_) => {}
        });
        Ok(OK)
    });
}

pub(super) unsafe extern "C" fn cancelled(ctx: *mut c_void) -> i32 {
    plain(|| {
        let asked = handle::with(ctx, |target| match target {
            Target::Fire(calls) => calls.is_cancelled(),
            Target::Worker(calls) => calls.is_cancelled(),
            Target::Source(calls) => calls.is_cancelled(),
            Target::State(_) => false,
        });
        asked.map(i32::from).ok_or_else(stale)
    })
}

pub(super) unsafe extern "C" fn deadline_ns(ctx: *mut c_void) -> i64 {
    let deadline =
        export::contained(|| calls(ctx, "deadline_ns", |calls| Ok(calls.info().deadline)));
    deadline.ok().and_then(Result::ok).unwrap_or(0)
}

pub(super) unsafe extern "C" fn write(
    ctx: *mut c_void,
    key: Str,
    batch: *const Batch,
    flags: u32,
    status: *mut Status,
) -> i32 {
    // SAFETY: lent for the call; the status is the caller's.
    unsafe {
        told(status, || {
            if flags != 0 {
                let text = format!("UNSUPPORTED: this host knows no flags {flags:#x} of write");
                return Err(PluginError::new(Code::Unsupported, text));
            }
            let (key, kind, rows) = rows(&key, batch)?;
            calls(ctx, "write", |calls| calls.write(&key, kind, rows))?;
            Ok(OK)
        })
    }
}

pub(super) unsafe extern "C" fn state_get(ctx: *mut c_void, key: Str, out: *mut Buf) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let key = unsafe { export::bytes(&key) };
        let value = state(ctx, |state| state.get(key))?;
        // SAFETY: the caller's.
        let out = unsafe { place(out) }?;
        *out = Buf::empty();
        let Some(value) = value else {
            return Ok(NOT_FOUND);
        };
        *out = export::give(value);
        Ok(OK)
    })
}

/// Where an answer goes.
unsafe fn place<'a, T>(out: *mut T) -> Result<&'a mut T, PluginError> {
    // SAFETY: promised by the caller.
    unsafe { out.as_mut() }.ok_or_else(|| PluginError::from("no place for the answer: out is NULL"))
}

pub(super) unsafe extern "C" fn state_put(ctx: *mut c_void, key: Str, value: Str) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let (key, value) = unsafe { (export::bytes(&key), export::bytes(&value)) };
        state(ctx, |state| state.put(key, value)).map(|()| OK)
    })
}

pub(super) unsafe extern "C" fn state_delete(ctx: *mut c_void, key: Str) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let key = unsafe { export::bytes(&key) };
        state(ctx, |state| state.delete(key)).map(|()| OK)
    })
}

pub(super) unsafe extern "C" fn state_incr(
    ctx: *mut c_void,
    key: Str,
    by: i64,
    out: *mut i64,
) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let key = unsafe { export::bytes(&key) };
        let sum = state(ctx, |state| state.incr(key, by))?;
        // SAFETY: the caller's; who does not want the sum gives no place.
        if let Some(out) = unsafe { out.as_mut() } {
            *out = sum;
        }
        Ok(OK)
    })
}

pub(super) unsafe extern "C" fn state_counter(ctx: *mut c_void, key: Str, out: *mut i64) -> i32 {
    plain(|| {
        // SAFETY: lent for the call; the place is the caller's.
        unsafe {
            let key = export::bytes(&key);
            *place(out)? = state(ctx, |state| state.counter(key))?;
        }
        Ok(OK)
    })
}

pub(super) unsafe extern "C" fn state_scan(
    ctx: *mut c_void,
    prefix: Str,
    limit: u64,
    callback: Option<ScanRow>,
    user: *mut c_void,
) -> i32 {
    plain(|| {
        let callback = callback.ok_or_else(|| PluginError::from("state_scan without callback"))?;
        // SAFETY: lent for the call.
        let prefix = unsafe { export::bytes(&prefix) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        for (key, value) in state(ctx, |state| state.scan(prefix, limit))? {
            let (kind, bytes, counter) = match &value {
                StateValue::Bytes(bytes) => (STATE_BYTES, Str::of(bytes), 0),
                StateValue::Counter(counter) => (STATE_COUNTER, Str::none(), *counter),
            };
            // SAFETY: the plugin's function, which does not unwind; texts lent for the call.
            if unsafe { callback(user, Str::of(&key), kind, bytes, counter) } != OK {
                break;
            }
        }
        Ok(OK)
    })
}

pub(super) unsafe extern "C" fn timer_set(
    ctx: *mut c_void,
    key: Str,
    due_ns: i64,
    payload: Str,
) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let (key, payload) = unsafe { (export::bytes(&key), export::bytes(&payload)) };
        calls(ctx, "timer_set", |calls| {
            calls.set_timer(key, due_ns, payload)
        })?;
        Ok(OK)
    })
}

pub(super) unsafe extern "C" fn delete_range(
    ctx: *mut c_void,
    key: Str,
    from_ns: i64,
    to_ns: i64,
    status: *mut Status,
) -> i32 {
    // SAFETY: the plugin's status and text, lent for the call.
    unsafe {
        told(status, || {
            let key = BucketKey::parse(text(&key, "the key")?)
                .map_err(|error| PluginError::from(error.to_string()))?;
            calls(ctx, "delete_range", |calls| {
                calls.delete(&key, from_ns, to_ns)?;
                Ok(OK)
            })
        })
    }
}

pub(super) unsafe extern "C" fn timer_cancel(ctx: *mut c_void, key: Str) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let key = unsafe { export::bytes(&key) };
        calls(ctx, "timer_cancel", |calls| {
            calls.cancel_timer(key);
            Ok(OK)
        })
    })
}

/// The request of a query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    key: String,
    from: Option<i64>,
    to: Option<i64>,
    columns: Option<Vec<String>>,
    first: Option<usize>,
    last: Option<usize>,
}

pub(super) unsafe extern "C" fn query(
    ctx: *mut c_void,
    request_json: Str,
    callback: Option<QueryRows>,
    user: *mut c_void,
    status: *mut Status,
) -> i32 {
    // SAFETY: lent for the call; the status is the caller's.
    unsafe {
        told(status, || {
            let callback = callback.ok_or_else(|| PluginError::from("query without callback"))?;
            let request: Request = serde_json::from_slice(export::bytes(&request_json))
                .map_err(|error| PluginError::from(format!("query: {error}")))?;
            let key = BucketKey::parse(&request.key)
                .map_err(|error| PluginError::from(format!("query: {error}")))?;
            let Some((kind, rows)) = ask(ctx, &key, &request)? else {
                return Ok(NOT_FOUND);
            };
            let mut view = View::new(rows.schema(), 0);
            // A plugin that has seen enough says so; that is no failure.
            view.lend(key.as_str(), kind, &rows, |batch| callback(user, batch));
            Ok(OK)
        })
    }
}

fn ask(
    ctx: *mut c_void,
    key: &BucketKey,
    request: &Request,
) -> Result<Option<(RowKind, ColumnBatch)>, PluginError> {
    let limit = match (request.first, request.last) {
        (Some(_), Some(_)) => return Err(PluginError::from("query: first or last, not both")),
        (Some(rows), None) => Some(QueryLimit::First(rows)),
        (None, Some(rows)) => Some(QueryLimit::Last(rows)),
        (None, None) => None,
    };
    let columns = request.columns.as_ref();
    let columns: Option<Vec<&str>> = columns.map(|all| all.iter().map(String::as_str).collect());
    let query = Query {
        key,
        from: request.from.unwrap_or(i64::MIN),
        to: request.to.unwrap_or(i64::MAX),
        columns: columns.as_deref(),
        limit,
    };
    let rows = calls(ctx, "query", |calls| calls.query(&query))?;
    // The SDK's query does not say what kind the rows are; whoever asks knows its bucket.
    Ok(rows.map(|rows| (RowKind::Bar, rows)))
}

pub(super) unsafe extern "C" fn publish(ctx: *mut c_void, stream: Str, payload: Str) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let (stream, payload) = unsafe {
            let payload = Bytes::copy_from_slice(export::bytes(&payload));
            (text(&stream, "the name of a stream")?, payload)
        };
        calls(ctx, "publish", |calls| {
            calls.publish(stream, payload);
            Ok(OK)
        })
    })
}

pub(super) unsafe extern "C" fn health_set(ctx: *mut c_void, level: u32, words: Str) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let words = unsafe { text(&words, "the text of a health") }?;
        let health = match level {
            HEALTH_OK => Health::Ok,
            HEALTH_DEGRADED => Health::Degraded,
            _ => Health::Failing,
        };
        calls(ctx, "health_set", |calls| {
            calls.health(health, words);
            Ok(OK)
        })
    })
}

/// The calls of a worker.
fn worker<R>(
    ctx: *mut c_void,
    call: &str,
    with: impl FnOnce(&mut dyn plugin_sdk::WorkerCalls) -> Result<R, PluginError>,
) -> Result<R, PluginError> {
    let result = handle::with(ctx, |target| match target {
        Target::Worker(calls) => with(calls),
        _ => Err(PluginError::unsupported(call)),
    });
    result.unwrap_or_else(|| Err(stale()))
}

pub(super) unsafe extern "C" fn commit(ctx: *mut c_void, status: *mut Status) -> i32 {
    // SAFETY: the status is the caller's.
    unsafe {
        told(status, || {
            worker(ctx, "commit", |calls| calls.commit()).map(|()| OK)
        })
    }
}

pub(super) unsafe extern "C" fn sleep(ctx: *mut c_void, ns: u64) -> i32 {
    plain(|| {
        let goes_on = worker(ctx, "sleep", |calls| {
            Ok(calls.sleep(Duration::from_nanos(ns)))
        })?;
        Ok(if goes_on { OK } else { CANCELLED })
    })
}

pub(super) unsafe extern "C" fn last_error(out: *mut Buf) -> i32 {
    let text = LAST.take();
    // SAFETY: the caller's.
    match unsafe { out.as_mut() } {
        Some(out) => {
            *out = export::give(text);
            OK
        }
        None => Code::Error as i32,
    }
}

const _: () = assert!(STALE == Code::Stale as i32);
