//! The functions of `mkts_source_out`.

use std::ffi::c_void;

use plugin_abi::{Batch, OK, Status, Str};
use plugin_sdk::{PluginError, SourceCalls, export};

use super::calls::{plain, rows, stale, told};
use super::handle::{self, Target};

fn source<R>(
    h: *mut c_void,
    call: &str,
    with: impl FnOnce(&mut dyn SourceCalls) -> Result<R, PluginError>,
) -> Result<R, PluginError> {
    let result = handle::with(h, |target| match target {
        Target::Source(calls) => with(calls),
        _ => Err(PluginError::unsupported(call)),
    });
    result.unwrap_or_else(|| Err(stale()))
}

pub(super) unsafe extern "C" fn append(
    h: *mut c_void,
    key: Str,
    batch: *const Batch,
    status: *mut Status,
) -> i32 {
    // SAFETY: lent for the call; the status is the caller's.
    unsafe {
        told(status, || {
            let (key, kind, rows) = rows(&key, batch)?;
            source(h, "append", |calls| calls.append(&key, kind, rows))?;
            Ok(OK)
        })
    }
}

pub(super) unsafe extern "C" fn set_resume(h: *mut c_void, token: Str) -> i32 {
    plain(|| {
        // SAFETY: lent for the call.
        let token = unsafe { export::bytes(&token) };
        source(h, "set_resume", |calls| calls.set_resume(token)).map(|()| OK)
    })
}
