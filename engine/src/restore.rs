//! A backup becomes a store again: every file is copied, MANIFEST last.

use disk::Disk;

use crate::Error;
use crate::manifest::MANIFEST;
use crate::recover;
use crate::segment::SEGMENTS_DIR;

const PLUGINS_DIR: &str = "plugins";

/// What is copied beside MANIFEST and catalog.
const COPIED: [&str; 3] = ["wal", SEGMENTS_DIR, PLUGINS_DIR];

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What [`restore`] copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies a store that nobody has open into an empty directory; durable when it returns. `progress`
/// gets a file and bytes copied. Check the source first: bytes are copied as they are.
///
/// # Errors
/// If the source is open, the target is not empty, or a disk fails: then the target has no MANIFEST
/// and does not open.
pub fn restore(
    source: &dyn Disk,
    target: &dyn Disk,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Restored, Error> {
    let _lock = recover::lock_to_look(source)?;
    // A file system of its own has this from the beginning.
    let names = target.list("")?;
    if let Some(name) = names.iter().find(|name| *name != "lost+found") {
        let what = format!("the target is not empty: it has {name:?}");
        return Err(Error::Invalid(what));
    }
    if !source.exists(MANIFEST)? {
        return Err(Error::Invalid(format!("the source has no {MANIFEST}")));
    }
    let mut copy = Copy {
        source,
        target,
        progress,
        done: Restored::default(),
    };
    for name in source.list("")? {
        let is_catalog = name.starts_with("catalog.") && !recover::is_temporary(&name);
        if is_catalog {
            copy.file(&name, true)?;
        } else if COPIED.contains(&name.as_str()) {
            copy.directory(&name)?;
        }
    }
    // The commit point: until now the target is no store.
    copy.file(MANIFEST, true)?;
    Ok(copy.done)
}

struct Copy<'a> {
    source: &'a dyn Disk,
    target: &'a dyn Disk,
    progress: &'a mut dyn FnMut(&str, u64),
    done: Restored,
}

impl Copy<'_> {
    /// A directory with all that is in it.
    fn directory(&mut self, dir: &str) -> Result<(), Error> {
        let names = self.source.list(dir)?;
        self.target.create_dir_all(dir)?;
        for name in names.iter().filter(|name| !name.ends_with(".tmp")) {
            let path = format!("{dir}/{name}");
            // Only what the plugin host keeps may be a directory.
            match dir.starts_with(PLUGINS_DIR) && self.source.list(&path).is_ok() {
                true => self.directory(&path)?,
                false => self.file(&path, dir == SEGMENTS_DIR)?,
            }
        }
        Ok(self.target.sync_dir(dir)?)
    }

    fn file(&mut self, path: &str, published: bool) -> Result<(), Error> {
        let source = self.source.open_read(path)?;
        let length = source.len()?;
        let mut fill = |file: &dyn disk::File| -> Result<(), Error> {
            let mut at = 0;
            while at < length {
                let bytes = source.read_at(at, COPY_BYTES)?;
                if bytes.is_empty() {
                    return Err(Error::Io(format!(
                        "{path} became shorter while it was read"
                    )));
                }
                file.write_at(at, &bytes)?;
                at += bytes.len() as u64;
                (self.progress)(path, bytes.len() as u64);
            }
            Ok(())
        };
        if published {
            disk::publish(self.target, path, fill)?;
        } else {
            let file = self.target.create(path)?;
            fill(&*file)?;
            file.sync_all()?;
        }
        self.done.files += 1;
        self.done.bytes += length;
        Ok(())
    }
}
