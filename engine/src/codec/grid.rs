//! Times of bars: runs of (first slot, count) on a grid. A whole session is 12 bytes.
//!
//! The page names its grid itself, so it can be read without knowing timeframe or zone:
//!
//! ```text
//! 0 i64 step, 8 i64 anchor, 16 u32 runs, 20 u32 zero, then runs x i64 first slot, runs x u32 count
//! ```
//! Row `k` of a run has the time `anchor + (first + k) * step`.

use std::ops::Range;

use crate::fields::Fields;

const HEADER_BYTES: usize = 24;
const RUN_BYTES: usize = 12;

/// The grid of a timeframe: window `n` begins at `anchor + n * step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) step: i64,
    pub(crate) anchor: i64,
}

/// `None` if a time is off the grid, the times do not ascend, or more than `bytes_max` bytes are
/// needed.
pub(crate) fn encode(times: &[i64], grid: Grid, bytes_max: usize) -> Option<Vec<u8>> {
    let runs_max = bytes_max.checked_sub(HEADER_BYTES)? / RUN_BYTES;
    let mut firsts: Vec<i64> = Vec::new();
    let mut counts: Vec<u32> = Vec::new();
    let mut expected = None;
    for time in times {
        if expected == Some(*time) {
            *counts.last_mut()? += 1;
        } else {
            let offset = time.checked_sub(grid.anchor)?;
            let descends = expected.is_some_and(|expected| *time < expected);
            if offset % grid.step != 0 || descends || firsts.len() == runs_max {
                return None;
            }
            firsts.push(offset / grid.step);
            counts.push(1);
        }
        expected = Some(time.checked_add(grid.step)?);
    }
    let mut target = Vec::with_capacity(HEADER_BYTES + firsts.len() * RUN_BYTES);
    target.extend_from_slice(&grid.step.to_le_bytes());
    target.extend_from_slice(&grid.anchor.to_le_bytes());
    target.extend_from_slice(&u32::try_from(firsts.len()).ok()?.to_le_bytes());
    target.extend_from_slice(&[0; 4]);
    firsts
        .iter()
        .for_each(|v| target.extend_from_slice(&v.to_le_bytes()));
    counts
        .iter()
        .for_each(|v| target.extend_from_slice(&v.to_le_bytes()));
    Some(target)
}

/// Writes the times of rows `wanted` of a page to the target, which is as long. `None` if the
/// bytes are not such a page.
pub(crate) fn decode(
    page: &[u8],
    rows: usize,
    wanted: Range<usize>,
    mut target: &mut [i64],
) -> Option<()> {
    let mut fields = Fields::new(page);
    let step = fields.i64()?;
    let anchor = fields.i64()?;
    let runs = fields.u32()? as usize;
    fields.u32()?;
    if step <= 0 || page.len() != HEADER_BYTES.checked_add(runs.checked_mul(RUN_BYTES)?)? {
        return None;
    }
    let mut counts = Fields::new(&page[HEADER_BYTES + runs * 8..]);
    let mut before = 0_usize;
    for _ in 0..runs {
        let first = fields.i64()?;
        let count = counts.u32()? as usize;
        let start = anchor.checked_add(first.checked_mul(step)?)?;
        // The last time must exist, then all do.
        let span = i64::try_from(count.checked_sub(1)?)
            .ok()?
            .checked_mul(step)?;
        start.checked_add(span)?;
        let from = wanted.start.clamp(before, before + count) - before;
        let to = wanted.end.clamp(before, before + count) - before;
        let (times, rest) = target.split_at_mut_checked(to - from)?;
        // A sum and no product: vectors have no product of 64 bits. Past the last it may wrap.
        let mut next = start.wrapping_add(step.wrapping_mul(from as i64));
        for time in times {
            *time = next;
            next = next.wrapping_add(step);
        }
        target = rest;
        before += count;
    }
    (before == rows).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRID: Grid = Grid {
        step: 60,
        anchor: 7,
    };

    proptest! {
        #[test]
        fn times_on_the_grid_come_back(gaps in proptest::collection::vec(1_i64..4, 1..300), first in -1000_i64..1000) {
            let mut slot = first;
            let times: Vec<i64> = gaps.iter().map(|gap| { slot += gap; GRID.anchor + slot * GRID.step }).collect();
            let page = encode(&times, GRID, usize::MAX).unwrap();
            let rows = times.len();
            for wanted in [0..rows, rows / 3..rows - rows / 4] {
                let mut back = vec![0; wanted.len()];
                decode(&page, rows, wanted.clone(), &mut back).unwrap();
                prop_assert_eq!(&back, &times[wanted]);
            }
            let mut back = vec![0; rows + 1];
            let cut = page.len() - 1;
            prop_assert!(decode(&page[..cut], rows, 0..rows, &mut back).is_none());
            prop_assert!(decode(&page, rows + 1, 0..rows + 1, &mut back).is_none());
        }

        #[test]
        fn garbage_is_refused_without_a_panic(page in proptest::collection::vec(any::<u8>(), 0..200), rows in 0_usize..4096) {
            let _ = decode(&page, rows, 0..rows, &mut vec![0; rows]);
        }
    }

    #[test]
    fn a_whole_session_is_one_run_and_off_grid_times_are_not_for_this_codec() {
        let times: Vec<i64> = (0..390).map(|i| GRID.anchor + i * 60).collect();
        assert_eq!(encode(&times, GRID, 1000).unwrap().len(), 24 + 12);
        assert_eq!(encode(&[7, 68], GRID, 1000), None);
        assert_eq!(encode(&[67, 7], GRID, 1000), None);
        assert_eq!(encode(&[7, 7], GRID, 1000), None);
        let scattered: Vec<i64> = (0..390).map(|i| GRID.anchor + i * 120).collect();
        assert_eq!(encode(&scattered, GRID, 1000), None);
    }
}
