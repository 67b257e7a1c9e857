//! `OsDisk`: the real file system below one directory.
//!
//! Every path is resolved below the handle of the root and never through a symbolic link
//! (openat2 with `RESOLVE_BENEATH`; on systems without it the last part is refused if it is a
//! link).
#![allow(clippy::disallowed_methods)] // this is the fence the lint points to

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::lock::LOCK_FILE;
use crate::{Disk, File, Lock, Map, ReadFile, context, path};

/// Slices per system call: IOV_MAX of Linux and macOS.
const SLICES_MAX: usize = 1024;

/// The real disk, rooted at a directory.
#[derive(Debug)]
pub struct OsDisk {
    root: OwnedFd,
    root_path: PathBuf,
    /// Read published files onto the heap instead of mapping them.
    copy_reads: bool,
}

impl OsDisk {
    /// Opens a store directory; creates it (mode 0700, with missing parents) if there is none.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root_path = root.as_ref().to_path_buf();
        let shown = root_path.display().to_string();
        // A relative path of one part has the parent "", which is the current directory.
        let missing = root_path
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty());
        let missing: Vec<&Path> = missing.take_while(|dir| !dir.exists()).collect();
        let mut builder = fs::DirBuilder::new();
        context(
            builder.recursive(true).mode(0o700).create(&root_path),
            "create",
            &shown,
        )?;
        // The store is as durable as the names that lead to it.
        for parent in missing.iter().filter_map(|dir| dir.parent()) {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            let synced = fs::File::open(parent).and_then(|handle| handle.sync_all());
            context(synced, "sync directory", &parent.display().to_string())?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&root_path, flags, Mode::empty()).map_err(io::Error::from);
        let root = context(opened, "open", &shown)?;
        Ok(Self {
            root,
            root_path,
            copy_reads: false,
        })
    }

    /// Reads published files onto the heap: for network and FUSE file systems, where a mapping
    /// can fail at any access.
    #[must_use]
    pub fn with_copied_reads(mut self) -> Self {
        self.copy_reads = true;
        self
    }

    /// The directory as it was given to [`OsDisk::open`], for messages.
    pub fn root(&self) -> &Path {
        &self.root_path
    }

    fn open_at(&self, path: &str, flags: OFlags, call: &str) -> io::Result<OwnedFd> {
        path::check(path)?;
        let path = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::RUSR | Mode::WUSR
        } else {
            Mode::empty()
        };
        let opened = open_beneath(&self.root, path, flags, mode).map_err(io::Error::from);
        context(opened, call, path)
    }

    /// The directory of a path, open, and the last part.
    fn parent<'a>(&self, path: &'a str, call: &str) -> io::Result<(OwnedFd, &'a str)> {
        path::check(path)?;
        let (dir, name) = path::split(path);
        Ok((self.open_dir(dir, call)?, name))
    }

    fn open_dir(&self, dir: &str, call: &str) -> io::Result<OwnedFd> {
        self.open_at(dir, OFlags::RDONLY | OFlags::DIRECTORY, call)
    }

    fn open_std(&self, path: &str, call: &str) -> io::Result<fs::File> {
        self.open_at(path, OFlags::RDONLY, call).map(fs::File::from)
    }
}

#[cfg(target_os = "linux")]
fn open_beneath(root: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let root = root.as_fd();
    match rustix::fs::openat2(root, path, flags, mode, resolve) {
        // Old kernels and some sandboxes do not know the call.
        Err(Errno::NOSYS) => rustix::fs::openat(root, path, flags, mode),
        other => other,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(root: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(root, path, flags, mode)
}

impl Disk for OsDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn File>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_at(path, flags, "create")?.into();
        Ok(Box::new(OsFile {
            file,
            path: path.to_owned(),
        }))
    }

    fn open_write(&self, path: &str) -> io::Result<Box<dyn File>> {
        let file: fs::File = self.open_at(path, OFlags::WRONLY, "open")?.into();
        // Root ignores modes; the promise of `set_readonly` must not depend on the user.
        if file.metadata()?.permissions().readonly() {
            let denied = Err(io::Error::from(io::ErrorKind::PermissionDenied));
            return context(denied, "open read-only file for writing", path);
        }
        Ok(Box::new(OsFile {
            file,
            path: path.to_owned(),
        }))
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>> {
        let file = self.open_std(path, "open")?;
        Ok(Box::new(OsReadFile {
            file,
            path: path.to_owned(),
        }))
    }

    fn read_all(&self, path: &str) -> io::Result<Bytes> {
        let mut file = self.open_std(path, "open")?;
        let mut bytes = Vec::new();
        context(file.read_to_end(&mut bytes), "read", path)?;
        Ok(bytes.into())
    }

    fn map(&self, path: &str) -> io::Result<Map> {
        if self.copy_reads {
            return Ok(Map::of_bytes(self.read_all(path)?));
        }
        let file = self.open_std(path, "open")?;
        context(Map::of_file(&file), "map", path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from, "rename")?;
        let (to_dir, to_name) = self.parent(to, "rename")?;
        let done = rustix::fs::renameat(from_dir, from_name, to_dir, to_name);
        context(
            done.map_err(io::Error::from),
            "rename",
            &format!("{from} to {to}"),
        )
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let handle = fs::File::from(self.open_dir(dir, "sync directory")?);
        context(handle.sync_all(), "sync directory", dir)
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        path::check(dir)?;
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for end in ends.filter(|end| *end > 0) {
            let part = &dir[..end];
            let (parent, name) = self.parent(part, "create directory")?;
            match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                Ok(()) => self.sync_dir(path::split(part).0)?,
                Err(Errno::EXIST) => drop(self.open_dir(part, "create directory")?),
                Err(error) => return context(Err(error.into()), "create directory", part),
            }
        }
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let handle = self.open_dir(dir, "list")?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(handle)? {
            let entry = context(entry.map_err(io::Error::from), "list", dir)?;
            // A name that is not UTF-8 is not ours.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        let (dir, name) = self.parent(path, "stat")?;
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = context(stat.map_err(io::Error::from), "stat", path)?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        path::check(path)?;
        let (dir, name) = match self.parent(path, "stat") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            parent => parent?,
        };
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => context(Err(error.into()), "stat", path),
        }
    }

    fn link(&self, from: &str, target: &dyn Disk, to: &str) -> io::Result<bool> {
        let Some(target) = target.handle() else {
            return Ok(false);
        };
        let (from_dir, from_name) = self.parent(from, "link")?;
        path::check(to)?;
        let (to_dir, to_name) = path::split(to);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let to_path = if to_dir.is_empty() { "." } else { to_dir };
        let opened = open_beneath(target, to_path, flags, Mode::empty());
        let to_dir = context(opened.map_err(io::Error::from), "link", to)?;
        let no_flags = AtFlags::empty();
        match rustix::fs::linkat(from_dir, from_name, to_dir, to_name, no_flags) {
            Ok(()) => Ok(true),
            // Another file system; one without links, or no right to them; too many links.
            Err(
                Errno::XDEV
                | Errno::PERM
                | Errno::ACCESS
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::MLINK,
            ) => Ok(false),
            Err(error) => context(Err(error.into()), "link", to),
        }
    }

    fn handle(&self) -> Option<BorrowedFd<'_>> {
        Some(self.root.as_fd())
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let (parent, name) = self.parent(dir, "remove directory")?;
        let done = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        context(done.map_err(io::Error::from), "remove directory", dir)
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let (dir, name) = self.parent(path, "unlink")?;
        let done = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        context(done.map_err(io::Error::from), "unlink", path)
    }

    fn set_readonly(&self, path: &str) -> io::Result<()> {
        let file = self.open_at(path, OFlags::RDONLY, "set read-only")?;
        let done = rustix::fs::fchmod(file, Mode::RUSR | Mode::RGRP | Mode::ROTH);
        context(done.map_err(io::Error::from), "set read-only", path)
    }

    fn lock(&self) -> io::Result<Lock> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let mut file: fs::File = self.open_at(LOCK_FILE, flags, "lock")?.into();
        if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            let message = format!("{} is in use by {holder}", self.root_path.display());
            return Err(io::Error::new(io::Error::from(error).kind(), message));
        }
        // The id is a courtesy to whoever is refused; the lock does not depend on it.
        let id = format!("{}\n", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.write_all(id.as_bytes()));
        Ok(Lock::new(file))
    }

    fn free_space(&self) -> io::Result<Option<u64>> {
        let stat = context(
            rustix::fs::fstatvfs(&self.root).map_err(io::Error::from),
            "stat file system of",
            "",
        )?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    path: String,
}

impl OsFile {
    fn write_slices(&self, mut offset: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty slices at the front would make a correct write look like one of zero bytes.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let count = slices.len().min(SLICES_MAX);
            match rustix::io::pwritev(&self.file, &slices[..count], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl File for OsFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        context(self.file.write_all_at(bytes, offset), "write", &self.path)
    }

    fn write_vectored_at(&self, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        context(self.write_slices(offset, slices), "write", &self.path)
    }

    fn sync_data(&self) -> io::Result<()> {
        context(self.file.sync_data(), "sync", &self.path)
    }

    fn sync_all(&self) -> io::Result<()> {
        context(self.file.sync_all(), "sync", &self.path)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(context(self.file.metadata(), "stat", &self.path)?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        context(self.file.set_len(len), "truncate", &self.path)
    }
}

#[derive(Debug)]
struct OsReadFile {
    file: fs::File,
    path: String,
}

impl ReadFile for OsReadFile {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        // Never reserve what the file cannot have: `len` may come from damaged bytes.
        let rest = self.len()?.saturating_sub(offset);
        let mut bytes = vec![0; len.min(usize::try_from(rest).unwrap_or(usize::MAX))];
        let mut filled = 0;
        while filled < bytes.len() {
            match self
                .file
                .read_at(&mut bytes[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return context(Err(error), "read", &self.path),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(context(self.file.metadata(), "stat", &self.path)?.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::publish;

    fn open() -> (tempfile::TempDir, OsDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(dir.path().join("new/store")).unwrap();
        (dir, disk)
    }

    fn mode(disk: &OsDisk, path: &str) -> u32 {
        fs::metadata(disk.root().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn files_and_directories_are_private() {
        let (_dir, disk) = open();
        disk.create_dir_all("a/b").unwrap();
        disk.create_dir_all("a/b").unwrap();
        drop(disk.create("a/b/c").unwrap());
        assert_eq!(
            (mode(&disk, ""), mode(&disk, "a/b"), mode(&disk, "a/b/c")),
            (0o700, 0o700, 0o600)
        );
        assert_eq!(disk.list("a/b").unwrap(), ["c"]);
        assert!(disk.create("a/b/c").is_err(), "create is exclusive");
    }

    #[test]
    fn vectored_writes_of_any_number_of_slices_arrive_whole() {
        let (_dir, disk) = open();
        let file = disk.create("a").unwrap();
        let parts: Vec<Vec<u8>> = (0..3000_usize).map(|n| vec![n as u8; n % 5]).collect();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_vectored_at(3, &mut slices).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.read_all("a").unwrap()[3..], parts.concat());
        assert_eq!(
            disk.read_at("a", 5990, 100).unwrap().len(),
            file.len().unwrap() as usize - 5990
        );
    }

    #[test]
    fn published_files_are_read_only_and_mappings_outlive_them() {
        let (_dir, disk) = open();
        publish(&disk, "m", |file| file.write_at(0, b"first")).unwrap();
        let bytes = disk.map("m").unwrap().bytes().slice(1..);
        assert!(disk.open_write("m").is_err());
        assert_eq!(mode(&disk, "m"), 0o444);
        publish(&disk, "m", |file| file.write_at(0, b"second")).unwrap();
        assert_eq!(&disk.map("m").unwrap()[..], b"second");
        disk.unlink("m").unwrap();
        assert!(!disk.exists("m").unwrap());
        assert_eq!(&bytes[..], b"irst");
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let (_dir, disk) = open();
        drop(disk.create("empty").unwrap());
        assert!(disk.map("empty").unwrap().is_empty());
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let (_dir, disk) = open();
        let lock = disk.lock().unwrap();
        let again = OsDisk::open(disk.root()).unwrap().lock().unwrap_err();
        assert!(
            again.to_string().contains(&std::process::id().to_string()),
            "{again}"
        );
        drop(lock);
        assert!(OsDisk::open(disk.root()).unwrap().lock().is_ok());
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let (dir, disk) = open();
        fs::create_dir(dir.path().join("outside")).unwrap();
        symlink(dir.path().join("outside"), disk.root().join("link")).unwrap();
        assert!(disk.create("link/file").is_err());
        assert!(disk.list("link").is_err());
        assert!(disk.create_dir_all("link/sub").is_err());
        assert!(disk.open_read("../outside").is_err());
    }

    #[test]
    fn errors_name_the_call_and_the_file() {
        let (_dir, disk) = open();
        let error = disk.read_all("wal/missing").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("wal/missing"), "{error}");
    }
}
