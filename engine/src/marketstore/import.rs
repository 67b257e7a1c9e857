//! From a MarketStore directory into a store: in few large loads, to be stopped and taken up again
//! at any moment, and compared at the end.
//!
//! A bucket is loaded in order of time, so whatever an interrupted import stored of it is the
//! beginning of its rows. The next run reads them again, compares the sums of that beginning, and
//! goes on behind it: nothing is dropped and nothing stored twice. A bucket that holds anything else
//! is refused.

use disk::Disk;
use model::{BucketKey, ColumnBatch, RowKind, Schema};

use super::fault::Fault;
use super::journal::{Finished, JOURNAL, Journal, State};
use super::reader::Repaired;
use super::sums::Sums;
use super::tree::{SourceBucket, Tree};
use crate::{Engine, Error, Rows};

/// Bytes of rows in one load: a segment large enough that few are made, small enough for memory.
const LOAD_BYTES: usize = 64 << 20;

/// Buckets named in a refusal.
const NAMED_MAX: usize = 5;

/// What an import tells while it runs. Whoever listens can stop it with an error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Buckets to import and the bytes of their files; `done` of them an earlier run finished.
    Begun {
        /// Buckets selected.
        buckets: usize,
        /// Bytes of their files on disk.
        bytes: u64,
        /// Buckets that are finished already, and their bytes.
        done: (usize, u64),
    },
    /// All rows of a bucket were read.
    Read {
        /// The bucket.
        key: &'a BucketKey,
        /// Its rows.
        rows: u64,
        /// Bytes of its files.
        bytes: u64,
        /// What of it was left out.
        faults: &'a [Fault],
    },
    /// Rows were stored, durably.
    Loaded {
        /// How many.
        rows: u64,
    },
    /// What is stored of a bucket equals what was read.
    Compared {
        /// The bucket.
        key: &'a BucketKey,
        /// Its rows.
        rows: u64,
    },
}

/// What an import did, earlier runs of it included.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// Buckets.
    pub buckets: usize,
    /// Buckets that an earlier run had finished.
    pub resumed: usize,
    /// Rows.
    pub rows: u64,
    /// Bytes of their files in the source.
    pub source_bytes: u64,
    /// Rows that MarketStore would have answered wrongly.
    pub repaired: Repaired,
    /// What was left out.
    pub faults: Vec<Fault>,
    /// What is there and is no data.
    pub notes: Vec<Fault>,
}

/// Imports the buckets of a tree that `select` picks, and compares the store with what was read.
///
/// # Errors
/// If a bucket exists that this import did not make, the engine's zone is another than the tree's,
/// the store refuses, what is stored differs from what was read, or `progress` says stop. A later
/// call goes on where this one stopped. Damage in the source is no error, see [`Imported::faults`].
pub fn import(
    engine: &Engine,
    tree: &Tree,
    select: &dyn Fn(&BucketKey) -> bool,
    progress: &mut dyn FnMut(Progress<'_>) -> Result<(), Error>,
) -> Result<Imported, Error> {
    let disk = engine.store().disk.clone();
    let mut import = Import::new(engine, tree, &*disk, LOAD_BYTES)?;
    import.run(select, progress)
}

/// An import that runs.
pub(super) struct Import<'a> {
    engine: &'a Engine,
    tree: &'a Tree,
    disk: &'a dyn Disk,
    load_bytes: usize,
    journal: Journal,
    /// Rows that are read and not stored yet.
    pending: Vec<Rows>,
    pending_bytes: usize,
    /// Buckets without rows, to be made.
    empty: Vec<(BucketKey, RowKind, Schema)>,
    /// Buckets that are read to their end: finished as soon as `pending` is stored.
    read: Vec<(BucketKey, Finished)>,
    faults: Vec<Fault>,
}

impl<'a> Import<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        tree: &'a Tree,
        disk: &'a dyn Disk,
        load_bytes: usize,
    ) -> Result<Self, Error> {
        let zone = &tree.options().zone;
        if engine.options().zone != *zone {
            return Err(Error::Invalid(format!(
                "the store's timezone is {}, that of the MarketStore directory {}: days would move",
                engine.options().zone.name(),
                zone.name()
            )));
        }
        let source = tree.root().display().to_string();
        let floored = if tree.options().floor_bars {
            " floored"
        } else {
            ""
        };
        let reading = format!("{}{floored}", zone.name());
        Ok(Self {
            engine,
            tree,
            disk,
            load_bytes,
            journal: journal(disk, source, reading)?,
            pending: Vec::new(),
            pending_bytes: 0,
            empty: Vec::new(),
            read: Vec::new(),
            faults: tree.faults().to_vec(),
        })
    }

    pub(super) fn run(
        &mut self,
        select: &dyn Fn(&BucketKey) -> bool,
        progress: &mut dyn FnMut(Progress<'_>) -> Result<(), Error>,
    ) -> Result<Imported, Error> {
        let all = self.tree.buckets().iter();
        let buckets: Vec<&SourceBucket> = all.filter(|bucket| select(&bucket.key)).collect();
        self.refuse_others(&buckets)?;
        let is_done = |bucket: &&SourceBucket| self.is_finished(&bucket.key);
        let bytes = |list: &[&SourceBucket]| list.iter().map(|bucket| bucket.bytes).sum::<u64>();
        let (done, left): (Vec<_>, Vec<_>) = buckets.iter().copied().partition(is_done);
        progress(Progress::Begun {
            buckets: buckets.len(),
            bytes: bytes(&buckets),
            done: (done.len(), bytes(&done)),
        })?;
        for bucket in left {
            self.bucket(bucket, progress)?;
        }
        self.load(progress)?;
        let mut imported = self.compare(&buckets, progress)?;
        self.journal.complete = true;
        self.journal.publish(self.disk)?;
        imported.resumed = done.len();
        imported.source_bytes = bytes(&buckets);
        imported.faults.append(&mut self.faults);
        imported.notes = self.tree.notes().to_vec();
        Ok(imported)
    }

    /// A bucket that somebody else made must not be mixed with this one's rows.
    fn refuse_others(&self, buckets: &[&SourceBucket]) -> Result<(), Error> {
        let others = buckets.iter().filter(|bucket| {
            !self.journal.buckets.contains_key(&bucket.key)
                && self.engine.bucket(&bucket.key).is_some()
        });
        let others: Vec<String> = others.map(|bucket| bucket.key.to_string()).collect();
        if others.is_empty() {
            return Ok(());
        }
        let more = others.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Err(Error::Invalid(format!(
            "{}{more} existed before this import: destroy them, leave them out with --on, or import \
             into another directory",
            others[..others.len().min(NAMED_MAX)].join(", ")
        )))
    }

    fn is_finished(&self, key: &BucketKey) -> bool {
        let finished = matches!(self.journal.buckets.get(key), Some(State::Finished(_)));
        // Somebody may have destroyed it, to have it imported anew.
        finished && self.engine.bucket(key).is_some()
    }

    /// Reads a bucket to its end and loads what is full.
    fn bucket(
        &mut self,
        bucket: &SourceBucket,
        progress: &mut dyn FnMut(Progress<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key = &bucket.key;
        let mut reader = self.tree.read(bucket);
        let Some((kind, schema)) = reader.layout().map(|(kind, schema)| (kind, schema.clone()))
        else {
            self.faults.extend_from_slice(reader.faults());
            return told(progress, bucket, 0, reader.faults());
        };
        let stored = Sums::stored(self.engine, key)?.unwrap_or_default();
        self.journal.complete = false;
        self.journal.buckets.insert(key.clone(), State::Started);
        let mut sums = Sums::default();
        for batch in reader.by_ref() {
            let known =
                (stored.rows - sums.rows.min(stored.rows)).min(batch.rows() as u64) as usize;
            sums.add(&batch.slice(0..known));
            if sums.rows == stored.rows && sums != stored && known > 0 {
                return Err(foreign_rows(key));
            }
            let new = batch.slice(known..batch.rows());
            sums.add(&new);
            self.push(key, kind, new, progress)?;
        }
        if sums.rows < stored.rows {
            return Err(foreign_rows(key));
        }
        if sums.rows == 0 {
            sums.columns = vec![0; 1 + schema.len()];
            self.empty.push((key.clone(), kind, schema));
        }
        let finished = Finished {
            sums,
            repaired: reader.repaired(),
            faults: reader.faults().to_vec(),
        };
        told(progress, bucket, finished.sums.rows, &finished.faults)?;
        self.read.push((key.clone(), finished));
        Ok(())
    }

    fn push(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        batch: ColumnBatch,
        progress: &mut dyn FnMut(Progress<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        self.pending_bytes += batch.bytes();
        self.pending.push(Rows {
            key: key.clone(),
            batch,
            create: Some(kind),
        });
        if self.pending_bytes >= self.load_bytes {
            self.load(progress)?;
        }
        Ok(())
    }

    /// Stores what is read. The journal names every bucket first.
    fn load(
        &mut self,
        progress: &mut dyn FnMut(Progress<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.pending.is_empty() && self.empty.is_empty() && self.read.is_empty() {
            return Ok(());
        }
        self.journal.publish(self.disk)?;
        let rows = self.engine.ingest(std::mem::take(&mut self.pending))?.rows;
        self.pending_bytes = 0;
        for (key, kind, schema) in std::mem::take(&mut self.empty) {
            match self.engine.create_bucket(&key, kind, schema) {
                Ok(_) | Err(Error::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for (key, finished) in std::mem::take(&mut self.read) {
            self.journal.buckets.insert(key, State::Finished(finished));
        }
        progress(Progress::Loaded { rows })
    }

    /// Compares every bucket with what was read of it, and adds up.
    fn compare(
        &self,
        buckets: &[&SourceBucket],
        progress: &mut dyn FnMut(Progress<'_>) -> Result<(), Error>,
    ) -> Result<Imported, Error> {
        let mut imported = Imported::default();
        for key in buckets.iter().map(|bucket| &bucket.key) {
            let Some(State::Finished(finished)) = self.journal.buckets.get(key) else {
                continue;
            };
            let stored = Sums::stored(self.engine, key)?.unwrap_or_default();
            if stored != finished.sums {
                return Err(Error::Invalid(format!(
                    "{key} holds {} rows that differ from the {} rows read: rows were written to it \
                     since, or it was not stored correctly; destroy it and import again",
                    stored.rows, finished.sums.rows
                )));
            }
            let rows = stored.rows;
            imported.buckets += 1;
            imported.rows += rows;
            imported.repaired.add(finished.repaired);
            imported.faults.extend_from_slice(&finished.faults);
            progress(Progress::Compared { key, rows })?;
        }
        Ok(imported)
    }
}

fn told(
    progress: &mut dyn FnMut(Progress<'_>) -> Result<(), Error>,
    bucket: &SourceBucket,
    rows: u64,
    faults: &[Fault],
) -> Result<(), Error> {
    let (key, bytes) = (&bucket.key, bucket.bytes);
    progress(Progress::Read {
        key,
        rows,
        bytes,
        faults,
    })
}

fn foreign_rows(key: &BucketKey) -> Error {
    Error::Invalid(format!(
        "{key} holds rows that are not the first ones of this import: the source has changed, or \
         somebody wrote to it; destroy it and import again"
    ))
}

/// The journal to go on with.
fn journal(disk: &dyn Disk, source: String, reading: String) -> Result<Journal, Error> {
    let Some(found) = Journal::load(disk)? else {
        return Ok(Journal::new(source, reading));
    };
    if found.source == source && found.reading == reading {
        return Ok(found);
    }
    if found.complete {
        return Ok(Journal::new(source, reading));
    }
    Err(Error::Invalid(format!(
        "an import of {} ({}) into this store is unfinished: finish it first, or remove {JOURNAL} to \
         keep what it stored",
        found.source, found.reading
    )))
}
