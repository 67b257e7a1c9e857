//! Dead letters of an instance: in memory since the last checkpoint, before that in files.
//!
//! ```text
//! plugins/<instance>/dlq/<lsn, 16 hex digits>.dlq:
//! MKTSDLQ1
//! letter: u32 length, u32 crc; of: u64 plugin commit lsn, u32 place in it, the letter
//! MKTSEND1, u64 letters
//! ```
//! A file is named after its last letter's commit and has every letter since the file before, so its
//! name says which replayed letters it has. One without its end mark is ignored. A letter that was
//! fired again or dropped is taken out by writing its file anew. The oldest files go at 1 GiB, or
//! when they are 7 days old.

use std::collections::BTreeSet;
use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use disk::Disk;
use foldhash::HashMap;

use super::{Letter, LetterId, directory};

const MAGIC: &[u8; 8] = b"MKTSDLQ1";
const END: &[u8; 8] = b"MKTSEND1";
/// Name of their directory.
pub(crate) const DIR: &str = "dlq";
/// Where the time of the first letter lies.
const TIME_OFFSET: u64 = 44;

/// Most bytes of files of an instance.
const FILES_BYTES_MAX: u64 = 1 << 30;
/// How long a file stays, in nanoseconds: 7 days.
const FILE_AGE_MAX: i64 = 7 * 86_400 * 1_000_000_000;

/// Letters that are in no file yet, and those of files that are gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letters {
    /// In the order of their commits.
    pub(super) pending: Vec<(LetterId, Bytes)>,
    pub(super) gone: BTreeSet<LetterId>,
}

impl Letters {
    pub(super) fn add(&mut self, lsn: u64, index: u32, letter: Bytes) {
        self.pending.push((LetterId { lsn, index }, letter));
    }

    pub(super) fn remove(&mut self, id: LetterId) {
        self.pending.retain(|(pending, _)| *pending != id);
        // A replayed letter may be in a file as well.
        self.gone.insert(id);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.gone.is_empty()
    }

    /// Forgets what `saved` had when it was saved.
    pub(crate) fn forget(&mut self, saved: &Self) {
        let last = saved.pending.last().map(|(id, _)| *id);
        self.pending.retain(|(id, _)| Some(*id) > last);
        self.gone.retain(|id| !saved.gone.contains(id));
    }
}

#[derive(Debug, Clone, Copy)]
struct FileInfo {
    lsn: u64,
    bytes: u64,
    /// When its first letter was given up (wall clock, ns).
    time: i64,
}

/// The files of all instances.
#[derive(Debug, Default)]
pub(crate) struct Store {
    by_id: HashMap<String, Vec<FileInfo>>,
}

fn path(id: &str, lsn: u64) -> String {
    format!("{}/dlq/{lsn:016x}.dlq", directory(id))
}

impl Store {
    /// Files of an instance, oldest first.
    fn files(&mut self, disk: &dyn Disk, id: &str) -> io::Result<&mut Vec<FileInfo>> {
        if !self.by_id.contains_key(id) {
            let found = list(disk, id)?;
            self.by_id.insert(id.into(), found);
        }
        Ok(self.by_id.get_mut(id).expect("there, or made just now"))
    }

    /// Writes what is pending, takes out what is gone, removes what is too old.
    pub(crate) fn save(
        &mut self,
        disk: &dyn Disk,
        id: &str,
        letters: &Letters,
        now: i64,
    ) -> io::Result<()> {
        let files = self.files(disk, id)?;
        let covered = files.last().map_or(0, |file| file.lsn);
        let new: Vec<_> = letters
            .pending
            .iter()
            .filter(|(of, _)| of.lsn > covered)
            .cloned()
            .collect();
        if let Some((last, _)) = new.last() {
            disk.create_dir_all(&format!("{}/dlq", directory(id)))?;
            files.push(write(disk, id, last.lsn, &new)?);
        }
        take_out(disk, id, files, &letters.gone)?;
        expire(disk, id, files, now)
    }

    /// An instance and its files are gone.
    pub(crate) fn forget(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// Every letter of an instance, oldest first.
    pub(crate) fn read(
        &mut self,
        disk: &dyn Disk,
        id: &str,
        letters: &Letters,
    ) -> io::Result<Vec<(LetterId, Letter)>> {
        let mut found = Vec::new();
        let files = self.files(disk, id)?;
        let covered = files.last().map_or(0, |file| file.lsn);
        for file in files.iter() {
            found.extend(read(disk, &path(id, file.lsn))?);
        }
        let pending = letters.pending.iter().filter(|(of, _)| of.lsn > covered);
        found.extend(pending.cloned());
        found.retain(|(of, _)| !letters.gone.contains(of));
        let decoded = found.into_iter().filter_map(|(of, bytes)| {
            // Both were checked: by a checksum, or when the commit was read.
            Some((of, Letter::decode(&bytes).ok()?))
        });
        Ok(decoded.collect())
    }
}

fn list(disk: &dyn Disk, id: &str) -> io::Result<Vec<FileInfo>> {
    let dir = format!("{}/dlq", directory(id));
    if !disk.exists(&dir)? {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for name in disk.list(&dir)? {
        let Some(lsn) = name.strip_suffix(".dlq") else {
            continue;
        };
        let Ok(lsn) = u64::from_str_radix(lsn, 16) else {
            continue;
        };
        let path = path(id, lsn);
        let time = disk.read_at(&path, TIME_OFFSET, 8)?;
        files.push(FileInfo {
            lsn,
            bytes: disk.len(&path)?,
            // One too short has nothing to keep.
            time: (&*time).try_get_i64_le().unwrap_or(i64::MIN),
        });
    }
    Ok(files)
}

fn write(
    disk: &dyn Disk,
    id: &str,
    lsn: u64,
    letters: &[(LetterId, Bytes)],
) -> io::Result<FileInfo> {
    let bytes = encode(letters);
    disk::publish(disk, &path(id, lsn), |file| file.write_at(0, &bytes))?;
    let time = usize::try_from(TIME_OFFSET).expect("it is 44");
    Ok(FileInfo {
        lsn,
        bytes: bytes.len() as u64,
        time: (&bytes[time..]).get_i64_le(),
    })
}

/// Writes the files anew that have letters which are gone.
fn take_out(
    disk: &dyn Disk,
    id: &str,
    files: &mut Vec<FileInfo>,
    gone: &BTreeSet<LetterId>,
) -> io::Result<()> {
    let of = |gone: &LetterId| files.iter().find(|file| file.lsn >= gone.lsn);
    let touched: BTreeSet<u64> = gone.iter().filter_map(of).map(|file| file.lsn).collect();
    for lsn in touched {
        let path = path(id, lsn);
        let before = read(disk, &path)?;
        let mut left = before.clone();
        left.retain(|(of, _)| !gone.contains(of));
        if left.len() == before.len() {
            continue;
        }
        let at = files.iter().position(|file| file.lsn == lsn);
        let at = at.expect("it is one of them");
        if left.is_empty() {
            disk.unlink(&path)?;
            // Its letters must not come back: nothing in the log would take them out again.
            disk.sync_dir(&format!("{}/dlq", directory(id)))?;
            files.remove(at);
        } else {
            files[at] = write(disk, id, lsn, &left)?;
        }
    }
    Ok(())
}

fn expire(disk: &dyn Disk, id: &str, files: &mut Vec<FileInfo>, now: i64) -> io::Result<()> {
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    while let Some(oldest) = files.first().copied() {
        let is_old = oldest.time < now.saturating_sub(FILE_AGE_MAX);
        if total <= FILES_BYTES_MAX && !is_old {
            break;
        }
        let path = path(id, oldest.lsn);
        tracing::warn!(
            instance = id,
            "{path} is removed: dead letters stay for 7 days, and 1 GiB of them"
        );
        disk.unlink(&path)?;
        total -= oldest.bytes;
        files.remove(0);
    }
    Ok(())
}

pub(crate) fn encode(letters: &[(LetterId, Bytes)]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    for (id, letter) in letters {
        let mut body = BytesMut::with_capacity(LetterId::BYTES + letter.len());
        id.encode(&mut body);
        body.put_slice(letter);
        out.put_u32_le(u32::try_from(body.len()).expect("a letter has about 1 MiB at most"));
        out.put_u32_le(crc32fast::hash(&body));
        out.put_slice(&body);
    }
    out.put_slice(END);
    out.put_u64_le(letters.len() as u64);
    out.freeze()
}

/// The letters of a file; none of one that does not read back.
fn read(disk: &dyn Disk, path: &str) -> io::Result<Vec<(LetterId, Bytes)>> {
    let bytes = disk.read_all(path)?;
    decode(&bytes).or_else(|what| {
        tracing::warn!("{path} is ignored: {what}");
        Ok(Vec::new())
    })
}

/// The error says what is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<(LetterId, Bytes)>, String> {
    let Some(mut input) = bytes.strip_prefix(MAGIC) else {
        return Err("it does not begin with MKTSDLQ1".into());
    };
    let mut letters = Vec::new();
    while !input.starts_with(END) {
        let at = bytes.len() - input.len();
        let letter = decode_one(&mut input)
            .ok_or_else(|| format!("no letter and no end mark at byte {at}"))?;
        letters.push(letter);
    }
    let mut count = &input[END.len()..];
    if count.len() == 8 && count.get_u64_le() == letters.len() as u64 {
        return Ok(letters);
    }
    Err("the end mark does not fit".into())
}

fn decode_one(input: &mut &[u8]) -> Option<(LetterId, Bytes)> {
    let length = usize::try_from(input.try_get_u32_le().ok()?).ok()?;
    let crc = input.try_get_u32_le().ok()?;
    let (body, rest) = input.split_at_checked(length)?;
    *input = rest;
    if crc32fast::hash(body) != crc {
        return None;
    }
    let (id, letter) = body.split_at_checked(LetterId::BYTES)?;
    Letter::decode(letter).ok()?;
    Some((LetterId::decode(id)?, Bytes::copy_from_slice(letter)))
}

#[cfg(test)]
mod tests {
    use disk::sim::SimDisk;

    use super::*;
    use crate::state::letter::sample;

    fn add(letters: &mut Letters, lsn: u64, count: u32, time: i64) {
        for index in 0..count {
            let letter = Letter { time, ..sample() };
            letters.add(lsn, index, letter.encode());
        }
    }

    fn ids(store: &mut Store, disk: &SimDisk, letters: &Letters) -> Vec<(u64, u32)> {
        let found = store.read(disk, "one", letters).unwrap();
        found.iter().map(|(id, _)| (id.lsn, id.index)).collect()
    }

    #[test]
    fn letters_move_to_files_once_and_can_be_taken_out() {
        let disk = SimDisk::new(1);
        let mut store = Store::default();
        let mut letters = Letters::default();
        add(&mut letters, 16, 2, 0);
        add(&mut letters, 32, 1, 0);
        store.save(&disk, "one", &letters, 0).unwrap();
        let all = [(16, 0), (16, 1), (32, 0)];
        // Not forgotten yet, as after a crash: the file says what it has.
        assert_eq!(ids(&mut store, &disk, &letters), all);
        assert_eq!(ids(&mut Store::default(), &disk, &Letters::default()), all);
        let saved = letters.clone();
        add(&mut letters, 48, 1, 0);
        letters.forget(&saved);
        assert_eq!(letters.pending.len(), 1);
        store.save(&disk, "one", &letters, 0).unwrap();
        letters = Letters::default();
        for (lsn, index) in [(16, 1), (48, 0)] {
            letters.remove(LetterId { lsn, index });
        }
        assert_eq!(ids(&mut store, &disk, &letters), [(16, 0), (32, 0)]);
        store.save(&disk, "one", &letters, 0).unwrap();
        let files = disk.list("plugins/one/dlq").unwrap();
        assert_eq!(files, ["0000000000000020.dlq"]);
        let left = ids(&mut Store::default(), &disk, &Letters::default());
        assert_eq!(left, [(16, 0), (32, 0)]);
    }

    #[test]
    fn the_oldest_files_go() {
        let disk = SimDisk::new(2);
        let mut store = Store::default();
        for day in 0..10 {
            let mut letters = Letters::default();
            let time = day * FILE_AGE_MAX / 7;
            add(&mut letters, 1 + day as u64, 1, time);
            store.save(&disk, "one", &letters, time).unwrap();
        }
        assert_eq!(disk.list("plugins/one/dlq").unwrap().len(), 8);
        assert_eq!(ids(&mut store, &disk, &Letters::default())[0], (3, 0));
    }

    #[test]
    fn a_file_that_does_not_read_back_is_ignored() {
        let mut letters = Letters::default();
        add(&mut letters, 16, 2, 0);
        let bytes = encode(&letters.pending);
        assert_eq!(decode(&bytes).unwrap(), letters.pending);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "{cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "{at}");
        }
        let disk = SimDisk::new(3);
        let mut store = Store::default();
        store.save(&disk, "one", &letters, 0).unwrap();
        disk.rot("plugins/one/dlq/0000000000000010.dlq", |bytes| {
            bytes.truncate(60)
        })
        .unwrap();
        let none = Letters::default();
        assert_eq!(ids(&mut Store::default(), &disk, &none), []);
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(tail: Vec<u8>) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend((tail.len() as u32).to_le_bytes());
            bytes.extend(crc32fast::hash(&tail).to_le_bytes());
            bytes.extend(&tail);
            bytes.extend(END);
            let _ = decode(&bytes);
            let _ = decode(&tail);
        }
    }
}
