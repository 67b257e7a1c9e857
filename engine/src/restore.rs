//! A backup becomes a store again: every file is copied, MANIFEST last.

use disk::Disk;

use crate::Error;
use crate::manifest::MANIFEST;
use crate::recover::{self, OURS, QUARANTINE_DIR};
use crate::segment::SEGMENTS_DIR;

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
    if let Some(name) = target.list("")?.first() {
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
        } else if OURS.contains(&name.as_str()) && name != QUARANTINE_DIR {
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
    /// A directory of files; a plain file of this name (LOCK) is left out.
    fn directory(&mut self, dir: &str) -> Result<(), Error> {
        let Ok(names) = self.source.list(dir) else {
            return Ok(());
        };
        self.target.create_dir_all(dir)?;
        for name in names.iter().filter(|name| !name.ends_with(".tmp")) {
            self.file(&format!("{dir}/{name}"), dir == SEGMENTS_DIR)?;
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
