//! A plugin as a library of its own: what `export_plugin!` makes, and what both sides of the C
//! border use of each other's values.
//!
//! One line in the plugin's crate, which is built as `crate-type = ["rlib", "cdylib"]`:
//!
//! ```ignore
//! plugin_sdk::export_plugin!(Spikes: trigger);
//! ```
//!
//! It adds the manifest section, readable without running anything, and the function
//! `mkts_plugin_v1_<name>`. Invariants of this folder, the only unsafe code of the crate:
//!
//! * Nothing unwinds through the border: every function that C may call catches panics.
//! * What is lent for a call is copied before it ends; a [`Buf`](plugin_abi::Buf) is released once.
//! * The host's table and the plugin's live for ever, as nothing is ever unloaded.
#![allow(unsafe_code)]

mod batch;
mod buf;
mod calls;
mod entry;
mod manifest;
mod object;
mod panics;

pub use batch::{Reader, View};
pub use buf::{bytes, give, lent, live_bufs, read_sized, take, text};
pub use entry::{Exported, Exports, Static, enter, table};
pub use manifest::{JSON_AT, check_name, json, json_len, section};
pub use panics::contained;

/// Makes the crate a module that a host loads: `export_plugin!(Type: kind)` with the kinds `trigger`,
/// `shared_trigger`, `bgworker` and `source`.
///
/// The name in the plugin's manifest must be that of the crate (`-` for `_` does not matter), or be
/// given: `export_plugin!(Type: trigger as "name")`. Several plugins can be linked into one program,
/// but a library holds one.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty : $kind:ident) => {
        $crate::export_plugin!(@ $plugin, $kind, env!("CARGO_CRATE_NAME"));
    };
    ($plugin:ty : $kind:ident as $name:literal) => {
        $crate::export_plugin!(@ $plugin, $kind, $name);
    };
    (@ $plugin:ty, $kind:ident, $name:expr) => {
        const _: () = {
            use $crate::export;

            struct Export;
            static EXPORTS: export::Exports = export::Exports::new();

            impl export::Exported for Export {
                const LINE: $crate::BuiltIn = $crate::BuiltIn::$kind::<$plugin>();
                fn exports() -> &'static export::Exports {
                    &EXPORTS
                }
            }

            const LINE: $crate::BuiltIn = <Export as export::Exported>::LINE;
            const _: () = export::check_name(LINE.manifest.name, $name);
            const ENTRY: &str = concat!("mkts_plugin_v1_", $name);
            const LEN: usize = export::JSON_AT + export::json_len(&LINE.manifest, LINE.kind(), ENTRY);

            #[used]
            #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mkts_man"))]
            #[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".mkts.manifest"))]
            static SECTION: [u8; LEN] = export::section(&LINE.manifest, LINE.kind(), ENTRY);

            static TABLE: export::Static =
                export::Static::new(export::table::<Export>(export::json(&SECTION)));

            #[unsafe(export_name = concat!("mkts_plugin_v1_", $name))]
            unsafe extern "C" fn entry(
                host: *const $crate::abi::Host,
                out: *mut *const $crate::abi::Plugin,
            ) -> i32 {
                unsafe { export::enter::<Export>(host, out, &TABLE) }
            }
        };
    };
}
