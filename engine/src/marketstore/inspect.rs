//! One MarketStore log, message by message, for people: `mkts tool wal`.

use std::path::Path;

use disk::Source;

use super::fault::Fault;
use super::log::{self, Message};
use crate::Error;

/// What a message of a log says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogMessage {
    /// Whether the log was replayed: 1 no, 2 yes, 3 a replay was under way.
    Status(u8),
    /// A note about a transaction group.
    Note {
        /// Its number.
        id: i64,
        /// 0: its log, 1: a checkpoint of the year files.
        destination: u8,
        /// 0 begun, 1 intended, 2 done.
        status: u8,
    },
    /// A transaction group whose checksum fits.
    Group {
        /// Its number.
        id: i64,
        /// Bytes of its data.
        bytes: u64,
        /// What it writes; `None` if its data is not that of versions 2 to 4.
        writes: Option<Vec<LogWrites>>,
    },
    /// The file ends inside a message, as after a crash.
    Cut,
    /// A place that makes no sense, and why.
    Damaged(String),
}

/// Rows of one interval in a transaction group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWrites {
    /// The year file, below the root.
    pub file: String,
    /// Whether every row of a time is kept.
    pub is_variable: bool,
    /// Number of the interval in its year, from 1.
    pub interval: i64,
    /// Bytes of the rows.
    pub bytes: usize,
}

/// Reads a log and hands out its messages, each with its place in the file. Nothing is changed.
/// Returns what was wrong.
///
/// # Errors
/// If the file cannot be read, or `each` fails.
pub fn inspect_log(
    file: &Path,
    each: &mut dyn FnMut(u64, LogMessage) -> Result<(), Error>,
) -> Result<Vec<Fault>, Error> {
    let invalid = || Error::Invalid(format!("{} is no file", file.display()));
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(invalid)?;
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let opened = Source::open(parent)?.open_file(name)?;
    let mut told: Result<(), Error> = Ok(());
    let log = log::read_telling(&opened, name, &mut |message| {
        if told.is_err() {
            return;
        }
        let (at, message) = match message {
            Message::Status { at, replayed } => (at, LogMessage::Status(replayed)),
            Message::Note {
                at,
                id,
                destination,
                status,
            } => {
                let note = LogMessage::Note {
                    id,
                    destination,
                    status,
                };
                (at, note)
            }
            Message::Group { at, id, len } => {
                let writes = log::group_bytes(&opened, at, len);
                let writes = writes.as_deref().and_then(writes_of);
                let group = LogMessage::Group {
                    id,
                    bytes: len,
                    writes,
                };
                (at, group)
            }
            Message::Cut { at } => (at, LogMessage::Cut),
            Message::Damaged { at, what } => (at, LogMessage::Damaged(what.to_owned())),
        };
        told = each(at, message);
    });
    told?;
    Ok(log.faults)
}

fn writes_of(group: &[u8]) -> Option<Vec<LogWrites>> {
    let sets = log::sets(group)?;
    let writes = sets.iter().map(|set| LogWrites {
        file: set.path.to_owned(),
        is_variable: set.kind == 1,
        interval: set.index,
        bytes: set.len,
    });
    Some(writes.collect())
}
