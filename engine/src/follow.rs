//! Commits from an LSN up to `visible`: recent frames from memory, older ones from the WAL.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::ColumnBatch;
use wal::{Committed, Lsn};

use crate::Error;
use crate::catalog::{BucketId, BucketInfo, Origin};
use crate::frame::{self, Content, Section};
use crate::mapping::Mapping;
use crate::store::{Store, Token};

/// A frame as followers need it; one in memory is shared by all of them.
#[derive(Debug)]
struct Frame {
    lsn: Lsn,
    end: Lsn,
    wall_ns: i64,
    kind: u8,
    hops: u8,
    origin: u16,
    payload: Bytes,
    /// Made by the first follower that looks; `None` in it if the bytes make no sense.
    index: OnceLock<Option<frame::Index>>,
}

impl Frame {
    fn index(&self) -> Result<&[(BucketId, u32)], Error> {
        let index = self
            .index
            .get_or_init(|| frame::index(self.kind, &self.payload));
        index
            .as_deref()
            .ok_or_else(|| frame::bad(self.lsn, format!("is not of its kind {}", self.kind)))
    }
}

/// What a follower takes of the log, asked before anything is decoded: with many followers most of
/// what each sees is not for it.
pub trait Interest {
    /// Whether anything of a commit by this writer matters.
    fn origin(&mut self, origin: Origin) -> bool;

    /// Whether rows of a bucket matter; `info` looks it up, `None` if it was dropped since.
    fn bucket(&mut self, id: BucketId, info: impl FnOnce() -> Option<Arc<BucketInfo>>) -> bool;
}

/// Takes everything.
struct Everything;

impl Interest for Everything {
    fn origin(&mut self, _: Origin) -> bool {
        true
    }
    fn bucket(&mut self, _: BucketId, _: impl FnOnce() -> Option<Arc<BucketInfo>>) -> bool {
        true
    }
}

/// The newest frames, all of them from `start` on.
#[derive(Debug)]
pub(crate) struct Recent {
    start: Lsn,
    /// With the position of each beside it: the search touches no frame.
    frames: VecDeque<(Lsn, Arc<Frame>)>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    pub(crate) fn new(start: Lsn, bytes_max: usize) -> Self {
        Self {
            start,
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Forgets everything; frames from `start` on will follow.
    pub(crate) fn restart(&mut self, start: Lsn) {
        *self = Self::new(start, self.bytes_max);
    }

    pub(crate) fn extend(&mut self, group: &[Committed<Token>]) {
        for commit in group {
            self.bytes += commit.payload.len() + size_of::<Frame>();
            let frame = Arc::new(Frame {
                lsn: commit.lsn,
                end: commit.end,
                wall_ns: commit.wall_ns,
                kind: commit.kind,
                hops: commit.hops,
                origin: commit.origin,
                payload: commit.payload.clone(),
                index: OnceLock::new(),
            });
            self.frames.push_back((frame.lsn, frame));
        }
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.payload.len() + size_of::<Frame>();
            self.start = oldest.end;
        }
    }

    /// All frames from here on are in memory.
    pub(crate) fn start(&self) -> Lsn {
        self.start
    }

    /// The first frame at or after `position`, if memory reaches back that far.
    fn next(&self, position: Lsn) -> Option<Arc<Frame>> {
        if position < self.start {
            return None;
        }
        // Whoever keeps up asks for the newest.
        let newest = self.frames.len().checked_sub(1)?;
        let index = match newest.checked_sub(1) {
            Some(before) if self.frames[before].0 >= position => {
                self.frames.partition_point(|(lsn, _)| *lsn < position)
            }
            _ => newest,
        };
        let (lsn, frame) = &self.frames[index];
        (*lsn >= position).then(|| Arc::clone(frame))
    }
}

/// Follows commits in LSN order, never past `visible`.
#[derive(Debug)]
pub struct CommitReader {
    store: Arc<Store>,
    position: Lsn,
    /// Reads what memory no longer has; thrown away once memory has the position.
    log: Option<wal::Reader>,
    /// Read from the log, not visible yet.
    held: Option<Arc<Frame>>,
}

impl CommitReader {
    pub(crate) fn new(store: Arc<Store>, from: Lsn) -> Result<Self, Error> {
        let oldest = store.with_wal(|wal| Ok(wal.oldest()))?;
        if from < oldest {
            return Err(Error::Released {
                wanted: from,
                oldest,
            });
        }
        Ok(Self {
            store,
            position: from,
            log: None,
            held: None,
        })
    }

    /// The next commit if it is visible by now.
    ///
    /// # Errors
    /// `Error::Released` if the log was released before it was read here; `Error::Corrupt`;
    /// `Error::Closed`.
    pub fn next_commit(&mut self) -> Result<Option<FollowedCommit>, Error> {
        self.next_commit_for(&mut Everything)
    }

    /// [`Self::next_commit`] with only those rows that are of interest. A commit that has none is
    /// told, too, with fewer changes or none.
    ///
    /// # Errors
    /// As [`Self::next_commit`].
    pub fn next_commit_for(
        &mut self,
        interest: &mut impl Interest,
    ) -> Result<Option<FollowedCommit>, Error> {
        let visible = self.store.visible();
        if self.position >= visible {
            return Ok(None);
        }
        let Some(frame) = self.next_frame()? else {
            return Ok(None);
        };
        if frame.end > visible {
            self.held = Some(frame);
            return Ok(None);
        }
        self.position = frame.end;
        let origin = Origin(frame.origin);
        let changes = if interest.origin(origin) {
            self.changes(&frame, interest)?
        } else {
            Vec::new()
        };
        Ok(Some(FollowedCommit {
            lsn: frame.lsn,
            end: frame.end,
            wall_ns: frame.wall_ns,
            origin,
            hops: frame.hops,
            changes,
        }))
    }

    /// Where the next commit will be read from.
    pub fn position(&self) -> Lsn {
        self.position
    }

    fn next_frame(&mut self) -> Result<Option<Arc<Frame>>, Error> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        if let Some(frame) = self.store.recent.lock().next(self.position) {
            self.log = None;
            return Ok(Some(frame));
        }
        let reader = match &mut self.log {
            Some(reader) => reader,
            None => {
                let position = self.position;
                let reader = self.store.with_wal(|wal| Ok(wal.reader(position)))?;
                self.log.insert(reader)
            }
        };
        let frame = reader.next_frame()?;
        Ok(frame.map(|frame| {
            Arc::new(Frame {
                lsn: frame.lsn,
                end: frame.end,
                wall_ns: frame.wall_ns,
                kind: frame.kind,
                hops: frame.hops,
                origin: frame.origin,
                payload: frame.payload,
                index: OnceLock::new(),
            })
        }))
    }

    fn changes(&self, frame: &Frame, interest: &mut impl Interest) -> Result<Vec<Change>, Error> {
        if matches!(frame.kind, frame::KIND_ROWS | frame::KIND_PLUGIN) {
            return self.rows(frame, interest);
        }
        let content = frame::read(frame.lsn, frame.kind, &frame.payload)?;
        let catalog = self.store.catalog.read();
        Ok(match content {
            Content::Define(info) => {
                let info = catalog.by_id(info.id).cloned();
                info.map(Change::Defined).into_iter().collect()
            }
            Content::Alter { after, before } => {
                let (before, after) = (Arc::new(before), Arc::new(after));
                vec![Change::Altered { before, after }]
            }
            Content::Delete(ranges) => {
                // What is made of rows outlives them when they are deleted for their age only.
                let ranges = ranges.iter().filter(|range| !range.expired);
                let deleted = ranges.filter_map(|range| {
                    Some(Change::Deleted {
                        bucket: catalog.by_id(range.bucket)?.clone(),
                        from: range.from,
                        to: range.to,
                    })
                });
                deleted.collect()
            }
            Content::Drop(dropped) => {
                let dropped = dropped.into_iter().map(Arc::new);
                dropped.map(Change::Dropped).collect()
            }
            Content::Rows { .. } | Content::Origin(..) | Content::Unknown => Vec::new(),
        })
    }

    fn rows(&self, frame: &Frame, interest: &mut impl Interest) -> Result<Vec<Change>, Error> {
        let index = frame.index()?;
        let catalog = self.store.catalog.read();
        let mut changes = Vec::new();
        let deleted = frame::deleted(frame.kind, &frame.payload)
            .ok_or_else(|| frame::bad(frame.lsn, "has ranges that are none"))?;
        for range in deleted {
            let is_wanted = interest.bucket(range.bucket, || catalog.by_id(range.bucket).cloned());
            if let Some(bucket) = catalog.by_id(range.bucket).filter(|_| is_wanted) {
                changes.push(Change::Deleted {
                    bucket: bucket.clone(),
                    from: range.from,
                    to: range.to,
                });
            }
        }
        for &(bucket, at) in index {
            if !interest.bucket(bucket, || catalog.by_id(bucket).cloned()) {
                continue;
            }
            let Some(info) = catalog.by_id(bucket) else {
                continue; // Dropped since.
            };
            let section = frame::section_at(&frame.payload, at as usize);
            let batch = section.and_then(|(section, _)| self.batch(&section, info));
            let batch = batch.ok_or_else(|| {
                frame::bad(frame.lsn, format!("has rows that {} cannot have", info.key))
            })?;
            changes.push(Change::Rows(info.clone(), batch));
        }
        Ok(changes)
    }

    /// The rows of a section in the bucket's present schema, like `info`.
    fn batch(&self, section: &Section, info: &Arc<BucketInfo>) -> Option<ColumnBatch> {
        if section.schema_version == info.schema_version {
            return section.batch(&info.schema);
        }
        let views = self.store.views.read();
        let view = views.get(&section.bucket)?;
        let old = view.version(section.schema_version)?;
        Some(Mapping::new(old, info).map(&section.batch(&old.schema)?))
    }
}

/// A commit as a follower sees it.
#[derive(Debug, Clone)]
pub struct FollowedCommit {
    /// Its position.
    pub lsn: Lsn,
    /// Position after it.
    pub end: Lsn,
    /// Wall clock at the append (ns), for display of lag only.
    pub wall_ns: i64,
    /// Who wrote it.
    pub origin: Origin,
    /// Triggers that led to it.
    pub hops: u8,
    /// What it changed, in order. Frames without interest for plugins have none.
    pub changes: Vec<Change>,
}

/// One change of a commit.
#[derive(Debug, Clone)]
pub enum Change {
    /// Rows written to a bucket, in the schema given with them, which is the bucket's at the time
    /// of reading; columns are views of the frame's bytes if it was the same at the time of writing.
    Rows(Arc<BucketInfo>, ColumnBatch),
    /// A bucket was defined.
    Defined(Arc<BucketInfo>),
    /// A bucket was dropped.
    Dropped(Arc<BucketInfo>),
    /// The rows with times in `from..=to` were deleted; not by retention, which is no event.
    Deleted {
        /// The bucket.
        bucket: Arc<BucketInfo>,
        /// First time.
        from: i64,
        /// Last time.
        to: i64,
    },
    /// The columns of a bucket were changed.
    Altered {
        /// As it was.
        before: Arc<BucketInfo>,
        /// As it is now.
        after: Arc<BucketInfo>,
    },
}
