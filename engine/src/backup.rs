//! A consistent copy of the running store.
//!
//! With the manifest held, so that no file goes away: checkpoint up to `L`, link the segments, copy
//! catalog, plugin files and that part of the log below `L` that a plugin still needs. Segments that
//! cannot be linked are opened meanwhile and copied after. MANIFEST comes last: before it the copy
//! is no store. Commits go on all the while; those from `L` on are not in the copy.

use std::path::Path;

use disk::{Disk, OsDisk, ReadFile};
use wal::Lsn;

use crate::catalog::Catalog;
use crate::manifest::{MANIFEST, Manifest};
use crate::segment::{SEGMENTS_DIR, path_of};
use crate::{Engine, Error, checkpoint};

/// Files of the plugin host.
const PLUGINS_DIR: &str = "plugins";

/// Bytes copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// What [`crate::Engine::backup`] made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backup {
    /// Every commit that begins below is in the copy, and nothing else.
    pub visible: Lsn,
    /// Files.
    pub files: usize,
    /// Bytes shared with the store by hard links.
    pub linked_bytes: u64,
    /// Bytes copied.
    pub copied_bytes: u64,
}

pub(crate) fn run(engine: &Engine, target: &Path) -> Result<Backup, Error> {
    engine.check_open()?;
    let existed = target.exists();
    let disk = OsDisk::open(target)?;
    let result = run_on(engine, &disk, &target.display().to_string());
    if result.is_err() && !existed {
        // Only an empty directory goes.
        let _ = std::fs::remove_dir(target);
    }
    result
}

/// The same onto any disk; `name` is for messages.
pub(crate) fn run_on(engine: &Engine, target: &dyn Disk, name: &str) -> Result<Backup, Error> {
    // A file system of its own has this from the beginning.
    let found = target.list("")?.into_iter().find(|n| n != "lost+found");
    if let Some(found) = found {
        return Err(Error::Invalid(format!(
            "{name} is not empty: it has {found:?}; choose a new directory for the backup"
        )));
    }
    let mut copy = Copy {
        source: &*engine.store().disk,
        target,
        files: Vec::new(),
        dirs: Vec::new(),
        made: Backup::default(),
    };
    let result = copy.run(engine);
    match result {
        Ok(()) => Ok(copy.made),
        Err(error) => {
            copy.remove();
            Err(error)
        }
    }
}

/// A segment that is yet to be copied: its path, and the file, open.
type Unlinked = (String, Box<dyn ReadFile>);

struct Copy<'a> {
    source: &'a dyn Disk,
    target: &'a dyn Disk,
    /// What was made, for the case that it fails.
    files: Vec<String>,
    dirs: Vec<String>,
    made: Backup,
}

impl Copy<'_> {
    fn run(&mut self, engine: &Engine) -> Result<(), Error> {
        let (manifest, unlinked) = self.hold(engine)?;
        for (path, file) in unlinked {
            let bytes = file.len()?;
            self.copy(&path, &*file, bytes)?;
        }
        for dir in &self.dirs {
            self.target.sync_dir(dir)?;
        }
        self.target.sync_dir("")?;
        self.publish(MANIFEST, &manifest.encode())?;
        self.made.visible = manifest.checkpoint;
        self.made.files = self.files.len();
        Ok(())
    }

    /// What has to happen while no file goes away. Returns the segments that could not be linked.
    fn hold(&mut self, engine: &Engine) -> Result<(Manifest, Vec<Unlinked>), Error> {
        let store = engine.store();
        let mut manifest = store.manifest.lock();
        // With the manifest held: whoever closes the store waits for it.
        engine.check_open()?;
        let keep = checkpoint::run_locked(store, &mut manifest)?;
        self.dir(SEGMENTS_DIR)?;
        let mut unlinked = Vec::new();
        for entry in &manifest.segments {
            let path = path_of(entry.sequence);
            self.files.push(path.clone());
            if self.source.link(&path, self.target, &path)? {
                self.made.linked_bytes += entry.bytes;
            } else {
                self.files.pop();
                unlinked.push((path.clone(), self.source.open_read(&path)?));
            }
        }
        if let Some(lsn) = manifest.catalog {
            let file = Catalog::file_name(lsn);
            let bytes = self.source.read_all(&file)?;
            self.publish(&file, &bytes)?;
        }
        if self.source.exists(PLUGINS_DIR)? {
            self.tree(PLUGINS_DIR)?;
        }
        let parts = store.with_wal(|wal| Ok(wal.parts(keep, manifest.checkpoint)))?;
        if !parts.is_empty() {
            self.dir("wal")?;
        }
        for part in parts {
            let file = self.source.open_read(&part.path)?;
            self.copy(&part.path, &*file, part.bytes)?;
        }
        Ok((manifest.clone(), unlinked))
    }

    /// All files below a directory.
    fn tree(&mut self, dir: &str) -> Result<(), Error> {
        self.dir(dir)?;
        for name in self.source.list(dir)? {
            let path = format!("{dir}/{name}");
            if name.ends_with(".tmp") {
                continue;
            }
            if self.source.list(&path).is_ok() {
                self.tree(&path)?;
                continue;
            }
            let file = self.source.open_read(&path)?;
            let bytes = file.len()?;
            self.copy(&path, &*file, bytes)?;
        }
        Ok(())
    }

    fn dir(&mut self, dir: &str) -> Result<(), Error> {
        self.dirs.push(dir.to_owned());
        Ok(self.target.create_dir_all(dir)?)
    }

    /// The first `bytes` of a file, durable but for its name.
    fn copy(&mut self, path: &str, from: &dyn ReadFile, bytes: u64) -> Result<(), Error> {
        self.files.push(path.to_owned());
        let to = self.target.create(path)?;
        let mut at = 0;
        while at < bytes {
            let len = PIECE_BYTES.min(usize::try_from(bytes - at).unwrap_or(PIECE_BYTES));
            let piece = from.read_at(at, len)?;
            if piece.is_empty() {
                let what = format!("the file ends before byte {bytes}");
                return Err(Error::Corrupt {
                    file: path.to_owned(),
                    offset: at,
                    what,
                });
            }
            to.write_at(at, &piece)?;
            at += piece.len() as u64;
        }
        if path.starts_with(SEGMENTS_DIR) {
            self.target.set_readonly(path)?;
        }
        to.sync_all()?;
        self.made.copied_bytes += bytes;
        Ok(())
    }

    fn publish(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.files.push(path.to_owned());
        disk::publish(self.target, path, |file| file.write_at(0, bytes))?;
        self.made.copied_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whatever is there of the copy. The first error is the one worth telling.
    fn remove(&self) {
        // MANIFEST, the last, goes first: without it this is no store.
        for path in self.files.iter().rev() {
            let _ = self.target.unlink(path);
            let _ = self.target.unlink(&format!("{path}.tmp"));
        }
        for dir in self.dirs.iter().rev() {
            let _ = self.target.remove_dir(dir);
        }
        let _ = self.target.sync_dir("");
    }
}
