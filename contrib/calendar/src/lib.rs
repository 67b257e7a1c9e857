//! Trading sessions of the NASDAQ.
//!
//! A session is the half-open span from 09:30 to 16:00 of New York, to 13:00 on days of an early
//! close. Weekends and holidays have none. Whatever zone the server runs in, the answer is the same:
//! only instants and civil days go in and out.
#![forbid(unsafe_code)]

mod days;

use std::ops::Range;

use model::{NANOS_PER_SECOND, Zone};

const MINUTE: i64 = 60 * NANOS_PER_SECOND;
const OPEN: i64 = (9 * 60 + 30) * MINUTE;
const CLOSE: i64 = 16 * 60 * MINUTE;
const EARLY_CLOSE: i64 = 13 * 60 * MINUTE;
const DAY: i64 = 24 * 60 * MINUTE;

/// The sessions of one exchange.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: Zone,
}

impl Calendar {
    /// The NASDAQ's, from 1970 on; after 2029 only weekends are known.
    pub fn nasdaq() -> Self {
        Self {
            zone: Zone::parse("America/New_York").expect("the time zone database is bundled"),
        }
    }

    /// The civil day at the exchange, counted from 1970-01-01, at `time`.
    pub fn day(&self, time: i64) -> i64 {
        self.zone.local_day(time)
    }

    /// The first instant of a civil day at the exchange.
    pub fn day_start(&self, day: i64) -> i64 {
        self.zone.day_start(day)
    }

    /// The session of a civil day, as a half-open span of time (ns); `None` on days without one.
    pub fn session(&self, day: i64) -> Option<Range<i64>> {
        let close = match kind(day) {
            DayKind::Closed => return None,
            DayKind::Early => EARLY_CLOSE,
            DayKind::Whole => CLOSE,
        };
        Some(self.zone.instant(day, OPEN)..self.zone.instant(day, close))
    }

    /// Whether the exchange is open at `time`.
    pub fn is_open(&self, time: i64) -> bool {
        self.session(self.day(time))
            .is_some_and(|session| session.contains(&time))
    }

    /// The spans of rows, given by their ascending times, that lie in sessions.
    pub fn open_rows(&self, times: &[i64]) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        let mut row = 0;
        while let Some(time) = times.get(row) {
            let day = self.day(*time);
            let rest = &times[row..];
            let next_day = self.day_start(day + 1);
            if let Some(session) = self.session(day) {
                let first = row + rest.partition_point(|t| *t < session.start);
                let after = row + rest.partition_point(|t| *t < session.end);
                if first < after {
                    spans.push(first..after);
                }
            }
            // At least one row: the next day begins after the time of this one.
            row += rest.partition_point(|t| *t < next_day).max(1);
        }
        spans
    }
}

/// Whether there is a session on a civil day, counted from 1970-01-01.
pub fn is_session_day(day: i64) -> bool {
    kind(day) != DayKind::Closed
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayKind {
    Closed,
    Early,
    Whole,
}

fn kind(day: i64) -> DayKind {
    // 1970-01-01 was a Thursday; 5 and 6 are Saturday and Sunday.
    if (day + 3).rem_euclid(7) >= 5 {
        return DayKind::Closed;
    }
    let (year, month, of_month) = Zone::utc().local_date(day.saturating_mul(DAY));
    let code = month as u16 * 100 + of_month as u16;
    if holds(days::CLOSED, year, code) {
        DayKind::Closed
    } else if holds(days::EARLY, year, code) {
        DayKind::Early
    } else {
        DayKind::Whole
    }
}

fn holds(list: &[(i16, &[u16])], year: i16, code: u16) -> bool {
    list.binary_search_by_key(&year, |(year, _)| *year)
        .is_ok_and(|at| list[at].1.binary_search(&code).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i16, month: u8, of_month: u8) -> i64 {
        let mut day = Zone::year_start_day(year);
        while Zone::utc().local_date(day * DAY) != (year, month as i8, of_month as i8) {
            day += 1;
        }
        day
    }

    /// Seconds since 1970 of a session.
    fn session(year: i16, month: u8, of_month: u8) -> Option<(i64, i64)> {
        let span = Calendar::nasdaq().session(day(year, month, of_month))?;
        Some((span.start / NANOS_PER_SECOND, span.end / NANOS_PER_SECOND))
    }

    #[test]
    fn lists_are_sorted_and_name_week_days_once() {
        for list in [days::CLOSED, days::EARLY] {
            assert!(list.is_sorted_by(|a, b| a.0 < b.0));
            for (year, codes) in list {
                assert!(codes.is_sorted_by(|a, b| a < b), "{year}");
                for code in *codes {
                    let day = day(*year, (code / 100) as u8, (code % 100) as u8);
                    assert!((day + 3).rem_euclid(7) < 5, "{year} {code} is a weekend");
                }
            }
        }
        let count = |list: &[(i16, &[u16])]| list.iter().map(|(_, d)| d.len()).sum::<usize>();
        // MarketStore's 514 and 81, eight Juneteenths and 2025-01-09.
        assert_eq!((count(days::CLOSED), count(days::EARLY)), (514 + 9, 81));
    }

    #[test]
    fn no_day_is_both_closed_and_early() {
        for (year, codes) in days::EARLY {
            for code in *codes {
                assert!(!holds(days::CLOSED, *year, *code), "{year} {code}");
            }
        }
    }

    #[test]
    fn juneteenth_is_closed_on_the_day_it_is_observed() {
        let observed = [
            (2022, 20),
            (2023, 19),
            (2024, 19),
            (2025, 19),
            (2026, 19),
            (2027, 18),
            (2028, 19),
            (2029, 19),
        ];
        for (year, of_month) in observed {
            assert!(!is_session_day(day(year, 6, of_month)), "{year}");
        }
        assert!(is_session_day(day(2021, 6, 18)));
    }

    #[test]
    fn sessions_follow_the_clocks_of_new_york() {
        // 14:30 to 21:00 UTC in winter, 13:30 to 20:00 in summer, 18:00 on an early close.
        let at =
            |y, m, d, hour: i64, minute: i64| day(y, m, d) * 86_400 + hour * 3600 + minute * 60;
        assert_eq!(
            session(2020, 3, 6),
            Some((at(2020, 3, 6, 14, 30), at(2020, 3, 6, 21, 0)))
        );
        assert_eq!(
            session(2020, 3, 9),
            Some((at(2020, 3, 9, 13, 30), at(2020, 3, 9, 20, 0)))
        );
        assert_eq!(
            session(2020, 11, 27),
            Some((at(2020, 11, 27, 14, 30), at(2020, 11, 27, 18, 0)))
        );
        for closed in [(2020, 3, 7), (2020, 3, 8), (2020, 12, 25), (2001, 9, 11)] {
            assert_eq!(session(closed.0, closed.1, closed.2), None);
        }
    }

    #[test]
    fn open_rows_are_the_rows_that_are_open() {
        let calendar = Calendar::nasdaq();
        let first = day(2020, 11, 20) * DAY;
        // Ten days with a holiday, an early close and a weekend; one row in 7 minutes, some missing.
        let times: Vec<i64> = (0..2057)
            .filter(|i| i % 13 != 5)
            .map(|i| first + i * 7 * MINUTE)
            .collect();
        let by_span: Vec<usize> = calendar.open_rows(&times).into_iter().flatten().collect();
        let one_by_one: Vec<usize> = (0..times.len())
            .filter(|i| calendar.is_open(times[*i]))
            .collect();
        assert_eq!(by_span, one_by_one);
        assert!(by_span.len() > 200);
        let session = calendar.session(day(2020, 11, 23)).unwrap();
        assert!(calendar.is_open(session.start));
        assert!(!calendar.is_open(session.start - 1));
        assert!(calendar.is_open(session.end - 1));
        assert!(!calendar.is_open(session.end));
        assert!(calendar.open_rows(&[]).is_empty());
    }
}
