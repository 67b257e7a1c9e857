//! I17: one key of one instance fires in LSN order, never twice at once.
//!
//! A window is a run of whole commits, sorted into lanes: one lane per bucket key, commit order in a
//! lane, and each lane is worked from its front by one thread. Neighbouring rows of a bucket become
//! one event; a new schema or a dropped bucket begins another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use engine::{BucketId, BucketInfo, Change, FollowedCommit, Interest, Lsn, Origin};
use foldhash::{HashMap, HashMapExt as _};
use model::{BatchBuilder, BucketKey, ColumnBatch};

use crate::backfill::Place;
use crate::entry::Join;
use crate::on::Matcher;
use crate::state::LetterId;
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
    pub(crate) accepts_gap: bool,
    /// The backfill under way: what is behind its place is not the log's.
    pub(crate) backfill: Option<Place>,
}

impl Filter {
    /// Whether a commit is the instance's own, and not to be fired on.
    pub(crate) fn is_own(&self, commit: &FollowedCommit) -> bool {
        commit.origin == self.own && !self.fire_on_own
    }

    /// The part of a change that the instance is concerned with.
    pub(crate) fn matching(&mut self, change: Change) -> Option<Change> {
        match change {
            Change::Rows(bucket, rows) if self.matcher.matches(&bucket) => {
                let rows = match self.bound(&bucket) {
                    i64::MAX => rows,
                    bound => up_to(&rows, bound),
                };
                (!rows.is_empty()).then_some(Change::Rows(bucket, rows))
            }
            Change::Dropped(bucket) => self
                .matcher
                .forget(&bucket)
                .then_some(Change::Dropped(bucket)),
            Change::Deleted { bucket, from, to } if self.matcher.matches(&bucket) => {
                let to = to.min(self.bound(&bucket));
                (from <= to).then_some(Change::Deleted { bucket, from, to })
            }
            // Rows come with the bucket's present schema, a defined bucket with its rows.
            _ => None,
        }
    }

    fn bound(&self, bucket: &BucketInfo) -> i64 {
        let place = self.backfill.as_ref();
        place.map_or(i64::MAX, |place| place.bound(&bucket.key))
    }
}

/// Rows with times up to `bound`.
fn up_to(rows: &ColumnBatch, bound: i64) -> ColumnBatch {
    let times = (0_u32..).zip(rows.times());
    let kept = times.filter(|(_, time)| **time <= bound);
    rows.take(&kept.map(|(row, _)| row).collect::<Vec<_>>())
}

impl Interest for Filter {
    fn origin(&mut self, origin: Origin) -> bool {
        origin != self.own || self.fire_on_own
    }

    #[inline]
    fn bucket(&mut self, id: BucketId, info: impl FnOnce() -> Option<Arc<BucketInfo>>) -> bool {
        self.matcher.matches_id(id, info)
    }
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
    /// Deleted ranges not offered because the plugin takes no gaps.
    pub(crate) ranges_skipped: usize,
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
    /// The dead letter it is, fired once more.
    pub(crate) letter: Option<LetterId>,
    /// Rows that were stored before the instance came to them.
    pub(crate) is_stored: bool,
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
            ranges_skipped: 0,
            by_id: HashMap::new(),
            by_key: HashMap::new(),
        }
    }

    /// Whether nothing is to fire.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Bytes of its rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
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
        if filter.is_own(&commit) {
            return;
        }
        let offered = commit.hops < filter.hops_max;
        let mut gave = false;
        for change in commit.changes {
            let Some(change) = filter.matching(change) else {
                continue;
            };
            gave |= match change {
                Change::Rows(bucket, rows) if offered => {
                    self.write(bucket, rows, commit.lsn, filter.join)
                }
                Change::Rows(_, rows) => {
                    self.hops_rows += rows.rows();
                    false
                }
                Change::Dropped(bucket) => {
                    self.deleted(bucket, commit.lsn);
                    true
                }
                Change::Deleted { bucket, from, to } => {
                    if filter.accepts_gap {
                        self.dirty(bucket, (from, to), commit.lsn);
                    } else {
                        self.ranges_skipped += 1;
                    }
                    filter.accepts_gap
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
                letter: None,
                is_stored: false,
            }),
        }
        true
    }

    /// Rows of a range were deleted: what was made of them is to be made again. Behind the rows
    /// written before, so that nothing is made of rows that are gone.
    fn dirty(&mut self, bucket: Arc<BucketInfo>, (from, to): (i64, i64), lsn: Lsn) {
        let inside = |time: i64| time.clamp(model::TIME_MIN, model::TIME_MAX);
        self.lane(&bucket).events.push_back(Pending {
            what: What::Gap(bucket, inside(from), inside(to)),
            first: lsn,
            last: lsn,
            letter: None,
            is_stored: false,
        });
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
            letter: None,
            is_stored: false,
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

    /// Adds a timer: behind the rows of the bucket in whose order it was set.
    pub(crate) fn add_timer(&mut self, timer: DueTimer) {
        let lane = std::str::from_utf8(&timer.timer.lane);
        match lane.ok().and_then(|lane| BucketKey::parse(lane).ok()) {
            Some(key) => self.add_by_key(key, What::Timer(timer)),
            None => self.add_alone(What::Timer(timer)),
        }
    }

    /// Adds an event in the order of a key.
    pub(crate) fn add_by_key(&mut self, key: BucketKey, what: What) {
        let end = self.end;
        self.lane_of(key).events.push_back(Pending {
            what,
            first: end,
            last: end,
            letter: None,
            is_stored: false,
        });
    }

    /// Adds rows that a backfill found stored.
    pub(crate) fn add_stored(&mut self, bucket: &Arc<BucketInfo>, rows: ColumnBatch) {
        if rows.is_empty() {
            return;
        }
        self.rows += rows.rows();
        self.bytes += rows.bytes();
        let end = self.end;
        self.lane_of(bucket.key.clone()).events.push_back(Pending {
            what: What::Write(Arc::clone(bucket), vec![rows]),
            first: end,
            last: end,
            letter: None,
            is_stored: true,
        });
    }

    fn lane_of(&mut self, key: BucketKey) -> &mut Lane {
        let lanes = &mut self.lanes;
        let index = *self.by_key.entry(key).or_insert_with(|| {
            lanes.push(Lane::default());
            lanes.len() - 1
        });
        &mut self.lanes[index]
    }

    /// Adds an event in a lane of its own, behind the others.
    pub(crate) fn add_alone(&mut self, what: What) {
        let event = Pending {
            what,
            first: self.end,
            last: self.end,
            letter: None,
            is_stored: false,
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
            What::Timer(DueTimer { key, timer }) => format!("timer {key:?} due {}", timer.due),
        };
        format!("{of}, commits {:x} to {:x}", self.first.0, self.last.0)
    }
}

#[cfg(test)]
mod tests {
    use model::{Column, ColumnDef, ColumnType, RowKind, Schema, Timeframe};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Match;
    use crate::on::Patterns;

    fn bucket(id: u32, name: &str, version: u32) -> Arc<BucketInfo> {
        let key = BucketKey::parse(name).unwrap();
        let timeframe = Timeframe::parse(key.timeframe()).unwrap();
        let first = BucketInfo::new(BucketId(id), key, timeframe, RowKind::Tick, schema());
        Arc::new(BucketInfo {
            schema_version: version,
            ..first
        })
    }

    fn schema() -> Schema {
        Schema::new(vec![ColumnDef::new("V", ColumnType::I64)]).unwrap()
    }

    fn rows(times: &[i64]) -> ColumnBatch {
        let times = Column::from_values(times.to_vec());
        ColumnBatch::new(schema(), times.clone(), vec![times]).unwrap()
    }

    fn commit(lsn: u64, origin: u16, hops: u8, changes: Vec<Change>) -> FollowedCommit {
        FollowedCommit {
            lsn: Lsn(lsn),
            end: Lsn(lsn + 10),
            wall_ns: 5,
            origin: Origin(origin),
            hops,
            changes,
        }
    }

    fn filter(join: Join) -> Filter {
        Filter {
            matcher: Matcher::new(Patterns::parse(&["*/1Min/*".into()], Match::Glob).unwrap()),
            own: Origin(9),
            fire_on_own: false,
            hops_max: 8,
            join,
            accepts_gap: true,
            backfill: None,
        }
    }

    fn write(id: u32, version: u32, time: i64) -> Change {
        Change::Rows(
            bucket(id, &format!("K{}/1Min/T", id % 10), version),
            rows(&[time]),
        )
    }

    fn times(event: &mut Pending) -> Vec<i64> {
        event.joined();
        match &event.what {
            What::Write(_, parts) => parts[0].times().to_vec(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn neighbours_join_and_a_new_schema_or_bucket_begins_another_event() {
        let mut window = Window::new(Lsn(100));
        let changes = [
            vec![write(1, 1, 1), write(2, 1, 2), write(1, 1, 3)],
            vec![write(1, 1, 4)],
            vec![write(1, 2, 5)],
            vec![write(11, 1, 6)],
        ];
        for (lsn, changes) in (100..).step_by(10).zip(changes) {
            window.add(commit(lsn, 0, 0, changes), &mut filter(Join::Key));
        }
        assert_eq!((window.rows, window.commits, window.lanes.len()), (6, 4, 2));
        assert_eq!((window.start, window.end), (Lsn(100), Lsn(140)));
        let lane = &mut window.lanes[0].events;
        let seen: Vec<Vec<i64>> = lane.iter_mut().map(times).collect();
        assert_eq!(seen, [vec![1, 3, 4], vec![5], vec![6]]);
        assert_eq!((lane[0].first, lane[0].last), (Lsn(100), Lsn(110)));
    }

    #[test]
    fn own_rows_other_keys_and_the_hops_limit_give_no_event() {
        let mut window = Window::new(Lsn(0));
        let other = Change::Rows(bucket(5, "X/1H/T", 1), rows(&[1]));
        let mut filter = filter(Join::Key);
        window.add(commit(0, 9, 0, vec![write(1, 1, 1)]), &mut filter);
        window.add(commit(10, 0, 8, vec![write(1, 1, 1)]), &mut filter);
        window.add(commit(20, 0, 0, vec![other]), &mut filter);
        assert!(window.is_empty());
        assert_eq!(
            (window.commits, window.hops_rows, window.end),
            (0, 1, Lsn(30))
        );
        filter.fire_on_own = true;
        window.add(commit(30, 9, 3, vec![write(1, 1, 1)]), &mut filter);
        assert_eq!((window.commits, window.hops), (1, 3));
    }

    /// Buckets come and go for years.
    #[test]
    fn a_drop_leaves_no_answer_behind_whether_it_matches_or_not() {
        let mut filter = filter(Join::Key);
        let mut window = Window::new(Lsn(0));
        for (lsn, name) in [(0, "X/1Min/T"), (20, "X/1H/T")] {
            let of = bucket(5, name, 1);
            let rows = vec![Change::Rows(of.clone(), rows(&[1]))];
            window.add(commit(lsn, 0, 0, rows), &mut filter);
            assert_eq!(filter.matcher.remembered(), 1);
            let dropped = vec![Change::Dropped(of)];
            window.add(commit(lsn + 10, 0, 0, dropped), &mut filter);
            assert_eq!(filter.matcher.remembered(), 0);
        }
        assert_eq!((window.lanes.len(), window.lanes[0].events.len()), (1, 1));
        assert!(matches!(window.lanes[0].events[0].what, What::Deleted(_)));
    }

    /// A deleted range comes behind the rows written before and begins another event.
    #[test]
    fn a_deleted_range_is_a_gap_where_the_plugin_takes_gaps() {
        let delete = |bucket| Change::Deleted {
            bucket,
            from: i64::MIN,
            to: 7,
        };
        for accepts_gap in [true, false] {
            let mut filter = filter(Join::Key);
            filter.accepts_gap = accepts_gap;
            let mut window = Window::new(Lsn(0));
            window.add(commit(0, 0, 0, vec![write(1, 1, 1)]), &mut filter);
            let deletes = vec![
                delete(bucket(1, "K1/1Min/T", 1)),
                delete(bucket(5, "X/1H/T", 1)),
            ];
            window.add(commit(10, 0, 0, deletes), &mut filter);
            window.add(commit(20, 0, 0, vec![write(1, 1, 9)]), &mut filter);
            let names: Vec<String> = window.lanes[0].events.iter().map(Pending::name).collect();
            if accepts_gap {
                let gap = format!("range {}..=7 of K1/1Min/T, commits a to a", model::TIME_MIN);
                let one = "1 rows of K1/1Min/T, commits";
                assert_eq!(
                    names,
                    [format!("{one} 0 to 0"), gap, format!("{one} 14 to 14")]
                );
            } else {
                assert_eq!(names, ["2 rows of K1/1Min/T, commits 0 to 14"]);
            }
            assert_eq!(
                (window.lanes.len(), window.commits),
                (1, 2 + usize::from(accepts_gap))
            );
            assert_eq!(window.ranges_skipped, usize::from(!accepts_gap));
        }
    }

    #[test]
    fn limits_close_a_window_behind_a_whole_commit() {
        let limits = Limits {
            rows: 3,
            bytes: 1 << 20,
            commits: 9,
        };
        let mut window = Window::new(Lsn(0));
        for lsn in [0, 10] {
            assert!(!window.is_full(&limits));
            let changes = vec![write(1, 1, 1), write(2, 1, 2)];
            window.add(commit(lsn, 0, 0, changes), &mut filter(Join::Key));
        }
        assert!(window.is_full(&limits));
        assert!(Window { rows: 0, ..window }.is_full(&Limits {
            rows: 9,
            bytes: 64,
            ..limits
        }));
        let mut far = Window::new(Lsn(0));
        far.end = Lsn(LOG_BYTES_MAX);
        assert!(far.is_full(&limits));
    }

    proptest! {
        /// I17: joined in any way, cut anywhere, each key's rows come in commit order, once.
        #[test]
        fn a_key_keeps_commit_order(
            keys in prop::collection::vec(prop::collection::vec(0_u32..4, 1..5), 1..40),
            by_key: bool,
            limit in 1_usize..20,
        ) {
            let join = if by_key { Join::Key } else { Join::Commit };
            let limits = Limits { rows: limit, bytes: 1 << 20, commits: 1000 };
            let mut filter = filter(join);
            let mut window = Window::new(Lsn(0));
            let mut seen = vec![Vec::new(); 4];
            let mut expected = vec![Vec::new(); 4];
            let mut next = 0;
            for (lsn, keys) in (0..).step_by(10).zip(keys) {
                let mut changes = Vec::new();
                for key in keys {
                    expected[key as usize].push(next);
                    changes.push(write(key, 1, next));
                    next += 1;
                }
                window.add(commit(lsn, 0, 0, changes), &mut filter);
                if window.is_full(&limits) {
                    fire(&mut window, &mut seen, join);
                    window = Window::new(window.end);
                }
            }
            fire(&mut window, &mut seen, join);
            prop_assert_eq!(seen, expected);
        }
    }

    fn fire(window: &mut Window, seen: &mut [Vec<i64>], join: Join) {
        for lane in &mut window.lanes {
            for event in &mut lane.events {
                assert!(event.first <= event.last);
                assert!(join == Join::Key || event.first == event.last);
                let times = times(event);
                let What::Write(bucket, _) = &event.what else {
                    unreachable!("only rows were written");
                };
                seen[bucket.id.0 as usize].extend(times);
            }
        }
    }
}
