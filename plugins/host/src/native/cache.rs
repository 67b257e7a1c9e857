//! From a file to a module: the copy that is opened, and what is open already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk as _, OsDisk};
use parking_lot::Mutex;
use plugin_sdk::Module;
use sha2::{Digest as _, Sha256};

use super::error::{LoadError, Refusal};
use super::file::{Manifest, read};
use super::library;
use super::module::Native;

/// Folder of the copies in the store.
const FOLDER: &str = "plugins/_cache";

/// From so many versions of one plugin on the log advises a restart.
const VERSIONS_MANY: usize = 16;

/// What is open; never closed.
static OPEN: Mutex<Vec<(String, Arc<Native>)>> = Mutex::new(Vec::new());

/// Where copies of libraries are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// In the folder `plugins/_cache` of a store, or of any folder.
    pub fn in_store(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Keeps a copy and says where it is.
    fn keep(&self, hash: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
        let disk = OsDisk::open(&self.root)?;
        disk.create_dir_all(FOLDER)?;
        let path = format!("{FOLDER}/{hash}.so");
        // A copy that is not what its name says is replaced, not overwritten: it may be mapped.
        let is_there = disk.exists(&path)? && disk.read_all(&path)?[..] == *bytes;
        if !is_there {
            disk::publish(&disk, &path, |file| file.write_at(0, bytes))?;
        }
        Ok(self.root.join(path))
    }
}

/// Loads a module into this process. The same bytes are loaded once.
///
/// # Errors
/// If it is no module, one that this host cannot run, or the system does not open it.
pub fn load(file: &Path, cache: &Cache) -> Result<Arc<dyn Module>, LoadError> {
    let loaded = load_native(file, cache).map_err(|why| why.of(file))?;
    Ok(loaded)
}

fn load_native(file: &Path, cache: &Cache) -> Result<Arc<Native>, Refusal> {
    let bytes = read(file)?;
    let Manifest { description, json } = Manifest::of(&bytes, file)?;
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Held while the library is opened: its entry function is called once.
    let mut open = OPEN.lock();
    if let Some((_, native)) = open.iter().find(|(of, _)| *of == hash) {
        return Ok(Arc::clone(native));
    }
    let copy = cache
        .keep(&hash, &bytes)
        .map_err(|error| Refusal::Copy(error.to_string()))?;
    let table = library::open(&copy, &description.entry)?;
    let native = Arc::new(Native::new(description, table, &json)?);
    let name = &native.description().name;
    let versions = open
        .iter()
        .filter(|(_, other)| other.description().name == *name)
        .count();
    if versions + 1 >= VERSIONS_MANY {
        tracing::warn!(
            "{} versions of the plugin \"{name}\" are loaded and stay in memory; restart the server",
            versions + 1
        );
    }
    open.push((hash, Arc::clone(&native)));
    Ok(native)
}
