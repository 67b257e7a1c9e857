//! The open sequence: lock, manifest, catalog, segments, WAL replay, orphans.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use disk::{Clock, Disk};
use foldhash::HashMapExt;
use wal::FrameView;

use crate::catalog::Catalog;
use crate::engine::CheckpointHook;
use crate::frame::{self, Content};
use crate::manifest::{MANIFEST, Manifest};
use crate::poison::Poison;
use crate::store::{Sink, Store};
use crate::view::Views;
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
    let began = clock.monotonic();
    let fresh = is_fresh(&*disk)?;
    let lock = disk.lock().map_err(|e| Error::Locked(e.to_string()))?;
    hook.opened(&disk)?;
    if fresh {
        Manifest::new(new_store_id()).publish(&*disk, &Poison::default())?;
    }
    let manifest = Manifest::decode(&disk.read_all(MANIFEST)?)?;
    let catalog = match manifest.catalog {
        None => Catalog::new(),
        Some(lsn) => {
            let file = Catalog::file_name(lsn);
            Catalog::decode(&file, &disk.read_all(&file)?, lsn)?
        }
    };
    let mut views = Views::new();
    for info in catalog.buckets() {
        views.insert(info.id, Arc::new(crate::view::View::new(info.clone())));
    }
    let store = Arc::new(Store::new(
        disk,
        clock.clone(),
        options,
        hook,
        manifest,
        catalog,
        views,
    ));
    let mut recovery = replay(&store)?;
    if recovery.frames > 0 {
        checkpoint::run(&store)?;
    }
    recovery.duration = clock.monotonic().saturating_sub(began);
    Ok(Opened {
        store,
        lock,
        recovery,
    })
}

/// Whether the directory holds nothing yet.
fn is_fresh(disk: &dyn Disk) -> Result<bool, Error> {
    Ok(!disk.exists(MANIFEST)?)
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
        if frame.lsn >= from {
            recovery.rows += replay_frame(store, &frame);
            recovery.frames += 1;
        }
        Ok(())
    };
    let (disk, clock) = (store.disk.clone(), store.clock.clone());
    let options = store.options.wal();
    let (log, found) = wal::open(disk, clock, store_id, options, from, &mut visit)?;
    recovery.bytes = found.bytes;
    recovery.cut_bytes = found.cut_bytes;
    recovery.quarantined = found.quarantined.iter().map(describe).collect();
    let end = found.end.max(from);
    store.set_visible(end);
    store.recent.lock().restart(end);
    store.defining.lock().next_bucket = store.catalog.read().next_bucket();
    *store.wal.write() = Some(log.start(Box::new(Sink(store.clone())))?);
    Ok(recovery)
}

fn replay_frame(store: &Store, frame: &FrameView) -> u64 {
    let Some(content) = frame::decode(frame.kind, &frame.payload) else {
        return 0;
    };
    if let Content::Rows {
        section: Some(section),
        ..
    } = &content
    {
        let origin = crate::Origin(frame.origin);
        store.hook.replayed(frame.lsn, origin, section);
    }
    let mut rebuild = Vec::new();
    let rows = store.apply(content, frame.end, &mut rebuild);
    store.set_visible(frame.end);
    store.rebuild(&rebuild);
    rows
}

fn describe(damage: &wal::Damage) -> String {
    let copy = damage
        .copy
        .as_deref()
        .unwrap_or("no copy: the file is missing");
    format!("{}: {}..{} ({copy})", damage.file, damage.from, damage.to)
}
