//! What happens when the log no longer reaches back to a cursor: nothing is lost, because the rows
//! are in the store. A plugin that accepts gaps is told to read them again, bucket by bucket; the
//! cursor moves with the last of them, so a crash begins them anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use engine::{BucketInfo, Error, Lsn};
use plugin_sdk::{CloseReason, Delivery};

use crate::calls::Effects;
use crate::commit::Committed;
use crate::dispatch::Dispatcher;
use crate::fire::Fired;
use crate::run::End;
use crate::window::{What, Window};

/// Most ranges delivered in one window.
const WINDOW_GAPS_MAX: usize = 1000;

/// Longest range, so that a plugin does not load decades at once: a year and a day.
const GAP_NANOS_MAX: i64 = 366 * 86_400 * 1_000_000_000;

struct Gap {
    bucket: Arc<BucketInfo>,
    from: i64,
    to: i64,
}

impl Dispatcher {
    /// The log cannot be read at the cursor.
    pub(crate) fn fell_behind(&mut self, error: &Error) -> Result<(), End> {
        match error {
            Error::Released { .. } | Error::Corrupt { .. } => self.skip_backlog(&error.to_string()),
            Error::Closed => Err(End::Stopped),
            _ => Err(End::Failed(error.to_string())),
        }
    }

    /// Leaves the backlog behind, in the way the plugin allows.
    pub(crate) fn skip_backlog(&mut self, why: &str) -> Result<(), End> {
        let visible = self.engine.marks().visible;
        if self.policy.delivery == Delivery::Volatile {
            let bytes = visible.0.saturating_sub(self.cursor.0);
            tracing::warn!(instance = &*self.id, bytes, "{why}; skips ahead");
            self.gauges.gaps.fetch_add(1, Relaxed);
            self.meter.gaps.increment(1);
            self.reader = None;
            self.moved(visible);
            return Ok(());
        }
        if !self.policy.accepts_gap {
            self.book.release(self.origin);
            return Err(End::Disabled(format!(
                "{why}; the plugin cannot skip rows: give the entry a new \"name\" to start afresh"
            )));
        }
        tracing::warn!(
            instance = &*self.id,
            "{why}; stored rows are read again instead"
        );
        self.reader = None;
        self.fire_gaps(visible)?;
        self.book.mend(self.origin);
        Ok(())
    }

    fn fire_gaps(&mut self, target: Lsn) -> Result<(), End> {
        let mut gaps = self.gaps();
        let mut count = WINDOW_GAPS_MAX;
        loop {
            count = count.min(gaps.len());
            let mut window = Window::new(self.cursor);
            window.end = target;
            for gap in gaps.iter().take(count) {
                window.add_alone(What::Gap(Arc::clone(&gap.bucket), gap.from, gap.to));
            }
            let can_split = count > 1 || gaps.front().is_some_and(|gap| gap.from < gap.to);
            let Fired::Done(effects) = self.fire_lanes(window.lanes, can_split)? else {
                self.close_triggers(CloseReason::Again);
                halve(&mut gaps, &mut count);
                continue;
            };
            gaps.drain(..count);
            self.gauges.gaps.fetch_add(count as u64, Relaxed);
            self.meter.gaps.increment(count as u64);
            let is_last = gaps.is_empty();
            self.commit_gaps(effects, if is_last { target } else { self.cursor })?;
            if is_last {
                return Ok(());
            }
            count = WINDOW_GAPS_MAX;
        }
    }

    fn commit_gaps(&mut self, mut effects: Effects, cursor: Lsn) -> Result<(), End> {
        let messages = std::mem::take(&mut effects.messages);
        match self.write(&effects, Some(cursor), 1)? {
            Committed::Refused(why) => Err(End::Failed(why)),
            Committed::Yes => {
                self.moved(cursor);
                self.send(messages);
                Ok(())
            }
        }
    }

    /// The stored range of every bucket the instance fires on.
    fn gaps(&mut self) -> VecDeque<Gap> {
        let buckets = self.engine.buckets();
        let matching = buckets.iter().filter(|b| self.filter.matcher.matches(b));
        let ids: Vec<_> = matching.map(|bucket| bucket.id).collect();
        let snapshot = self.engine.snapshot(&ids);
        let mut gaps = VecDeque::new();
        for (index, bucket) in snapshot.buckets().iter().enumerate() {
            let Some((mut from, last)) = snapshot.time_range(index) else {
                continue;
            };
            loop {
                let to = last.min(from.saturating_add(GAP_NANOS_MAX));
                let bucket = Arc::clone(bucket);
                gaps.push_back(Gap { bucket, from, to });
                if to >= last {
                    break;
                }
                from = to + 1;
            }
        }
        gaps
    }
}

/// Fewer ranges, or the first in two.
fn halve(gaps: &mut VecDeque<Gap>, count: &mut usize) {
    if *count > 1 {
        *count /= 2;
        return;
    }
    let Some(whole) = gaps.pop_front() else {
        return;
    };
    // Halfway without overflow.
    let middle = whole.from + (whole.to.abs_diff(whole.from) / 2) as i64;
    gaps.push_front(Gap {
        bucket: Arc::clone(&whole.bucket),
        from: middle + 1,
        to: whole.to,
    });
    gaps.push_front(Gap {
        to: middle,
        ..whole
    });
}
