//! Chosen instead of drawn: which unsynced changes a power cut leaves, and every state on the way.
//!
//! A random fate finds most faults; that *no* fate breaks a promise is shown by going through
//! them. [`SimDisk::record`] keeps the disk before each changing call of one run, so that all
//! crashes of that run can be looked at afterwards, and [`SimDisk::reopen_with`] says what of the
//! unsynced changes survives, in which order they reached the medium, and where one was cut.

use std::ops::Range;
use std::sync::Arc;

use super::state::{DirOp, Pending, SECTOR_BYTES, State, write};
use super::{CallKind, SimDisk};

/// A change that no sync has covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// What kind of call made it.
    pub kind: CallKind,
    /// The file, by a name it has or had.
    pub path: String,
    /// Where, for writes; the new length for truncations.
    pub offset: u64,
    /// How many bytes, for writes.
    pub len: u64,
}

impl Unsynced {
    /// Where this write may be cut, counted from its first byte: at each border of a sector.
    pub fn cuts(&self) -> Vec<u64> {
        let sector = SECTOR_BYTES as u64;
        let first = sector - self.offset % sector;
        match self.kind {
            CallKind::Write => (first..self.len).step_by(SECTOR_BYTES).collect(),
            _ => Vec::new(),
        }
    }
}

/// How much of a change survives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    Whole,
    /// Of a write these bytes, counted from its first; of anything else all.
    Bytes(Range<u64>),
}

/// Where an unsynced change is kept.
enum Place {
    File { inode: usize, index: usize },
    Name(usize),
}

impl SimDisk {
    /// Keeps the disk as it is before each changing call from now on.
    pub fn record(&self) {
        self.state.lock().history = Some(Vec::new());
    }

    /// The disks before each changing call since [`SimDisk::record`], and as it is now. Ends the
    /// recording.
    pub fn recorded(&self) -> Vec<SimDisk> {
        let mut state = self.state.lock();
        state.remember();
        let history = state.history.take().unwrap_or_default();
        drop(state);
        let disks = history.into_iter().map(|state| {
            let mut state = Arc::unwrap_or_clone(state);
            state.locked = false;
            Self::of_state(state)
        });
        disks.collect()
    }

    /// Every change that a power cut now may lose: of files in the order of each file's writes,
    /// then of names.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        let state = self.state.lock();
        let places = state.places();
        places.iter().map(|place| state.describe(place)).collect()
    }

    /// The disk after a power cut that leaves of [`SimDisk::unsynced`] these, in this order, and
    /// nothing else. This disk goes on: several outcomes can be had from it.
    #[must_use]
    pub fn reopen_with(&self, kept: &[(usize, Keep)]) -> Self {
        let mut state = self.state.lock();
        let places = state.places();
        let mut next = state.successor();
        next.inodes = state.inodes.clone();
        next.durable = state.durable.clone();
        for (chosen, keep) in kept {
            match &places[*chosen] {
                Place::Name(index) => state.dir_ops[*index].apply(&mut next.durable),
                Place::File { inode, index } => {
                    let target = Arc::make_mut(&mut next.inodes[*inode].durable);
                    apply(&state.inodes[*inode].pending[*index], keep, target);
                }
            }
        }
        for inode in &mut next.inodes {
            inode.pending.clear();
            inode.live = inode.durable.clone();
        }
        next.live = next.durable.clone();
        Self::of_state(next)
    }

    /// Names and bytes of everything that would survive if nothing unsynced did: two disks with
    /// the same digest and nothing unsynced are the same disk.
    pub fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let state = self.state.lock();
        let mut hasher = DefaultHasher::new();
        state.dirs.hash(&mut hasher);
        for (name, inode) in &state.durable {
            let inode = &state.inodes[*inode];
            (name, inode.readonly, inode.durable.as_slice()).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn apply(change: &Pending, keep: &Keep, target: &mut Vec<u8>) {
    match (change, keep) {
        (Pending::Write { offset, bytes }, Keep::Bytes(range)) => {
            let end = (range.end as usize).min(bytes.len());
            let start = (range.start as usize).min(end);
            write(target, *offset as usize + start, &bytes[start..end]);
        }
        _ => change.apply(target),
    }
}

impl State {
    /// Changes of files that nobody can reach any more are left out: they make no difference.
    fn places(&self) -> Vec<Place> {
        let linked = |op: &DirOp| !matches!(op, DirOp::Unlink { .. });
        let reachable = |inode: usize| {
            self.durable.values().any(|i| *i == inode)
                || self
                    .dir_ops
                    .iter()
                    .any(|op| linked(op) && op.inode() == inode)
        };
        let mut places = Vec::new();
        for (inode, state) in self.inodes.iter().enumerate() {
            if !state.pending.is_empty() && reachable(inode) {
                let count = state.pending.len();
                places.extend((0..count).map(|index| Place::File { inode, index }));
            }
        }
        places.extend((0..self.dir_ops.len()).map(Place::Name));
        places
    }

    fn describe(&self, place: &Place) -> Unsynced {
        let of_name = |index: usize| match &self.dir_ops[index] {
            DirOp::Link { path, .. } => (CallKind::Create, path.clone()),
            DirOp::Unlink { path, .. } => (CallKind::Unlink, path.clone()),
            DirOp::Rename { from, to, .. } => (CallKind::Rename, format!("{from} to {to}")),
        };
        let (kind, path, offset, len) = match place {
            Place::Name(index) => {
                let (kind, path) = of_name(*index);
                (kind, path, 0, 0)
            }
            Place::File { inode, index } => {
                let path = self.name_of(*inode);
                match &self.inodes[*inode].pending[*index] {
                    Pending::Truncate(len) => (CallKind::Truncate, path, *len, 0),
                    Pending::Write { offset, bytes } => {
                        (CallKind::Write, path, *offset, bytes.len() as u64)
                    }
                }
            }
        };
        Unsynced {
            kind,
            path,
            offset,
            len,
        }
    }

    fn name_of(&self, inode: usize) -> String {
        let names = self.live.iter().chain(&self.durable);
        let mut named = names.filter(|(_, i)| **i == inode);
        let name = named.next().map(|(name, _)| name.clone());
        name.unwrap_or_else(|| format!("(file {inode} without a name)"))
    }
}
