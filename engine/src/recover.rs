//! The open sequence: lock, manifest, catalog, segments, WAL replay, orphans.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use disk::{Clock, Disk};
use foldhash::HashMap;
use wal::FrameView;

use crate::catalog::{BucketId, Catalog, Pasts};
use crate::engine::CheckpointHook;
use crate::frame::{self, Content};
use crate::manifest::{MANIFEST, Manifest};
use crate::poison::Poison;
use crate::segment::{SEGMENTS_DIR, Segment, path_of};
use crate::store::{Sink, Store};
use crate::view::{View, Views};
use crate::{Error, Options, checkpoint};

/// What opening found.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Frames replayed.
    pub frames: u64,
    /// Rows replayed into tails.
    pub rows: u64,
    /// Bytes of the log read.
    pub bytes: u64,
    /// Bytes cut off the end: never acknowledged.
    pub cut_bytes: u64,
    /// Damaged stretches set aside, named.
    pub quarantined: Vec<String>,
    /// Segments opened.
    pub segments: usize,
    /// How long it took.
    pub duration: Duration,
}

/// A store that is ready to serve.
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    pub(crate) lock: disk::Lock,
    pub(crate) recovery: Recovery,
}

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
    hook: Arc<dyn CheckpointHook>,
) -> Result<Opened, Error> {
    open_store(disk, clock, options, hook).map_err(advise)
}

/// Damage needs a person; the text says where to go on.
fn advise(error: Error) -> Error {
    match error {
        Error::Corrupt { file, offset, what } if !what.contains("is newer than") => {
            Error::Corrupt {
                file,
                offset,
                what: format!(
                    "{what}; `mkts check` lists all damage, `mkts check --repair` says \
                               what it would keep and what it would give up"
                ),
            }
        }
        other => other,
    }
}

fn open_store(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
    hook: Arc<dyn CheckpointHook>,
) -> Result<Opened, Error> {
    let began = clock.monotonic();
    // Before the lock, which would leave a file in a directory that is none of ours.
    let fresh = check_directory(&*disk)?;
    let lock = disk.lock().map_err(locked)?;
    hook.opened(&disk)?;
    disk.create_dir_all(SEGMENTS_DIR)?;
    if fresh && !disk.exists(MANIFEST)? {
        Manifest::new(new_store_id()).publish(&*disk, &Poison::default())?;
    }
    // Whoever renamed it may have died before the name was durable; the log is going to be written,
    // and released, by what it says.
    disk.sync_dir("")?;
    if !disk.exists(MANIFEST)? {
        return Err(Error::corrupt(MANIFEST, 0, "the file is missing"));
    }
    let manifest = Manifest::decode(&disk.read_all(MANIFEST)?)?;
    let (catalog, pasts) = read_catalog(&*disk, &manifest)?;
    let (views, segments) = open_segments(&*disk, &manifest, &catalog, pasts)?;
    remove_orphans(&*disk, &manifest)?;
    let store = Store::new(
        disk,
        clock.clone(),
        options,
        hook,
        manifest.clone(),
        catalog,
        views,
    );
    let store = Arc::new(store);
    *store.segments.lock() = segments;
    disk::failpoint::pass("recover.opened");
    let mut recovery = replay(&store)?;
    disk::failpoint::pass("recover.replayed");
    for (origin, name) in store.catalog.read().origin_names() {
        store.hook.named(origin, name);
    }
    recovery.segments = manifest.segments.len();
    if recovery.frames > 0 {
        save_replayed(&store)?;
    }
    recovery.duration = clock.monotonic().saturating_sub(began);
    Ok(Opened {
        store,
        lock,
        recovery,
    })
}

/// So that the next start does not replay it again. Nobody has to wait for that: the log has
/// everything, and what of it was not known to be durable it has written again and synced.
fn save_replayed(store: &Arc<Store>) -> Result<(), Error> {
    if !store.options.checkpoint_before_serving {
        store.want_checkpoint();
        return Ok(());
    }
    match checkpoint::run(store) {
        // No reason to refuse the reads.
        Ok(()) | Err(Error::DiskFull(_)) => Ok(()),
        Err(error) => {
            drop(store.wal.write().take());
            Err(error)
        }
    }
}

pub(crate) fn locked(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked(error.to_string()),
        _ => error.into(),
    }
}

/// Takes the lock without leaving a file where there was none: no LOCK, nobody has it open.
pub(crate) fn lock_to_look(disk: &dyn Disk) -> Result<Option<disk::Lock>, Error> {
    match disk.exists(LOCK_FILE)? {
        true => match disk.lock() {
            // Nobody can have a store open where nothing can be written.
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(None),
            lock => lock.map(Some).map_err(locked),
        },
        false => Ok(None),
    }
}

/// Whether the directory holds no store yet; an error if it holds something else.
fn check_directory(disk: &dyn Disk) -> Result<bool, Error> {
    let names = disk.list("")?;
    let is = |name: &str| names.iter().any(|n| n == name);
    if is(MANIFEST) {
        return Ok(false);
    }
    let marketstore = |name: &&String| *name == "category_name" || name.starts_with("WALFile.");
    if let Some(name) = names.iter().find(marketstore) {
        return Err(Error::Invalid(format!(
            "the directory is a MarketStore root (it has {name:?}): mkts keeps its own format and \
             does not write there; copy it into another directory with `mkts import marketstore`"
        )));
    }
    let is_catalog = |name: &&String| name.starts_with("catalog.") && !is_temporary(name);
    if let Some(name) = names.iter().find(is_catalog) {
        let what = format!("the file is missing, but {name} is there");
        return Err(Error::corrupt(MANIFEST, 0, what));
    }
    let ours = |name: &String| OURS.contains(&name.as_str()) || is_temporary(name);
    if let Some(name) = names.iter().find(|name| !ours(name)) {
        return Err(Error::Invalid(format!(
            "the directory is not empty and not a store: it has {name:?} but no {MANIFEST}"
        )));
    }
    for (dir, ending) in [("wal", ".wal"), (SEGMENTS_DIR, ".seg")] {
        let files = if is(dir) { disk.list(dir)? } else { Vec::new() };
        if let Some(name) = files.iter().find(|name| name.ends_with(ending)) {
            let what = format!("the file is missing, but {dir}/{name} is there");
            return Err(Error::corrupt(MANIFEST, 0, what));
        }
    }
    Ok(true)
}

/// What a store that was never opened successfully may have.
pub(crate) const OURS: [&str; 6] = [
    LOCK_FILE,
    "wal",
    SEGMENTS_DIR,
    "plugins",
    QUARANTINE_DIR,
    "lost+found",
];

const LOCK_FILE: &str = "LOCK";

/// Damaged bytes that recovery set aside; mkts never removes them.
pub(crate) const QUARANTINE_DIR: &str = "quarantine";

pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp")
        .is_some_and(|name| name == MANIFEST || name.starts_with("catalog."))
}

pub(crate) fn read_catalog(
    disk: &dyn Disk,
    manifest: &Manifest,
) -> Result<(Catalog, Pasts), Error> {
    let Some(lsn) = manifest.catalog else {
        return Ok((Catalog::new(), Pasts::default()));
    };
    let file = Catalog::file_name(lsn);
    if !disk.exists(&file)? {
        return Err(Error::corrupt(&file, 0, "the file is missing"));
    }
    Catalog::decode(&file, &disk.read_all(&file)?, lsn)
}

fn open_segments(
    disk: &dyn Disk,
    manifest: &Manifest,
    catalog: &Catalog,
    mut pasts: Pasts,
) -> Result<(Views, Vec<Arc<Segment>>), Error> {
    let views = catalog.buckets().map(|info| {
        let past = pasts.remove(&info.id).unwrap_or_default();
        (info.id, View::restored(info.clone(), past))
    });
    let mut views: HashMap<BucketId, View> = views.collect();
    let mut segments = Vec::with_capacity(manifest.segments.len());
    for entry in &manifest.segments {
        let path = path_of(entry.sequence);
        if !disk.exists(&path)? {
            return Err(Error::corrupt(&path, 0, "the file is missing"));
        }
        let segment = Arc::new(Segment::open(disk, entry, &manifest.store_id)?);
        checkpoint::add_segment(&segment, &mut views);
        segments.push(segment);
    }
    let shared = views.into_iter().map(|(id, view)| (id, Arc::new(view)));
    Ok((shared.collect(), segments))
}

/// Files of checkpoints that did not reach their commit point.
fn remove_orphans(disk: &dyn Disk, manifest: &Manifest) -> Result<(), Error> {
    let alive: Vec<String> = manifest
        .segments
        .iter()
        .map(|e| path_of(e.sequence))
        .collect();
    for name in disk.list(SEGMENTS_DIR)? {
        let path = format!("{SEGMENTS_DIR}/{name}");
        let ours = name.ends_with(".seg") || name.ends_with(".seg.tmp");
        if ours && !alive.contains(&path) {
            disk.unlink(&path)?;
        }
    }
    let catalog = manifest.catalog.map(Catalog::file_name);
    for name in disk.list("")? {
        let old = name.starts_with("catalog.") && Some(&name) != catalog.as_ref();
        if old || is_temporary(&name) {
            disk.unlink(&name)?;
        }
    }
    Ok(())
}

/// Sixteen bytes that no other store has.
fn new_store_id() -> [u8; 16] {
    let random = || RandomState::new().hash_one(std::process::id());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random().to_le_bytes());
    id[8..].copy_from_slice(&random().to_le_bytes());
    id
}

/// Frames from the checkpoint on: rows into tails, names into the catalog, plugin sections to
/// the hook. Starts the log.
fn replay(store: &Arc<Store>) -> Result<Recovery, Error> {
    let (store_id, from) = {
        let manifest = store.manifest.lock();
        (manifest.store_id, manifest.checkpoint)
    };
    let mut recovery = Recovery::default();
    let mut visit = |frame: FrameView| -> Result<(), Error> {
        recovery.rows += replay_frame(store, &frame)?;
        recovery.frames += 1;
        store.note_commit(frame.wall_ns);
        Ok(())
    };
    let (disk, clock) = (store.disk.clone(), store.clock.clone());
    let options = store.options.wal();
    let (log, found) = wal::open(disk, clock, store_id, options, from, &mut visit)?;
    recovery.bytes = found.bytes;
    recovery.cut_bytes = found.cut_bytes;
    recovery.quarantined = quarantined(&*store.disk, &found.quarantined)?;
    let end = found.end.max(from);
    store.set_visible(end);
    store.recent.lock().restart(end);
    store.defining.lock().next_bucket = store.catalog.read().next_bucket();
    *store.wal.write() = Some(log.start(Box::new(Sink(store.clone())))?);
    Ok(recovery)
}

fn replay_frame(store: &Store, frame: &FrameView) -> Result<u64, Error> {
    let content = frame::read(frame.lsn, frame.kind, &frame.payload)?;
    if let Content::Rows {
        section: Some(section),
        ..
    } = &content
    {
        let origin = crate::Origin(frame.origin);
        store.hook.replayed(frame.lsn, origin, section);
    }
    let mut rebuild = Vec::new();
    let rows = store.apply(content, frame.lsn, frame.end, &mut rebuild)?;
    store.set_visible(frame.end);
    store.rebuild(&rebuild);
    Ok(rows)
}

/// The damage found now, and what earlier openings set aside and nobody has cleared yet.
fn quarantined(disk: &dyn Disk, found: &[wal::Damage]) -> Result<Vec<String>, Error> {
    let mut all: Vec<String> = found.iter().map(describe).collect();
    if disk.exists(QUARANTINE_DIR)? {
        for name in disk.list(QUARANTINE_DIR)? {
            let path = format!("{QUARANTINE_DIR}/{name}");
            if found
                .iter()
                .all(|damage| damage.copy.as_ref() != Some(&path))
            {
                all.push(path);
            }
        }
    }
    Ok(all)
}

fn describe(damage: &wal::Damage) -> String {
    let copy = damage
        .copy
        .as_deref()
        .unwrap_or("no copy: the file is missing");
    format!("{}: {}..{} ({copy})", damage.file, damage.from, damage.to)
}
