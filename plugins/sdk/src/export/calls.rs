//! The plugin's side of the host's calls: [`HostCalls`] and the others through the table.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, RowKind};
use plugin_abi::{
    Batch, Buf, HEALTH_DEGRADED, HEALTH_FAILING, HEALTH_OK, LOG_DEBUG, LOG_ERROR, LOG_INFO,
    LOG_WARN, NOT_FOUND, OK, STATE_COUNTER, SourceOut as RawOut, Status, Str,
};

use super::batch::{Reader, View};
use super::entry::HostTable;
use super::{buf, panics};
use crate::bgworker::WorkerCalls;
use crate::ctx::{FireInfo, Health, HostCalls, Level, Query, QueryLimit};
use crate::error::{Code, PluginError};
use crate::source::SourceCalls;
use crate::state::{StateCalls, StateValue};

/// The calls of one handle.
pub(super) struct Remote<'a> {
    host: &'static HostTable,
    ctx: *mut c_void,
    /// Where a fire stands; its time and deadline are the host's to say.
    pub(super) info: FireInfo,
    cancel: Option<&'a AtomicBool>,
}

// SAFETY: the handle is valid on any thread, and checked.
unsafe impl Send for Remote<'_> {}

impl Remote<'_> {
    pub(super) fn new(host: &'static HostTable, ctx: *mut c_void) -> Self {
        Self {
            host,
            ctx,
            info: FireInfo {
                first_lsn: 0,
                last_lsn: 0,
                attempt: 1,
                is_replay: false,
                now: 0,
                deadline: 0,
            },
            cancel: None,
        }
    }
}

impl<'a> Remote<'a> {
    /// With a flag that ends the call, too.
    pub(super) fn until(self, cancel: &'a AtomicBool) -> Self {
        Self {
            cancel: Some(cancel),
            ..self
        }
    }
}

/// Calls a function of the host's table, if the host has it.
macro_rules! call {
    ($host:expr, $name:ident($($arg:expr),*)) => {
        match $host.$name {
            // SAFETY: handles are checked by the host, and texts are lent for the call.
            Some(function) => Ok(unsafe { function($($arg),*) }),
            None => Err(PluginError::unsupported(stringify!($name))),
        }
    };
}

/// The error of a code, with the host's words.
fn failed(host: &HostTable, code: i32) -> PluginError {
    let mut text = Buf::empty();
    let said = call!(host, last_error(&mut text));
    // SAFETY: as the host left it.
    let text = unsafe { buf::take(text) };
    let text = String::from_utf8_lossy(&text).into_owned();
    let text = match said {
        Ok(OK) if !text.is_empty() => text,
        _ => format!("the host answers {code}"),
    };
    PluginError::new(Code::of(code), text)
}

fn checked(host: &HostTable, code: i32) -> Result<(), PluginError> {
    if code == OK {
        Ok(())
    } else {
        Err(failed(host, code))
    }
}

/// The message of a status, which is released; that of the code if there is none.
fn told(status: Status, code: i32) -> Result<(), PluginError> {
    // SAFETY: as the host left it.
    let text = unsafe { buf::take(status.msg) };
    if code == OK {
        return Ok(());
    }
    let text = match text.is_empty() {
        true => format!("the host answers {code}"),
        false => String::from_utf8_lossy(&text).into_owned(),
    };
    Err(PluginError::new(Code::of(code), text))
}

fn log(host: &HostTable, level: Level, text: &str) {
    let level = match level {
        Level::Error => LOG_ERROR,
        Level::Warn => LOG_WARN,
        Level::Info => LOG_INFO,
        Level::Debug => LOG_DEBUG,
    };
    // A host without a log has nowhere to say so.
    let _ = call!(
        host,
        log(level, Str::of(b""), Str::of(text.as_bytes()), Str::none())
    );
}

impl HostCalls for Remote<'_> {
    fn info(&self) -> FireInfo {
        FireInfo {
            now: call!(self.host, now_ns()).unwrap_or(0),
            deadline: call!(self.host, deadline_ns(self.ctx)).unwrap_or(0),
            ..self.info
        }
    }

    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        let name = Str::of(key.as_str().as_bytes());
        let mut status = Status::new();
        let code = View::new(rows.schema(), 0).lend(key.as_str(), kind, &rows, |batch| {
            call!(self.host, write(self.ctx, name, batch, 0, &mut status))
        })?;
        told(status, code)
    }

    fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), PluginError> {
        let name = Str::of(key.as_str().as_bytes());
        let mut status = Status::new();
        let code = call!(
            self.host,
            delete_range(self.ctx, name, from, to, &mut status)
        )?;
        told(status, code)
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        let mut request = serde_json::json!({
            "key": query.key.as_str(), "from": query.from, "to": query.to,
        });
        if let Some(columns) = query.columns {
            request["columns"] = columns.into();
        }
        match query.limit {
            Some(QueryLimit::First(rows)) => request["first"] = rows.into(),
            Some(QueryLimit::Last(rows)) => request["last"] = rows.into(),
            None => {}
        }
        let request = request.to_string();
        let mut answer: Option<Result<ColumnBatch, PluginError>> = None;
        let mut status = Status::new();
        let code = call!(
            self.host,
            query(
                self.ctx,
                Str::of(request.as_bytes()),
                Some(query_rows),
                (&raw mut answer).cast(),
                &mut status
            )
        )?;
        if code == NOT_FOUND {
            // SAFETY: as the host left it.
            drop(unsafe { buf::take(status.msg) });
            return Ok(None);
        }
        told(status, code)?;
        answer.transpose()
    }

    fn set_timer(&mut self, key: &[u8], due: i64, payload: &[u8]) -> Result<(), PluginError> {
        let code = call!(
            self.host,
            timer_set(self.ctx, Str::of(key), due, Str::of(payload))
        )?;
        checked(self.host, code)
    }

    fn cancel_timer(&mut self, key: &[u8]) {
        // As for a plugin that is linked in, the call has no answer.
        let _ = call!(self.host, timer_cancel(self.ctx, Str::of(key)));
    }

    fn publish(&mut self, stream: &str, payload: Bytes) {
        let (stream, payload) = (Str::of(stream.as_bytes()), Str::of(&payload));
        let _ = call!(self.host, publish(self.ctx, stream, payload));
    }

    fn log(&mut self, level: Level, text: &str) {
        log(self.host, level, text);
    }

    fn state(&mut self) -> Option<&mut dyn StateCalls> {
        Some(self)
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(|flag| flag.load(Relaxed))
            || call!(self.host, cancelled(self.ctx)).unwrap_or(0) != 0
    }

    fn count(&mut self, metric: &str, by: f64) {
        let _ = call!(
            self.host,
            metric_add(Str::of(metric.as_bytes()), Str::none(), by)
        );
    }

    fn health(&mut self, health: Health, text: &str) {
        let level = match health {
            Health::Ok => HEALTH_OK,
            Health::Degraded => HEALTH_DEGRADED,
            Health::Failing => HEALTH_FAILING,
        };
        let _ = call!(
            self.host,
            health_set(self.ctx, level, Str::of(text.as_bytes()))
        );
    }
}

impl WorkerCalls for Remote<'_> {
    fn commit(&mut self) -> Result<(), PluginError> {
        let mut status = Status::new();
        let code = call!(self.host, commit(self.ctx, &mut status))?;
        told(status, code)
    }

    fn sleep(&mut self, time: Duration) -> bool {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        !self.is_cancelled() && call!(self.host, sleep(self.ctx, ns)) == Ok(OK)
    }

    fn as_host(&mut self) -> &mut dyn HostCalls {
        self
    }
}

impl StateCalls for Remote<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, PluginError> {
        let mut out = Buf::empty();
        let code = call!(self.host, state_get(self.ctx, Str::of(key), &mut out))?;
        // SAFETY: as the host left it.
        let value = unsafe { buf::take(out) };
        if code == NOT_FOUND {
            return Ok(None);
        }
        checked(self.host, code)?;
        Ok(Some(value.into()))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), PluginError> {
        let code = call!(self.host, state_put(self.ctx, Str::of(key), Str::of(value)))?;
        checked(self.host, code)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), PluginError> {
        let code = call!(self.host, state_delete(self.ctx, Str::of(key)))?;
        checked(self.host, code)
    }

    fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, PluginError> {
        let mut sum = 0;
        let code = call!(self.host, state_incr(self.ctx, Str::of(key), by, &mut sum))?;
        checked(self.host, code).map(|()| sum)
    }

    fn counter(&mut self, key: &[u8]) -> Result<i64, PluginError> {
        let mut value = 0;
        let code = call!(self.host, state_counter(self.ctx, Str::of(key), &mut value))?;
        checked(self.host, code).map(|()| value)
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError> {
        let mut found: Vec<(Bytes, StateValue)> = Vec::new();
        let code = call!(
            self.host,
            state_scan(
                self.ctx,
                Str::of(prefix),
                limit as u64,
                Some(scan_row),
                (&raw mut found).cast()
            )
        )?;
        checked(self.host, code).map(|()| found)
    }
}

unsafe extern "C" fn query_rows(user: *mut c_void, batch: *const Batch) -> i32 {
    let read = panics::contained(|| {
        // SAFETY: a batch lent for the call.
        let batch = unsafe { buf::read_sized(batch) };
        let batch = batch.ok_or_else(|| PluginError::from("the host gave no batch"))?;
        // SAFETY: as above.
        unsafe { Reader::default().rows(&batch, true) }.map(|(_, rows)| rows)
    });
    let read = read.unwrap_or_else(|panic| Err(PluginError::new(Code::Panic, panic)));
    // SAFETY: `user` is the answer of `query`, which waits for this.
    unsafe { *user.cast::<Option<Result<ColumnBatch, PluginError>>>() = Some(read) };
    OK
}

unsafe extern "C" fn scan_row(
    user: *mut c_void,
    key: Str,
    kind: u32,
    bytes: Str,
    counter: i64,
) -> i32 {
    let taken = panics::contained(|| {
        // SAFETY: lent for the call; `user` is the list of `scan`, which waits for this.
        unsafe {
            let key = Bytes::copy_from_slice(buf::bytes(&key));
            let value = match kind {
                STATE_COUNTER => StateValue::Counter(counter),
                _ => StateValue::Bytes(Bytes::copy_from_slice(buf::bytes(&bytes))),
            };
            (*user.cast::<Vec<(Bytes, StateValue)>>()).push((key, value));
        }
    });
    if taken.is_ok() { OK } else { plugin_abi::PANIC }
}

/// Where a source puts its rows.
pub(super) struct RemoteOut<'a> {
    host: &'static HostTable,
    ctx: *mut c_void,
    out: RawOut,
    room: (usize, usize),
    cancel: &'a AtomicBool,
}

// SAFETY: the handles are valid on any thread, and checked.
unsafe impl Send for RemoteOut<'_> {}

impl<'a> RemoteOut<'a> {
    pub(super) fn new(
        host: &'static HostTable,
        ctx: *mut c_void,
        out: RawOut,
        cancel: &'a AtomicBool,
    ) -> Self {
        let bytes = usize::try_from(out.max_bytes).unwrap_or(usize::MAX);
        Self {
            host,
            ctx,
            room: (out.max_rows as usize, bytes),
            out,
            cancel,
        }
    }
}

impl SourceCalls for RemoteOut<'_> {
    fn append(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        let name = Str::of(key.as_str().as_bytes());
        let mut status = Status::new();
        let code = View::new(rows.schema(), 0).lend(key.as_str(), kind, &rows, |batch| {
            call!(self.out, append(self.out.h, name, batch, &mut status))
        })?;
        told(status, code)?;
        self.room.0 = self.room.0.saturating_sub(rows.rows());
        self.room.1 = self.room.1.saturating_sub(rows.bytes());
        Ok(())
    }

    fn set_resume(&mut self, token: &[u8]) -> Result<(), PluginError> {
        let code = call!(self.out, set_resume(self.out.h, Str::of(token)))?;
        checked(self.host, code)
    }

    fn room(&self) -> (usize, usize) {
        self.room
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Relaxed) || call!(self.host, cancelled(self.ctx)).unwrap_or(0) != 0
    }

    fn log(&mut self, level: Level, text: &str) {
        log(self.host, level, text);
    }
}
