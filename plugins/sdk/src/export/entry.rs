//! The exported function, and the plugin's table.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use model::Zone;
use plugin_abi::{
    ABI, CONFIG, ERR, Host, Init as RawInit, KIND_BGWORKER, KIND_SOURCE, KIND_TRIGGER, MAJOR, OK,
    PANIC, Plugin, STATUS_FATAL, Status, Str,
};
use serde_json::Value;

use super::calls::Remote;
use super::object::{self, Instance, Object};
use super::{buf, panics};
use crate::builtin::BuiltIn;
use crate::error::{Code, FireError, PluginError};
use crate::module::Module;
use crate::plugin::Init;
use crate::state::State;

/// The host's table, copied: it lives for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostTable(Host);

// SAFETY: its texts and functions live for ever, and are for every thread.
unsafe impl Send for HostTable {}
// SAFETY: as above.
unsafe impl Sync for HostTable {}

impl std::ops::Deref for HostTable {
    type Target = Host;
    fn deref(&self) -> &Host {
        &self.0
    }
}

/// A plugin's table in a `static`.
#[derive(Debug)]
pub struct Static(Plugin);

// SAFETY: its text and functions live for ever, and are for every thread.
unsafe impl Sync for Static {}

impl Static {
    /// Keeps a table.
    pub const fn new(table: Plugin) -> Self {
        Self(table)
    }
}

/// What a library keeps between calls.
#[derive(Default)]
pub struct Exports {
    host: OnceLock<HostTable>,
    module: OnceLock<Arc<dyn Module>>,
}

impl Exports {
    /// Before the first call.
    pub const fn new() -> Self {
        Self {
            host: OnceLock::new(),
            module: OnceLock::new(),
        }
    }

    fn host(&'static self) -> Result<&'static HostTable, Failure> {
        let none = || Failure::new(ABI, "the library's entry function was not called");
        self.host.get().ok_or_else(none)
    }
}

impl std::fmt::Debug for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exports")
    }
}

/// A plugin that is exported; implemented by `export_plugin!`.
pub trait Exported {
    /// Its line in a table of built-in plugins.
    const LINE: BuiltIn;
    /// Its place.
    fn exports() -> &'static Exports;

    /// The plugin, ready to make objects.
    fn module() -> &'static Arc<dyn Module> {
        Self::exports().module.get_or_init(|| Self::LINE.module())
    }
}

/// How a call fails, as C sees it.
#[derive(Debug)]
pub(super) struct Failure {
    code: i32,
    text: String,
    retry_after_ms: u32,
    flags: u32,
}

impl Failure {
    pub(super) fn new(code: i32, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            retry_after_ms: 0,
            flags: 0,
        }
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self::new(error.code as i32, error.text)
    }
}

impl From<FireError> for Failure {
    fn from(error: FireError) -> Self {
        match error {
            FireError::Retry(text) => Self::new(plugin_abi::RETRY, text),
            FireError::RetryAfter { text, after } => Self {
                retry_after_ms: u32::try_from(after.as_millis()).unwrap_or(u32::MAX),
                ..Self::new(plugin_abi::RETRY, text)
            },
            FireError::Skip(text) => Self::new(plugin_abi::SKIP, text),
            FireError::Fatal(text) => Self {
                flags: STATUS_FATAL,
                ..Self::new(ERR, text)
            },
        }
    }
}

/// Runs the body of a function of the table: no panic passes, and a failure goes into `status`.
pub(super) unsafe fn answer(
    status: *mut Status,
    body: impl FnOnce() -> Result<i32, Failure>,
) -> i32 {
    let failure = match panics::contained(body) {
        Ok(Ok(code)) => return code,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::new(PANIC, panic),
    };
    let code = failure.code;
    // SAFETY: the caller's status, which has at least its frozen first version.
    unsafe {
        if !status.is_null() && (*status).size as usize >= size_of::<Status>() {
            (*status).code = code;
            (*status).retry_after_ms = failure.retry_after_ms;
            (*status).flags = failure.flags;
            (*status).msg = buf::give(failure.text);
        }
    }
    code
}

/// The plugin's table.
pub const fn table<E: Exported>(manifest: &'static [u8]) -> Plugin {
    Plugin {
        size: size_of::<Plugin>() as u32,
        abi_minor_min: 0,
        manifest: Str::of(manifest),
        check: Some(check::<E>),
        create: Some(create::<E>),
        destroy: Some(object::destroy),
        migrate: Some(migrate::<E>),
        fire: Some(object::fire),
        run: Some(object::run),
        open: Some(object::open),
        next_batch: Some(object::next_batch),
        cancel: Some(object::cancel),
        progress: Some(object::progress),
    }
}

/// The exported function.
///
/// # Safety
/// `host` is the host's table, which lives for ever; `out` has room for a pointer.
pub unsafe fn enter<E: Exported>(
    host: *const Host,
    out: *mut *const Plugin,
    table: &'static Static,
) -> i32 {
    let entered = panics::contained(|| {
        // SAFETY: promised by the caller.
        let Some(host) = (unsafe { buf::read_sized(host) }) else {
            return ABI;
        };
        if host.abi_major != MAJOR || out.is_null() {
            return ABI;
        }
        let host = E::exports().host.get_or_init(|| HostTable(host));
        panics::install(host);
        // SAFETY: promised by the caller.
        unsafe { *out = &raw const table.0 };
        OK
    });
    entered.unwrap_or(PANIC)
}

unsafe fn config_of(json: &Str) -> Result<Value, Failure> {
    // SAFETY: lent for the call.
    let bytes = unsafe { buf::bytes(json) };
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::new(CONFIG, format!("config: no JSON: {error}")))
}

unsafe extern "C" fn check<E: Exported>(config: Str, status: *mut Status) -> i32 {
    // SAFETY: as the border says: the config is lent for the call, the status is the caller's.
    unsafe {
        answer(status, || {
            let config = config_of(&config)?;
            let checked = E::module().check(&config);
            checked.map_err(|error| Failure::new(CONFIG, error.to_string()))?;
            Ok(OK)
        })
    }
}

unsafe extern "C" fn migrate<E: Exported>(
    from: u32,
    state: *mut c_void,
    status: *mut Status,
) -> i32 {
    // SAFETY: as the border says.
    unsafe {
        answer(status, || {
            let host = E::exports().host()?;
            let mut calls = Remote::new(host, state);
            E::module().migrate(from, &mut State::new(&mut calls))?;
            Ok(OK)
        })
    }
}

unsafe extern "C" fn create<E: Exported>(
    kind: u32,
    config: Str,
    init: *const RawInit,
    status: *mut Status,
) -> *mut c_void {
    let mut made = std::ptr::null_mut();
    // SAFETY: as the border says.
    unsafe {
        answer(status, || {
            let config = config_of(&config)?;
            let init = buf::read_sized(init).ok_or_else(|| Failure::new(ABI, "no mkts_init"))?;
            let instance = make::<E>(kind, &config, &init)?;
            made = Box::into_raw(Box::new(instance)).cast();
            Ok(OK)
        });
    }
    made
}

unsafe fn make<E: Exported>(kind: u32, config: &Value, raw: &RawInit) -> Result<Instance, Failure> {
    let host = E::exports().host()?;
    let bad = |what: &str| Failure::new(ABI, format!("mkts_init: {what}"));
    // SAFETY: lent for the call.
    let (instance, zone) = unsafe { (buf::text(&raw.instance), buf::text(&raw.timezone)) };
    let instance = instance.ok_or_else(|| bad("the instance id is no UTF-8"))?;
    let zone = zone.ok_or_else(|| bad("the time zone is no UTF-8"))?;
    let zone = if zone.is_empty() {
        Zone::utc()
    } else {
        Zone::parse(zone).map_err(|error| bad(&error.to_string()))?
    };
    let mut calls = Remote::new(host, raw.state);
    let mut init = Init::new(instance, raw.epoch, &zone);
    if !raw.state.is_null() {
        init.state = State::new(&mut calls);
    }
    let module = E::module();
    let object = match kind {
        KIND_TRIGGER => Object::Trigger(module.trigger(config, &mut init)?),
        KIND_BGWORKER => Object::Worker(module.worker(config, &mut init)?),
        KIND_SOURCE => Object::Source(module.source(config, &mut init)?),
        other => {
            let text = format!("objects of kind {other} are not known here");
            return Err(PluginError::new(Code::Unsupported, text).into());
        }
    };
    Ok(Instance::new(host, object))
}
