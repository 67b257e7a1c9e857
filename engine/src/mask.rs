//! Ranges of time whose rows are deleted, and which sources they mask.
//!
//! I7, for deletes: one at LSN `l` masks a source if and only if every commit of the source is below `l`:
//! `source.last_lsn <= l`. So a source is masked by position alone, like everything else that
//! decides between rows; nothing in a segment or a frozen tail is ever changed.

use wal::Lsn;

/// The rows of a bucket with `from <= time <= to`, deleted by the frame at `lsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mask {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) lsn: Lsn,
}

impl Mask {
    /// Whether it masks rows of a source with these times, whose commits all lie below `last_lsn`.
    pub(crate) fn applies(&self, last_lsn: Lsn, min: i64, max: i64) -> bool {
        last_lsn <= self.lsn && self.from <= max && min <= self.to
    }

    pub(crate) fn contains(&self, time: i64) -> bool {
        (self.from..=self.to).contains(&time)
    }
}

/// Adds a delete that is newer than all others. Those within it mask nothing that it does not.
pub(crate) fn add(masks: &mut Vec<Mask>, new: Mask) {
    masks.retain(|mask| mask.from < new.from || mask.to > new.to);
    masks.push(new);
}

/// What the masks leave of the times `min..=max` of a source, as (from, to), ascending and apart.
pub(crate) fn live(masks: &[Mask], last_lsn: Lsn, min: i64, max: i64) -> Vec<(i64, i64)> {
    let applying = masks.iter().filter(|m| m.applies(last_lsn, min, max));
    let mut dead: Vec<(i64, i64)> = applying.map(|mask| (mask.from, mask.to)).collect();
    dead.sort_unstable();
    let mut live = Vec::with_capacity(dead.len() + 1);
    let mut from = min;
    for (first, last) in dead {
        if first > from {
            live.push((from, first - 1));
        }
        let Some(next) = last.checked_add(1) else {
            return live;
        };
        from = from.max(next);
    }
    if from <= max {
        live.push((from, max));
    }
    live
}

/// Whether a row of a source is masked.
pub(crate) fn is_masked(masks: &[Mask], last_lsn: Lsn, time: i64) -> bool {
    masks.iter().any(|mask| mask.applies(last_lsn, time, time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(from: i64, to: i64, lsn: u64) -> Mask {
        let lsn = Lsn(lsn);
        Mask { from, to, lsn }
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        let (min, max) = (i64::MIN, i64::MAX);
        let masks = [mask(min, 4, 8), mask(9, max, 8)];
        assert_eq!(live(&masks, Lsn(8), min, max), [(5, 8)]);
        assert_eq!(live(&masks, Lsn(16), min, max), [(min, max)]);
        assert_eq!(live(&[mask(min, max, 8)], Lsn(0), min, max), []);
    }

    proptest! {
        /// Against each time by itself.
        #[test]
        fn live_is_what_no_mask_has(
            given in proptest::collection::vec((0_i64..30, 0_i64..9, 0_u64..4), 0..8),
            last_lsn in 0_u64..4,
            min in 0_i64..30,
            len in 0_i64..30,
        ) {
            let max = min + len;
            let mut given = given;
            given.sort_by_key(|(_, _, lsn)| *lsn);
            let all: Vec<Mask> = given.iter().map(|(f, len, lsn)| mask(*f, f + len, *lsn)).collect();
            let mut kept = Vec::new();
            all.iter().for_each(|mask| add(&mut kept, *mask));
            let spans = live(&kept, Lsn(last_lsn), min, max);
            prop_assert!(spans.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            for time in min - 2..=max + 2 {
                let dead = all.iter().any(|m| last_lsn <= m.lsn.0 && m.contains(time));
                prop_assert_eq!(is_masked(&kept, Lsn(last_lsn), time), dead);
                let alive = spans.iter().any(|(from, to)| (*from..=*to).contains(&time));
                prop_assert_eq!(alive, !dead && (min..=max).contains(&time));
            }
        }
    }
}
