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
use crate::native::{self, Cache, Refusal};
use crate::process::{self, Limits, Program};

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
pub use install::{Installed, Removed, install, installed, remove};
pub use near::nearest;
pub use search::{Modules, Search};

pub(crate) use want::stem;

use finder::Undescribed;

#[cfg(test)]
mod tests;

/// What a file says of itself; nothing of it runs.
fn describe(file: &Path) -> Result<Description, Undescribed> {
    native::describe(file).map_err(|error| match error.why {
        Refusal::NoLibrary(_) | Refusal::NoManifest | Refusal::Go | Refusal::Foreign { .. } => {
            Undescribed::Absent(error.to_string())
        }
        _ => Undescribed::Wrong(error.to_string()),
    })
}

/// The code of a module that was found. Only a program without a manifest runs for it, once.
pub(crate) fn make(
    found: &Found,
    entry: &Entry,
    modules: &Modules,
) -> Result<Arc<dyn Module>, String> {
    let program = match &found.how {
        How::BuiltIn(module) => return Ok(Arc::clone(module)),
        How::Native(file) => {
            let cache = Cache::in_store(&modules.search.root);
            return native::load(file, &cache).map_err(|error| error.to_string());
        }
        // The server starts itself, with the library.
        How::Library(file) => {
            let own = std::env::current_exe();
            let own = own.map_err(|error| format!("this program's own file: {error}"))?;
            Program {
                args: vec!["plugin-host".into(), file.into()],
                ..Program::new(own)
            }
        }
        How::Program {
            program,
            args,
            folder,
        } => Program {
            args: args.iter().map(Into::into).collect(),
            folder: folder.clone(),
            ..Program::new(program)
        },
    };
    let module = process::module(Program {
        env: entry.env.clone(),
        limits: Limits {
            memory: entry.limits.memory,
            nofile: entry.limits.nofile,
        },
        metrics_port: entry.metrics_port,
        description: found.description.clone(),
        ..program
    })
    .map_err(|error| error.to_string())?;
    if found.description.is_none() {
        let path = found.path.as_deref().unwrap_or(Path::new(""));
        found.promise.check(path, module.description())?;
    }
    Ok(module)
}
