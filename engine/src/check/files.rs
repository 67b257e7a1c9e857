//! MANIFEST, catalog, log, files of the plugin host, and what else lies in the directory.

use std::sync::Arc;

use disk::Disk;
use wal::{FileState, Lsn};

use super::repair::Unnamed;
use super::{CheckReport, Level, Loss, Meter, Place, Remedy};
use crate::Error;
use crate::catalog::{BucketId, BucketInfo, Catalog, Pasts};
use crate::fields::unseal;
use crate::inspect::{self, Names};
use crate::manifest::{MANIFEST, Manifest};
use crate::recover::{self, QUARANTINE_DIR, is_temporary};
use crate::segment::{SEGMENTS_DIR, path_of};

/// Where the plugin host keeps its files, and the one whose form is known here.
const PLUGINS_DIR: &str = "plugins";
const INSTANCES: &str = "plugins/_instances";
const INSTANCES_MAGIC: &[u8; 8] = b"MKTSINS1";

/// What the store is made of.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    pub(super) catalog: Catalog,
    /// Older schemas that chunks may still have.
    pub(super) pasts: Pasts,
    /// Whether the catalog is the one MANIFEST names: else names of buckets are missing.
    pub(super) catalog_holds: bool,
}

impl Found {
    pub(super) fn of(manifest: Manifest, (catalog, pasts): (Catalog, Pasts)) -> Self {
        Self {
            manifest,
            catalog,
            pasts,
            catalog_holds: true,
        }
    }

    /// A bucket at a version of its schema.
    pub(super) fn version(&self, bucket: BucketId, version: u32) -> Option<&Arc<BucketInfo>> {
        let info = self.catalog.by_id(bucket)?;
        let older = self
            .pasts
            .get(&bucket)
            .into_iter()
            .flat_map(|past| &past.older);
        let mut all = std::iter::once(info).chain(older.map(|older| &older.info));
        all.find(|info| info.schema_version == version)
    }
}

/// Bytes of all files that a check reads.
pub(super) fn bytes(disk: &dyn Disk) -> Result<u64, Error> {
    let mut bytes = 0;
    for dir in ["", SEGMENTS_DIR, "wal"] {
        for path in list(disk, dir)? {
            let is_read = path == MANIFEST || path.contains("catalog.") || !dir.is_empty();
            if is_read {
                bytes += disk.len(&path).unwrap_or(0);
            }
        }
    }
    Ok(bytes)
}

/// Paths of what is in a directory; nothing if there is none.
pub(super) fn list(disk: &dyn Disk, dir: &str) -> Result<Vec<String>, Error> {
    if !dir.is_empty() && !disk.exists(dir)? {
        return Ok(Vec::new());
    }
    let names = disk.list(dir)?;
    Ok(match dir {
        "" => names,
        _ => names.iter().map(|name| format!("{dir}/{name}")).collect(),
    })
}

/// A directory without any file of a store is not one that lost its MANIFEST.
pub(super) fn refuse_foreign(disk: &dyn Disk) -> Result<(), Error> {
    let names = disk.list("")?;
    let ours = |name: &String| {
        name == MANIFEST || name.starts_with("catalog.") || name == SEGMENTS_DIR || name == "wal"
    };
    match names.iter().any(ours) {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "the directory is not a store: it has no {MANIFEST}"
        ))),
    }
}

/// MANIFEST and catalog; `None` if nothing can be said about the rest.
pub(super) fn check(
    disk: &dyn Disk,
    report: &mut CheckReport,
    meter: &mut Meter<'_>,
) -> Result<Option<Found>, Error> {
    let found = match read_manifest(disk, meter) {
        Ok(manifest) => Some(with_catalog(disk, manifest, report, meter)?),
        Err(error) => {
            let means = "nothing says which segments are alive; the store does not open";
            report.add_error(MANIFEST, &error, means);
            if is_newer(&error) {
                report.beyond_repair.push(newer(MANIFEST));
                None
            } else {
                rebuilt(disk, report)?
            }
        }
    };
    if let Some(found) = &found {
        report.checkpoint = found.manifest.checkpoint;
        report.segments = found.manifest.segments.len();
        report.buckets = found.catalog.len();
    }
    Ok(found)
}

fn is_newer(error: &Error) -> bool {
    matches!(error, Error::Corrupt { what, .. } if what.contains("is newer than"))
}

fn newer(file: &str) -> String {
    format!("{file} was written by a newer mkts: use that version")
}

fn read_manifest(disk: &dyn Disk, meter: &mut Meter<'_>) -> Result<Manifest, Error> {
    if !disk.exists(MANIFEST)? {
        return Err(Error::corrupt(MANIFEST, 0, "the file is missing"));
    }
    let bytes = disk.read_all(MANIFEST)?;
    meter.read(MANIFEST, bytes.len() as u64);
    Manifest::decode(&bytes)
}

fn with_catalog(
    disk: &dyn Disk,
    manifest: Manifest,
    report: &mut CheckReport,
    meter: &mut Meter<'_>,
) -> Result<Found, Error> {
    let file = manifest.catalog.map(Catalog::file_name);
    let catalog = match recover::read_catalog(disk, &manifest) {
        Ok(found) => found,
        Err(error) => {
            let file = file.unwrap_or_default();
            let means = "the names and columns of all buckets are in this file; the store does not \
                         open, its rows are all there";
            report.add_error(&file, &error, means);
            report.beyond_repair.push(match is_newer(&error) {
                true => newer(&file),
                false => format!(
                    "{file}: no other file has the names and columns; put back this file from a \
                     backup"
                ),
            });
            return Ok(Found {
                manifest,
                catalog: Catalog::new(),
                pasts: Pasts::default(),
                catalog_holds: false,
            });
        }
    };
    if let Some(file) = file {
        meter.read(&file, disk.len(&file)?);
    }
    Ok(Found::of(manifest, catalog))
}

/// What a new MANIFEST would say, if one can be made.
fn rebuilt(disk: &dyn Disk, report: &mut CheckReport) -> Result<Option<Found>, Error> {
    match super::repair::rebuild_manifest(disk)? {
        Ok(rebuilt) => {
            report.step(MANIFEST, 0, Remedy::NewManifest);
            for (path, why) in &rebuilt.others {
                report.step(path, 0, Remedy::SetAsideUnnamed);
                if *why == Unnamed::Unreadable {
                    report.losses.push(Loss {
                        file: path.clone(),
                        bucket: None,
                        rows: None,
                        times: None,
                        what: "all rows of the file, if it was alive: its header or footer does \
                               not hold"
                            .to_owned(),
                    });
                }
            }
            Ok(Some(rebuilt.found))
        }
        Err(why) => {
            report.beyond_repair.push(format!("{MANIFEST}: {why}"));
            Ok(None)
        }
    }
}

/// Walks the log as recovery would.
pub(super) fn check_log(
    disk: &dyn Disk,
    found: &Found,
    report: &mut CheckReport,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    let mut names = Names::new(&found.catalog);
    let mut unreadable = Vec::new();
    let walked = inspect::walk(disk, &found.manifest, &mut names, &mut |frame| {
        meter.read("wal", frame.end.0 - frame.lsn.0);
        if let (Some(what), false) = (&frame.problem, frame.checkpointed) {
            unreadable.push((frame.lsn, what.clone()));
        }
        Ok(())
    });
    let log = match walked {
        Ok(log) => log,
        Err(error @ Error::Corrupt { .. }) => {
            report.add_error("wal", &error, "the store does not open with this log");
            report
                .beyond_repair
                .push("wal: a file of another store or version is no damage; move it away".into());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for (lsn, what) in unreadable {
        let file = format!("wal frame {lsn}");
        let means = "its checksum holds, so it was written so; the store does not open";
        report.add(Level::Damage, Place::file(&file), what.clone(), means);
        report.beyond_repair.push(format!("{file}: {what}"));
    }
    note_log(disk, &log.log, found.manifest.checkpoint, report)?;
    report.log = Some(log);
    Ok(())
}

fn note_log(
    disk: &dyn Disk,
    log: &wal::Inspection,
    checkpoint: Lsn,
    report: &mut CheckReport,
) -> Result<(), Error> {
    for gap in &log.damage {
        let first = log.files.iter().find(|file| file.path == gap.file);
        let offset = first.map_or(0, |file| gap.from.0.saturating_sub(file.first.0));
        let place = Place::at(&gap.file, offset);
        let bytes = gap.to.0 - gap.from.0;
        let what = format!(
            "{bytes} bytes of the log from {} on are no frames",
            gap.from
        );
        if gap.to <= checkpoint {
            let means = "their rows are in segments; only a trigger that is behind would miss them";
            report.add(Level::Note, place, what, means);
            continue;
        }
        if disk.exists(&wal::quarantine_path(gap))? {
            let means = "set aside in quarantine/ earlier; the next start goes on behind them";
            report.add(Level::Note, place, what, means);
            continue;
        }
        let means = "they were acknowledged and are lost; the next start copies the bytes to \
                     quarantine/ and goes on behind them";
        report.add(Level::Damage, place, what.clone(), means);
        report.losses.push(Loss {
            file: gap.file.clone(),
            bucket: None,
            rows: None,
            times: None,
            what: format!("{what}: how many rows and of which buckets is not known"),
        });
        let is_new = !report
            .steps
            .iter()
            .any(|step| step.remedy == Remedy::SetAsideLog);
        if is_new {
            report.step("wal", 0, Remedy::SetAsideLog);
        }
    }
    if let Some(torn) = &log.torn {
        let first = log.files.iter().find(|file| file.path == torn.file);
        let offset = first.map_or(0, |file| torn.from.0.saturating_sub(file.first.0));
        let what = format!(
            "{} bytes behind the end of the log",
            torn.to.0 - torn.from.0
        );
        let means = "a commit that was never acknowledged, as after every kill or power cut; the \
                     next start cuts it off";
        report.add(Level::Note, Place::at(&torn.file, offset), what, means);
    }
    for file in log.files.iter().filter(|f| f.state == FileState::Released) {
        let means = "older than the log; removed when the store opens";
        report.add(
            Level::Leftover,
            Place::file(&file.path),
            "a released file of the log",
            means,
        );
    }
    Ok(())
}

/// Files that nothing names, the quarantine, and what is none of ours.
pub(super) fn list_others(
    disk: &dyn Disk,
    found: Option<&Found>,
    report: &mut CheckReport,
) -> Result<(), Error> {
    if let Some(found) = found {
        leftovers(disk, found, report)?;
    }
    plugins(disk, report)?;
    for path in list(disk, QUARANTINE_DIR)? {
        let what = format!("{} bytes set aside earlier", disk.len(&path)?);
        let means = "kept for a person to look at; remove it when it is of no use";
        report.add(Level::Note, Place::file(&path), what, means);
    }
    for name in disk.list("")? {
        let known = recover::OURS.contains(&name.as_str())
            || name == MANIFEST
            || name.starts_with("catalog.")
            || is_temporary(&name);
        if !known {
            let means = "left alone";
            report.add(Level::Note, Place::file(&name), "not a file of mkts", means);
        }
    }
    Ok(())
}

/// What opening removes, or what a broken MANIFEST may still need.
fn leftovers(disk: &dyn Disk, found: &Found, report: &mut CheckReport) -> Result<(), Error> {
    let alive = |path: &str| {
        let mut segments = found.manifest.segments.iter();
        segments.any(|entry| path_of(entry.sequence) == path)
    };
    let catalog = found.manifest.catalog.map(Catalog::file_name);
    let means = "of a checkpoint, merge or load that did not end; removed when the store opens, its \
                 rows are in the log or in the segments that are named";
    for path in list(disk, SEGMENTS_DIR)? {
        let ours = path.ends_with(".seg") || path.ends_with(".seg.tmp");
        match (ours, alive(&path)) {
            (true, false) => report.add(
                Level::Leftover,
                Place::file(&path),
                "a segment that MANIFEST does not name",
                means,
            ),
            (false, _) => report.add(
                Level::Note,
                Place::file(&path),
                "not a file of mkts",
                "left alone",
            ),
            _ => {}
        }
    }
    for name in disk.list("")? {
        let old = name.starts_with("catalog.") && Some(&name) != catalog.as_ref();
        if old || is_temporary(&name) {
            report.add(
                Level::Leftover,
                Place::file(&name),
                "a file that MANIFEST does not name",
                means,
            );
        }
    }
    Ok(())
}

/// Files of the plugin host: the one that is known to end with a checksum.
fn plugins(disk: &dyn Disk, report: &mut CheckReport) -> Result<(), Error> {
    for path in list(disk, PLUGINS_DIR)? {
        if path != INSTANCES {
            continue;
        }
        let bytes = disk.read_all(&path)?;
        let holds = bytes.starts_with(INSTANCES_MAGIC) && unseal(&bytes).is_some();
        if holds {
            continue;
        }
        let means = "it says how far each trigger came; the store does not open. Put it back from a \
                     backup of the same moment, or repair: every trigger starts anew";
        let what = "the file fails its checksum";
        report.add(Level::Damage, Place::at(&path, 0), what, means);
        report.step(&path, 0, Remedy::ForgetPlaces);
        report.losses.push(Loss {
            file: path,
            bucket: None,
            rows: None,
            times: None,
            what: "no rows; the places of all triggers, which start at the newest row".into(),
        });
    }
    Ok(())
}
