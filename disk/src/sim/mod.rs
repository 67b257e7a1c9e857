//! `SimDisk`: a disk in memory that crashes, tears and fails on demand, all from one seed.
//!
//! Volatile and durable state are kept apart. A write changes what is read at once, but survives
//! a power cut only after a sync of its file; a name only after a sync of its directory. At a
//! power cut each unsynced change meets its own fate: kept, lost, or torn at 512-byte sectors,
//! in any order. A failed sync drops the unsynced bytes for good, as Linux does: they can still
//! be read, and a later sync that succeeds does not bring them back.
//!
//! ```
//! use disk::{Disk, SimDisk};
//! let disk = SimDisk::new(7);
//! let file = disk.create("a")?;
//! file.write_at(0, b"bytes")?;
//! file.sync_data()?;
//! disk.sync_dir("")?;
//! let after = disk.reopen(); // power cut
//! assert_eq!(&after.read_all("a")?[..], b"bytes");
//! # Ok::<(), std::io::Error>(())
//! ```

mod outcome;
mod rng;
mod state;

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{Disk, File, Lock, Map, ReadFile, path};
pub use outcome::{Keep, Unsynced};
pub use rng::Rng;
use state::{DirOp, Pending, State};

/// What a recorded call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// `create`.
    Create,
    /// `write_at` or `write_vectored_at`.
    Write,
    /// `truncate`.
    Truncate,
    /// `sync_data` or `sync_all`.
    Sync,
    /// `rename`.
    Rename,
    /// `sync_dir`.
    SyncDir,
    /// `create_dir_all`, when something was missing.
    CreateDir,
    /// `unlink`.
    Unlink,
    /// `remove_dir`.
    RemoveDir,
    /// `set_readonly`.
    SetReadonly,
}

/// One call that changes something. Calls that only read are neither recorded nor counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it did.
    pub kind: CallKind,
    /// To which file or directory.
    pub path: String,
    /// Where, for writes.
    pub offset: u64,
    /// How many bytes, for writes.
    pub len: u64,
}

/// The simulated disk. Clones share one state.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk whose every chance is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::of_state(State::new(seed))
    }

    fn of_state(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// All calls that changed something, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// How many calls changed something.
    pub fn call_count(&self) -> u64 {
        self.state.lock().calls.len() as u64
    }

    /// Lets `count` more changing calls succeed and crashes at the one after: it and everything
    /// later fails, reads too. The interrupted call may have had its effect.
    pub fn crash_after(&self, count: u64) {
        let mut state = self.state.lock();
        state.crash_at = Some(state.calls.len() as u64 + count);
    }

    /// Crashes now.
    pub fn crash(&self) {
        self.state.lock().crashed = true;
    }

    /// Whether the crash has happened.
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// An independent disk in the same state; both go on.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut state = self.state.lock().clone();
        state.locked = false;
        state.history = None;
        Self::of_state(state)
    }

    /// The disk after a power cut: what was synced, and a random part of what was not. This
    /// disk counts as crashed.
    pub fn reopen(&self) -> Self {
        Self::of_state(self.state.lock().power_cut())
    }

    /// The disk after the death of the process alone: everything written is still there, but no
    /// more durable than before. This disk counts as crashed.
    pub fn restart(&self) -> Self {
        Self::of_state(self.state.lock().restart())
    }

    /// The changing call after `count` more fails once, with this error. A write has written a
    /// random part of its bytes by then; a sync has made a random part durable and dropped the
    /// rest for good.
    pub fn fail_after(&self, count: u64, error: io::ErrorKind) {
        let mut state = self.state.lock();
        let at = state.calls.len() as u64 + count;
        state.faults.push((at, error));
    }

    /// The file sync after `count` more fails once; later ones report success.
    pub fn fail_sync_after(&self, count: u64) {
        self.state.lock().sync_fault = Some(count);
    }

    /// The call that only reads (opening, listing, reading) after `count` more fails once.
    pub fn fail_read_after(&self, count: u64, error: io::ErrorKind) {
        let mut state = self.state.lock();
        state.read_fault = Some((state.reads + count, error));
    }

    /// How many calls only read.
    pub fn read_count(&self) -> u64 {
        self.state.lock().reads
    }

    /// Bytes all files together may have; growing beyond gives `StorageFull`. `None`: endless.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// Changes stored bytes behind everybody's back: rot.
    pub fn rot(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.inode_of(path)?;
        let inode = &mut state.inodes[inode];
        change(Arc::make_mut(&mut inode.live));
        inode.durable = inode.live.clone();
        inode.pending.clear();
        Ok(())
    }

    fn change_names(
        &self,
        kind: CallKind,
        path: &str,
        make: impl FnOnce(&mut State) -> io::Result<DirOp>,
    ) -> io::Result<usize> {
        let mut state = self.state.lock();
        state.check_alive()?;
        let op = make(&mut state)?;
        let inode = op.inode();
        match state.begin(kind, path, 0, 0) {
            Ok(()) => {
                state.apply_name(op);
                Ok(inode)
            }
            Err(error) => {
                if state.crashed && state.rng.chance(2) {
                    state.apply_name(op);
                }
                Err(error)
            }
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn File>> {
        path::check(path)?;
        let inode = self.change_names(CallKind::Create, path, |state| {
            state.check_parent(path)?;
            if state.live.contains_key(path) || state.dirs.contains(path) {
                return Err(state::error(io::ErrorKind::AlreadyExists, "create", path));
            }
            Ok(DirOp::Link {
                path: path.to_owned(),
                inode: state.new_inode(),
            })
        })?;
        Ok(self.handle(inode, path))
    }

    fn open_write(&self, path: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.state.lock();
        state.read("open for writing", path)?;
        let inode = state.inode_of(path)?;
        if state.inodes[inode].readonly {
            return Err(state::error(
                io::ErrorKind::PermissionDenied,
                "open for writing",
                path,
            ));
        }
        drop(state);
        Ok(self.handle(inode, path))
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>> {
        let mut state = self.state.lock();
        state.read("open", path)?;
        let inode = state.inode_of(path)?;
        drop(state);
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
            path: path.to_owned(),
        }))
    }

    fn read_all(&self, path: &str) -> io::Result<Bytes> {
        let mut state = self.state.lock();
        state.read("read", path)?;
        let inode = state.inode_of(path)?;
        Ok(Bytes::copy_from_slice(&state.inodes[inode].live))
    }

    fn map(&self, path: &str) -> io::Result<Map> {
        Ok(Map::of_bytes(self.read_all(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        path::check(to)?;
        self.change_names(CallKind::Rename, &format!("{from} to {to}"), |state| {
            state.check_parent(to)?;
            let inode = state.inode_of(from)?;
            Ok(DirOp::Rename {
                from: from.to_owned(),
                to: to.to_owned(),
                inode,
            })
        })?;
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_alive()?;
        state.check_dir(dir)?;
        state.begin(CallKind::SyncDir, dir, 0, 0)?;
        state.sync_names(dir);
        Ok(())
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        path::check(dir)?;
        let mut state = self.state.lock();
        state.check_alive()?;
        if state.dirs.contains(dir) {
            return Ok(());
        }
        state.begin(CallKind::CreateDir, dir, 0, 0)?;
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for end in ends {
            state.dirs.insert(dir[..end].to_owned());
        }
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.read("list", dir)?;
        state.check_dir(dir)?;
        let files = state.live.keys().map(String::as_str);
        let dirs = state
            .dirs
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty());
        let inside = files.chain(dirs).filter(|name| path::split(name).0 == dir);
        let mut names: Vec<String> = inside.map(|name| path::split(name).1.to_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        let state = self.state.lock();
        state.check_alive()?;
        let inode = state.inode_of(path)?;
        Ok(state.inodes[inode].live.len() as u64)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        path::check(path)?;
        let state = self.state.lock();
        state.check_alive()?;
        Ok(state.live.contains_key(path) || state.dirs.contains(path))
    }

    /// Two simulated disks are two file systems.
    fn link(&self, from: &str, _target: &dyn Disk, _to: &str) -> io::Result<bool> {
        let state = self.state.lock();
        state.check_alive()?;
        state.inode_of(from).map(|_| false)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_alive()?;
        state.check_dir(dir)?;
        let inside = |name: &str| path::split(name).0 == dir;
        let files = state.live.keys().map(String::as_str);
        if files
            .chain(state.dirs.iter().map(String::as_str))
            .any(inside)
        {
            let kind = io::ErrorKind::DirectoryNotEmpty;
            return Err(state::error(kind, "remove directory", dir));
        }
        state.begin(CallKind::RemoveDir, dir, 0, 0)?;
        state.dirs.remove(dir);
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.change_names(CallKind::Unlink, path, |state| {
            let inode = state.inode_of(path)?;
            Ok(DirOp::Unlink {
                path: path.to_owned(),
                inode,
            })
        })?;
        Ok(())
    }

    fn set_readonly(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_alive()?;
        let inode = state.inode_of(path)?;
        state.begin(CallKind::SetReadonly, path, 0, 0)?;
        state.inodes[inode].readonly = true;
        Ok(())
    }

    fn lock(&self) -> io::Result<Lock> {
        let mut state = self.state.lock();
        state.check_alive()?;
        if state.locked {
            let message = "the simulated disk is in use by this process";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
        }
        state.locked = true;
        Ok(Lock::new(LockGuard(self.clone())))
    }

    fn free_space(&self) -> io::Result<Option<u64>> {
        let state = self.state.lock();
        state.check_alive()?;
        Ok(state
            .capacity
            .map(|capacity| capacity.saturating_sub(state.used_bytes())))
    }
}

impl SimDisk {
    fn handle(&self, inode: usize, path: &str) -> Box<dyn File> {
        Box::new(SimFile {
            disk: self.clone(),
            inode,
            path: path.to_owned(),
        })
    }
}

struct LockGuard(SimDisk);

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.0.state.lock().locked = false;
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
    path: String,
}

impl SimFile {
    fn write(&self, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.check_alive()?;
        let len = bytes.len() as u64;
        state.check_capacity(self.inode, offset + len, &self.path)?;
        let begun = state.begin(CallKind::Write, &self.path, offset, len);
        let kept = match begun {
            Ok(()) => bytes.len(),
            Err(_) => state.rng.below(len + 1) as usize,
        };
        state.change(
            self.inode,
            Pending::Write {
                offset,
                bytes: bytes[..kept].into(),
            },
        );
        begun
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.check_alive()?;
        let begun = state.begin(CallKind::Sync, &self.path, 0, 0);
        let crashed = state.crashed;
        let failed = begun.is_err() || state.sync_fails();
        if crashed {
            return begun; // what is pending meets its fate at the power cut
        }
        if failed {
            state.lose_some(self.inode);
            return begun.and(Err(state::error(io::ErrorKind::Other, "sync", &self.path)));
        }
        state.inodes[self.inode].sync();
        Ok(())
    }
}

impl File for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset, bytes.to_vec())
    }

    fn write_vectored_at(&self, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.write(
            offset,
            slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect(),
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        state.check_alive()?;
        Ok(state.inodes[self.inode].live.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.check_alive()?;
        state.check_capacity(self.inode, len, &self.path)?;
        state.begin(CallKind::Truncate, &self.path, 0, len)?;
        state.change(self.inode, Pending::Truncate(len));
        Ok(())
    }
}

impl ReadFile for SimFile {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut state = self.disk.state.lock();
        state.read("read", &self.path)?;
        let live = &state.inodes[self.inode].live;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(live.len());
        let end = start.saturating_add(len).min(live.len());
        Ok(Bytes::copy_from_slice(&live[start..end]))
    }

    fn len(&self) -> io::Result<u64> {
        File::len(self)
    }
}

#[cfg(test)]
mod tests;
