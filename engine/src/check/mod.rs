//! Offline verification of a store, and repair. Reads with read(2), never through a mapping, and
//! trusts nothing: every checksum, and that what the checksums cover adds up.
//!
//! `check` changes nothing. `repair` deletes nothing: a file that is replaced or cannot be read goes
//! to `quarantine/`, what of it can be read is written anew, and what is given up has been named.

mod files;
mod repair;
mod segment;

use std::fmt;

use disk::Disk;
use wal::Lsn;

use crate::inspect::LogReport;
use crate::recover;
use crate::{BucketId, Error};

pub use repair::{Repaired, repair};

/// How far a check is.
#[derive(Debug, Clone, Copy)]
pub struct CheckProgress<'a> {
    /// The file being read.
    pub file: &'a str,
    /// Bytes read so far.
    pub done: u64,
    /// Bytes of all files that are read.
    pub total: u64,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Left by an interrupted checkpoint or merge; removed when the store opens.
    Leftover,
    /// Bytes that were promised are not there or not right.
    Damage,
}

impl Level {
    /// One word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Leftover => "left-over",
            Self::Damage => "damage",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// The file, below the root.
    pub file: String,
    /// Where in the file, if it is a place.
    pub offset: Option<u64>,
    /// The bucket, if it is about one.
    pub bucket: Option<String>,
    /// What is there.
    pub what: String,
    /// What that means, and what can be done.
    pub means: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level.word(), self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if let Some(bucket) = &self.bucket {
            write!(f, ", bucket {bucket}")?;
        }
        write!(f, ": {}; {}", self.what, self.means)
    }
}

/// Rows that a repair would give up, as far as they can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The file they are in.
    pub file: String,
    /// Their bucket, if it is known.
    pub bucket: Option<String>,
    /// How many, if it is known.
    pub rows: Option<u64>,
    /// Their first and last time (ns), if they are known.
    pub times: Option<(i64, i64)>,
    /// What else is known.
    pub what: String,
}

/// What a repair does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Write what can be read into a new segment in the same place; the old file goes aside.
    Rewrite,
    /// Nothing of the segment can be read: it goes aside.
    SetAside,
    /// The segment is not there: it is no longer named.
    Forget,
    /// Write a new MANIFEST from what is there.
    NewManifest,
    /// The file of the plugin host goes aside; every trigger starts anew.
    ForgetPlaces,
    /// A segment that a new MANIFEST cannot name goes aside.
    SetAsideUnnamed,
    /// Damaged bytes of the log are copied; a start passes over them.
    SetAsideLog,
}

/// One step of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    file: String,
    /// Of a segment.
    sequence: u64,
    remedy: Remedy,
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Frames of the log that begin below are in segments.
    pub checkpoint: Lsn,
    /// Segments that MANIFEST names.
    pub segments: usize,
    /// Buckets of the catalog.
    pub buckets: usize,
    /// Pages read.
    pub pages: u64,
    /// Rows in segments, as their directories say.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The log, if it could be read.
    pub log: Option<LogReport>,
    /// Everything that was found, worst first.
    pub findings: Vec<Finding>,
    /// What [`repair`] would give up.
    pub losses: Vec<Loss>,
    /// Damage that a repair cannot help.
    pub beyond_repair: Vec<String>,
    steps: Vec<Step>,
}

impl CheckReport {
    /// Whether something is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|f| f.level == Level::Damage)
    }

    /// What [`repair`] would do, a line a step.
    pub fn plan(&self) -> Vec<String> {
        self.steps.iter().map(Step::to_string).collect()
    }

    fn add(&mut self, level: Level, place: Place<'_>, what: impl Into<String>, means: &str) {
        self.findings.push(Finding {
            level,
            file: place.file.to_owned(),
            offset: place.offset,
            bucket: place.bucket,
            what: what.into(),
            means: means.to_owned(),
        });
    }

    /// Damage as an error tells it.
    fn add_error(&mut self, file: &str, error: &Error, means: &str) {
        let (file, offset, what) = match error {
            Error::Corrupt { file, offset, what } => (file.as_str(), Some(*offset), what.clone()),
            other => (file, None, other.to_string()),
        };
        let place = Place {
            file,
            offset,
            bucket: None,
        };
        self.add(Level::Damage, place, what, means);
    }

    fn step(&mut self, file: &str, sequence: u64, remedy: Remedy) {
        self.steps.push(Step {
            file: file.to_owned(),
            sequence,
            remedy,
        });
    }
}

impl Step {
    fn is_of_segment(&self) -> bool {
        matches!(
            self.remedy,
            Remedy::Rewrite | Remedy::SetAside | Remedy::Forget
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match self.remedy {
            Remedy::Rewrite => write!(
                f,
                "{file}: what can be read is written into a new segment, the file goes to \
                 quarantine/"
            ),
            Remedy::SetAside => write!(f, "{file}: the file goes to quarantine/"),
            Remedy::Forget => write!(f, "{file}: MANIFEST no longer names it"),
            Remedy::NewManifest => write!(
                f,
                "{file}: made anew from the segments and the newest catalog, the file goes to \
                 quarantine/"
            ),
            Remedy::ForgetPlaces => write!(
                f,
                "{file}: the file goes to quarantine/, every trigger starts anew"
            ),
            Remedy::SetAsideUnnamed => write!(
                f,
                "{file}: the new MANIFEST cannot name it, the file goes to quarantine/"
            ),
            Remedy::SetAsideLog => write!(
                f,
                "{file}: the damaged bytes are copied to quarantine/, the next start goes on \
                 behind them"
            ),
        }
    }
}

/// Where something was found.
struct Place<'a> {
    file: &'a str,
    offset: Option<u64>,
    bucket: Option<String>,
}

impl<'a> Place<'a> {
    fn file(file: &'a str) -> Self {
        Self {
            file,
            offset: None,
            bucket: None,
        }
    }

    fn at(file: &'a str, offset: u64) -> Self {
        Self {
            offset: Some(offset),
            ..Self::file(file)
        }
    }

    fn of(file: &'a str, offset: u64, bucket: String) -> Self {
        Self {
            bucket: Some(bucket),
            ..Self::at(file, offset)
        }
    }
}

/// Counts bytes and tells about them.
struct Meter<'a> {
    tell: &'a mut dyn FnMut(CheckProgress<'_>),
    done: u64,
    total: u64,
}

impl Meter<'_> {
    fn read(&mut self, file: &str, bytes: u64) {
        self.done += bytes;
        // A file that grew while nobody should write it must not show more than all.
        self.total = self.total.max(self.done);
        (self.tell)(CheckProgress {
            file,
            done: self.done,
            total: self.total,
        });
    }
}

/// Verifies a store that nobody has open: MANIFEST, catalog, every segment and page, the log, files
/// of the plugin host. Changes nothing.
///
/// # Errors
/// If the store is open elsewhere, the directory holds no store, or it cannot be read at all; damage
/// is no error but in the report.
pub fn check(
    disk: &dyn Disk,
    progress: &mut dyn FnMut(CheckProgress<'_>),
) -> Result<CheckReport, Error> {
    let _lock = recover::lock_to_look(disk)?;
    check_locked(disk, progress)
}

fn check_locked(
    disk: &dyn Disk,
    progress: &mut dyn FnMut(CheckProgress<'_>),
) -> Result<CheckReport, Error> {
    let mut report = CheckReport::default();
    let mut meter = Meter {
        tell: progress,
        done: 0,
        total: files::bytes(disk)?,
    };
    files::refuse_foreign(disk)?;
    let found = files::check(disk, &mut report, &mut meter)?;
    if let Some(found) = &found {
        for entry in &found.manifest.segments {
            segment::check(disk, entry, found, &mut report, &mut meter)?;
        }
        files::check_log(disk, found, &mut report, &mut meter)?;
    }
    files::list_others(disk, found.as_ref(), &mut report)?;
    report.bytes = meter.done;
    report.findings.sort_by_key(|f| std::cmp::Reverse(f.level));
    Ok(report)
}

/// How a bucket is called in a report.
fn bucket_name(catalog: &crate::catalog::Catalog, id: BucketId) -> String {
    match catalog.by_id(id) {
        Some(info) => info.key.to_string(),
        None => format!("number {} (dropped)", id.0),
    }
}
