//! What a checkpoint stores of the instances, and what a start reads.
//!
//! Order, each arrow a point where a crash is harmless: new dead letters -> `state.snap` of the
//! instances whose state changed -> `_instances`. What is written first may be newer than what is
//! written last: a `state.snap` says which plugin commit it covers, and so does the name of a file
//! of dead letters; replay passes over what they have. The line of an instance with a `state.snap`
//! says so: one that is missing or does not read back keeps that instance from running, and no
//! other.

use std::sync::Arc;

use bytes::Bytes;
use disk::Disk;
use engine::{CheckpointHook, Error, Lsn, Origin};

use crate::cursor::{Book, Line, find};
use crate::instances::{self, FLAG_STATE, Record};
use crate::state::{
    Header, LetterFiles, SNAPSHOT, SharedTable, decode_snapshot, directory, write_snapshot,
};

/// What is known of the files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Bytes of `_instances` as published.
    pub(crate) instances: Option<Bytes>,
    pub(crate) letters: LetterFiles,
}

/// An instance in a checkpoint.
struct Saved {
    origin: Origin,
    id: String,
    epoch: u64,
    cursor: u64,
    table: SharedTable,
    /// Version of the table in `state.snap`; `None` if that is to stay as it is.
    snapped: Option<u64>,
}

impl CheckpointHook for Book {
    fn opened(&self, disk: &Arc<dyn Disk>) -> Result<(), Error> {
        let io = |error: std::io::Error| Error::Io(error.to_string());
        if disk.exists(instances::FILE).map_err(io)? {
            let bytes = disk.read_all(instances::FILE).map_err(io)?;
            let mut lines: Vec<Line> = instances::decode(&bytes)?
                .into_iter()
                .map(Line::of)
                .collect();
            for line in &mut lines {
                load(&**disk, line).map_err(io)?;
            }
            *self.lines.lock() = lines;
            self.files.lock().instances = Some(bytes);
        }
        // A second open would mix the instances of two stores.
        self.disk
            .set(Arc::clone(disk))
            .map_err(|_| Error::Invalid("a plugin host serves one store".into()))
    }

    fn replayed(&self, lsn: Lsn, origin: Origin, section: &[u8]) {
        self.replay(lsn, origin, section);
    }

    fn named(&self, origin: Origin, name: &str) {
        if let Some(line) = find(&mut self.lines.lock(), origin) {
            line.record.id = name.into();
        }
    }

    fn checkpoint(&self, upto: Lsn) -> Result<Lsn, Error> {
        let mut files = self.files.lock();
        self.settle(upto)?;
        let too_old = self.too_old(upto);
        let (saved, records, floor) = self.freeze(upto, &too_old);
        if records.is_empty() && files.instances.is_none() {
            return Ok(floor);
        }
        let disk = self
            .disk
            .get()
            .expect("the engine opened before it checkpoints");
        for instance in &saved {
            self.save(&**disk, &mut files, instance)
                .map_err(|error| store_error(&error))?;
        }
        let bytes = instances::encode(&records);
        if files.instances.as_ref() != Some(&bytes) {
            store(&**disk, &bytes).map_err(|error| store_error(&error))?;
            files.instances = Some(bytes);
        }
        Ok(floor)
    }
}

impl Book {
    /// What is to be stored. The tables go on: what is written of them may be newer than the lines.
    fn freeze(&self, upto: Lsn, too_old: &[u16]) -> (Vec<Saved>, Vec<Record>, Lsn) {
        let mut lines = self.lines.lock();
        let mut saved = Vec::new();
        for line in lines.iter_mut() {
            // Without its name, which damage may have taken, there is no place for its files.
            if line.record.last_commit == 0 || line.record.id.is_empty() {
                continue;
            }
            let changed = line.table.read().version() != line.snapped;
            // What an incomplete instance stored before is the best there is of it.
            let is_whole = line.broken.is_none();
            if changed && is_whole {
                line.record.flags |= FLAG_STATE;
            }
            saved.push(Saved {
                origin: Origin(line.record.origin),
                id: line.record.id.clone(),
                epoch: line.record.epoch,
                cursor: line.record.cursor,
                table: Arc::clone(&line.table),
                snapped: is_whole.then_some(line.snapped),
            });
        }
        let (records, floor) = Self::stored(&lines, upto, too_old);
        (saved, records, floor)
    }

    fn save(&self, disk: &dyn Disk, files: &mut Files, instance: &Saved) -> std::io::Result<()> {
        let (id, table) = (&*instance.id, &instance.table);
        let letters = table.read().letters.clone();
        files
            .letters
            .save(disk, id, &letters, self.clock.now_ns())?;
        if !letters.is_settled() {
            table.write().letters.forget(&letters);
        }
        let (version, header, contents) = {
            let table = table.read();
            if instance.snapped.is_none_or(|old| old == table.version()) {
                return Ok(());
            }
            let header = Header {
                id: instance.id.clone(),
                state_version: table.state_version().unwrap_or(1),
                epoch: instance.epoch,
                cursor: instance.cursor,
                covered: table.covered(),
            };
            // Keys and values are shared, not copied: the instance goes on while they are written.
            (table.version(), header, table.contents())
        };
        write_snapshot(disk, &header, &contents)?;
        if let Some(line) = find(&mut self.lines.lock(), instance.origin) {
            line.snapped = version;
        }
        Ok(())
    }
}

/// Reads the state of an instance. What is wrong with the file is the instance's trouble, not the
/// store's.
fn load(disk: &dyn Disk, line: &mut Line) -> std::io::Result<()> {
    if line.record.flags & FLAG_STATE == 0 {
        // One that a crash left before the line could say so: the log has all of it.
        return Ok(());
    }
    let path = format!("{}/{SNAPSHOT}", directory(&line.record.id));
    if !disk.exists(&path)? {
        line.lose_state(format!("{path} is missing"));
        return Ok(());
    }
    match decode_snapshot(&disk.read_all(&path)?) {
        Ok((header, _)) if header.id != line.record.id => {
            line.lose_state(format!("{path} is that of instance \"{}\"", header.id));
        }
        Ok((_, table)) => *line.table.write() = table,
        Err(what) => line.lose_state(format!("{path}: {what}")),
    }
    Ok(())
}

pub(crate) fn store(disk: &dyn Disk, bytes: &[u8]) -> std::io::Result<()> {
    disk.create_dir_all(instances::DIR)?;
    disk::publish(disk, instances::FILE, |file| file.write_at(0, bytes))
}

pub(crate) fn store_error(error: &std::io::Error) -> Error {
    if disk::is_full(error) {
        return Error::DiskFull(error.to_string());
    }
    Error::Io(error.to_string())
}
