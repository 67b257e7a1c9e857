//! I17: one key of one instance fires in LSN order, never twice at once.
//!
//! A window is a run of whole commits, sorted into lanes: one lane per bucket key, commit order in a
//! lane, and each lane is worked from its front by one thread. Neighbouring rows of a bucket become
//! one event; a new schema or a dropped bucket begins another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use engine::{BucketId, BucketInfo, Change, FollowedCommit, Lsn, Origin};
use foldhash::{HashMap, HashMapExt as _};
use model::{BatchBuilder, BucketKey, ColumnBatch};

use crate::entry::Join;
use crate::on::Matcher;
use crate::timers::DueTimer;

/// Log read for one window: an instance that matches little still moves its cursor now and then.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// When a window is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// Commits with matching rows.
    pub(crate) commits: usize,
}

/// What an instance takes of a commit.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) matcher: Matcher,
    pub(crate) own: Origin,
    pub(crate) fire_on_own: bool,
    pub(crate) hops_max: u8,
    pub(crate) join: Join,
}

/// Commits taken together; their effects become one plugin commit.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
    pub(crate) lanes: Vec<Lane>,
    /// Commits that gave an event.
    pub(crate) commits: usize,
    pub(crate) rows: usize,
    bytes: usize,
    /// Highest hops of a commit that gave an event.
    pub(crate) hops: u8,
    /// Append time of the first commit that gave an event; 0 if none did.
    pub(crate) wall_ns: i64,
    /// Rows not offered because of the hops limit.
    pub(crate) hops_rows: usize,
    by_id: HashMap<BucketId, usize>,
    by_key: HashMap<BucketKey, usize>,
}

/// Events that fire one after the other.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) events: VecDeque<Pending>,
    /// Failed attempts of the first event.
    pub(crate) attempts: u32,
    /// When the first event may be tried again.
    pub(crate) not_before: Option<Instant>,
}

/// An event that has not fired yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) what: What,
    pub(crate) first: Lsn,
    pub(crate) last: Lsn,
}

#[derive(Debug)]
pub(crate) enum What {
    Write(Arc<BucketInfo>, Vec<ColumnBatch>),
    Gap(Arc<BucketInfo>, i64, i64),
    Deleted(Arc<BucketInfo>),
    Timer(DueTimer),
}

impl Window {
    pub(crate) fn new(start: Lsn) -> Self {
        Self {
            start,
            end: start,
            lanes: Vec::new(),
            commits: 0,
            rows: 0,
            bytes: 0,
            hops: 0,
            wall_ns: 0,
            hops_rows: 0,
            by_id: HashMap::new(),
            by_key: HashMap::new(),
        }
    }

    /// Whether nothing is to fire.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.rows >= limits.rows
            || self.bytes >= limits.bytes
            || self.commits >= limits.commits
            || self.end.0 - self.start.0 >= LOG_BYTES_MAX
    }

    /// Takes one commit, the next in the log.
    pub(crate) fn add(&mut self, commit: FollowedCommit, filter: &mut Filter) {
        debug_assert!(commit.lsn >= self.end, "commits come in order");
        self.end = commit.end;
        if commit.origin == filter.own && !filter.fire_on_own {
            return;
        }
        let offered = commit.hops < filter.hops_max;
        let mut gave = false;
        for change in commit.changes {
            gave |= match change {
                Change::Rows(bucket, rows) if filter.matcher.matches(&bucket) => {
                    if offered {
                        self.write(bucket, rows, commit.lsn, filter.join)
                    } else {
                        self.hops_rows += rows.rows();
                        false
                    }
                }
                Change::Dropped(bucket) if filter.matcher.matches(&bucket) => {
                    filter.matcher.forget(bucket.id);
                    self.deleted(bucket, commit.lsn);
                    true
                }
                _ => false,
            };
        }
        if gave {
            self.commits += 1;
            self.hops = self.hops.max(commit.hops);
            if self.wall_ns == 0 {
                self.wall_ns = commit.wall_ns;
            }
        }
    }

    fn write(&mut self, bucket: Arc<BucketInfo>, rows: ColumnBatch, lsn: Lsn, join: Join) -> bool {
        if rows.is_empty() {
            return false;
        }
        self.rows += rows.rows();
        self.bytes += rows.bytes();
        let lane = self.lane(&bucket);
        match lane.events.back_mut() {
            Some(event) if event.takes(&bucket, lsn, join) => event.push(rows, lsn),
            _ => lane.events.push_back(Pending {
                what: What::Write(bucket, vec![rows]),
                first: lsn,
                last: lsn,
            }),
        }
        true
    }

    /// Rows of a bucket that is gone are of no use to anybody.
    fn deleted(&mut self, bucket: Arc<BucketInfo>, lsn: Lsn) {
        let mut rows_gone = 0;
        let lane = self.lane(&bucket);
        lane.events.retain(|event| match &event.what {
            What::Write(of, rows) if of.id == bucket.id => {
                rows_gone += rows.iter().map(ColumnBatch::rows).sum::<usize>();
                false
            }
            _ => true,
        });
        lane.events.push_back(Pending {
            what: What::Deleted(bucket),
            first: lsn,
            last: lsn,
        });
        self.rows -= rows_gone;
    }

    fn lane(&mut self, bucket: &BucketInfo) -> &mut Lane {
        let lanes = &mut self.lanes;
        // A bucket made again has another number but stays in its key's lane.
        let by_key = &mut self.by_key;
        let index = *self.by_id.entry(bucket.id).or_insert_with(|| {
            *by_key.entry(bucket.key.clone()).or_insert_with(|| {
                lanes.push(Lane::default());
                lanes.len() - 1
            })
        });
        &mut self.lanes[index]
    }

    /// Adds an event in a lane of its own, behind the others.
    pub(crate) fn add_alone(&mut self, what: What) {
        let event = Pending {
            what,
            first: self.end,
            last: self.end,
        };
        self.lanes.push(Lane {
            events: VecDeque::from([event]),
            ..Lane::default()
        });
    }
}

impl Pending {
    fn takes(&self, bucket: &BucketInfo, lsn: Lsn, join: Join) -> bool {
        match &self.what {
            What::Write(of, _) => {
                of.id == bucket.id
                    && of.schema_version == bucket.schema_version
                    && (join == Join::Key || self.last == lsn)
            }
            _ => false,
        }
    }

    fn push(&mut self, rows: ColumnBatch, lsn: Lsn) {
        if let What::Write(_, parts) = &mut self.what {
            parts.push(rows);
            self.last = lsn;
        }
    }

    /// Rows of the event.
    pub(crate) fn rows(&self) -> usize {
        match &self.what {
            What::Write(_, parts) => parts.iter().map(ColumnBatch::rows).sum(),
            _ => 0,
        }
    }

    /// Joins the parts into one batch, once; further attempts find it joined.
    pub(crate) fn joined(&mut self) {
        let What::Write(_, parts) = &mut self.what else {
            return;
        };
        if parts.len() > 1 {
            let rows = parts.iter().map(ColumnBatch::rows).sum();
            let mut builder = BatchBuilder::new(parts[0].schema().clone(), rows);
            for part in parts.iter() {
                builder
                    .append(part)
                    .expect("rows of one schema version have one schema");
            }
            *parts = vec![builder.finish()];
        }
    }

    /// What the log calls the event.
    pub(crate) fn name(&self) -> String {
        let of = match &self.what {
            What::Write(bucket, _) => format!("{} rows of {}", self.rows(), bucket.key),
            What::Gap(bucket, from, to) => format!("range {from}..={to} of {}", bucket.key),
            What::Deleted(bucket) => format!("drop of {}", bucket.key),
            What::Timer(timer) => format!("timer {:?} due {}", timer.key, timer.due),
        };
        format!("{of}, commits {:x} to {:x}", self.first.0, self.last.0)
    }
}
