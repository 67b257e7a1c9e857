//! Panics, caught at every function that the other side calls.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::Once;

use plugin_abi::{LOG_ERROR, Str};

use super::entry::HostTable;

#[cfg(panic = "abort")]
compile_error!("build plugins with panic = \"unwind\": a panic is caught at the border");

thread_local! {
    /// How many calls of the other side this thread is in.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
    /// Message and place of the last panic.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs code that must not unwind.
///
/// # Errors
/// With message and, in a library of its own, place of the panic, as one line.
pub fn contained<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    INSIDE.set(INSIDE.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(body));
    INSIDE.set(INSIDE.get() - 1);
    result.map_err(|panic| {
        let plain = message(&*panic);
        // Of a type of the plugin's own, whose drop may panic as well.
        std::mem::forget(panic);
        LAST.take().unwrap_or(plain)
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".into())
        .replace('\n', " ")
}

/// A library has a standard library of its own, whose hook would write to stderr.
pub(super) fn install(host: &'static HostTable) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set_hook(Box::new(move |info| panicked(host, info))));
}

fn panicked(host: &HostTable, info: &PanicHookInfo<'_>) {
    let what = message(info.payload());
    let text = match info.location() {
        Some(place) => format!("{what} ({place})"),
        None => what,
    };
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    let details = serde_json::json!({ "backtrace": trace }).to_string();
    let line = if INSIDE.get() > 0 {
        format!("panic: {text}")
    } else {
        format!("a thread of the plugin ended in a panic: {text}")
    };
    if let Some(log) = host.log {
        let (target, line, details) = (
            Str::none(),
            Str::of(line.as_bytes()),
            Str::of(details.as_bytes()),
        );
        // SAFETY: texts lent for the call.
        unsafe { log(LOG_ERROR, target, line, details) };
    }
    LAST.set(Some(text));
}
