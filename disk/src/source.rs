//! `Source`: somebody else's directory, read with read(2) and never changed.
//!
//! Nothing here can write: files are opened for reading only, and there is no call that makes,
//! renames or removes anything. Sparse files are read in the stretches that hold data
//! ([`SourceFile::next_data`]), so a year of mostly empty slots costs what its rows cost.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::{context, path};

/// What a name in a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A regular file, or a link to one.
    File,
    /// A directory; links to directories are not followed.
    Dir,
    /// Anything else: sockets, pipes, devices, links that lead nowhere or to directories.
    Other,
}

/// A name in a directory.
#[derive(Debug, Clone)]
pub struct SourceEntry {
    /// The name; where it is not UTF-8, the readable part of it.
    pub name: String,
    /// What it is. A name that is not UTF-8 is `Other`: it cannot be asked for.
    pub kind: SourceKind,
}

/// A directory that is only read.
#[derive(Debug, Clone)]
pub struct Source {
    root: PathBuf,
}

impl Source {
    /// Names a directory that must exist.
    ///
    /// # Errors
    /// If it does not exist, is no directory or may not be read.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let shown = root.as_ref().display().to_string();
        let root = context(fs::canonicalize(root.as_ref()), "open", &shown)?;
        context(fs::read_dir(&root), "list", &shown)?;
        Ok(Self { root })
    }

    /// The directory, absolute and without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names in a directory below the root, sorted. `""` is the root.
    ///
    /// # Errors
    /// If it is no directory or may not be read.
    pub fn list(&self, dir: &str) -> io::Result<Vec<SourceEntry>> {
        path::check(dir)?;
        let mut entries = Vec::new();
        for entry in context(fs::read_dir(self.root.join(dir)), "list", dir)? {
            let entry = context(entry, "list", dir)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = match entry.file_name().to_str() {
                Some(_) => kind(&entry),
                None => SourceKind::Other,
            };
            entries.push(SourceEntry { name, kind });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// If it does not exist, is no regular file or may not be read.
    pub fn open_file(&self, path: &str) -> io::Result<SourceFile> {
        path::check(path)?;
        let full = self.root.join(path);
        // Before the open: opening a pipe would wait for a writer.
        let is_file = context(fs::metadata(&full), "open", path)?.is_file();
        if !is_file {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return context(Err(error), "open", path);
        }
        let file = context(File::open(&full), "open", path)?;
        let meta = context(file.metadata(), "stat", path)?;
        Ok(SourceFile {
            len: meta.len(),
            allocated: meta.blocks().saturating_mul(512),
            file,
            path: path.to_owned(),
        })
    }
}

fn kind(entry: &fs::DirEntry) -> SourceKind {
    match entry.file_type() {
        Ok(ty) if ty.is_dir() => SourceKind::Dir,
        Ok(ty) if ty.is_file() => SourceKind::File,
        Ok(ty) if ty.is_symlink() => match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_file() => SourceKind::File,
            _ => SourceKind::Other,
        },
        _ => SourceKind::Other,
    }
}

/// A file of a [`Source`], open for reading.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    path: String,
    len: u64,
    allocated: u64,
}

impl SourceFile {
    /// The length when it was opened, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it had no bytes when it was opened.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the file system holds for it: holes cost nothing.
    pub fn allocated(&self) -> u64 {
        self.allocated.min(self.len)
    }

    /// Fills as much of `bytes` as the file has from `offset` on; returns how much that is.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
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
        Ok(filled)
    }

    /// The first offset from `offset` on that may hold something else than zeros: `offset` itself
    /// where the file system cannot tell. `None` if there is only a hole up to the end.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        if offset >= self.len {
            return None;
        }
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(found) => return Some(found.max(offset)),
            Err(rustix::io::Errno::NXIO) => return None,
            Err(_) => {}
        }
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // prepares the directory that is then only read

    use super::*;

    #[test]
    fn holes_are_skipped_and_their_bytes_are_zero() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("a.bin")).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"data", 600 << 20).unwrap();
        let source = Source::open(dir.path()).unwrap();
        let opened = source.open_file("a.bin").unwrap();
        let first = opened.next_data(0).unwrap();
        assert!(first <= 600 << 20);
        assert!(opened.next_data((600 << 20) + 1).is_some());
        assert_eq!(opened.next_data(1 << 30), None);
        let mut bytes = [1; 6];
        assert_eq!(opened.read_at((600 << 20) - 1, &mut bytes).unwrap(), 6);
        assert_eq!(&bytes, b"\0data\0");
        assert_eq!(opened.read_at((1 << 30) - 2, &mut bytes).unwrap(), 2);
    }

    #[test]
    fn only_regular_files_below_the_root_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        File::create(dir.path().join("sub/x")).unwrap();
        std::os::unix::fs::symlink("sub", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("sub/x", dir.path().join("file")).unwrap();
        let source = Source::open(dir.path()).unwrap();
        let listed = source.list("").unwrap();
        let kinds: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("file", SourceKind::File),
                ("link", SourceKind::Other),
                ("sub", SourceKind::Dir)
            ]
        );
        assert!(source.open_file("sub").is_err());
        assert!(source.open_file("../x").is_err());
        assert!(source.open_file("sub/x").unwrap().is_empty());
        assert!(Source::open(dir.path().join("none")).is_err());
    }
}
