//! What there is of a bucket, published as one immutable value.

use std::sync::{Arc, OnceLock};

use foldhash::HashMap;
use model::ColumnBatch;
use wal::Lsn;

use crate::catalog::{BucketId, BucketInfo, Past};
use crate::latest::Latest;
use crate::mapping::Mapping;
use crate::mask::{self, Mask};
use crate::segment::Chunk;
use crate::tail::Tail;

/// The sources of a bucket's rows. Later wins: tail over frozen tails (the last is the newest)
/// over chunks (by age). A source has the schema version its rows were written with.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) info: Arc<BucketInfo>,
    /// Always of the schema of `info`, and never masked: a delete takes the rows out.
    pub(crate) tail: Arc<Tail>,
    /// Tails a checkpoint is writing, or an earlier one failed to write, or of an older schema.
    pub(crate) frozen: Vec<Frozen>,
    /// Sorted by least time. Shared with snapshots; grows in place while there are none.
    pub(crate) chunks: Arc<Vec<Chunk>>,
    /// What is deleted of chunks and frozen tails, by LSN.
    pub(crate) masks: Arc<Vec<Mask>>,
    /// Versions before `info` that chunks or frames may still have, ascending.
    pub(crate) older: Arc<Vec<Older>>,
    /// The last row of all chunks, in the schema of `info`; see `unsure`.
    pub(crate) latest: Option<Latest>,
    /// Set when `latest` is masked: then only its time holds, as an upper bound, and here is the
    /// row that the first reader who needed it found.
    pub(crate) unsure: Option<Arc<OnceLock<Option<Latest>>>>,
}

/// A tail that no longer grows.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) tail: Arc<Tail>,
    /// The bucket as it was: the schema of the rows.
    pub(crate) info: Arc<BucketInfo>,
    /// Every commit in the tail is below.
    pub(crate) upto: Lsn,
}

/// A version of a bucket's schema that was replaced.
#[derive(Debug, Clone)]
pub(crate) struct Older {
    pub(crate) info: Arc<BucketInfo>,
    /// The frame that replaced it: rows of this version are in frames below.
    pub(crate) until: Lsn,
}

impl View {
    pub(crate) fn new(info: Arc<BucketInfo>) -> Self {
        Self::restored(info, Past::default())
    }

    /// As the catalog has it, before chunks are added.
    pub(crate) fn restored(info: Arc<BucketInfo>, past: Past) -> Self {
        Self {
            tail: Arc::new(Tail::new(info.schema.clone(), info.kind)),
            info,
            frozen: Vec::new(),
            chunks: Arc::new(Vec::new()),
            masks: Arc::new(past.masks),
            older: Arc::new(past.older),
            latest: None,
            unsure: None,
        }
    }

    /// The same without what is not in segments.
    pub(crate) fn only_chunks(&self) -> Self {
        Self {
            tail: Arc::new(Tail::new(self.info.schema.clone(), self.info.kind)),
            frozen: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether something of its past is kept.
    pub(crate) fn has_past(&self) -> bool {
        !self.masks.is_empty() || !self.older.is_empty()
    }

    /// The bucket at a version of its schema.
    pub(crate) fn version(&self, version: u32) -> Option<&Arc<BucketInfo>> {
        if version == self.info.schema_version {
            return Some(&self.info);
        }
        let mut older = self.older.iter().map(|older| &older.info);
        older.find(|info| info.schema_version == version)
    }

    /// How rows of an older version become rows of the present one; `None` if it is not known.
    pub(crate) fn mapping(&self, version: u32) -> Option<Mapping> {
        let info = self.version(version)?;
        Some(Mapping::new(info, &self.info))
    }

    /// The times of `min..=max` that are not deleted in a source, as (from, to), ascending.
    pub(crate) fn live(&self, last_lsn: Lsn, min: i64, max: i64) -> Vec<(i64, i64)> {
        mask::live(&self.masks, last_lsn, min, max)
    }

    /// Adds a chunk that is newer than all others. `latest` is its last row, in its own schema.
    pub(crate) fn add_chunk(&mut self, chunk: Chunk, latest: Latest) {
        let newer = |old: &Latest| latest.time() >= old.time();
        if self.latest.as_ref().is_none_or(newer) {
            let sure = !mask::is_masked(&self.masks, chunk.last_lsn(), latest.time());
            match self.present(chunk.schema_version(), &latest) {
                Some(latest) => self.set_latest(latest, sure),
                // A scan will say what is wrong.
                None => self.set_latest(latest, false),
            }
        } else if self.unsure.is_some() {
            self.unsure = Some(Arc::default());
        }
        let at = self.chunks.partition_point(|c| c.min <= chunk.min);
        Arc::make_mut(&mut self.chunks).insert(at, chunk);
    }

    fn set_latest(&mut self, latest: Latest, sure: bool) {
        self.latest = Some(latest);
        self.unsure = (!sure).then(Arc::default);
    }

    /// A row of an older version in the present schema.
    pub(crate) fn present(&self, version: u32, row: &Latest) -> Option<Latest> {
        if version == self.info.schema_version {
            return Some(row.clone());
        }
        let batch = row.batch(&self.version(version)?.schema)?;
        Some(Latest::of_batch(&self.mapping(version)?.map(&batch), 0))
    }

    /// Sets the tail aside: every commit in it is below `upto`. Returns its bytes.
    pub(crate) fn freeze(&mut self, upto: Lsn) -> usize {
        if self.tail.rows() == 0 {
            return 0;
        }
        let bytes = self.tail.bytes();
        let tail = Arc::new(Tail::new(self.info.schema.clone(), self.info.kind));
        self.frozen.push(Frozen {
            tail: std::mem::replace(&mut self.tail, tail),
            info: self.info.clone(),
            upto,
        });
        bytes
    }

    /// Hides rows of chunks and frozen tails. The tail is the caller's.
    pub(crate) fn mask(&mut self, mask: Mask) {
        // Even if it hides nothing yet: rows may be on their way into a segment past the log.
        mask::add(Arc::make_mut(&mut self.masks), mask);
        // Of rows with one time the mask may hide an older one only: the reader finds out.
        if self.unsure.is_some()
            || self
                .latest
                .as_ref()
                .is_some_and(|l| mask.contains(l.time()))
        {
            self.unsure = Some(Arc::default());
        }
    }

    /// Goes over to a new version of the schema, made by the frame at `lsn`. Returns the bytes of
    /// the tail set aside.
    pub(crate) fn alter(&mut self, after: Arc<BucketInfo>, lsn: Lsn) -> usize {
        let bytes = self.freeze(lsn);
        let before = std::mem::replace(&mut self.info, after);
        self.tail = Arc::new(Tail::new(self.info.schema.clone(), self.info.kind));
        let version = before.schema_version;
        Arc::make_mut(&mut self.older).push(Older {
            info: before,
            until: lsn,
        });
        if let Some(latest) = self.latest.take() {
            let sure = self.unsure.is_none();
            match self.present(version, &latest) {
                Some(latest) => self.set_latest(latest, sure),
                None => self.set_latest(latest, false),
            }
        }
        bytes
    }

    /// Takes out the tails that were frozen at or before `upto`.
    pub(crate) fn take_frozen(&mut self, upto: Lsn) -> Vec<Frozen> {
        let frozen = std::mem::take(&mut self.frozen).into_iter();
        let (written, newer) = frozen.partition(|frozen| frozen.upto <= upto);
        self.frozen = newer;
        written
    }

    /// After a checkpoint at `upto` that saved `past`: the view without what no source needs, and
    /// what was not saved for another reason. `None` if it needs everything it has.
    pub(crate) fn forgetting(&self, past: Option<&Past>, upto: Lsn) -> Option<Self> {
        let saved = |older: &Older| {
            let same = |o: &Older| o.info.schema_version == older.info.schema_version;
            older.until >= upto || past.is_some_and(|past| past.older.iter().any(same))
        };
        if self.masks.iter().all(|mask| self.needs_mask(mask)) && self.older.iter().all(saved) {
            return None;
        }
        let mut next = self.clone();
        Arc::make_mut(&mut next.masks).retain(|mask| self.needs_mask(mask));
        Arc::make_mut(&mut next.older).retain(saved);
        Some(next)
    }

    fn needs_mask(&self, mask: &Mask) -> bool {
        let mut frozen = self.frozen.iter().filter_map(Frozen::span);
        self.chunks_need(mask)
            || frozen.any(|(last_lsn, min, max)| mask.applies(last_lsn, min, max))
    }

    /// Whether a chunk may have rows that the mask hides.
    pub(crate) fn chunks_need(&self, mask: &Mask) -> bool {
        let mut chunks = self.chunks.iter();
        chunks.any(|c| mask.applies(c.last_lsn(), c.min, c.max))
    }

    /// Whether chunks, or frames of the log from `oldest` on, may have rows of an older version.
    pub(crate) fn needs_version(&self, older: &Older, oldest: Lsn) -> bool {
        let version = older.info.schema_version;
        let mut chunks = self.chunks.iter();
        older.until >= oldest || chunks.any(|chunk| chunk.schema_version() == version)
    }
}

impl Frozen {
    /// LSN and bounds of its times.
    pub(crate) fn span(&self) -> Option<(Lsn, i64, i64)> {
        let prefix = self.tail.prefix(Lsn(u64::MAX))?;
        Some((self.upto, prefix.min, prefix.max))
    }

    /// The rows in scan order that no mask of `view` hides, in its schema.
    pub(crate) fn rows(&self, view: &View) -> Vec<ColumnBatch> {
        let Some(prefix) = self.tail.prefix(Lsn(u64::MAX)) else {
            return Vec::new();
        };
        let schema = &self.info.schema;
        let all: Vec<usize> = (0..schema.len()).collect();
        let mut pieces = Vec::new();
        let live = view.live(self.upto, prefix.min, prefix.max);
        if prefix.ordered {
            for (from, to) in live {
                let rows = self.tail.rows_between(prefix.rows, from, to);
                self.tail.read(rows, &all, schema, &mut pieces);
            }
        } else {
            let sorted = self.tail.sorted(prefix.rows);
            for (from, to) in live {
                let start = sorted.times().partition_point(|time| *time < from);
                let end = sorted.times().partition_point(|time| *time <= to);
                if start < end {
                    pieces.push(sorted.slice(start..end));
                }
            }
        }
        if self.info.schema_version != view.info.schema_version {
            let mapping = Mapping::new(&self.info, &view.info);
            pieces
                .iter_mut()
                .for_each(|piece| *piece = mapping.map(piece));
        }
        pieces
    }
}

/// All views, behind the publish lock.
pub(crate) type Views = HashMap<BucketId, Arc<View>>;
