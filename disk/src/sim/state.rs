//! What the simulated disk holds: live and durable state, and what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::{Call, CallKind, Rng};
use crate::path;

/// Disks write whole sectors, in any order.
pub(super) const SECTOR_BYTES: usize = 512;

pub(super) fn error(kind: io::ErrorKind, call: &str, path: &str) -> io::Error {
    io::Error::new(kind, format!("{call} {path:?}: {kind}"))
}

/// A change of a file that no sync has covered.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Write { offset: u64, bytes: Arc<[u8]> },
    Truncate(u64),
}

impl Pending {
    pub(super) fn apply(&self, target: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(target, *offset as usize, bytes),
            Self::Truncate(len) => target.resize(*len as usize, 0),
        }
    }
}

pub(super) fn write(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[offset..end].copy_from_slice(bytes);
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// Shared with the copies of this disk until one of them changes.
    pub(super) live: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) pending: Vec<Pending>,
    pub(super) readonly: bool,
}

impl Inode {
    pub(super) fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for change in self.pending.drain(..) {
            change.apply(durable);
        }
    }

    /// Makes a random part of the pending changes durable and forgets the rest.
    fn settle(&mut self, rng: &mut Rng) {
        let fate = Fate::draw(rng, self.pending.len());
        if self.pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for (index, change) in self.pending.drain(..).enumerate() {
            match (&change, fate.of(index, rng)) {
                (_, Outcome::Kept) => change.apply(durable),
                (_, Outcome::Lost) | (Pending::Truncate(_), Outcome::Torn) => {}
                (Pending::Write { offset, bytes }, Outcome::Torn) => {
                    tear(durable, *offset as usize, bytes, rng);
                }
            }
        }
    }
}

/// Writes a random subset of the sectors.
fn tear(target: &mut Vec<u8>, offset: usize, bytes: &[u8], rng: &mut Rng) {
    let mut start = 0;
    while start < bytes.len() {
        let end = (SECTOR_BYTES - (offset + start) % SECTOR_BYTES + start).min(bytes.len());
        if rng.chance(2) {
            write(target, offset + start, &bytes[start..end]);
        }
        start = end;
    }
}

/// What happens to a list of unsynced changes at a power cut.
enum Fate {
    AllLost,
    AllKept,
    /// The first so many survive, the next is torn.
    Prefix(usize),
    /// Each by itself.
    Random,
}

enum Outcome {
    Kept,
    Torn,
    Lost,
}

impl Fate {
    fn draw(rng: &mut Rng, count: usize) -> Self {
        match rng.below(8) {
            0 => Self::AllLost,
            1 => Self::AllKept,
            2 | 3 => Self::Prefix(rng.below(count as u64 + 1) as usize),
            _ => Self::Random,
        }
    }

    fn of(&self, index: usize, rng: &mut Rng) -> Outcome {
        match self {
            Self::AllLost => Outcome::Lost,
            Self::AllKept => Outcome::Kept,
            Self::Prefix(count) if index < *count => Outcome::Kept,
            Self::Prefix(count) if index == *count => Outcome::Torn,
            Self::Prefix(_) => Outcome::Lost,
            Self::Random => match rng.below(3) {
                0 => Outcome::Kept,
                1 => Outcome::Lost,
                _ => Outcome::Torn,
            },
        }
    }
}

/// A change of names that no directory sync has covered.
#[derive(Clone, Debug)]
pub(super) enum DirOp {
    Link {
        path: String,
        inode: usize,
    },
    Unlink {
        path: String,
        inode: usize,
    },
    Rename {
        from: String,
        to: String,
        inode: usize,
    },
}

impl DirOp {
    pub(super) fn inode(&self) -> usize {
        match self {
            Self::Link { inode, .. } | Self::Unlink { inode, .. } => *inode,
            Self::Rename { inode, .. } => *inode,
        }
    }

    fn dir(&self) -> &str {
        match self {
            Self::Link { path, .. } | Self::Unlink { path, .. } => path::split(path).0,
            Self::Rename { to, .. } => path::split(to).0,
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            // An earlier change of this name may be lost: remove only what was meant.
            Self::Unlink { path, inode } => {
                if names.get(path) == Some(inode) {
                    names.remove(path);
                }
            }
            Self::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) inodes: Vec<Inode>,
    pub(super) live: BTreeMap<String, usize>,
    pub(super) durable: BTreeMap<String, usize>,
    pub(super) dir_ops: Vec<DirOp>,
    /// Directories are durable when made, so one set is enough.
    pub(super) dirs: BTreeSet<String>,
    pub(super) calls: Vec<Call>,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) faults: Vec<(u64, io::ErrorKind)>,
    /// So many file syncs succeed before one fails.
    pub(super) sync_fault: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) locked: bool,
    /// Calls that only read, so far, and the one of them that fails.
    pub(super) reads: u64,
    pub(super) read_fault: Option<(u64, io::ErrorKind)>,
    /// The states before each changing call, while they are kept.
    pub(super) history: Option<Vec<Arc<State>>>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            inodes: Vec::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            dir_ops: Vec::new(),
            dirs: BTreeSet::from([String::new()]),
            calls: Vec::new(),
            crash_at: None,
            crashed: false,
            faults: Vec::new(),
            sync_fault: None,
            capacity: None,
            locked: false,
            reads: 0,
            read_fault: None,
            history: None,
        }
    }

    pub(super) fn check_alive(&self) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("the simulated machine has crashed"));
        }
        Ok(())
    }

    /// Records a call; decides whether it fails.
    pub(super) fn begin(
        &mut self,
        kind: CallKind,
        path: &str,
        offset: u64,
        len: u64,
    ) -> io::Result<()> {
        self.remember();
        let number = self.calls.len() as u64;
        if self.crash_at.is_some_and(|at| number >= at) {
            self.crashed = true;
            return self.check_alive();
        }
        self.calls.push(Call {
            kind,
            path: path.to_owned(),
            offset,
            len,
        });
        let fault = self.faults.iter().position(|(at, _)| *at == number);
        match fault.map(|index| self.faults.swap_remove(index)) {
            Some((_, failure)) => Err(error(failure, "injected fault at", path)),
            None => Ok(()),
        }
    }

    /// Keeps a copy of this state, without the copies it has.
    pub(super) fn remember(&mut self) {
        if let Some(mut history) = self.history.take() {
            history.push(Arc::new(self.clone()));
            self.history = Some(history);
        }
    }

    /// Counts a call that only reads; decides whether it fails.
    pub(super) fn read(&mut self, call: &str, path: &str) -> io::Result<()> {
        self.check_alive()?;
        let number = self.reads;
        self.reads += 1;
        match self.read_fault {
            Some((at, kind)) if at == number => Err(error(kind, call, path)),
            _ => Ok(()),
        }
    }

    /// Counts a file sync down to the one that fails.
    pub(super) fn sync_fails(&mut self) -> bool {
        match self.sync_fault {
            Some(0) => {
                self.sync_fault = None;
                true
            }
            Some(count) => {
                self.sync_fault = Some(count - 1);
                false
            }
            None => false,
        }
    }

    /// What a failed sync leaves: some bytes durable, the rest forgotten though still read.
    pub(super) fn lose_some(&mut self, inode: usize) {
        self.inodes[inode].settle(&mut self.rng);
    }

    pub(super) fn change(&mut self, inode: usize, change: Pending) {
        let inode = &mut self.inodes[inode];
        change.apply(Arc::make_mut(&mut inode.live));
        inode.pending.push(change);
    }

    pub(super) fn new_inode(&mut self) -> usize {
        self.inodes.push(Inode::default());
        self.inodes.len() - 1
    }

    pub(super) fn inode_of(&self, path: &str) -> io::Result<usize> {
        path::check(path)?;
        let inode = self.live.get(path).copied();
        inode.ok_or_else(|| error(io::ErrorKind::NotFound, "open", path))
    }

    pub(super) fn check_dir(&self, dir: &str) -> io::Result<()> {
        if self.dirs.contains(dir) {
            return Ok(());
        }
        Err(error(io::ErrorKind::NotFound, "open directory", dir))
    }

    pub(super) fn check_parent(&self, path: &str) -> io::Result<()> {
        self.check_dir(path::split(path).0)
    }

    pub(super) fn apply_name(&mut self, op: DirOp) {
        op.apply(&mut self.live);
        self.dir_ops.push(op);
    }

    pub(super) fn sync_names(&mut self, dir: &str) {
        for op in std::mem::take(&mut self.dir_ops) {
            if op.dir() == dir {
                op.apply(&mut self.durable);
            } else {
                self.dir_ops.push(op);
            }
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.live
            .values()
            .map(|inode| self.inodes[*inode].live.len() as u64)
            .sum()
    }

    pub(super) fn check_capacity(&self, inode: usize, end: u64, path: &str) -> io::Result<()> {
        let growth = end.saturating_sub(self.inodes[inode].live.len() as u64);
        match self.capacity {
            Some(capacity) if growth > 0 && self.used_bytes() + growth > capacity => {
                Err(error(io::ErrorKind::StorageFull, "write", path))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn power_cut(&mut self) -> Self {
        self.crashed = true;
        let mut next = self.successor();
        next.inodes = self.inodes.clone();
        next.durable = self.durable.clone();
        let fate = Fate::draw(&mut next.rng, self.dir_ops.len());
        for (index, op) in self.dir_ops.iter().enumerate() {
            // A change of a name is atomic: torn means that chance decides.
            let kept = match fate.of(index, &mut next.rng) {
                Outcome::Kept => true,
                Outcome::Lost => false,
                Outcome::Torn => next.rng.chance(2),
            };
            if kept {
                op.apply(&mut next.durable);
            }
        }
        for inode in &mut next.inodes {
            inode.settle(&mut next.rng);
            inode.live = inode.durable.clone();
        }
        next.live = next.durable.clone();
        next
    }

    pub(super) fn restart(&mut self) -> Self {
        self.crashed = true;
        let mut next = self.successor();
        next.inodes = self.inodes.clone();
        next.live = self.live.clone();
        next.durable = self.durable.clone();
        next.dir_ops = self.dir_ops.clone();
        next
    }

    /// The machine after the crash: same directories and capacity, no faults planned.
    pub(super) fn successor(&mut self) -> Self {
        let mut next = Self::new(self.rng.next_u64());
        next.dirs = self.dirs.clone();
        next.capacity = self.capacity;
        next
    }
}
