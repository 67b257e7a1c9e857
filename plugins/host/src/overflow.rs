//! I21: what becomes of an instance for which the log is kept no longer.
//!
//! The log behind a stored cursor stays up to `wal_hold`, in bytes and in time. A checkpoint that
//! would let go of log which a running instance has not fired tells the instance first and keeps
//! the log until the next checkpoint. `on_overflow` says what the instance then does. With
//! `coalesce` nothing is lost, because the rows are in the store: the backlog becomes one range of
//! time per bucket, kept in the state and delivered as gaps ([`crate::gap`]). The ranges are in the
//! log no later than the cursor behind them, so a crash repeats some of it and loses nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{BufMut as _, Bytes, BytesMut};
use engine::{Change as Logged, Error, FollowedCommit, Lsn};
use plugin_sdk::Delivery;

use crate::calls::{Effects, effect_bytes_max};
use crate::commit::Committed;
use crate::dispatch::Dispatcher;
use crate::entry::{Entry, OnOverflow, WAL_HOLD_TIME};
use crate::fire::nanos;
use crate::run::End;
use crate::section::Change;
use crate::state::SharedTable;
use crate::window::Filter;

/// How much log is kept for an instance that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Bytes behind the newest commit; 0 if none.
    pub(crate) bytes: u64,
    /// Age of the oldest commit, while the host runs (ns).
    pub(crate) nanos: i64,
    /// Both are no limits.
    pub(crate) is_endless: bool,
}

impl Hold {
    pub(crate) const NONE: Self = Self {
        bytes: 0,
        nanos: 0,
        is_endless: false,
    };

    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            bytes: entry.wal_hold,
            nanos: nanos(entry.wal_hold_time),
            is_endless: entry.on_overflow == Some(OnOverflow::Hold),
        }
    }

    pub(crate) fn is_none(self) -> bool {
        self.bytes == 0 && !self.is_endless
    }
}

impl From<u64> for Hold {
    fn from(bytes: u64) -> Self {
        Self {
            bytes,
            nanos: nanos(WAL_HOLD_TIME),
            is_endless: false,
        }
    }
}

/// Begins the key of a range that stands for a dropped bucket; no bucket key begins so.
pub(crate) const DROPPED: u8 = 0;

fn dropped_key(key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + key.len());
    out.put_u8(DROPPED);
    out.put_slice(key);
    out.freeze()
}

/// One range per bucket, joined with those that are kept already. `None` takes one away.
struct Ranges<'a> {
    kept: &'a SharedTable,
    changed: BTreeMap<Bytes, Option<(i64, i64)>>,
}

impl<'a> Ranges<'a> {
    fn new(kept: &'a SharedTable) -> Self {
        Self {
            kept,
            changed: BTreeMap::new(),
        }
    }

    fn add(&mut self, key: &str, from: i64, to: i64) {
        let (from, to) = (
            from.clamp(model::TIME_MIN, model::TIME_MAX),
            to.clamp(model::TIME_MIN, model::TIME_MAX),
        );
        let key = Bytes::copy_from_slice(key.as_bytes());
        let before = match self.changed.get(&key) {
            Some(changed) => *changed,
            None => self.kept.read().range(&key),
        };
        let joined = before.map_or((from, to), |(a, b)| (a.min(from), b.max(to)));
        self.changed.insert(key, Some(joined));
    }

    /// What was to be read again is gone.
    fn drop_bucket(&mut self, key: &str) {
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.changed.insert(dropped_key(&key), Some((0, 0)));
        if self.changed.contains_key(&key) || self.kept.read().range(&key).is_some() {
            self.changed.insert(key, None);
        }
    }

    fn add_commit(&mut self, commit: FollowedCommit, filter: &mut Filter) {
        if filter.is_own(&commit) {
            return;
        }
        let is_offered = commit.hops < filter.hops_max;
        for change in commit.changes {
            match filter.matching(change) {
                Some(Logged::Rows(bucket, rows)) if is_offered => {
                    let times = rows.times();
                    if let (Some(from), Some(to)) = (times.iter().min(), times.iter().max()) {
                        self.add(bucket.key.as_str(), *from, *to);
                    }
                }
                Some(Logged::Deleted { bucket, from, to }) => {
                    self.add(bucket.key.as_str(), from, to);
                }
                Some(Logged::Dropped(bucket)) => self.drop_bucket(bucket.key.as_str()),
                _ => {}
            }
        }
    }

    fn into_changes(self) -> Vec<Change> {
        let change = |(key, range)| match range {
            Some((from, to)) => Change::Dirty { key, from, to },
            None => Change::Done { key },
        };
        self.changed.into_iter().map(change).collect()
    }
}

impl Dispatcher {
    /// Does what `on_overflow` says if a checkpoint has asked for the log.
    pub(crate) fn check_overflow(&mut self) -> Result<(), End> {
        if !self.over.swap(false, Relaxed) {
            return Ok(());
        }
        let target = self.engine.marks().visible;
        if self.cursor >= target {
            return Ok(());
        }
        self.reader = None;
        let bytes = target.0 - self.cursor.0;
        let why = format!("it is {bytes} bytes of log behind, more than wal_hold allows");
        match self.policy.on_overflow {
            OnOverflow::Hold => Ok(()),
            OnOverflow::Disable => Err(self.disabled(&why)),
            OnOverflow::Drop => self.drop_backlog(target, &why),
            OnOverflow::Coalesce => self.coalesce(target, &why),
        }
    }

    /// The log cannot be read at the cursor.
    pub(crate) fn fell_behind(&mut self, error: &Error) -> Result<(), End> {
        self.reader = None;
        match error {
            Error::Released { .. } | Error::Corrupt { .. } => self.lost_log(&error.to_string()),
            Error::Closed => Err(End::Stopped),
            _ => Err(End::Failed(error.to_string())),
        }
    }

    fn lost_log(&mut self, why: &str) -> Result<(), End> {
        let target = self.engine.marks().visible;
        if self.policy.delivery == Delivery::Volatile {
            let bytes = target.0.saturating_sub(self.cursor.0);
            tracing::warn!(instance = &*self.id, bytes, "{why}; skips ahead");
            self.gauges.gaps.fetch_add(1, Relaxed);
            self.meter.gaps.increment(1);
            self.moved(target);
            return Ok(());
        }
        match self.policy.on_overflow {
            OnOverflow::Drop => self.drop_backlog(target, why),
            OnOverflow::Coalesce => self.read_all_again(why),
            // Log that nobody held: the entry was away, or the log is damaged.
            OnOverflow::Hold if self.policy.accepts_gap => self.read_all_again(why),
            OnOverflow::Hold | OnOverflow::Disable => Err(self.disabled(why)),
        }
    }

    /// Plugin commits are missing: what they did is to be computed anew from what is stored.
    pub(crate) fn mend(&mut self, why: &str) -> Result<(), End> {
        self.read_all_again(why)?;
        self.book.mend(self.origin);
        Ok(())
    }

    fn disabled(&self, why: &str) -> End {
        self.book.fall_behind(self.origin);
        End::Disabled(format!(
            "{why} (on_overflow: disable); its state is kept, after \"enable\" it begins like a new \
             instance"
        ))
    }

    /// The backlog becomes ranges.
    fn coalesce(&mut self, target: Lsn, why: &str) -> Result<(), End> {
        let gathered = {
            let run = &self.run;
            let mut ranges = Ranges::new(&run.table);
            gather(run, self.cursor, target, |commit| {
                ranges.add_commit(commit, &mut self.filter);
            })?
            .map(|()| ranges.into_changes())
        };
        match gathered {
            Ok(changes) => {
                tracing::warn!(
                    instance = &*self.id,
                    ranges = changes.len(),
                    "{why}; their rows are read again instead (on_overflow: coalesce)"
                );
                self.keep_ranges(changes, target)
            }
            Err(error) => self.fell_behind(&error),
        }
    }

    /// All that is stored becomes ranges: the log cannot say any more what is new.
    fn read_all_again(&mut self, why: &str) -> Result<(), End> {
        tracing::warn!(
            instance = &*self.id,
            "{why}; stored rows are read again instead"
        );
        let target = self.engine.marks().visible;
        let buckets = self.engine.buckets();
        let matching = buckets.iter().filter(|b| self.filter.matcher.matches(b));
        let ids: Vec<_> = matching.map(|bucket| bucket.id).collect();
        let changes = {
            let run = &self.run;
            let snapshot = run.engine.snapshot(&ids);
            let mut ranges = Ranges::new(&run.table);
            for (index, bucket) in snapshot.buckets().iter().enumerate() {
                if let Some((from, to)) = snapshot.time_range(index) {
                    ranges.add(bucket.key.as_str(), from, to);
                }
            }
            ranges.into_changes()
        };
        self.keep_ranges(changes, target)
    }

    /// Keeps ranges; the cursor moves with the last of them.
    fn keep_ranges(&mut self, changes: Vec<Change>, target: Lsn) -> Result<(), End> {
        let bytes_max = effect_bytes_max(&self.engine);
        let mut rest = changes.into_iter().peekable();
        loop {
            let mut effects = Effects::new();
            let mut bytes = 0;
            while let Some(change) =
                rest.next_if(|change| bytes == 0 || bytes + change.bytes() <= bytes_max)
            {
                bytes += change.bytes();
                effects.ranges.push(change);
            }
            let is_last = rest.peek().is_none();
            let cursor = if is_last { target } else { self.cursor };
            if let Committed::Refused(why) = self.write(&effects, Some(cursor), 0)? {
                return Err(End::Failed(why));
            }
            if is_last {
                self.moved(target);
                return Ok(());
            }
        }
    }

    /// Leaves the backlog behind; its rows are counted as far as the log still has them.
    fn drop_backlog(&mut self, target: Lsn, why: &str) -> Result<(), End> {
        let mut rows = 0;
        let filter = &mut self.filter;
        let counted = gather(&self.run, self.cursor, target, |commit| {
            if filter.is_own(&commit) {
                return;
            }
            for change in commit.changes {
                if let Some(Logged::Rows(_, batch)) = filter.matching(change) {
                    rows += batch.rows();
                }
            }
        })?;
        let more = if counted.is_err() { " or more" } else { "" };
        tracing::error!(
            instance = &*self.id,
            "{why}; {rows} rows{more} are passed over (on_overflow: drop)"
        );
        self.count_dropped(rows);
        if let Committed::Refused(why) = self.write(&Effects::new(), Some(target), 0)? {
            return Err(End::Failed(why));
        }
        self.moved(target);
        Ok(())
    }
}

/// Hands over the commits between two places; the inner error is that of the log.
fn gather(
    run: &crate::run::Run,
    from: Lsn,
    upto: Lsn,
    mut take: impl FnMut(FollowedCommit),
) -> Result<Result<(), Error>, End> {
    let mut reader = match run.engine.follow(from) {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        run.check_stop()?;
        match reader.next_commit() {
            Ok(Some(commit)) if commit.lsn < upto => take(commit),
            Ok(_) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}
