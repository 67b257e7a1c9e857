//! A package file (`.mkplug`): a tar.gz of `plugin.toml` and files.
//!
//! The archive is a stranger's: every name, kind, size and count is checked before a byte is written,
//! and what is written is a plain file with a plain mode.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use super::digest::Hashed;
use super::package::{self, Package};

/// Bytes of a package when it is unpacked, headers included: a small archive can unpack to any size.
const BYTES_MAX: u64 = 512 << 20;

/// Files and folders of a package.
const ENTRIES_MAX: usize = 10_000;

/// Unpacks into an empty folder and compares every file with its digest.
pub(super) fn unpack(archive: impl Read, folder: &Path) -> Result<Package, String> {
    let limited = Limited {
        inner: GzDecoder::new(archive),
        left: BYTES_MAX,
    };
    let mut tar = Archive::new(limited);
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let entries = tar.entries().map_err(|error| broken(&error))?;
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| broken(&error))?;
        if count >= ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} files"));
        }
        let Some(name) = checked_name(&entry)? else {
            continue;
        };
        let is_program = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let digest = write(&mut entry, &folder.join(&name), is_program)
            .map_err(|error| format!("file \"{name}\": {error}"))?;
        if files.insert(name.clone(), digest).is_some() {
            return Err(format!("file \"{name}\" is there twice"));
        }
    }
    // The checksum of the archive stands at its end.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(|error| broken(&error))?;
    let package = match files.remove(package::FILE) {
        Some(_) => Package::read(folder)?,
        None => return Err(format!("there is no {} in it", package::FILE)),
    };
    compare(&package, &files)?;
    Ok(package)
}

/// The name of a file; `None` of a folder, which its files make by themselves.
fn checked_name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Option<String>, String> {
    let bytes = entry.path_bytes();
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    let kind = entry.header().entry_type();
    match kind {
        EntryType::Regular | EntryType::Directory => {}
        EntryType::Symlink | EntryType::Link => {
            return Err(format!("file {shown:?}: a link; packages hold files only"));
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            return Err(format!(
                "file {shown:?}: a device; packages hold files only"
            ));
        }
        other => return Err(format!("file {shown:?}: an entry of kind {other:?}")),
    }
    // `tar c .` names everything below `./`.
    let name = shown.strip_prefix("./").unwrap_or(&shown);
    if kind == EntryType::Directory {
        let name = name.trim_end_matches('/');
        if !name.is_empty() && name != "." {
            package::check_name(name)?;
        }
        return Ok(None);
    }
    package::check_name(name)?;
    Ok(Some(name.to_owned()))
}

/// Writes and syncs a file; its digest.
fn write(from: &mut impl Read, path: &Path, is_program: bool) -> io::Result<String> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
    }
    let mode = if is_program { 0o755 } else { 0o644 };
    let mut hashed = Hashed::new(from);
    // The folder is new, so a file that is there is the same name a second time.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    io::copy(&mut hashed, &mut file)?;
    sync(&file)?;
    Ok(hashed.hex())
}

/// `plugin_dir` is no store: `disk` knows nothing of it.
#[allow(clippy::disallowed_methods)]
pub(super) fn sync(file: &File) -> io::Result<()> {
    file.sync_all()
}

fn compare(package: &Package, files: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, expected) in &package.files {
        match files.get(name) {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(format!(
                    "file \"{name}\": its sha256 is {found}, {} says {expected}",
                    package::FILE
                ));
            }
            None => return Err(format!("file \"{name}\" of {} is missing", package::FILE)),
        }
    }
    match files.keys().find(|name| !package.files.contains_key(*name)) {
        Some(name) => Err(format!("file \"{name}\" is not in {}", package::FILE)),
        None => Ok(()),
    }
}

fn broken(error: &io::Error) -> String {
    format!("it is no tar.gz that can be read: {error}")
}

/// Fails, instead of ending early, when more comes than may.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {} MiB", BYTES_MAX >> 20))
        })?;
        Ok(count)
    }
}
