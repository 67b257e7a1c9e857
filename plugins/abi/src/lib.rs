//! The C border between the host and native plugins, major 1.
//!
//! Tables of plain C: `mkts_plugin.h` is written from this source and a C compiler agrees on every
//! size and offset (`tests/layout.rs`). What must stay true:
//!
//! * Structs begin with `size`; a reader uses the smaller of that and its own. What lies behind it,
//!   and a pointer that is NULL, is not offered. [`Str`], [`Buf`] and [`Col`] have no size and are
//!   frozen for major 1.
//! * Fields are only appended (I22). What an older host lacks a plugin asks for by
//!   [`Plugin::abi_minor_min`].
//! * Text is UTF-8 with a length, never ended by a zero. Everything a call hands over is lent for
//!   the call, except a [`Buf`]: its receiver releases it once, from any thread.
//! * No function of either side unwinds.
//! * 64-bit little-endian systems.
//!
//! A plugin exports the section [`SECTION`] and the function `mkts_plugin_v1_<name>` ([`Entry`]),
//! the name in it with `_` for what C does not allow. The section has [`MAGIC`], the length and the
//! CRC-32 (IEEE) of what follows as `u32`, and JSON.
#![forbid(unsafe_code)]

use core::ffi::c_void;

mod codes;
mod describe;
mod tables;

pub use codes::*;
pub use describe::{Call, Constant, Field, Table};
pub use tables::*;

/// Major number of the border; it is in the name of the exported function.
pub const MAJOR: u32 = 1;
/// Minor number that this source describes.
pub const MINOR: u32 = 1;
/// First bytes of the manifest section.
pub const MAGIC: [u8; 8] = *b"MKTSPLG1";
/// Name of the manifest section on Linux.
pub const SECTION: &str = ".mkts.manifest";
/// Name of the manifest section on macOS, in the segment `__DATA`.
pub const SECTION_MACOS: &str = "__mkts_man";
/// What the name of the exported function begins with.
pub const ENTRY_PREFIX: &str = "mkts_plugin_v1_";

/// The exported function: is given the host's table, which lives for ever, and gives its own, which
/// does, too. Called once; the answer is a code.
pub type Entry = unsafe extern "C" fn(host: *const Host, out: *mut *const Plugin) -> i32;

/// Takes one key of a scan; anything but 0 ends it. `kind` is one of the `STATE_` numbers, which
/// says whether `bytes` or `counter` has the value.
pub type ScanRow =
    unsafe extern "C" fn(user: *mut c_void, key: Str, kind: u32, bytes: Str, counter: i64) -> i32;

/// Takes the rows of a query, lent for the call.
pub type QueryRows = unsafe extern "C" fn(user: *mut c_void, batch: *const Batch) -> i32;
