//! From `module:` to code: the built-in table, then folders, packages and what is pinned of them.
//!
//! ```text
//! module: alerts@^1.4 -> want -> built-in table -> folders -> lock -> host: -> Found -> Module
//! ```
//!
//! Nothing of a module runs here: names, manifests and digests are read as bytes. The table comes
//! first, so that a Go `ondiskagg.so` left over from MarketStore is never touched.

use std::path::Path;
use std::sync::Arc;

use plugin_sdk::{Description, Module};

use crate::entry::Entry;

mod digest;
mod files;
mod finder;
mod install;
mod lock;
mod near;
mod package;
mod search;
mod unpack;
mod want;

pub use finder::{Found, How, NotFound};
pub use install::{Installed, Removed, install, remove};
pub use near::nearest;
pub use search::{Modules, Search};

pub(crate) use finder::Finder;
pub(crate) use want::stem;

#[cfg(test)]
mod tests;

/// What a file says of itself; nothing of it runs.
fn describe(_file: &Path) -> Result<Option<Description>, String> {
    Ok(None)
}

/// The code of a module that was found. Of a file nothing has run before.
pub(crate) fn make(found: &Found, _entry: &Entry) -> Result<Arc<dyn Module>, String> {
    match &found.how {
        How::BuiltIn(module) => Ok(Arc::clone(module)),
        How::Native(_) => Err("host: native is not available in this version".into()),
        How::Library(_) | How::Program { .. } => {
            Err("host: process is not available in this version".into())
        }
    }
}
