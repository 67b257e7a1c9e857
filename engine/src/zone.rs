//! Zone maps: which times of a bucket may have rows with the values that are asked for.
//!
//! The table of a page keeps the bounds of its values. What is left out are spans of **time** in
//! which no page of any source can have such a row, never pages as such: rows in such a span do
//! not match, whichever source wins. So an older row never comes back because the page of the
//! newer one was passed by (I7), and what is deleted stays deleted. Tails, pages without bounds
//! and those of a column that was added later or changed its kind are always read.

use wal::Lsn;

use crate::page::Bounds;
use crate::segment::Chunk;
use crate::view::View;
use crate::{BucketInfo, Error};

/// Values of a column: those in some ranges, both ends inclusive. It may say too much, never too
/// little, so whoever asks compares the rows that come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    floats: bool,
    /// Ascending and apart. Of floats, their [`order`]: NaNs are beyond the infinities.
    ranges: Vec<(i128, i128)>,
}

/// What a value of a column must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Position in the bucket's schema.
    pub column: usize,
    /// One of these. NaN counts as greater, or less, than all else.
    pub values: Values,
}

/// Where rows that meet conditions may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zones {
    /// Times, both ends inclusive, ascending and apart. Outside there is no such row.
    pub spans: Vec<(i64, i64)>,
    /// Pages of a column that have times in the range.
    pub pages: u64,
    /// Those of them that lie in no span.
    pub skipped: u64,
}

/// The place of a float among all; one zero is as good as the other.
fn order(value: f64) -> i128 {
    let value = if value == 0.0 { 0.0 } else { value };
    let bits = value.to_bits() as i64;
    // The order of the bits of negative values is turned round.
    i128::from(bits ^ (((bits >> 63) as u64) >> 1) as i64)
}

impl Values {
    /// Integers in one of these ranges.
    pub fn integers(ranges: Vec<(i128, i128)>) -> Self {
        Self::of(false, ranges)
    }

    /// Floats in one of these ranges; without an end they go on past infinity to NaN.
    pub fn floats(ranges: &[(Option<f64>, Option<f64>)]) -> Self {
        let end = |end: Option<f64>, open| match end.filter(|end| !end.is_nan()) {
            Some(end) => order(end),
            None => open,
        };
        let ranges = ranges.iter();
        let ranges = ranges.map(|(from, to)| (end(*from, i128::MIN), end(*to, i128::MAX)));
        Self::of(true, ranges.collect())
    }

    fn of(floats: bool, mut ranges: Vec<(i128, i128)>) -> Self {
        ranges.retain(|(from, to)| from <= to);
        ranges.sort_unstable();
        let mut apart: Vec<(i128, i128)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match apart.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => apart.push((from, to)),
            }
        }
        Self {
            floats,
            ranges: apart,
        }
    }

    /// What is in both; `None` if one has integers and the other floats.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        if self.floats != other.floats {
            return None;
        }
        let (mut a, mut b) = (0, 0);
        let mut both = Vec::new();
        while let (Some(left), Some(right)) = (self.ranges.get(a), other.ranges.get(b)) {
            both.push((left.0.max(right.0), left.1.min(right.1)));
            match left.1 < right.1 {
                true => a += 1,
                false => b += 1,
            }
        }
        Some(Self::of(self.floats, both))
    }

    /// What is in one of them; `None` if one has integers and the other floats.
    #[must_use]
    pub fn or(&self, other: &Self) -> Option<Self> {
        let both = [&self.ranges[..], &other.ranges[..]].concat();
        (self.floats == other.floats).then(|| Self::of(self.floats, both))
    }

    /// Whether a page with these bounds may have one of them.
    fn may_be_in(&self, bounds: &Bounds) -> bool {
        match bounds {
            Bounds::Integers(min, max) if self.floats => {
                // Rounding keeps the order.
                self.meets(order(*min as f64), order(*max as f64))
            }
            Bounds::Integers(min, max) => self.meets(*min, *max),
            Bounds::Floats { .. } if !self.floats => true,
            Bounds::Floats { values, nan } => {
                let nans = *nan && self.has_nan();
                nans || values.is_some_and(|(min, max)| self.meets(order(min), order(max)))
            }
        }
    }

    fn meets(&self, min: i128, max: i128) -> bool {
        let first = self.ranges.partition_point(|(_, to)| *to < min);
        self.ranges.get(first).is_some_and(|(from, _)| *from <= max)
    }

    fn has_nan(&self) -> bool {
        let least = self.ranges.first().map(|range| range.0);
        let greatest = self.ranges.last().map(|range| range.1);
        least.is_some_and(|from| from < order(f64::NEG_INFINITY))
            || greatest.is_some_and(|to| to > order(f64::INFINITY))
    }
}

/// A piece of a source: its times, and whether it may have a row that is asked for.
struct Part {
    min: i64,
    max: i64,
    live: bool,
    /// Of a chunk.
    is_page: bool,
}

/// The zones of a bucket at an LSN.
pub(crate) fn zones(
    view: &View,
    lsn: Lsn,
    (from, to): (i64, i64),
    conditions: &[Condition],
) -> Result<Zones, Error> {
    let columns = view.info.schema.len();
    if let Some(wrong) = conditions.iter().find(|c| c.column >= columns) {
        let message = format!("column {} of a bucket with {columns}", wrong.column);
        return Err(Error::Invalid(message));
    }
    if from > to {
        return Ok(Zones::default());
    }
    let mut parts = Vec::new();
    let in_range = view.chunks.partition_point(|chunk| chunk.min <= to);
    for chunk in view.chunks[..in_range].iter().filter(|c| c.max >= from) {
        chunk_parts(view, chunk, (from, to), conditions, &mut parts)?;
    }
    let tails = view.frozen.iter().map(|frozen| &frozen.tail);
    let tails = tails.chain([&view.tail]);
    let tails = tails.filter_map(|tail| tail.prefix(lsn));
    let tails = tails.filter(|prefix| prefix.min <= to && prefix.max >= from);
    parts.extend(tails.map(|prefix| Part {
        min: prefix.min,
        max: prefix.max,
        live: true,
        is_page: false,
    }));
    // Runs of chunks: nearly sorted.
    parts.sort_by_key(|part| part.min);
    let spans = spans(&parts, (from, to));
    let pages = || parts.iter().filter(|part| part.is_page);
    let is_skipped = |part: &&Part| {
        let next = spans.partition_point(|span| span.1 < part.min);
        spans.get(next).is_none_or(|span| span.0 > part.max)
    };
    Ok(Zones {
        pages: pages().count() as u64,
        skipped: pages().filter(is_skipped).count() as u64,
        spans,
    })
}

/// Adds the pages of a chunk that have times in the range.
fn chunk_parts(
    view: &View,
    chunk: &Chunk,
    (from, to): (i64, i64),
    conditions: &[Condition],
    parts: &mut Vec<Part>,
) -> Result<(), Error> {
    // Of a version that nobody knows: reading the chunk says so.
    let info = view.version(chunk.schema_version()).unwrap_or(&view.info);
    let columns: Vec<(Option<usize>, &Values)> = conditions
        .iter()
        .map(|condition| {
            (
                position(&view.info, info, condition.column),
                &condition.values,
            )
        })
        .collect();
    for page in chunk.pages_between(from, to, &view.info)? {
        let (min, max) = chunk.page_times(page, &view.info)?;
        let mut live = true;
        for (column, values) in &columns {
            if !live {
                break;
            }
            if let Some(column) = *column {
                let ty = info.schema.columns()[column].ty;
                let bounds = chunk.page_bounds(column, ty, page, &view.info)?;
                live = bounds.is_none_or(|bounds| values.may_be_in(&bounds));
            }
        }
        parts.push(Part {
            min,
            max,
            live,
            is_page: true,
        });
    }
    Ok(())
}

/// Where a column was in another version of the schema.
fn position(now: &BucketInfo, then: &BucketInfo, column: usize) -> Option<usize> {
    let id = now.column_ids.get(column)?;
    then.column_ids.iter().position(|found| found == id)
}

/// The times of live parts, which are given by least time; one span as long as nothing dead lies
/// between.
fn spans(parts: &[Part], (from, to): (i64, i64)) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    let mut dead_between = false;
    for part in parts {
        if !part.live {
            dead_between = true;
            continue;
        }
        let (min, max) = (part.min.max(from), part.max.min(to));
        match spans.last_mut() {
            Some(last) if !dead_between || min <= last.1.saturating_add(1) => {
                last.1 = last.1.max(max);
            }
            _ => spans.push((min, max)),
        }
        dead_between = false;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn floats_are_in_order_and_nan_at_the_ends() {
        let values = [
            f64::NEG_INFINITY,
            -1e300,
            -1.5,
            -f64::MIN_POSITIVE,
            0.0,
            1e-300,
            2.0,
        ];
        assert!(
            values
                .windows(2)
                .all(|pair| order(pair[0]) < order(pair[1]))
        );
        assert_eq!(order(0.0), order(-0.0));
        assert!(order(f64::NAN) > order(f64::INFINITY));
        assert!(order(-f64::NAN) < order(f64::NEG_INFINITY));
        let nan = Bounds::Floats {
            values: None,
            nan: true,
        };
        let above = Values::floats(&[(Some(1.0), None)]);
        let below = Values::floats(&[(None, Some(5.0))]);
        assert!(above.may_be_in(&nan) && below.may_be_in(&nan));
        assert!(!above.and(&below).unwrap().may_be_in(&nan));
        assert_eq!(above.and(&Values::integers(vec![(1, 2)])), None);
        // A comparison with NaN is not understood, so that all may match.
        assert!(Values::floats(&[(Some(f64::NAN), Some(f64::NAN))]).may_be_in(&nan));
    }

    proptest! {
        /// Sets of small integers, against sets.
        #[test]
        fn ranges_are_sets(a in ranges(), b in ranges(), min in -20_i128..20, len in 0_i128..9) {
            let has = |ranges: &[(i128, i128)], value| ranges.iter().any(|(from, to)| *from <= value && value <= *to);
            let (left, right) = (Values::integers(a.clone()), Values::integers(b.clone()));
            let (and, or) = (left.and(&right).unwrap(), left.or(&right).unwrap());
            for value in -25..25 {
                let (in_a, in_b) = (has(&a, value), has(&b, value));
                prop_assert_eq!(and.meets(value, value), in_a && in_b);
                prop_assert_eq!(or.meets(value, value), in_a || in_b);
            }
            let any = (min..=min + len).any(|value| has(&a, value));
            prop_assert_eq!(left.may_be_in(&Bounds::Integers(min, min + len)), any);
        }
    }

    fn ranges() -> impl Strategy<Value = Vec<(i128, i128)>> {
        proptest::collection::vec((-20_i128..20, -3_i128..6), 0..6).prop_map(|found| {
            found
                .into_iter()
                .map(|(from, len)| (from, from + len))
                .collect()
        })
    }
}
