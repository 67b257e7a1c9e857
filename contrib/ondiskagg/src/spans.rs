//! Which stretches of time are affected.

use std::ops::Range;

use model::{TIME_MAX, TIME_MIN, Timeframe, Zone};

/// Half-open stretches of time (ns): ascending, apart from each other, none empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans(Vec<Range<i64>>);

impl Spans {
    /// The windows that hold one of these ascending times.
    pub(crate) fn of_times(times: &[i64], timeframe: Timeframe, zone: &Zone) -> Self {
        debug_assert!(times.is_sorted());
        let mut spans = Self::default();
        for time in times {
            if spans.0.last().is_none_or(|last| last.end <= *time) {
                let window = timeframe.window(*time, zone);
                spans.push(window.start..window.end);
            }
        }
        spans
    }

    /// The windows that overlap a range.
    pub(crate) fn of_range(range: Range<i64>, timeframe: Timeframe, zone: &Zone) -> Self {
        let mut spans = Self::default();
        if range.start < range.end {
            let first = timeframe.window(range.start, zone);
            let last = timeframe.window(range.end - 1, zone);
            spans.push(first.start..last.end);
        }
        spans
    }

    /// Everything that lies in one of them.
    pub(crate) fn union<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut all: Vec<Range<i64>> = parts.flat_map(|part| part.0.iter().cloned()).collect();
        all.sort_unstable_by_key(|span| span.start);
        let mut union = Self::default();
        for span in all {
            union.push(span);
        }
        union
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Range<i64>> {
        self.0.iter()
    }

    /// The parts of the spans inside `range`.
    pub(crate) fn within(&self, range: Range<i64>) -> impl Iterator<Item = Range<i64>> {
        let first = self.0.partition_point(|span| span.end <= range.start);
        let after = self.0.partition_point(|span| span.start < range.end);
        let (start, end) = (range.start, range.end);
        let cut = move |span: &Range<i64>| span.start.max(start)..span.end.min(end);
        self.0[first..after.max(first)].iter().map(cut)
    }

    /// Adds a span that starts at or after the start of the last.
    fn push(&mut self, span: Range<i64>) {
        match self.0.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => self.0.push(span),
        }
    }
}

/// The inclusive range of an event as a half-open one that can be computed with, begun at the bar
/// that holds its first instant.
pub(crate) fn clamped(from: i64, to: i64, base: Timeframe, zone: &Zone) -> Range<i64> {
    let from = base.floor(from.clamp(TIME_MIN, TIME_MAX), zone);
    from..to.clamp(TIME_MIN, TIME_MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn minutes(spans: &Spans) -> Vec<(i64, i64)> {
        let both = |s: &Range<i64>| (s.start / MINUTE, s.end / MINUTE);
        spans.iter().map(both).collect()
    }

    #[test]
    fn neighbours_join_and_the_rest_stays_apart() {
        let five = Timeframe::parse("5Min").unwrap();
        let hour = Timeframe::parse("1H").unwrap();
        let times = [0, 1, 4, 5, 11, 70, 71].map(|m| m * MINUTE);
        let fives = Spans::of_times(&times, five, &Zone::utc());
        assert_eq!(minutes(&fives), [(0, 15), (70, 75)]);
        let hours = Spans::of_times(&times[..5], hour, &Zone::utc());
        assert_eq!(
            minutes(&Spans::union([&fives, &hours].into_iter())),
            [(0, 60), (70, 75)]
        );
        let within: Vec<_> = fives.within(7 * MINUTE..72 * MINUTE).collect();
        assert_eq!(within, [7 * MINUTE..15 * MINUTE, 70 * MINUTE..72 * MINUTE]);
        assert_eq!(fives.within(20 * MINUTE..70 * MINUTE).count(), 0);
    }

    #[test]
    fn any_range_can_be_computed_with() {
        let day = Timeframe::parse("1D").unwrap();
        for zone in ["UTC", "America/New_York", "Asia/Tokyo"] {
            let zone = Zone::parse(zone).unwrap();
            let all = Spans::of_range(clamped(i64::MIN, i64::MAX, day, &zone), day, &zone);
            let only = all.iter().next().unwrap();
            assert!(only.start <= TIME_MIN && TIME_MAX < only.end, "{zone:?}");
            assert_eq!(Spans::of_range(5..5, day, &zone), Spans::default());
        }
    }
}
