//! Opening a library and calling its entry function.

use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use plugin_abi::{Entry, OK, Plugin};
use plugin_sdk::export;

use super::error::Refusal;
use super::table;

/// Opens a library for ever and gives the plugin's table, cut to what we know of it.
pub(super) fn open(file: &Path, entry: &str) -> Result<Plugin, Refusal> {
    let failed = |error: libloading::Error| Refusal::Open(error.to_string());
    // SAFETY: constructors of the library run here: who asks for `host: native` trusts it.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) }.map_err(failed)?;
    // SAFETY: the manifest, which has been checked, says that this is its entry function.
    let symbol: Result<Symbol<Entry>, _> = unsafe { library.get(entry) };
    let symbol = symbol.map(|symbol| *symbol);
    // Whatever it has started needs its code.
    std::mem::forget(library);
    let symbol = symbol.map_err(|_| Refusal::Lies(format!("there is no function \"{entry}\"")))?;
    let mut plugin = std::ptr::null();
    // SAFETY: the signature is that of the major number in the function's name; the table lives for
    // ever.
    let code = unsafe { symbol(&raw const table::HOST.0, &mut plugin) };
    if code != OK {
        return Err(Refusal::Open(format!("its entry function answers {code}")));
    }
    // SAFETY: the table of a plugin, which begins with its size and lives for ever.
    let plugin = unsafe { export::read_sized(plugin) };
    plugin.ok_or_else(|| Refusal::Lies("its entry function gives no table".into()))
}
