//! Objects of the plugin behind pointers of C.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plugin_abi::{
    ABI, Buf, CLOSE_AGAIN, CLOSE_PANIC, CLOSE_RELOAD, EVENT_DELETED, EVENT_GAP, EVENT_REPLAY,
    EVENT_TIMER, EVENT_WRITE, Event as RawEvent, MORE_END, MORE_FULL, MORE_TIMEOUT, NOT_FOUND, OK,
    SourceOut as RawOut, Status, Str,
};

use super::batch::Reader;
use super::buf;
use super::calls::{Remote, RemoteOut};
use super::entry::{Failure, HostTable, answer};
use super::panics::contained;
use crate::bgworker::WorkerCtx;
use crate::ctx::{FireCtx, FireInfo};
use crate::module::{AnySource, AnyTrigger, AnyWorker};
use crate::plugin::CloseReason;
use crate::source::{More, SourceOut};
use crate::trigger::{Batch, Event};

/// What a pointer `inst` leads to.
pub(super) struct Instance {
    host: &'static HostTable,
    /// Set by `cancel`, on any thread; cleared when the next fire begins.
    cancel: AtomicBool,
    /// Its calls come one after the other; the lock makes a host that errs wait.
    inner: Mutex<Inner>,
}

struct Inner {
    object: Object,
    reader: Reader,
}

pub(super) enum Object {
    Trigger(Box<dyn AnyTrigger>),
    Worker(Box<dyn AnyWorker>),
    Source(Box<dyn AnySource>),
}

impl Instance {
    pub(super) fn new(host: &'static HostTable, object: Object) -> Self {
        Self {
            host,
            cancel: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                object,
                reader: Reader::default(),
            }),
        }
    }

    /// A panic leaves the object as it is; the host destroys it.
    fn enter(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The instance of a pointer.
unsafe fn of<'a>(inst: *mut c_void) -> Result<&'a Instance, Failure> {
    // SAFETY: a pointer of `create`, not yet destroyed; the host promises.
    let instance = unsafe { inst.cast::<Instance>().as_ref() };
    instance.ok_or_else(|| Failure::new(ABI, "inst is NULL"))
}

fn wrong(call: &str) -> Failure {
    Failure::new(ABI, format!("{call} of an object of another kind"))
}

pub(super) unsafe extern "C" fn cancel(inst: *mut c_void) {
    // SAFETY: as the border says.
    if let Ok(instance) = unsafe { of(inst) } {
        instance.cancel.store(true, Relaxed);
    }
}

pub(super) unsafe extern "C" fn destroy(inst: *mut c_void, reason: u32) {
    if inst.is_null() {
        return;
    }
    // SAFETY: a pointer of `create`, for the last time.
    let instance = unsafe { Box::from_raw(inst.cast::<Instance>()) };
    let why = match reason {
        CLOSE_PANIC => CloseReason::Panic,
        CLOSE_AGAIN => CloseReason::Again,
        CLOSE_RELOAD => CloseReason::Reload,
        _ => CloseReason::Stop,
    };
    // Both may panic, and the hook has told of it.
    let _ = contained(|| {
        let mut inner = instance.enter();
        match &mut inner.object {
            Object::Trigger(object) => object.close(why),
            Object::Worker(object) => object.close(why),
            Object::Source(object) => object.close(why),
        }
    });
    let _ = contained(|| drop(instance));
}

pub(super) unsafe extern "C" fn fire(
    inst: *mut c_void,
    ctx: *mut c_void,
    event: *const RawEvent,
    status: *mut Status,
) -> i32 {
    // SAFETY: as the border says.
    unsafe {
        answer(status, || {
            let instance = of(inst)?;
            let event = buf::read_sized(event).ok_or_else(|| Failure::new(ABI, "no event"))?;
            let mut inner = instance.enter();
            instance.cancel.store(false, Relaxed);
            let Inner { object, reader } = &mut *inner;
            let Object::Trigger(trigger) = object else {
                return Err(wrong("fire"));
            };
            let mut remote = Remote::new(instance.host, ctx).until(&instance.cancel);
            remote.info = FireInfo {
                first_lsn: event.first_lsn,
                last_lsn: event.last_lsn,
                attempt: event.attempt,
                is_replay: event.flags & EVENT_REPLAY != 0,
                ..remote.info
            };
            fire_event(&mut **trigger, reader, &event, &mut remote)
        })
    }
}

unsafe fn fire_event(
    trigger: &mut dyn AnyTrigger,
    reader: &mut Reader,
    raw: &RawEvent,
    remote: &mut Remote<'_>,
) -> Result<i32, Failure> {
    let mut ctx = FireCtx::new(remote);
    // SAFETY: all of an event is lent for the call.
    unsafe {
        match raw.ty {
            EVENT_WRITE => {
                let batch = buf::read_sized(raw.batch);
                let batch = batch.ok_or_else(|| Failure::new(ABI, "a write without rows"))?;
                let (kind, rows) = reader.rows(&batch, true)?;
                let (key, timeframe) = reader.key(&raw.key)?;
                let batch = Batch {
                    key,
                    kind,
                    timeframe: *timeframe,
                    rows: &rows,
                };
                trigger.fire(&mut ctx, &Event::Write(batch))?;
            }
            EVENT_GAP => {
                let (key, _) = reader.key(&raw.key)?;
                let (from, to) = (raw.from_ns, raw.to_ns);
                trigger.fire(&mut ctx, &Event::Gap { key, from, to })?;
            }
            EVENT_DELETED => {
                let (key, _) = reader.key(&raw.key)?;
                trigger.fire(&mut ctx, &Event::Deleted(key))?;
            }
            EVENT_TIMER => {
                let event = Event::Timer {
                    key: buf::bytes(&raw.key),
                    due: raw.from_ns,
                    payload: buf::bytes(&raw.payload),
                };
                trigger.fire(&mut ctx, &event)?;
            }
            other => {
                let text = format!("UNSUPPORTED: this plugin knows no event of type {other}");
                return Err(Failure::new(plugin_abi::UNSUPPORTED, text));
            }
        }
    }
    Ok(OK)
}

pub(super) unsafe extern "C" fn run(
    inst: *mut c_void,
    ctx: *mut c_void,
    status: *mut Status,
) -> i32 {
    // SAFETY: as the border says.
    unsafe {
        answer(status, || {
            let instance = of(inst)?;
            let mut inner = instance.enter();
            let Object::Worker(worker) = &mut inner.object else {
                return Err(wrong("run"));
            };
            let mut remote = Remote::new(instance.host, ctx).until(&instance.cancel);
            worker.run(&mut WorkerCtx::new(&mut remote))?;
            Ok(OK)
        })
    }
}

pub(super) unsafe extern "C" fn open(
    inst: *mut c_void,
    params: Str,
    resume: Str,
    status: *mut Status,
) -> i32 {
    // SAFETY: as the border says.
    unsafe {
        answer(status, || {
            let instance = of(inst)?;
            let mut inner = instance.enter();
            let Object::Source(source) = &mut inner.object else {
                return Err(wrong("open"));
            };
            let params = buf::text(&params).ok_or_else(|| Failure::new(ABI, "params"))?;
            let resume = (!resume.ptr.is_null()).then(|| buf::bytes(&resume));
            source.open(params, resume)?;
            Ok(OK)
        })
    }
}

pub(super) unsafe extern "C" fn next_batch(
    inst: *mut c_void,
    ctx: *mut c_void,
    out: *const RawOut,
    deadline_ns: i64,
    status: *mut Status,
) -> i32 {
    // SAFETY: as the border says.
    unsafe {
        answer(status, || {
            let instance = of(inst)?;
            let mut inner = instance.enter();
            let Object::Source(source) = &mut inner.object else {
                return Err(wrong("next_batch"));
            };
            let out = buf::read_sized(out).ok_or_else(|| Failure::new(ABI, "no out"))?;
            let now = instance.host.now_ns.map_or(deadline_ns, |now| now());
            let left = u64::try_from(deadline_ns.saturating_sub(now)).unwrap_or(0);
            let deadline = Instant::now() + Duration::from_nanos(left);
            let mut remote = RemoteOut::new(instance.host, ctx, out, &instance.cancel);
            Ok(
                match source.next_batch(&mut SourceOut::new(&mut remote), deadline)? {
                    More::Full => MORE_FULL,
                    More::Timeout => MORE_TIMEOUT,
                    More::End => MORE_END,
                },
            )
        })
    }
}

pub(super) unsafe extern "C" fn progress(
    inst: *mut c_void,
    share: *mut f64,
    text: *mut Buf,
) -> i32 {
    // SAFETY: as the border says.
    unsafe {
        answer(std::ptr::null_mut(), || {
            let instance = of(inst)?;
            let mut inner = instance.enter();
            let Object::Source(source) = &mut inner.object else {
                return Err(wrong("progress"));
            };
            let Some(progress) = source.progress() else {
                return Ok(NOT_FOUND);
            };
            if share.is_null() || text.is_null() {
                return Err(Failure::new(ABI, "no place for the answer"));
            }
            *share = progress.share;
            *text = buf::give(progress.text);
            Ok(OK)
        })
    }
}
