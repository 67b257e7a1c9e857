//! Delivers ranges that are to be read again, as gaps.
//!
//! A range is kept in the state of the instance, one per bucket, until the plugin commit of the
//! window that delivered it: its effects and "done" are one commit, so a crash delivers it again
//! with none of its effects, or not at all. Ranges come before any row of the log, so before those
//! of their key.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::BucketInfo;
use model::BucketKey;

use crate::dispatch::{Dispatcher, Parts};
use crate::overflow::DROPPED;
use crate::section::Change;
use crate::state::gone_bucket;
use crate::window::{What, Window};

/// Most ranges delivered in one window.
pub(crate) const WINDOW_RANGES_MAX: usize = 1000;

/// Longest stretch of stored rows delivered as one gap, so that a plugin does not load decades at
/// once: a year and a day.
pub(crate) const GAP_NANOS_MAX: i64 = 366 * 86_400 * 1_000_000_000;

/// A range as it is kept.
type Kept = (Bytes, (i64, i64));

/// First and last time of the rows of a bucket, by its key.
type Stored = HashMap<Bytes, (Arc<BucketInfo>, Option<(i64, i64)>)>;

impl Dispatcher {
    /// A window of ranges; `None` if none is kept.
    pub(crate) fn take_ranges(&mut self) -> Option<(Window, Parts)> {
        let kept: Vec<Kept> = self.table.read().first_ranges(self.sizes.ranges);
        if kept.is_empty() {
            return None;
        }
        let stored = self.stored_times(&kept);
        let mut window = Window::new(self.cursor);
        let mut parts = Parts::default();
        for (key, (from, to)) in kept {
            if key.first() == Some(&DROPPED) {
                let bucket = named(&key[1..]).as_ref().and_then(gone_bucket);
                if let Some(bucket) = bucket {
                    window.add_by_key(bucket.key.clone(), What::Deleted(bucket));
                }
                parts.ranges.push(Change::Done { key });
                continue;
            }
            // A bucket that is gone by now was dropped behind the cursor: the log tells.
            let Some((bucket, times)) = stored.get(&key) else {
                parts.ranges.push(Change::Done { key });
                continue;
            };
            let end = end_of(from, to, *times, self.sizes.range_nanos);
            window.add_by_key(bucket.key.clone(), What::Gap(Arc::clone(bucket), from, end));
            parts.gaps += 1;
            parts.gap_nanos = parts.gap_nanos.max(end.saturating_sub(from));
            parts.can_cut |= from < end;
            parts.ranges.push(if end < to {
                Change::Dirty {
                    key,
                    from: end + 1,
                    to,
                }
            } else {
                Change::Done { key }
            });
        }
        Some((window, parts))
    }

    /// Buckets of ranges with the times of their rows.
    fn stored_times(&self, kept: &[Kept]) -> Stored {
        let find = |(key, _): &Kept| self.engine.bucket(&named(key)?);
        let ids: Vec<_> = kept.iter().filter_map(find).map(|b| b.id).collect();
        let snapshot = self.engine.snapshot(&ids);
        let found = snapshot.buckets().iter().enumerate();
        let found = found.map(|(index, bucket)| {
            let key = Bytes::copy_from_slice(bucket.key.as_str().as_bytes());
            (key, (Arc::clone(bucket), snapshot.time_range(index)))
        });
        found.collect()
    }
}

fn named(key: &[u8]) -> Option<BucketKey> {
    BucketKey::parse(std::str::from_utf8(key).ok()?).ok()
}

/// Where the first part of a range ends: behind `nanos` of stored rows, or with the range.
fn end_of(from: i64, to: i64, stored: Option<(i64, i64)>, nanos: i64) -> i64 {
    let Some((first, last)) = stored else {
        return to;
    };
    let end = from.max(first).saturating_add(nanos);
    if end >= last.min(to) { to } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_where_there_are_rows_only() {
        assert_eq!(end_of(0, 1000, None, 10), 1000);
        assert_eq!(end_of(0, 1000, Some((500, 600)), 10), 510);
        assert_eq!(end_of(511, 1000, Some((500, 600)), 10), 521);
        assert_eq!(end_of(590, 1000, Some((500, 600)), 10), 1000);
        assert_eq!(end_of(601, 1000, Some((500, 600)), 10), 1000);
        assert_eq!(end_of(0, 505, Some((500, 600)), 10), 505);
        assert_eq!(end_of(0, i64::MAX, Some((5, i64::MAX)), i64::MAX), i64::MAX);
        assert_eq!(end_of(3, 9, Some((1, 9)), 0), 3);
    }
}
