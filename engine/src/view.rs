//! What there is of a bucket, published as one immutable value.

use std::sync::Arc;

use foldhash::HashMap;

use crate::catalog::{BucketId, BucketInfo};
use crate::latest::Latest;
use crate::segment::Chunk;
use crate::tail::Tail;

/// The sources of a bucket's rows. Later wins: tail over frozen tails (the last is the newest)
/// over chunks (by age).
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) info: Arc<BucketInfo>,
    pub(crate) tail: Arc<Tail>,
    /// Tails a checkpoint is writing, or an earlier one failed to write.
    pub(crate) frozen: Vec<Arc<Tail>>,
    /// Sorted by least time. Shared with snapshots; grows in place while there are none.
    pub(crate) chunks: Arc<Vec<Chunk>>,
    /// The last row of all chunks.
    pub(crate) latest: Option<Latest>,
}

impl View {
    pub(crate) fn new(info: Arc<BucketInfo>) -> Self {
        Self {
            tail: Arc::new(Tail::new(info.schema.clone(), info.kind)),
            info,
            frozen: Vec::new(),
            chunks: Arc::new(Vec::new()),
            latest: None,
        }
    }

    /// Adds a chunk that is newer than all others.
    pub(crate) fn add_chunk(&mut self, chunk: Chunk, latest: Latest) {
        let at = self.chunks.partition_point(|c| c.min <= chunk.min);
        Arc::make_mut(&mut self.chunks).insert(at, chunk);
        let newer = |old: &Latest| latest.time() >= old.time();
        if self.latest.as_ref().is_none_or(newer) {
            self.latest = Some(latest);
        }
    }

    /// Sets the tail aside, for a checkpoint.
    pub(crate) fn freeze(&mut self) {
        let tail = Arc::new(Tail::new(self.info.schema.clone(), self.info.kind));
        self.frozen.push(std::mem::replace(&mut self.tail, tail));
    }
}

/// All views, behind the publish lock.
pub(crate) type Views = HashMap<BucketId, Arc<View>>;
