//! One MarketStore log (`WALFile.*.walfile`): messages without a length or a checksum of their own,
//! between transaction groups that have both.
//!
//! A group counts if its MD5 fits, whatever the messages around it say: that is how MarketStore
//! replays, and a group that was acknowledged is complete. A message that makes no sense is a
//! damaged place: it is named, and reading goes on at the next group that proves itself by its sum.

use disk::SourceFile;

use super::fault::{Fault, Faults};
use super::md5::Md5;

const STATUS_BYTES: u64 = 11;
const NOTE_BYTES: u64 = 11;
/// MID and length before a group, and the sum behind it.
const GROUP_HEAD: u64 = 9;
const SUM_BYTES: u64 = 16;
/// TGID and number of write sets.
const GROUP_MIN: u64 = 16;
const REPLAYED: u8 = 2;
const IN_PROCESS: u8 = 3;
const BLOCK_BYTES: usize = 1 << 16;

/// A group that the year files may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) id: i64,
    /// Where its bytes begin (the TGID), and how many there are.
    pub(super) at: u64,
    pub(super) len: u64,
    sum: [u8; 16],
    /// A damaged place follows: rows written later may be missing from the log.
    pub(super) doubtful: bool,
}

/// What one log says.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// In the order in which they were written.
    pub(super) groups: Vec<Group>,
    pub(super) faults: Vec<Fault>,
    /// MarketStore was stopped while it replayed this log.
    pub(super) was_replaying: bool,
}

/// A message of a log, as it lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Whether the log was replayed, and by whom it is written.
    Status { at: u64, replayed: u8 },
    /// What became of a group.
    Note {
        at: u64,
        id: i64,
        destination: u8,
        status: u8,
    },
    /// A group whose sum fits.
    Group { at: u64, id: i64, len: u64 },
    /// The file ends inside a message.
    Cut { at: u64 },
    /// A place that makes no sense.
    Damaged { at: u64, what: &'a str },
}

/// Reads the messages of a log.
pub(super) fn read(file: &SourceFile, name: &str) -> Log {
    read_telling(file, name, &mut |_| {})
}

/// The same, and tells of each message.
pub(super) fn read_telling(
    file: &SourceFile,
    name: &str,
    tell: &mut dyn FnMut(Message<'_>),
) -> Log {
    let mut reader = Reader {
        file,
        name,
        tell,
        log: Log::default(),
        faults: Faults::default(),
        greatest: i64::MIN,
    };
    if let Err(error) = reader.messages() {
        reader
            .faults
            .push(Fault::new(name, None, error.to_string()));
    }
    let mut log = reader.log;
    log.groups.sort_by_key(|group| group.id);
    log.faults = reader.faults.take(name);
    log
}

struct Reader<'a> {
    file: &'a SourceFile,
    name: &'a str,
    tell: &'a mut dyn FnMut(Message<'_>),
    log: Log,
    faults: Faults,
    /// Greatest TGID seen.
    greatest: i64,
}

impl Reader<'_> {
    fn messages(&mut self) -> std::io::Result<()> {
        // MarketStore removes a log of up to 10 bytes: it never got its status.
        if self.file.len() < STATUS_BYTES {
            return Ok(());
        }
        let status = self.bytes(0, STATUS_BYTES as usize)?;
        if status[0] != 2 || !matches!(status[1], 1 | 2) || !matches!(status[2], 1..=3) {
            self.fault(0, "not a MarketStore log, left alone");
            return Ok(());
        }
        (self.tell)(Message::Status {
            at: 0,
            replayed: status[2],
        });
        if status[2] == REPLAYED {
            return Ok(());
        }
        self.log.was_replaying = status[2] == IN_PROCESS;
        let mut at = STATUS_BYTES;
        while at < self.file.len() {
            at = match self.message(at)? {
                Step::Next(next) => next,
                Step::End => {
                    (self.tell)(Message::Cut { at });
                    break;
                }
                Step::Damaged(what) => {
                    self.fault(at, &what);
                    match self.next_group(at + 1)? {
                        Some(next) => {
                            self.log.groups.iter_mut().for_each(|g| g.doubtful = true);
                            next
                        }
                        None => break,
                    }
                }
            };
        }
        Ok(())
    }

    fn message(&mut self, at: u64) -> std::io::Result<Step> {
        let left = self.file.len() - at;
        let head = self.bytes(at, left.min(NOTE_BYTES) as usize)?;
        match head[0] {
            0 => self.group(at, left),
            1 | 2 if left < NOTE_BYTES => Ok(Step::End),
            1 => Ok(self.note(at, &head)),
            2 => {
                let replayed = head[2];
                (self.tell)(Message::Status { at, replayed });
                Ok(Step::Next(at + STATUS_BYTES))
            }
            other => Ok(Step::Damaged(format!("message {other} is not known"))),
        }
    }

    /// TGID, destination, status. Only a finished checkpoint matters.
    fn note(&mut self, at: u64, head: &[u8]) -> Step {
        let mut id = [0; 8];
        id.copy_from_slice(&head[1..9]);
        let id = i64::from_le_bytes(id);
        (self.tell)(Message::Note {
            at,
            id,
            destination: head[9],
            status: head[10],
        });
        match (head[9], head[10]) {
            (1, 2) if id > self.greatest && self.greatest > i64::MIN => {
                let what = "a checkpoint of a group that the log does not hold, ignored";
                self.fault(at, what);
            }
            (1, 2) => self.log.groups.retain(|group| group.id > id),
            (0 | 1, 0..=2) => {}
            (destination, status) => {
                let what = format!("no message: destination {destination}, status {status}");
                return Step::Damaged(what);
            }
        }
        Step::Next(at + NOTE_BYTES)
    }

    fn group(&mut self, at: u64, left: u64) -> std::io::Result<Step> {
        if left < GROUP_HEAD {
            return Ok(Step::End);
        }
        let head = self.bytes(at, GROUP_HEAD as usize)?;
        let len = u64_at(&head, 1);
        let fits = left
            .checked_sub(GROUP_HEAD + SUM_BYTES)
            .is_some_and(|room| len <= room);
        if len < GROUP_MIN || !fits {
            let what =
                "a transaction group is cut off: it was never acknowledged, or the file is damaged";
            return Ok(Step::Damaged(what.into()));
        }
        let Some(group) = self.proven(at, len)? else {
            let what = "the checksum of a transaction group does not fit, its rows are left out";
            return Ok(Step::Damaged(what.into()));
        };
        let next = group.at + len + SUM_BYTES;
        let id = group.id;
        (self.tell)(Message::Group { at, id, len });
        self.greatest = self.greatest.max(group.id);
        match self.log.groups.iter().find(|held| held.id == group.id) {
            None => self.log.groups.push(group),
            Some(held) if held.sum == group.sum => {}
            Some(_) => self.fault(
                at,
                "a second transaction group of the same number, left out",
            ),
        }
        Ok(Step::Next(next))
    }

    /// The group at `at` if its sum fits.
    fn proven(&self, at: u64, len: u64) -> std::io::Result<Option<Group>> {
        let mut md5 = Md5::new();
        md5.update(&len.to_le_bytes());
        let start = at + GROUP_HEAD;
        let mut done = 0;
        let mut id = [0; 8];
        while done < len {
            let piece = self.bytes(start + done, (len - done).min(BLOCK_BYTES as u64) as usize)?;
            if done == 0 {
                id.copy_from_slice(&piece[..8]);
            }
            md5.update(&piece);
            done += piece.len() as u64;
        }
        let sum = md5.finish();
        if self.bytes(start + len, SUM_BYTES as usize)? != sum {
            return Ok(None);
        }
        Ok(Some(Group {
            id: i64::from_le_bytes(id),
            at: start,
            len,
            sum,
            doubtful: false,
        }))
    }

    /// The announcement of the next group that proves itself: its number, twice, and its sum.
    fn next_group(&self, from: u64) -> std::io::Result<Option<u64>> {
        const SEEN: u64 = NOTE_BYTES + GROUP_HEAD + 8;
        let mut at = from;
        while at + SEEN <= self.file.len() {
            let len = (self.file.len() - at).min(BLOCK_BYTES as u64);
            let block = self.bytes(at, len as usize)?;
            for (k, window) in block.windows(SEEN as usize).enumerate() {
                let announced = window[0] == 1 && window[9..12] == [0, 0, 0];
                if announced && window[1..9] == window[20..28] {
                    let found = at + k as u64;
                    let group_at = found + NOTE_BYTES;
                    let group_len = u64_at(window, 12);
                    let room = (self.file.len() - group_at).saturating_sub(GROUP_HEAD + SUM_BYTES);
                    if (GROUP_MIN..=room).contains(&group_len)
                        && self.proven(group_at, group_len)?.is_some()
                    {
                        return Ok(Some(found));
                    }
                }
            }
            at += len - SEEN + 1;
        }
        Ok(None)
    }

    fn bytes(&self, at: u64, len: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let read = self.file.read_at(at, &mut bytes)?;
        if read < len {
            let what = format!("the file became shorter than {} bytes", at + len as u64);
            return Err(std::io::Error::other(what));
        }
        Ok(bytes)
    }

    fn fault(&mut self, at: u64, what: &str) {
        (self.tell)(Message::Damaged { at, what });
        self.faults.push(Fault::new(self.name, at, what));
    }
}

enum Step {
    Next(u64),
    End,
    Damaged(String),
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The data of a group that begins at `at`, its head included; `None` if it is more than memory
/// should hold or cannot be read.
pub(super) fn group_bytes(file: &SourceFile, at: u64, len: u64) -> Option<Vec<u8>> {
    const MOST: u64 = 256 << 20;
    if len > MOST {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    let read = file.read_at(at + GROUP_HEAD, &mut bytes).ok()?;
    (read == bytes.len()).then_some(bytes)
}

/// Rows of one interval of one year file, as a group holds them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawSet<'a> {
    /// 0 fixed, 1 variable.
    pub(super) kind: u8,
    /// The year file below the root.
    pub(super) path: &'a str,
    /// Bytes of one row with its ticks; 0 for fixed.
    pub(super) row_bytes: i32,
    /// Where the slot lies in the year file.
    pub(super) slot_at: i64,
    pub(super) index: i64,
    /// Position of the rows in the group, and their length.
    pub(super) at: usize,
    pub(super) len: usize,
}

/// The write sets of a group. Version 4 puts the columns behind each, version 2 and 3 do not, and
/// nothing says which it is: the reading that ends with the last byte is the right one.
pub(super) fn sets(group: &[u8]) -> Option<Vec<RawSet<'_>>> {
    parse_sets(group, true).or_else(|| parse_sets(group, false))
}

fn parse_sets(group: &[u8], with_columns: bool) -> Option<Vec<RawSet<'_>>> {
    let mut cursor = Cursor { group, at: 8 };
    let count = i64::from_le_bytes(cursor.take()?);
    let mut sets = Vec::new();
    for _ in 0..count {
        let [kind] = cursor.take()?;
        let path_len = i16::from_le_bytes(cursor.take()?);
        let path = cursor.slice(usize::try_from(path_len).ok()?)?;
        let len = i32::from_le_bytes(cursor.take()?);
        let row_bytes = i32::from_le_bytes(cursor.take()?);
        let slot_at = i64::from_le_bytes(cursor.take()?);
        let index = i64::from_le_bytes(cursor.take()?);
        let at = cursor.at;
        let len = cursor.slice(usize::try_from(len).ok()?)?.len();
        if with_columns {
            cursor.skip_columns()?;
        }
        let path = std::str::from_utf8(path).ok()?;
        if kind > 1 || !path.ends_with(".bin") {
            return None;
        }
        sets.push(RawSet {
            kind,
            path,
            row_bytes,
            slot_at,
            index,
            at,
            len,
        });
    }
    (count >= 0 && cursor.at == group.len()).then_some(sets)
}

struct Cursor<'a> {
    group: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.group.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    /// Number of columns, then each name with its length, and its type.
    fn skip_columns(&mut self) -> Option<()> {
        let [count] = self.take()?;
        for _ in 0..count {
            let [len] = self.take()?;
            self.slice(usize::from(len) + 1)?;
        }
        Some(())
    }
}
