//! Objects of a plugin in a library.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;

use model::Schema;
use parking_lot::Mutex;
use plugin_abi::{
    Buf, CLOSE_AGAIN, CLOSE_PANIC, CLOSE_RELOAD, CLOSE_STOP, EVENT_DELETED, EVENT_GAP,
    EVENT_REPLAY, EVENT_TIMER, EVENT_WRITE, Event as RawEvent, MORE_END, MORE_FULL, MORE_TIMEOUT,
    OK, SourceOut as RawOut, Status, Str,
};
use plugin_sdk::export::{self, View};
use plugin_sdk::{
    AnySource, AnyTrigger, AnyWorker, Cancel, CloseReason, Event, FireCtx, FireError, FireInfo,
    HostCalls, More, PluginError, Progress, SourceOut, WorkerCtx,
};

use super::calls::wall_clock;
use super::handle::{self, Target};
use super::module::{Table, Told};
use super::source;

/// Layouts of batches kept per object.
const VIEWS_MAX: usize = 64;

/// A plugin's object, from `create` to `destroy`.
pub(super) struct Instance {
    table: Table,
    epoch: u64,
    inst: *mut c_void,
    /// The same pointer while it may be cancelled: `destroy` waits for a `cancel` under way.
    alive: Arc<Gate>,
}

struct Gate(Mutex<*mut c_void>);

// SAFETY: an object of the border may be used on any thread, one at a time, which `&mut` sees to;
// `cancel` on every thread at any time before `destroy`, which the gate sees to.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Send for Gate {}
// SAFETY: as above.
unsafe impl Sync for Gate {}

impl Instance {
    pub(super) fn new(table: Table, inst: *mut c_void, epoch: u64) -> Self {
        Self {
            table,
            epoch,
            inst,
            alive: Arc::new(Gate(Mutex::new(inst))),
        }
    }

    fn cancel(&self) -> Option<Cancel> {
        let cancel = self.table.cancel?;
        let alive = Arc::clone(&self.alive);
        Some(Arc::new(move || {
            let inst = alive.0.lock();
            if !inst.is_null() {
                // SAFETY: not yet destroyed, as the gate is held.
                unsafe { cancel(*inst) };
            }
        }))
    }

    fn close(&mut self, why: CloseReason) {
        let inst = std::mem::replace(&mut *self.alive.0.lock(), std::ptr::null_mut());
        self.inst = std::ptr::null_mut();
        let reason = match why {
            CloseReason::Panic => CLOSE_PANIC,
            CloseReason::Again => CLOSE_AGAIN,
            CloseReason::Reload => CLOSE_RELOAD,
            _ => CLOSE_STOP,
        };
        if let (false, Some(destroy)) = (inst.is_null(), self.table.destroy) {
            // SAFETY: for the last time.
            unsafe { destroy(inst, reason) };
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.close(CloseReason::Stop);
    }
}

pub(super) struct NativeTrigger {
    instance: Instance,
    views: Vec<View>,
    /// Number of the next layout.
    version: u32,
}

impl NativeTrigger {
    pub(super) fn new(instance: Instance) -> Self {
        Self {
            instance,
            views: Vec::new(),
            version: 1,
        }
    }

    fn call(&mut self, calls: &mut dyn HostCalls, event: &RawEvent) -> Result<(), FireError> {
        let (table, inst) = (self.instance.table, self.instance.inst);
        let Some(fire) = table.fire.filter(|_| !inst.is_null()) else {
            return Err(FireError::Fatal("the object is closed".into()));
        };
        let mut status = Status::new();
        // SAFETY: as the border says: the event is lent for the call, and `&mut self` keeps others
        // out.
        let code = handle::lend(Target::Fire(calls), |ctx| unsafe {
            fire(inst, ctx, event, &mut status)
        });
        let told = Told::of(status);
        if code == OK {
            return Ok(());
        }
        Err(told.fire_error(code))
    }
}

/// The layout for a schema, kept from an earlier batch if there was one.
fn view<'a>(views: &'a mut Vec<View>, version: &mut u32, schema: &Schema) -> &'a mut View {
    let at = views.iter().position(|view| view.schema() == schema);
    let at = at.unwrap_or_else(|| {
        if views.len() >= VIEWS_MAX {
            views.remove(0);
        }
        views.push(View::new(schema, *version));
        // 0 means nothing.
        *version = version.wrapping_add(1).max(1);
        views.len() - 1
    });
    &mut views[at]
}

fn event_of(info: &FireInfo, epoch: u64, ty: u32) -> RawEvent {
    RawEvent {
        size: size_of::<RawEvent>() as u32,
        ty,
        first_lsn: info.first_lsn,
        last_lsn: info.last_lsn,
        epoch,
        deadline_ns: u64::try_from(info.deadline).unwrap_or(0),
        attempt: info.attempt,
        flags: if info.is_replay { EVENT_REPLAY } else { 0 },
        batch: std::ptr::null(),
        key: Str::none(),
        payload: Str::none(),
        from_ns: 0,
        to_ns: 0,
    }
}

impl AnyTrigger for NativeTrigger {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        let calls = ctx.calls();
        let info = calls.info();
        let raw = |ty| event_of(&info, self.instance.epoch, ty);
        match event {
            Event::Write(batch) => {
                let mut raw = raw(EVENT_WRITE);
                raw.key = Str::of(batch.key.as_str().as_bytes());
                // Out of `self` for the call, which needs it whole.
                let mut views = std::mem::take(&mut self.views);
                let view = view(&mut views, &mut self.version, batch.rows.schema());
                let fired = view.lend(batch.key.as_str(), batch.kind, batch.rows, |rows| {
                    raw.batch = rows;
                    self.call(calls, &raw)
                });
                self.views = views;
                fired
            }
            Event::Gap { key, from, to } => {
                let mut raw = raw(EVENT_GAP);
                raw.key = Str::of(key.as_str().as_bytes());
                (raw.from_ns, raw.to_ns) = (*from, *to);
                self.call(calls, &raw)
            }
            Event::Deleted(key) => {
                let mut raw = raw(EVENT_DELETED);
                raw.key = Str::of(key.as_str().as_bytes());
                self.call(calls, &raw)
            }
            Event::Timer { key, due, payload } => {
                let mut raw = raw(EVENT_TIMER);
                (raw.key, raw.payload) = (Str::of(key), Str::of(payload));
                raw.from_ns = *due;
                self.call(calls, &raw)
            }
        }
    }

    fn cancel(&self) -> Option<Cancel> {
        self.instance.cancel()
    }

    fn close(&mut self, why: CloseReason) {
        self.instance.close(why);
    }
}

pub(super) struct NativeWorker(pub(super) Instance);

impl AnyWorker for NativeWorker {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        let (table, inst) = (self.0.table, self.0.inst);
        let Some(run) = table.run.filter(|_| !inst.is_null()) else {
            return Err(PluginError::from("the object is closed"));
        };
        let mut status = Status::new();
        // SAFETY: as the border says.
        let code = handle::lend(Target::Worker(ctx.calls()), |ctx| unsafe {
            run(inst, ctx, &mut status)
        });
        let told = Told::of(status);
        if code == OK {
            return Ok(());
        }
        Err(told.error(code))
    }

    fn cancel(&self) -> Option<Cancel> {
        self.0.cancel()
    }

    fn close(&mut self, why: CloseReason) {
        self.0.close(why);
    }
}

pub(super) struct NativeSource(pub(super) Instance);

impl AnySource for NativeSource {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        let (table, inst) = (self.0.table, self.0.inst);
        let Some(open) = table.open.filter(|_| !inst.is_null()) else {
            return Err(PluginError::from("the object is closed"));
        };
        let mut status = Status::new();
        // An empty token is one: its pointer is not NULL.
        let resume = resume.map_or(Str::none(), Str::of);
        // SAFETY: as the border says.
        let code = unsafe { open(inst, Str::of(params.as_bytes()), resume, &mut status) };
        let told = Told::of(status);
        if code == OK {
            return Ok(());
        }
        Err(told.error(code))
    }

    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        let (table, inst) = (self.0.table, self.0.inst);
        let Some(next) = table.next_batch.filter(|_| !inst.is_null()) else {
            return Err(PluginError::from("the object is closed"));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let deadline = wall_clock().saturating_add(crate::fire::nanos(left));
        let (rows, bytes) = out.room();
        let mut status = Status::new();
        let code = handle::lend(Target::Source(out.calls()), |ctx| {
            let raw = RawOut {
                size: size_of::<RawOut>() as u32,
                max_rows: u32::try_from(rows).unwrap_or(u32::MAX),
                max_bytes: bytes as u64,
                h: ctx,
                append: Some(source::append),
                set_resume: Some(source::set_resume),
            };
            // SAFETY: as the border says.
            unsafe { next(inst, ctx, &raw, deadline, &mut status) }
        });
        let told = Told::of(status);
        match code {
            MORE_FULL => Ok(More::Full),
            MORE_TIMEOUT => Ok(More::Timeout),
            MORE_END => Ok(More::End),
            code => Err(told.error(code)),
        }
    }

    fn progress(&mut self) -> Option<Progress> {
        let progress = self.0.table.progress.filter(|_| !self.0.inst.is_null())?;
        let (mut share, mut text) = (0.0, Buf::empty());
        // SAFETY: as the border says.
        let code = unsafe { progress(self.0.inst, &mut share, &mut text) };
        // SAFETY: as the plugin left it.
        let text = unsafe { export::take(text) };
        (code == OK).then(|| Progress {
            share,
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    fn cancel(&self) -> Option<Cancel> {
        self.0.cancel()
    }

    fn close(&mut self, why: CloseReason) {
        self.0.close(why);
    }
}
