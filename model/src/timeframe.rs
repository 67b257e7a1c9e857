//! Timeframes and their windows.
//!
//! One rule says where a window begins, for the rows of a bucket and for aggregation alike, so that
//! an aggregate always lands on the row it describes:
//!
//! | unit | window |
//! |---|---|
//! | `Sec` `Min` `H` | multiples of the length since 1970-01-01 00:00 UTC, whatever the zone |
//! | `D` | local midnight to local midnight; `nD` counts days from 1970-01-01 |
//! | `W` | from Monday, local midnight; `nW` counts weeks from 0001-01-01 |
//! | `Y` | from 1 January, local midnight; `nY` counts years from 1970 |

use std::fmt;

use crate::time::NANOS_PER_SECOND;
use crate::zone::{DAY_NANOS, Zone};

/// Unit of a [`Timeframe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Calendar days of the configured zone.
    Day,
    /// Weeks from Monday of the configured zone.
    Week,
    /// Calendar years of the configured zone.
    Year,
}

/// The length of one bar: a count and a unit, `5Min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeframe {
    count: i64,
    unit: Unit,
}

/// The half-open span of time `[start, end)` of one bar, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First instant; the time of the bar.
    pub start: i64,
    /// First instant after the window.
    pub end: i64,
}

/// A text that is no timeframe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unable to get timeframe from \"{0}\": use a whole number and Sec, Min, H, D, W or Y, at most one year"
)]
pub struct TimeframeError(pub String);

impl Timeframe {
    /// Parses `1Min`, `30Sec`, `1D`, ... Units are `S`, `Sec`, `T`, `Min`, `H`, `D`, `W`, `Y`.
    ///
    /// # Errors
    /// If the text is anything else, the count is zero, or the length is over one year.
    pub fn parse(text: &str) -> Result<Self, TimeframeError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let unit = match &text[digits..] {
            "S" | "Sec" => Unit::Second,
            "T" | "Min" => Unit::Minute,
            "H" => Unit::Hour,
            "D" => Unit::Day,
            "W" => Unit::Week,
            "Y" => Unit::Year,
            _ => return Err(error(text)),
        };
        let count = text[..digits].parse::<u32>().map_err(|_| error(text))?;
        let timeframe = Self {
            count: i64::from(count),
            unit,
        };
        if count == 0 || timeframe.seconds() > 365 * 86_400 {
            return Err(error(text));
        }
        Ok(timeframe)
    }

    /// How many units.
    pub fn count(self) -> i64 {
        self.count
    }

    /// The unit.
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// Nominal length in nanoseconds: a day is 24 hours, a year 365 days.
    pub fn nanos(self) -> i64 {
        self.seconds() * NANOS_PER_SECOND
    }

    fn seconds(self) -> i64 {
        let unit = match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3600,
            Unit::Day => 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Year => 365 * 86_400,
        };
        unit * self.count
    }

    /// Length and anchor of the windows if they all have the same length: every window begins at
    /// `anchor + n * length`. `None` for days, weeks and years of a zone with changing clocks.
    pub fn fixed(self, zone: &Zone) -> Option<(i64, i64)> {
        match self.unit {
            Unit::Second | Unit::Minute | Unit::Hour => Some((self.nanos(), 0)),
            Unit::Day if zone.is_utc() => Some((self.nanos(), 0)),
            // Any Monday of the right residue serves; the year 1 itself is out of range.
            Unit::Week if zone.is_utc() => {
                let anchor_day = WEEK_ANCHOR_DAY.rem_euclid(7 * self.count);
                Some((self.nanos(), anchor_day * DAY_NANOS))
            }
            Unit::Day | Unit::Week | Unit::Year => None,
        }
    }

    /// The window that holds `time`.
    pub fn window(self, time: i64, zone: &Zone) -> Window {
        if let Some((length, anchor)) = self.fixed(zone) {
            let start = time - (time - anchor).rem_euclid(length);
            return Window {
                start,
                end: start.saturating_add(length),
            };
        }
        let (first_day, next_day) = self.days(zone.local_day(time));
        Window {
            start: zone.day_start(first_day),
            end: zone.day_start(next_day),
        }
    }

    /// The start of the window that holds `time`.
    pub fn floor(self, time: i64, zone: &Zone) -> i64 {
        self.window(time, zone).start
    }

    /// Floors every time to its window, in place. The caller's common case, times already on their
    /// window's start in ascending order, costs one comparison a row.
    pub fn floor_all(self, times: &mut [i64], zone: &Zone) {
        let mut window = Window { start: 0, end: 0 };
        for time in times {
            if !(window.start <= *time && *time < window.end) {
                window = self.window(*time, zone);
            }
            *time = window.start;
        }
    }

    /// Whether every time is the start of its window: flooring would change nothing.
    pub fn are_floored(self, times: &[i64], zone: &Zone) -> bool {
        match self.fixed(zone) {
            Some((length, anchor)) => times.iter().all(|time| (time - anchor) % length == 0),
            None => times.iter().all(|time| self.floor(*time, zone) == *time),
        }
    }

    /// First and next day of the window that holds a day, of a timeframe of days, weeks or years.
    pub(crate) fn days(self, day: i64) -> (i64, i64) {
        match self.unit {
            Unit::Year => {
                let year = i64::from(Zone::civil(day).0);
                let first = year - (year - 1970).rem_euclid(self.count);
                let start_day =
                    |year: i64| Zone::year_start_day(i16::try_from(year).unwrap_or(1970));
                (start_day(first), start_day(first + self.count))
            }
            Unit::Week => span(day, WEEK_ANCHOR_DAY, 7 * self.count),
            Unit::Day => span(day, 0, self.count),
            Unit::Second | Unit::Minute | Unit::Hour => unreachable!("these are shorter than days"),
        }
    }
}

/// 0001-01-01, a Monday, in days from 1970-01-01.
const WEEK_ANCHOR_DAY: i64 = -719_162;

fn span(day: i64, anchor: i64, length: i64) -> (i64, i64) {
    let first = day - (day - anchor).rem_euclid(length);
    (first, first + length)
}

fn error(text: &str) -> TimeframeError {
    TimeframeError(text.chars().take(40).filter(|c| !c.is_control()).collect())
}

impl std::str::FromStr for Timeframe {
    type Err = TimeframeError;

    fn from_str(text: &str) -> Result<Self, TimeframeError> {
        Self::parse(text)
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => "Sec",
            Unit::Minute => "Min",
            Unit::Hour => "H",
            Unit::Day => "D",
            Unit::Week => "W",
            Unit::Year => "Y",
        };
        write!(f, "{}{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        let time: jiff::Timestamp = text.parse().unwrap();
        i64::try_from(time.as_nanosecond()).unwrap()
    }

    fn window(timeframe: &str, time: &str, zone: &str) -> (String, String) {
        let zone = Zone::parse(zone).unwrap();
        let w = Timeframe::parse(timeframe).unwrap().window(at(time), &zone);
        let show = |t: i64| {
            jiff::Timestamp::from_nanosecond(i128::from(t))
                .unwrap()
                .to_string()
        };
        (show(w.start), show(w.end))
    }

    #[test]
    fn the_grammar_is_exact() {
        for (text, nanos) in [
            ("1Sec", 1),
            ("1S", 1),
            ("5Min", 300),
            ("5T", 300),
            ("4H", 14_400),
            ("1D", 86_400),
            ("1W", 604_800),
            ("1Y", 31_536_000),
            ("7Min", 420),
        ] {
            assert_eq!(
                Timeframe::parse(text).unwrap().nanos(),
                nanos * NANOS_PER_SECOND,
                "{text}"
            );
        }
        for bad in [
            "",
            "Min",
            "0Min",
            "1M",
            "1m",
            "1min",
            "xyz",
            "1Min;",
            "-1Min",
            "1.5H",
            "2Y",
            "366D",
            "99999999999Sec",
            " 1Min",
            "1 Min",
        ] {
            assert!(Timeframe::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_hold_their_time_and_touch() {
        let zones = [
            "UTC",
            "America/New_York",
            "Asia/Kolkata",
            "America/Sao_Paulo",
        ]
        .map(|z| Zone::parse(z).unwrap());
        for text in ["1Sec", "7Min", "1H", "4H", "1D", "2D", "1W", "2W", "1Y"] {
            let timeframe = Timeframe::parse(text).unwrap();
            for zone in &zones {
                let mut time = at("2018-10-30T05:17:11Z");
                while time < at("2250-01-01T00:00:00Z") {
                    let w = timeframe.window(time, zone);
                    assert!(w.start <= time && time < w.end, "{text} {zone:?}");
                    assert_eq!(timeframe.floor(w.start, zone), w.start, "{text} {zone:?}");
                    assert_eq!(
                        timeframe.window(w.end, zone).start,
                        w.end,
                        "{text} {zone:?}"
                    );
                    assert_eq!(timeframe.window(w.end - 1, zone), w, "{text} {zone:?}");
                    time = w.end + 123_456_789_012_345_678 / 2;
                }
            }
        }
    }

    #[test]
    fn calendar_windows_follow_the_zone() {
        let show = |w: (&str, &str)| (w.0.to_string(), w.1.to_string());
        assert_eq!(
            window("1D", "2020-03-08T12:00:00Z", "America/New_York"),
            show(("2020-03-08T05:00:00Z", "2020-03-09T04:00:00Z"))
        );
        assert_eq!(
            window("1W", "2020-03-08T12:00:00Z", "UTC"),
            show(("2020-03-02T00:00:00Z", "2020-03-09T00:00:00Z"))
        );
        assert_eq!(
            window("1Y", "2020-12-31T23:59:59Z", "UTC"),
            show(("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"))
        );
        assert_eq!(
            window("1H", "2020-03-08T12:30:00Z", "Asia/Kolkata"),
            show(("2020-03-08T12:00:00Z", "2020-03-08T13:00:00Z"))
        );
    }

    #[test]
    fn floor_all_equals_floor_of_each() {
        let zone = Zone::parse("America/New_York").unwrap();
        let timeframe = Timeframe::parse("1D").unwrap();
        let mut times: Vec<i64> = (0..500)
            .map(|i| at("2020-03-01T00:00:00Z") + i * 7_200_000_000_001)
            .collect();
        times.reverse();
        let each: Vec<i64> = times.iter().map(|t| timeframe.floor(*t, &zone)).collect();
        assert!(!timeframe.are_floored(&times, &zone));
        timeframe.floor_all(&mut times, &zone);
        assert_eq!(times, each);
        assert!(timeframe.are_floored(&times, &zone));
        let minute = Timeframe::parse("1Min").unwrap();
        assert!(minute.are_floored(&[-60_000_000_000, 0], &zone));
        assert!(!minute.are_floored(&[-1], &zone));
    }
}
