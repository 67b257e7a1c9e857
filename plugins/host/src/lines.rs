//! What an operator changes of the lines of `plugins/_instances`, outside checkpoints.
//!
//! The file is published as the last checkpoint left it, with other flags or fewer lines: cursors
//! and last commits in it stay those of that checkpoint, which the log behind it fits to. So a crash
//! at any moment finds the file before the change or after it, and both are true.
//!
//! Lock order: `files`, then `lines`. The first is held over a checkpoint, so none meets a change
//! halfway.

use bytes::Bytes;
use disk::Disk;
use engine::{Engine, Error, Lsn, Origin};

use crate::checkpoint::{self, Files};
use crate::cursor::{Book, Line, find};
use crate::instances::{self, Record};
use crate::overflow::Hold;
use crate::state::{DLQ, SNAPSHOT, directory};

/// An instance of the store that no entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Instance id; `#` and its number if damage took the name.
    pub id: String,
    /// Everything below had been fired; 0 for a worker or source.
    pub cursor: Lsn,
    /// Its last plugin commit.
    pub last_commit: Lsn,
    /// Bytes of its state in memory.
    pub state_bytes: u64,
}

impl Orphan {
    fn of(line: &Line) -> Self {
        let record = &line.record;
        Self {
            id: match record.id.is_empty() {
                true => format!("#{}", record.origin),
                false => record.id.clone(),
            },
            cursor: Lsn(record.cursor),
            last_commit: Lsn(record.last_commit),
            state_bytes: line.table.read().bytes() as u64,
        }
    }
}

/// What the book knows of an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) origin: Origin,
    pub(crate) epoch: u64,
    pub(crate) cursor: Lsn,
    pub(crate) last_commit: Lsn,
}

impl Book {
    /// The line of an instance; a `volatile` one, and one that never ran, has none.
    pub(crate) fn line(&self, id: &str) -> Option<Known> {
        let lines = self.lines.lock();
        let line = lines.iter().find(|line| line.record.id == id)?;
        Some(Known {
            origin: Origin(line.record.origin),
            epoch: line.record.epoch,
            cursor: Lsn(line.record.cursor),
            last_commit: Lsn(line.record.last_commit),
        })
    }

    /// Bytes of log below a checkpoint that are kept for an instance only.
    pub(crate) fn held(&self, id: &str, checkpoint: Lsn) -> u64 {
        let lines = self.lines.lock();
        let line = lines.iter().find(|line| line.record.id == id);
        let place = line.and_then(|line| Some((line.hold, line.place()?)));
        match place {
            Some((hold, cursor)) if !hold.is_none() => {
                let behind = checkpoint.0.saturating_sub(cursor.0);
                let most = if hold.is_endless {
                    u64::MAX
                } else {
                    hold.bytes
                };
                behind.min(most)
            }
            _ => 0,
        }
    }

    /// Bytes of log kept for an instance from now on.
    pub(crate) fn set_hold(&self, id: &str, hold: Hold) {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.iter_mut().find(|line| line.record.id == id) {
            line.hold = hold;
        }
    }

    /// The run of an instance was given up: it moves nothing any more.
    pub(crate) fn fence(&self, id: &str) {
        if let Some(line) = self.line(id) {
            self.restart(line.origin);
        }
    }

    /// Flags of an instance; none if nothing is known of it.
    pub(crate) fn flags(&self, id: &str) -> u16 {
        let lines = self.lines.lock();
        let line = lines.iter().find(|line| line.record.id == id);
        line.map_or(0, |line| line.record.flags)
    }

    /// Sets and clears flags of an instance; durable on return.
    pub(crate) fn flag(
        &self,
        engine: &Engine,
        id: &str,
        set: u16,
        clear: u16,
    ) -> Result<(), Error> {
        let change = |flags: u16| flags & !clear | set;
        let old = self.flags(id);
        if change(old) == old {
            return Ok(());
        }
        let origin = engine.origin(id)?;
        let mut files = self.files.lock();
        let mut records = published(&files)?;
        match records.iter_mut().find(|r| r.origin == origin.0) {
            Some(record) => record.flags = change(record.flags),
            // One that no checkpoint has met: the log knows the rest, if there is any.
            None => records.push(Record {
                flags: change(0),
                ..Record::new(origin, id)
            }),
        }
        self.publish(&mut files, records)?;
        let mut lines = self.lines.lock();
        if find(&mut lines, origin).is_none() {
            lines.push(Line::new(origin, id, Hold::NONE));
        }
        if let Some(line) = find(&mut lines, origin) {
            line.record.flags = change(line.record.flags);
        }
        Ok(())
    }

    /// The cursor of an instance at the last checkpoint.
    pub(crate) fn checkpointed(&self, origin: Origin) -> Result<Option<Lsn>, Error> {
        let records = published(&self.files.lock())?;
        let record = records.iter().find(|r| r.origin == origin.0);
        Ok(record.filter(|r| r.last_commit > 0).map(|r| Lsn(r.cursor)))
    }

    /// The instances that are not `named`.
    pub(crate) fn orphans(&self, named: &[&str]) -> Vec<Orphan> {
        let lines = self.lines.lock();
        let orphans = lines.iter().filter(|line| line.is_orphan(named));
        orphans.map(Orphan::of).collect()
    }

    /// Forgets the instances that are not `named`: their lines, then their files. What a crash
    /// leaves of the files, the next call removes.
    pub(crate) fn forget(&self, engine: &Engine, named: &[&str]) -> Result<Vec<Orphan>, Error> {
        if !self.orphans(named).is_empty() {
            // Their last commits must lie behind the checkpoint: replay would bring them back.
            engine.checkpoint()?;
        }
        let mut files = self.files.lock();
        let gone = self.orphans(named);
        let mut records = published(&files)?;
        records.retain(|record| named.contains(&&*record.id));
        self.publish(&mut files, records)?;
        let kept: Vec<String> = {
            let mut lines = self.lines.lock();
            lines.retain(|line| !line.is_orphan(named));
            let ids = lines.iter().map(|line| &*line.record.id);
            ids.chain(named.iter().copied()).map(directory).collect()
        };
        for orphan in &gone {
            files.letters.forget(&orphan.id);
        }
        let disk = self.disk.get().ok_or(Error::Closed)?;
        remove_folders(&**disk, &kept).map_err(|error| Error::Io(error.to_string()))?;
        Ok(gone)
    }

    fn publish(&self, files: &mut Files, mut records: Vec<Record>) -> Result<(), Error> {
        records.sort_by_key(|record| record.origin);
        let bytes = instances::encode(&records);
        if files.instances.as_ref() == Some(&bytes) {
            return Ok(());
        }
        let disk = self.disk.get().ok_or(Error::Closed)?;
        checkpoint::store(&**disk, &bytes).map_err(|error| checkpoint::store_error(&error))?;
        files.instances = Some(bytes);
        Ok(())
    }
}

/// The lines as the file has them.
fn published(files: &Files) -> Result<Vec<Record>, Error> {
    let bytes = files.instances.as_ref().map(Bytes::as_ref);
    bytes.map_or(Ok(Vec::new()), instances::decode)
}

impl Line {
    fn is_orphan(&self, named: &[&str]) -> bool {
        let is_stored = self.record.last_commit > 0 || self.record.flags != 0;
        is_stored && !named.contains(&&*self.record.id)
    }
}

/// Removes what an instance keeps in its folder, for every folder that is not kept. Nothing else that
/// lies there is touched.
fn remove_folders(disk: &dyn Disk, kept: &[String]) -> std::io::Result<()> {
    if !disk.exists(instances::DIR)? {
        return Ok(());
    }
    for name in disk.list(instances::DIR)? {
        let folder = format!("{}/{name}", instances::DIR);
        // The host's own files; instances that begin so have another character there.
        if name.starts_with(['_', '.']) || kept.contains(&folder) {
            continue;
        }
        // Other files may lie here; they are no folders, or not empty.
        let Ok(inside) = disk.list(&folder) else {
            continue;
        };
        for name in inside {
            let path = format!("{folder}/{name}");
            if name == DLQ {
                for file in disk.list(&path)? {
                    disk.unlink(&format!("{path}/{file}"))?;
                }
                disk.remove_dir(&path)?;
            } else if name == SNAPSHOT || name.strip_suffix(".tmp") == Some(SNAPSHOT) {
                disk.unlink(&path)?;
            }
        }
        // Somebody else's files keep it.
        let _ = disk.remove_dir(&folder);
    }
    disk.sync_dir(instances::DIR)
}
