//! The frames of a log, for people: `mkts wal dump` and `mkts wal verify`.
//!
//! Nothing is opened, replayed or changed: a store that needs recovery still needs it afterwards.

use std::collections::HashMap;

use disk::Disk;
use wal::{FrameView, Inspection, Lsn};

use crate::catalog::{BucketId, Catalog, Origin};
use crate::frame::{self, Content};
use crate::manifest::{MANIFEST, Manifest};
use crate::{Error, recover};

/// One frame of the log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogFrame {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// Wall-clock time of writing, nanoseconds since 1970.
    pub wall_ns: i64,
    /// Its kind in a word: `rows`, `define`, `drop`, ...
    pub kind: &'static str,
    /// Who wrote it.
    pub origin: Origin,
    /// The writer's name: that of a trigger, or `client`.
    pub origin_name: String,
    /// How many triggers led to it.
    pub hops: u8,
    /// Bytes of its payload.
    pub payload_bytes: usize,
    /// Whether it lies below the checkpoint: its rows are in data files.
    pub checkpointed: bool,
    /// Buckets it is about.
    pub entries: Vec<LogEntry>,
    /// Why its payload means nothing, if it does not.
    pub problem: Option<String>,
}

/// What a frame says of one bucket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogEntry {
    /// Number of the bucket.
    pub bucket: BucketId,
    /// Its key as far as catalog and log know it: a dropped bucket may be unknown.
    pub key: Option<String>,
    /// Rows written.
    pub rows: u64,
    /// The rest in words: columns of a definition, a range of times.
    pub detail: String,
}

/// The log as a whole.
#[derive(Debug, Clone, Default)]
pub struct LogReport {
    /// Frames that begin below are in data files.
    pub checkpoint: Lsn,
    /// Rows in frames at or above the checkpoint: those a start replays.
    pub replay_rows: u64,
    /// Frames at or above the checkpoint.
    pub replay_frames: u64,
    /// Files, end, damage.
    pub log: Inspection,
}

/// Visits every frame that is still in the log, in order. For a store that nobody has open.
///
/// # Errors
/// If the store is open elsewhere, MANIFEST does not hold, the log is another store's, or the file
/// system fails; never because of damaged frames.
pub fn log_frames(
    disk: &dyn Disk,
    visit: &mut dyn FnMut(LogFrame) -> Result<(), Error>,
) -> Result<LogReport, Error> {
    let _lock = recover::lock_to_look(disk)?;
    if !disk.exists(MANIFEST)? {
        let what = format!("the directory has no {MANIFEST}: it is not a store");
        return Err(Error::Invalid(what));
    }
    let manifest = Manifest::decode(&disk.read_all(MANIFEST)?)?;
    // Names only: a log can be read without them.
    let (catalog, _) = recover::read_catalog(disk, &manifest).unwrap_or_default();
    let mut names = Names::new(&catalog);
    walk(disk, &manifest, &mut names, visit)
}

/// [`log_frames`] of a manifest and names that are known.
pub(crate) fn walk(
    disk: &dyn Disk,
    manifest: &Manifest,
    names: &mut Names,
    visit: &mut dyn FnMut(LogFrame) -> Result<(), Error>,
) -> Result<LogReport, Error> {
    let checkpoint = manifest.checkpoint;
    let mut report = LogReport {
        checkpoint,
        ..LogReport::default()
    };
    let mut each = |view: FrameView| -> Result<(), Error> {
        let described = names.describe(&view, checkpoint);
        if !described.checkpointed {
            report.replay_frames += 1;
            report.replay_rows += described
                .entries
                .iter()
                .map(|entry| entry.rows)
                .sum::<u64>();
        }
        visit(described)
    };
    report.log = wal::inspect(disk, manifest.store_id, checkpoint, &mut each)?;
    Ok(report)
}

/// Names of buckets and writers, those of the catalog and those the log defines.
#[derive(Debug, Default)]
pub(crate) struct Names {
    buckets: HashMap<BucketId, String>,
    origins: HashMap<u16, String>,
}

impl Names {
    pub(crate) fn new(catalog: &Catalog) -> Self {
        let buckets = catalog
            .buckets()
            .map(|info| (info.id, info.key.to_string()));
        let origins = (1..=catalog.origins()).filter_map(|number| u16::try_from(number).ok());
        let named = origins.filter_map(|number| {
            let name = catalog.origin_name(Origin(number))?;
            Some((number, name.to_owned()))
        });
        Self {
            buckets: buckets.collect(),
            origins: named.collect(),
        }
    }

    fn entry(&self, bucket: BucketId, rows: u64, detail: impl Into<String>) -> LogEntry {
        LogEntry {
            bucket,
            key: self.buckets.get(&bucket).cloned(),
            rows,
            detail: detail.into(),
        }
    }

    fn range(&self, range: &frame::Range) -> LogEntry {
        let detail = format!("{}..{} ns", range.from, range.to);
        self.entry(range.bucket, 0, detail)
    }

    fn origin(&self, origin: Origin) -> String {
        match self.origins.get(&origin.0) {
            _ if origin == Origin::CLIENT => "client".to_owned(),
            Some(name) => name.clone(),
            None => format!("origin {}", origin.0),
        }
    }

    fn describe(&mut self, view: &FrameView, checkpoint: Lsn) -> LogFrame {
        let content = frame::decode(view.kind, &view.payload);
        let (kind, entries, problem) = match content {
            Some(content) => self.content(content, view.kind),
            None => {
                let what = format!("the payload is not that of a frame of kind {}", view.kind);
                ("unreadable", Vec::new(), Some(what))
            }
        };
        LogFrame {
            lsn: view.lsn,
            end: view.end,
            wall_ns: view.wall_ns,
            kind,
            origin: Origin(view.origin),
            origin_name: self.origin(Origin(view.origin)),
            hops: view.hops,
            payload_bytes: view.payload.len(),
            checkpointed: view.lsn < checkpoint,
            entries,
            problem,
        }
    }

    fn content(
        &mut self,
        content: Content,
        kind: u8,
    ) -> (&'static str, Vec<LogEntry>, Option<String>) {
        match content {
            Content::Rows {
                section,
                deleted,
                rows,
            } => {
                let entry = |part: &frame::Section| {
                    let version = format!("schema {}", part.schema_version);
                    self.entry(part.bucket, part.rows() as u64, version)
                };
                let word = if section.is_some() { "plugin" } else { "rows" };
                let gone = deleted.iter().map(|range| self.range(range));
                (word, gone.chain(rows.iter().map(entry)).collect(), None)
            }
            Content::Define(info) => {
                self.buckets.insert(info.id, info.key.to_string());
                let entry = self.entry(info.id, 0, format!("{:?}", info.schema));
                ("define", vec![entry], None)
            }
            Content::Alter { after, before } => {
                let detail = format!("{:?} -> {:?}", before.schema, after.schema);
                self.buckets.insert(after.id, after.key.to_string());
                ("alter", vec![self.entry(after.id, 0, detail)], None)
            }
            Content::Delete(ranges) => {
                let entries = ranges.iter().map(|range| self.range(range));
                ("delete", entries.collect(), None)
            }
            Content::Drop(dropped) => {
                for info in &dropped {
                    self.buckets.insert(info.id, info.key.to_string());
                }
                let entries = dropped.iter().map(|info| self.entry(info.id, 0, "dropped"));
                ("drop", entries.collect(), None)
            }
            Content::Origin(origin, name) => {
                self.origins.insert(origin.0, name);
                ("origin", Vec::new(), None)
            }
            Content::Unknown => {
                let what = format!("kind {kind} is not known to this version");
                ("unknown", Vec::new(), Some(what))
            }
        }
    }
}

/// What a store is made of, by its files.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Buckets at the checkpoint.
    pub buckets: usize,
    /// Data segments.
    pub segments: usize,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Bytes of the log's files.
    pub wal_bytes: u64,
    /// Wall-clock time of the last commit that is still in the log (ns).
    pub last_commit_ns: Option<i64>,
    /// Files in the quarantine.
    pub quarantined: Vec<String>,
    /// The log.
    pub log: LogReport,
}

/// Sums up a store that nobody has open; changes nothing. Data files are not read: that is what
/// [`crate::check`] does.
///
/// # Errors
/// As [`log_frames`], and if the catalog does not hold.
pub fn summary(disk: &dyn Disk) -> Result<Summary, Error> {
    let mut last = None;
    let log = log_frames(disk, &mut |frame| {
        last = Some(frame.wall_ns);
        Ok(())
    })?;
    let manifest = Manifest::decode(&disk.read_all(MANIFEST)?)?;
    let (catalog, _) = recover::read_catalog(disk, &manifest)?;
    let quarantined = match disk.exists(recover::QUARANTINE_DIR)? {
        true => disk.list(recover::QUARANTINE_DIR)?,
        false => Vec::new(),
    };
    Ok(Summary {
        buckets: catalog.len(),
        segments: manifest.segments.len(),
        segment_bytes: manifest.segments.iter().map(|entry| entry.bytes).sum(),
        wal_bytes: log.log.files.iter().map(|file| file.bytes).sum(),
        last_commit_ns: last,
        quarantined,
        log,
    })
}
