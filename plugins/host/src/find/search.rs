//! Where modules are looked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin_sdk::{BuiltIn, Module};

use super::finder::{Finder, Found, NotFound};
use crate::entry::HostMode;

/// Folders and trust, as mkts.yml and the environment say them.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Folder of mkts.yml: paths of modules begin here.
    pub folder: PathBuf,
    /// `plugin_dir`, in order.
    pub plugin_dir: Vec<PathBuf>,
    /// `MKTS_PLUGIN_PATH`, in order.
    pub plugin_path: Vec<PathBuf>,
    /// The working directory; empty is not searched.
    pub working_dir: PathBuf,
    /// Stems that may run inside the server from a file.
    pub trust_native: Vec<String>,
    /// The store: libraries are copied there before they are loaded.
    pub root: PathBuf,
}

impl Search {
    /// Takes `MKTS_PLUGIN_PATH` and the working directory from the process, and makes every folder
    /// absolute: another process is told of them.
    pub fn with_environment(mut self) -> Self {
        if let Some(path) = std::env::var_os("MKTS_PLUGIN_PATH") {
            self.plugin_path = std::env::split_paths(&path)
                .filter(|folder| !folder.as_os_str().is_empty())
                .collect();
        }
        self.working_dir = std::env::current_dir().unwrap_or_default();
        let folders = self.plugin_dir.iter_mut().chain(&mut self.plugin_path);
        for folder in folders.chain([&mut self.folder, &mut self.root]) {
            // Relative to the working directory, which is what an empty path means, too.
            *folder = self.working_dir.join(&*folder);
        }
        self
    }

    /// Every folder for bare names, with what it is called in messages.
    pub(super) fn folders(&self) -> Vec<(&Path, &'static str)> {
        let plugin_dir = self
            .plugin_dir
            .iter()
            .map(|dir| (dir.as_path(), "plugin_dir"));
        let path = self.plugin_path.iter();
        let path = path.map(|dir| (dir.as_path(), "MKTS_PLUGIN_PATH"));
        let own = Some((self.working_dir.as_path(), "working directory"));
        let own = own.filter(|(dir, _)| !dir.as_os_str().is_empty());
        plugin_dir.chain(path).chain(own).collect()
    }
}

/// The modules there are: those linked in, and where to look for others.
#[derive(Clone, Default)]
pub struct Modules {
    pub(crate) builtins: Vec<Arc<dyn Module>>,
    pub(crate) search: Search,
}

impl Modules {
    /// Built-in modules, and folders for those in files.
    pub fn new(builtins: &[BuiltIn], search: Search) -> Self {
        Self {
            builtins: builtins.iter().map(BuiltIn::module).collect(),
            search,
        }
    }

    /// Adds a module made elsewhere; entries name it like one that is linked in.
    #[must_use]
    pub fn with(mut self, module: Arc<dyn Module>) -> Self {
        self.builtins.push(module);
        self
    }

    /// Looks for a module as an entry with this `module:` and `host:` would. Nothing of it runs.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, module: &str, host: Option<HostMode>) -> Result<Found, NotFound> {
        Finder::new(self).find(module, host)
    }
}

/// Built-in modules alone.
impl From<Vec<BuiltIn>> for Modules {
    fn from(builtins: Vec<BuiltIn>) -> Self {
        Self::new(&builtins, Search::default())
    }
}

impl std::fmt::Debug for Modules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.builtins.iter().map(|m| &m.description().name);
        f.debug_struct("Modules")
            .field("builtins", &names.collect::<Vec<_>>())
            .field("search", &self.search)
            .finish()
    }
}
