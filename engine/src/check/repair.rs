//! Repair: keeps what can be read, sets the rest aside, deletes nothing.
//!
//! Order, so that a crash at any point leaves either the damaged store or the repaired one: copies
//! into `quarantine/` -> new segments -> MANIFEST (the commit point, I9) -> the damaged files, whose
//! copies are safe, are removed.

use disk::Disk;
use model::Zone;
use wal::Lsn;

use super::files::{Found, list};
use super::segment::{self, Opened};
use super::{CheckReport, Remedy, Step};
use crate::Error;
use crate::catalog::{Catalog, Pasts, Saved};
use crate::manifest::{MANIFEST, Manifest, SegmentEntry, publish};
use crate::poison::Poison;
use crate::recover::{self, QUARANTINE_DIR};
use crate::segment::{
    ChunkBuilder, FOOTER_BYTES, Footer, HEADER_BYTES, SEGMENTS_DIR, Writer, check_header, path_of,
};

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Every step, in words.
    pub done: Vec<String>,
    /// Rows given up, as far as they could be counted.
    pub rows: u64,
    /// Whether there was more whose number is not known.
    pub and_more: bool,
    /// Where the damaged bytes are now.
    pub quarantined: Vec<String>,
}

/// Does what [`CheckReport::plan`] says, for a store that nobody has open.
///
/// # Errors
/// If the store is open elsewhere, there is damage that no repair can help, or the file system
/// fails; nothing was deleted then.
pub fn repair(disk: &dyn Disk, report: &CheckReport) -> Result<Repaired, Error> {
    if let Some(why) = report.beyond_repair.first() {
        return Err(Error::Invalid(format!("nothing was changed: {why}")));
    }
    let _lock = disk.lock().map_err(recover::locked)?;
    let mut done = Repaired {
        rows: report.losses.iter().filter_map(|loss| loss.rows).sum(),
        and_more: report.losses.iter().any(|loss| loss.rows.is_none()),
        ..Repaired::default()
    };
    if report.steps.is_empty() {
        return Ok(done);
    }
    let rebuilds = |step: &Step| step.remedy == Remedy::NewManifest;
    let mut found = if report.steps.iter().any(rebuilds) {
        rebuild_manifest(disk)?.map_err(Error::Invalid)?.found
    } else {
        let manifest = Manifest::decode(&disk.read_all(MANIFEST)?)?;
        let catalog = recover::read_catalog(disk, &manifest)?;
        Found::of(manifest, catalog)
    };
    for step in &report.steps {
        set_aside(disk, step, &found.manifest, &mut done)?;
    }
    for step in &report.steps {
        replace(disk, step, &mut found)?;
        done.done.push(step.to_string());
    }
    found.manifest.publish(disk, &Poison::default())?;
    for step in &report.steps {
        remove(disk, step)?;
    }
    Ok(done)
}

/// Copies what is going to be replaced into the quarantine.
fn set_aside(
    disk: &dyn Disk,
    step: &Step,
    manifest: &Manifest,
    done: &mut Repaired,
) -> Result<(), Error> {
    if step.remedy == Remedy::SetAsideLog {
        let copies = wal::set_aside(disk, manifest.store_id, manifest.checkpoint)?;
        done.quarantined.extend(copies);
        return Ok(());
    }
    if step.remedy == Remedy::Forget || !disk.exists(&step.file)? {
        return Ok(());
    }
    disk.create_dir_all(QUARANTINE_DIR)?;
    let name = step.file.rsplit('/').next().unwrap_or(&step.file);
    let target = free_name(disk, name)?;
    let source = disk.open_read(&step.file)?;
    let length = source.len()?;
    disk::publish(disk, &target, |file| {
        let mut at = 0;
        while at < length {
            let bytes = source.read_at(at, COPY_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            file.write_at(at, &bytes)?;
            at += bytes.len() as u64;
        }
        Ok::<(), Error>(())
    })?;
    done.quarantined.push(target);
    Ok(())
}

fn free_name(disk: &dyn Disk, name: &str) -> Result<String, Error> {
    let first = format!("{QUARANTINE_DIR}/{name}");
    let mut names = std::iter::once(first.clone()).chain((1..).map(|n| format!("{first}.{n}")));
    loop {
        let name = names.next().expect("the numbers do not end");
        if !disk.exists(&name)? {
            return Ok(name);
        }
    }
}

/// Changes the manifest so that it no longer names what is damaged.
fn replace(disk: &dyn Disk, step: &Step, found: &mut Found) -> Result<(), Error> {
    let mut entries = found.manifest.segments.iter();
    let at = entries.position(|entry| entry.sequence == step.sequence);
    let (true, Some(at)) = (step.is_of_segment(), at) else {
        return Ok(());
    };
    let written = match step.remedy {
        Remedy::Rewrite => rewrite(disk, at, found)?,
        _ => None,
    };
    let manifest = &mut found.manifest;
    match written {
        Some(entry) => {
            manifest.next_sequence = entry.sequence + 1;
            manifest.segments[at] = entry;
        }
        None => drop(manifest.segments.remove(at)),
    }
    Ok(())
}

/// Writes the rows that can be read into a new segment; `None` if there are none.
fn rewrite(disk: &dyn Disk, at: usize, found: &Found) -> Result<Option<SegmentEntry>, Error> {
    let manifest = &found.manifest;
    let old = segment::open(disk, &manifest.segments[at], &manifest.store_id)?;
    let sequence = manifest.next_sequence;
    let mut rows = 0;
    let path = path_of(sequence);
    let written = publish(disk, &Poison::default(), &path, |file| {
        let mut writer = Writer::new(file, sequence, &manifest.store_id)?;
        for index in 0..old.chunks.len() {
            rows += copy_chunk(&old, index, found, &mut writer)?;
        }
        Ok(writer.finish(old.footer.first_lsn, old.footer.last_lsn)?)
    })?;
    if rows == 0 {
        disk.unlink(&path)?;
        return Ok(None);
    }
    Ok(Some(SegmentEntry {
        sequence,
        age: manifest.segments[at].age,
        bytes: written.bytes,
        footer_crc: written.footer_crc,
    }))
}

/// Copies the rows of a chunk that can be read; how many.
fn copy_chunk(
    old: &Opened,
    index: usize,
    found: &Found,
    writer: &mut Writer<'_>,
) -> Result<usize, Error> {
    let chunk = &old.chunks[index];
    // Rows of a dropped bucket are nobody's.
    if found.catalog.by_id(chunk.bucket).is_none() {
        return Ok(0);
    }
    let Some(info) = found.version(chunk.bucket, chunk.schema_version) else {
        let what = format!(
            "the columns of schema {} are not known",
            chunk.schema_version
        );
        return Err(Error::Invalid(what));
    };
    let faults = old.faults(index, found, &mut |_| {})?;
    let batches = old.readable(chunk, info, &faults)?;
    // The zone of the store is not known here: it only makes pages of times smaller.
    let mut builder = ChunkBuilder::new(info, &Zone::utc());
    for batch in &batches {
        builder.encode(batch, 0..batch.rows());
    }
    let rows = builder.rows();
    writer.chunk(&builder.finish()?)?;
    Ok(rows)
}

/// Removes a damaged file whose copy is in the quarantine. MANIFEST was replaced.
fn remove(disk: &dyn Disk, step: &Step) -> Result<(), Error> {
    let replaced = matches!(
        step.remedy,
        Remedy::NewManifest | Remedy::Forget | Remedy::SetAsideLog
    );
    if replaced || !disk.exists(&step.file)? {
        return Ok(());
    }
    disk.unlink(&step.file)?;
    let (dir, _) = step.file.rsplit_once('/').unwrap_or(("", &step.file));
    Ok(disk.sync_dir(dir)?)
}

/// What a new MANIFEST is made of.
pub(super) struct Rebuilt {
    pub(super) found: Found,
    /// Segments that are not named, and why.
    pub(super) others: Vec<(String, Unnamed)>,
}

/// Why a new MANIFEST does not name a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// Its header or footer does not hold.
    Unreadable,
    /// Its checkpoint did not end: its rows are in the log.
    Late,
    /// A later merge has its rows.
    Merged,
}

/// A MANIFEST from the newest catalog that reads and the segments it covers; the text says why there
/// can be none.
pub(super) fn rebuild_manifest(disk: &dyn Disk) -> Result<Result<Rebuilt, String>, Error> {
    let catalog = newest_catalog(disk)?;
    let mut segments = Vec::new();
    let mut others = Vec::new();
    let mut ids: Vec<[u8; 16]> = Vec::new();
    let mut highest = 0;
    for path in list(disk, SEGMENTS_DIR)? {
        let Some(sequence) = sequence_of(&path) else {
            continue;
        };
        highest = highest.max(sequence);
        match ends(disk, &path, sequence)? {
            Some((id, entry, footer)) => {
                ids.push(id);
                segments.push((path, entry, footer));
            }
            None => others.push((path, Unnamed::Unreadable)),
        }
    }
    if let Some(id) = wal::store_id(disk)? {
        ids.push(id);
    }
    ids.dedup();
    let &[store_id] = &ids[..] else {
        return Ok(Err(match ids.is_empty() {
            true => "no segment and no log says which store this is".to_owned(),
            false => "segments and log of several stores are here".to_owned(),
        }));
    };
    let mut manifest = Manifest::new(store_id);
    manifest.next_sequence = highest + 1;
    let Some((lsn, catalog)) = catalog else {
        if segments.is_empty() {
            let found = Found::of(manifest, (Catalog::new(), Pasts::default()));
            return Ok(Ok(Rebuilt { found, others }));
        }
        let what = "no catalog reads, and nothing else has the names and columns of the buckets";
        return Ok(Err(what.to_owned()));
    };
    manifest.catalog = Some(lsn);
    manifest.checkpoint = lsn;
    let (alive, late): (Vec<_>, Vec<_>) = segments
        .into_iter()
        .partition(|(_, _, footer)| footer.last_lsn <= lsn);
    others.extend(late.into_iter().map(|(path, ..)| (path, Unnamed::Late)));
    let alive = match without_merged(disk, &store_id, alive, &mut others)? {
        Ok(alive) => alive,
        Err(why) => return Ok(Err(why)),
    };
    manifest.segments = in_order(alive);
    let found = Found::of(manifest, catalog);
    Ok(Ok(Rebuilt { found, others }))
}

type Candidate = (String, SegmentEntry, Footer);

/// Leaves out what a later merge has replaced: a crash, or an open reader, may have left it. The text
/// names two files of which nobody can say whether one holds the rows of the other.
fn without_merged(
    disk: &dyn Disk,
    store_id: &[u8; 16],
    all: Vec<Candidate>,
    others: &mut Vec<(String, Unnamed)>,
) -> Result<Result<Vec<Candidate>, String>, Error> {
    let mut alive = Vec::with_capacity(all.len());
    for (path, entry, footer) in &all {
        let later = |(_, other, range): &&Candidate| {
            let within = range.first_lsn <= footer.first_lsn && footer.last_lsn <= range.last_lsn;
            other.sequence > entry.sequence && within
        };
        let mut merged = false;
        for (newer, other, range) in all.iter().filter(later) {
            let inside = range.first_lsn < footer.first_lsn && footer.last_lsn < range.last_lsn;
            if inside || footer.first_lsn < footer.last_lsn {
                merged = true;
            } else if covers(disk, store_id, other, entry)? {
                // Loaded in bulk at one place of the log, which has no length to tell by.
                return Ok(Err(format!(
                    "{newer} may hold the rows of {path}, or others: move one of the two away"
                )));
            }
        }
        match merged {
            true => others.push((path.clone(), Unnamed::Merged)),
            false => alive.push((path.clone(), entry.clone(), *footer)),
        }
    }
    Ok(Ok(alive))
}

/// Whether a segment has rows at the ends of each chunk of another.
fn covers(
    disk: &dyn Disk,
    store_id: &[u8; 16],
    newer: &SegmentEntry,
    older: &SegmentEntry,
) -> Result<bool, Error> {
    let opened = (
        segment::open(disk, newer, store_id),
        segment::open(disk, older, store_id),
    );
    let (Ok(newer), Ok(older)) = opened else {
        return Ok(false);
    };
    Ok(older.chunks.iter().all(|chunk| {
        let mut of_bucket = newer.chunks.iter().filter(|c| c.bucket == chunk.bucket);
        of_bucket.any(|c| c.min <= chunk.min && chunk.max <= c.max)
    }))
}

/// Oldest first. A bulk load begins where the checkpoint before it ended.
fn in_order(mut segments: Vec<Candidate>) -> Vec<SegmentEntry> {
    segments.sort_by_key(|(_, entry, footer)| (footer.last_lsn, footer.first_lsn, entry.sequence));
    let ages = (1..).zip(segments);
    ages.map(|(age, (_, entry, _))| SegmentEntry { age, ..entry })
        .collect()
}

fn newest_catalog(disk: &dyn Disk) -> Result<Option<(Lsn, Saved)>, Error> {
    let mut newest: Option<(Lsn, (Catalog, Pasts))> = None;
    for name in disk.list("")? {
        let lsn = name.strip_prefix("catalog.");
        let lsn = lsn.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let Some(lsn) = lsn.map(Lsn).filter(|lsn| Catalog::file_name(*lsn) == name) else {
            continue;
        };
        let catalog = Catalog::decode(&name, &disk.read_all(&name)?, lsn);
        match catalog {
            Ok(catalog) if newest.as_ref().is_none_or(|(old, _)| *old < lsn) => {
                newest = Some((lsn, catalog));
            }
            _ => {}
        }
    }
    Ok(newest)
}

fn sequence_of(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?.strip_suffix(".seg")?;
    let sequence = name.parse().ok()?;
    (path_of(sequence) == path).then_some(sequence)
}

/// Store id, entry and footer of a segment whose header and footer hold.
fn ends(
    disk: &dyn Disk,
    path: &str,
    sequence: u64,
) -> Result<Option<([u8; 16], SegmentEntry, Footer)>, Error> {
    let bytes = disk.len(path)?;
    if bytes < (HEADER_BYTES + FOOTER_BYTES) as u64 {
        return Ok(None);
    }
    let header = disk.read_at(path, 0, HEADER_BYTES)?;
    let id = header.get(24..40).and_then(|id| id.try_into().ok());
    let holds = |id: &[u8; 16]| check_header(path, &header, sequence, id).is_ok();
    let Some(id) = id.filter(holds) else {
        return Ok(None);
    };
    let footer = disk.read_at(path, bytes - FOOTER_BYTES as u64, FOOTER_BYTES)?;
    let footer = Footer::decode(&footer).filter(|(footer, _)| footer.file_bytes == bytes);
    Ok(footer.map(|(footer, footer_crc)| {
        let entry = SegmentEntry {
            sequence,
            age: sequence,
            bytes,
            footer_crc,
        };
        (id, entry, footer)
    }))
}
