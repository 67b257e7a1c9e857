//! Why a file is no module of ours.

use std::path::{Path, PathBuf};

/// A file that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub struct LoadError {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: Refusal,
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It cannot be read.
    #[error("{0}")]
    Read(String),
    /// Built by Go.
    #[error("a Go plugin built for MarketStore; use the built-in or rebuild")]
    Go,
    /// No shared library at all, or a torn one.
    #[error("not a shared library: {0}")]
    NoLibrary(String),
    /// Of another system or processor.
    #[error("a library for {found}, this server runs on {expected}; rebuild it")]
    Foreign {
        /// What it was built for.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// A library, but no plugin.
    #[error("no plugin: it has no section \"{section}\"", section = plugin_abi::SECTION)]
    NoManifest,
    /// The section cannot be read.
    #[error("manifest section: {0}")]
    Manifest(String),
    /// Of another major number, or it wants a newer host.
    #[error(
        "needs ABI {}.{}, this server has {}.{}; {}",
        wanted[0], wanted[1], plugin_abi::MAJOR, plugin_abi::MINOR,
        if wanted[0] > plugin_abi::MAJOR || (wanted[0] == plugin_abi::MAJOR && wanted[1] > plugin_abi::MINOR) { "update the server" } else { "rebuild the plugin" }
    )]
    Abi {
        /// Major and least minor number it needs.
        wanted: [u32; 2],
    },
    /// The section says something else than the file's name.
    #[error("its manifest says {says}, the file's name {name}; rename the file")]
    Name {
        /// Name or version in the section.
        says: String,
        /// That of the file.
        name: String,
    },
    /// The library says something else than its section.
    #[error("its manifest section and its code disagree: {0}; rebuild it")]
    Lies(String),
    /// The system does not open it.
    #[error("cannot be opened: {0}")]
    Open(String),
    /// The copy could not be made.
    #[error("cannot be copied to the store: {0}")]
    Copy(String),
}

impl Refusal {
    pub(super) fn of(self, file: &Path) -> LoadError {
        LoadError {
            file: file.into(),
            why: self,
        }
    }
}
