//! Fires the rows that are stored already, bucket by bucket, then follows the log.
//!
//! ```text
//! snapshot of the next buckets at L -> log up to L -> their rows, window by window -> next buckets
//! ```
//! The place of a backfill divides all rows, stored or to come, in two by bucket and time. Those in
//! front of it are the log's: they fire when the log is read. Those behind it are the backfill's:
//! the log passes them over, and they fire from a snapshot taken later. For that the cursor stands
//! at the snapshot's position whenever rows of it fire, and the place moves in the plugin commit of
//! the window that fired them; the cursor moves over log with the place at rest. So a row written
//! meanwhile fires once, whatever the moment of a crash.
//!
//! A snapshot is given up for a newer one when the log behind it grows, so a long backfill holds
//! little log. In memory there is one window.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use engine::{BucketInfo, Limit, Lsn, Scan, Snapshot};
use model::{BucketKey, ColumnBatch};
use plugin_sdk::{Delivery, Progress, StateValue};
use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::calls::Effects;
use crate::commit::Committed;
use crate::dispatch::{Dispatcher, Parts};
use crate::entry::Start;
use crate::host::{Error, Host};
use crate::run::End;
use crate::section::Change;
use crate::state::{Order, Table, state_key};
use crate::window::Window;

/// State key of the place.
pub(crate) const BACKFILL_KEY: &[u8] = b"__backfill";

/// Buckets of one snapshot.
const BUCKETS_MAX: usize = 256;

/// Log behind a snapshot that makes it too old.
const LAG_MAX: u64 = 64 << 20;

/// How far a backfill is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Rows before are not asked for.
    since: i64,
    /// The bucket it is at; every one before is done.
    key: Option<BucketKey>,
    /// Of that bucket: rows up to here are done.
    after: i64,
}

impl Place {
    pub(crate) fn begin(since: i64) -> Self {
        Self {
            since,
            key: None,
            after: i64::MAX,
        }
    }

    /// Rows of a bucket up to this time are the log's.
    pub(crate) fn bound(&self, key: &BucketKey) -> i64 {
        match self.key.as_ref().map(|at| key.cmp(at)) {
            Some(Ordering::Less) => i64::MAX,
            Some(Ordering::Equal) => self.after,
            Some(Ordering::Greater) | None => self.since.saturating_sub(1),
        }
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i64_le(self.since);
        out.put_i64_le(self.after);
        out.put_slice(self.key.as_ref().map_or("", BucketKey::as_str).as_bytes());
        out.freeze()
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let since = bytes.try_get_i64_le().ok()?;
        let after = bytes.try_get_i64_le().ok()?;
        let key = match bytes {
            [] => None,
            text => Some(BucketKey::parse(std::str::from_utf8(text).ok()?).ok()?),
        };
        Some(Self { since, key, after })
    }

    pub(crate) fn put(&self, effects: &mut Effects) {
        effects.put_host(BACKFILL_KEY, StateValue::Bytes(self.encode()));
    }

    /// The place kept in a table, if a backfill is under way.
    pub(crate) fn of(table: &Table) -> Result<Option<Self>, String> {
        match table.host_value(BACKFILL_KEY) {
            None => Ok(None),
            Some(StateValue::Bytes(bytes)) => match Self::decode(bytes) {
                Some(place) => Ok(Some(place)),
                None => Err("the place of its backfill does not read".into()),
            },
            Some(StateValue::Counter(_)) => Err("the place of its backfill is a counter".into()),
        }
    }

    /// What the first commit of an instance keeps.
    pub(crate) fn first(start: Start) -> Vec<Change> {
        let since = match start {
            Start::Latest => return Vec::new(),
            Start::Earliest => i64::MIN,
            Start::Time(time) => time,
        };
        vec![Change::Put {
            key: state_key(b"", BACKFILL_KEY),
            value: Self::begin(since).encode(),
        }]
    }
}

/// Some buckets at one position.
pub(crate) struct Round(Snapshot);

impl Host {
    /// Fires all stored rows of a running trigger, bucket by bucket, as writes with the replay flag;
    /// rows written meanwhile fire once. Returns when it has begun: [`crate::InstanceStatus`] has
    /// the progress. It goes on after a restart, unless the instance is `volatile`.
    ///
    /// # Errors
    /// If there is no such trigger, it does not run, or a backfill is under way.
    pub fn backfill(&self, id: &str) -> Result<(), Error> {
        let instance = self.inner.instance(id)?;
        if !instance.is_trigger() {
            return Err(Error::instance(id, "it is no trigger: nothing fires it"));
        }
        if !instance.is_live() {
            return Err(Error::instance(id, "it does not run; start it first"));
        }
        let is_under_way = instance
            .table()
            .is_some_and(|table| table.read().host_value(BACKFILL_KEY).is_some());
        if is_under_way {
            return Err(Error::instance(id, "a backfill is under way"));
        }
        instance.gauges.waiting.store(true, SeqCst);
        self.inner.order(&instance, [Order::Backfill])
    }
}

impl Dispatcher {
    /// Begins to fire all that is stored.
    pub(crate) fn begin_backfill(&mut self) -> Result<(), End> {
        if self.filter.backfill.is_some() {
            return Ok(());
        }
        let place = Place::begin(i64::MIN);
        let mut effects = Effects::new();
        place.put(&mut effects);
        self.commit_place(effects)?;
        tracing::info!(instance = &*self.id, "fires the stored rows");
        self.filter.backfill = Some(place);
        self.round = None;
        Ok(())
    }

    fn commit_place(&mut self, effects: Effects) -> Result<(), End> {
        match self.commit_window(effects, self.cursor, 0)? {
            Committed::Yes => Ok(()),
            Committed::Refused(why) => Err(End::Failed(why)),
        }
    }

    /// One window of stored rows, or the end.
    pub(crate) fn backfill(&mut self) -> Result<(), End> {
        if !self
            .round
            .as_ref()
            .is_some_and(|round| self.is_fresh(round))
        {
            self.round = None;
            match self.next_round()? {
                Some(round) => self.round = Some(round),
                None => return self.end_backfill(),
            }
        }
        let (mut window, mut parts) = self.stored_rows()?;
        parts.timers = self.add_timers(&mut window);
        self.process(window, parts)
    }

    fn end_backfill(&mut self) -> Result<(), End> {
        let mut effects = Effects::new();
        effects.delete_host(BACKFILL_KEY);
        self.filter.backfill = None;
        self.commit_place(effects)?;
        tracing::info!(instance = &*self.id, "has fired the stored rows");
        *self.gauges.progress.lock() = None;
        Ok(())
    }

    /// Whether rows of a snapshot may fire.
    fn is_fresh(&self, Round(snapshot): &Round) -> bool {
        let visible = self.engine.marks().visible;
        let lag_max = match self.hold.bytes {
            0 => LAG_MAX,
            bytes => LAG_MAX.min(bytes / 2),
        };
        let is_left = |bucket: &Arc<BucketInfo>| self.bound(&bucket.key) < i64::MAX;
        snapshot.lsn() == self.cursor
            && visible.0.saturating_sub(self.cursor.0) <= lag_max
            && snapshot.buckets().last().is_some_and(is_left)
    }

    fn bound(&self, key: &BucketKey) -> i64 {
        let place = self.filter.backfill.as_ref();
        place.map_or(i64::MAX, |place| place.bound(key))
    }

    /// The next buckets, with the cursor at their snapshot; `None` if there are no more.
    fn next_round(&mut self) -> Result<Option<Round>, End> {
        loop {
            self.check_end()?;
            let buckets = self.next_buckets();
            if buckets.is_empty() {
                return Ok(None);
            }
            let ids: Vec<_> = buckets.iter().map(|bucket| bucket.id).collect();
            let snapshot = self.engine.snapshot(&ids);
            // A bucket made between list and snapshot has rows that neither would fire.
            let again = self.next_buckets();
            let is_same = again.iter().map(|bucket| bucket.id).eq(ids.iter().copied())
                && snapshot.buckets().len() == ids.len();
            if !is_same {
                continue;
            }
            self.catch_up(snapshot.lsn())?;
            if self.cursor == snapshot.lsn() {
                return Ok(Some(Round(snapshot)));
            }
        }
    }

    fn next_buckets(&mut self) -> Vec<Arc<BucketInfo>> {
        let buckets = self.engine.buckets();
        let first = buckets.partition_point(|bucket| self.bound(&bucket.key) == i64::MAX);
        if let Some(bucket) = buckets.get(first) {
            *self.gauges.progress.lock() = Some(Progress {
                share: first as f64 / buckets.len() as f64,
                text: format!("fires stored rows, at {}", bucket.key),
            });
        }
        let matcher = &mut self.filter.matcher;
        let matching = buckets[first..].iter().filter(|b| matcher.matches(b));
        matching.take(BUCKETS_MAX).cloned().collect()
    }

    /// Fires the log up to a position, as far as it is the log's.
    fn catch_up(&mut self, upto: Lsn) -> Result<(), End> {
        while self.cursor < upto {
            self.check_end()?;
            self.check_overflow()?;
            match self.take(Some(upto)) {
                Err(error) => self.fell_behind(&error)?,
                Ok(mut window) => {
                    let timers = self.add_timers(&mut window);
                    self.count_hops(&window);
                    if window.is_empty() {
                        self.pass_over(window.end)?;
                    } else {
                        self.process(window, Parts::of_timers(timers))?;
                    }
                }
            }
            self.store_if_due()?;
        }
        Ok(())
    }

    /// Moves on in memory.
    pub(crate) fn pass_over(&mut self, reached: Lsn) -> Result<(), End> {
        if reached > self.cursor {
            if self.policy.delivery != Delivery::Volatile {
                self.advance(reached)?;
            }
            self.moved(reached);
        }
        Ok(())
    }

    /// The next stored rows, up to the limits of a window, and the place behind them.
    fn stored_rows(&mut self) -> Result<(Window, Parts), End> {
        let (Some(Round(snapshot)), Some(place)) = (&self.round, &self.filter.backfill) else {
            return Err(End::Failed("a backfill without a place".into()));
        };
        let mut place = place.clone();
        let mut window = Window::new(self.cursor);
        let mut can_cut = false;
        let rows_max = self.limits.rows.min(self.sizes.rows);
        for (index, bucket) in snapshot.buckets().iter().enumerate() {
            let bound = place.bound(&bucket.key);
            if bound == i64::MAX {
                continue;
            }
            let bytes = self.limits.bytes.saturating_sub(window.bytes());
            let by_bytes = bytes / (bucket.schema.row_bytes() + size_of::<i64>());
            let room = rows_max.saturating_sub(window.rows).min(by_bytes);
            if room == 0 && !window.is_empty() {
                break;
            }
            let read = read(snapshot, index, bound, room.max(1), window.is_empty());
            let Some((rows, after)) = read.map_err(|error| End::Failed(error.to_string()))? else {
                break;
            };
            can_cut |= rows.times().first() != rows.times().last() || !window.is_empty();
            window.add_stored(bucket, rows);
            (place.key, place.after) = (Some(bucket.key.clone()), after);
            if after < i64::MAX {
                break;
            }
        }
        let parts = Parts {
            can_cut,
            place: Some(place),
            ..Parts::default()
        };
        Ok((window, parts))
    }
}

/// Rows of a bucket behind a time, about `room` of them, and the time up to which they are all.
/// Rows of one time stay together; if they alone are more than `room`, they come only if they must.
fn read(
    snapshot: &Snapshot,
    index: usize,
    bound: i64,
    room: usize,
    must: bool,
) -> Result<Option<(ColumnBatch, i64)>, engine::Error> {
    let scan = |from, to, limit| {
        let scan = Scan {
            from,
            to,
            limit,
            ..Scan::all()
        };
        snapshot.scan(index, &scan)
    };
    let from = bound.saturating_add(1);
    let rows = scan(from, i64::MAX, Some(Limit::First(room + 1)))?;
    if rows.rows() <= room {
        return Ok(Some((rows, i64::MAX)));
    }
    let last = rows.times()[room];
    let whole = rows.times().partition_point(|time| *time < last);
    if whole > 0 {
        let after = rows.times()[whole - 1];
        return Ok(Some((rows.slice(0..whole), after)));
    }
    if !must {
        return Ok(None);
    }
    Ok(Some((scan(last, last, None)?, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> BucketKey {
        BucketKey::parse(text).unwrap()
    }

    #[test]
    fn a_place_divides_rows_by_bucket_and_time() {
        let begun = Place::begin(100);
        assert_eq!(begun.bound(&key("A/1Min/T")), 99);
        let place = Place {
            key: Some(key("B/1Min/T")),
            after: 150,
            ..begun.clone()
        };
        assert_eq!(place.bound(&key("A/1Min/T")), i64::MAX);
        assert_eq!(place.bound(&key("B/1Min/T")), 150);
        assert_eq!(place.bound(&key("C/1Min/T")), 99);
        assert_eq!(Place::begin(i64::MIN).bound(&key("A/1Min/T")), i64::MIN);
        for place in [begun, place] {
            assert_eq!(Place::decode(&place.encode()), Some(place));
        }
        assert_eq!(Place::decode(&[0; 15]), None);
        assert_eq!(Place::decode(&[b'x'; 20]), None);
    }
}
