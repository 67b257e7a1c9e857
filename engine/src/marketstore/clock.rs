//! When a slot begins, and when in it a tick happened.
//!
//! A slot is located by its index in the local year; for `1D` it counts local days from 0, for any
//! other timeframe it counts elapsed intervals from 1 (so clock changes do not shift slots).
//!
//! Ticks are 32-bit fractions of an interval, counted from a *base* that MarketStore computes from
//! the index as if the zone were UTC and the first index 1. Wherever that is not the start of the
//! slot the number it stores is off by a whole amount and wraps modulo 2^32 (as amd64 converts
//! floats). The same computation gives the first value a slot can hold, and an interval is never
//! longer than 2^32 ticks, so the wrapped number has one meaning and is taken back exactly. Times
//! are computed in integers: MarketStore's own reader rounds seconds up but not nanoseconds, and
//! shows some ticks one second late.

use model::{TIME_MAX, TIME_MIN, Zone};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Ticks of an interval that divides the day.
const TICKS: i128 = 1 << 32;
/// Ticks of a second if the interval is a day: 2^32 / 86 400, with the digits MarketStore has.
const TICKS_PER_DAY_SECOND: f64 = 49_710.269_629_629_63;

/// Times of the slots of one year of one bucket.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    zone: Zone,
    timeframe: i64,
    year: i16,
    first_day: i64,
    start: i64,
    end: i64,
    /// 1 January 00:00 UTC in seconds.
    utc_start: i64,
}

impl Clock {
    /// `None` if the year is outside the times that can be stored.
    pub(super) fn new(year: i16, timeframe: i64, zone: &Zone) -> Option<Self> {
        if !(1678..=2261).contains(&year) {
            return None;
        }
        let first_day = Zone::year_start_day(year);
        Some(Self {
            zone: zone.clone(),
            timeframe,
            year,
            first_day,
            start: zone.day_start(first_day).max(TIME_MIN),
            end: zone.day_start(Zone::year_start_day(year + 1)).min(TIME_MAX),
            utc_start: first_day * 86_400,
        })
    }

    /// Whether slots are local days, counted from 0.
    pub(super) fn is_daily(&self) -> bool {
        self.timeframe == DAY
    }

    /// Whole slots of the year, as the file has them preallocated.
    pub(super) fn slots(&self) -> i64 {
        let days = Zone::year_start_day(self.year + 1) - self.first_day;
        days * DAY / self.timeframe
    }

    /// Start of a slot; `None` if it does not begin in the year.
    pub(super) fn time(&self, index: i64) -> Option<i64> {
        let time = if self.is_daily() {
            if !(0..=366).contains(&index) {
                return None;
            }
            self.zone.day_start(self.first_day + index)
        } else {
            let elapsed = index.checked_sub(1)?.checked_mul(self.timeframe)?;
            self.start.checked_add(elapsed)?
        };
        (self.start <= time && time < self.end).then_some(time)
    }

    /// How to read the ticks of a slot that begins at `start`; `None` for intervals over a day,
    /// whose ticks MarketStore always stores as 0.
    pub(super) fn ticks(&self, index: i64, start: i64) -> Option<Ticks> {
        let per_day = DAY / self.timeframe;
        if per_day == 0 {
            return None;
        }
        let base = ((index - 1) as f64 * 86_400.0 / per_day as f64) as i64 + self.utc_start;
        let ahead = start.div_euclid(SECOND) - base;
        let per_second = per_day as f64 * TICKS_PER_DAY_SECOND;
        let end = ahead + self.timeframe / SECOND;
        Some(Ticks {
            start,
            length: self.timeframe,
            per_day,
            ahead,
            first: (per_second * ahead as f64) as i64,
            last: (per_second * end as f64) as i64,
        })
    }
}

/// Times of the ticks of one slot.
#[derive(Debug, Clone)]
pub(super) struct Ticks {
    start: i64,
    length: i64,
    per_day: i64,
    /// Seconds from MarketStore's base to the start of the slot; 0 in UTC except for `1D`.
    ahead: i64,
    /// Least and greatest number of ticks before it is cut to 32 bits.
    first: i64,
    last: i64,
}

impl Ticks {
    /// The time that a stored number stands for.
    pub(super) fn time(&self, stored: u32) -> Result<i64, &'static str> {
        let wrapped = i64::from(stored)
            .wrapping_sub(self.first)
            .rem_euclid(1 << 32);
        let ticks = self.first + wrapped;
        if ticks > self.last {
            return Err("lies past the end of its interval");
        }
        // Some machines saturate instead of wrapping, and store the greatest number for every tick.
        // (West of UTC; east of it they store 0, which is also the start of the interval.)
        let lost = self.first >= i64::from(u32::MAX) && stored == u32::MAX && wrapped > 0;
        if lost {
            return Err("was cut off when it was written: the time inside the interval is lost");
        }
        let nanos = i128::from(ticks) * i128::from(DAY);
        let divisor = i128::from(self.per_day) * TICKS;
        let rounded = (2 * nanos + divisor).div_euclid(2 * divisor);
        let offset = rounded - i128::from(self.ahead) * i128::from(SECOND);
        let offset = offset.clamp(0, i128::from(self.length) - 1);
        Ok(self.start + offset as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600 * SECOND;
    const MINUTE: i64 = 60 * SECOND;

    fn at(text: &str) -> i64 {
        let zone = Zone::utc();
        let date: Vec<i64> = text.split('-').map(|p| p.parse().unwrap()).collect();
        let mut day = Zone::year_start_day(date[0] as i16);
        while zone.local_date(day * DAY) != (date[0] as i16, date[1] as i8, date[2] as i8) {
            day += 1;
        }
        day * DAY
    }

    /// What MarketStore stores on amd64: `GetIntervalTicks32Bit` of its source, word for word.
    fn store(clock: &Clock, index: i64, time: i64) -> u32 {
        let per_day = DAY / clock.timeframe;
        let second = ((index - 1) as f64 * 86_400.0 / per_day as f64) as i64;
        let base = (clock.utc_start + second) * SECOND;
        let since = time - base;
        let seconds = (since / SECOND) as f64 + (since % SECOND) as f64 / 1e9;
        ((per_day as f64 * TICKS_PER_DAY_SECOND) * seconds) as i64 as u32
    }

    #[test]
    fn slots_count_elapsed_intervals_and_local_days() {
        let zone = Zone::parse("America/New_York").unwrap();
        let hours = Clock::new(2020, HOUR, &zone).unwrap();
        assert_eq!(hours.time(1), Some(at("2020-01-01") + 5 * HOUR));
        // Past the change of clocks in March the slots still are whole elapsed hours.
        assert_eq!(hours.time(1 + 24 * 200), Some(at("2020-07-19") + 5 * HOUR));
        assert_eq!(hours.slots(), 366 * 24);
        let days = Clock::new(2020, DAY, &zone).unwrap();
        assert_eq!(days.time(0), Some(at("2020-01-01") + 5 * HOUR));
        assert_eq!(days.time(200), Some(at("2020-07-19") + 4 * HOUR));
        assert_eq!(days.time(365), Some(at("2020-12-31") + 5 * HOUR));
        assert_eq!(days.time(366), None);
        assert_eq!(Clock::new(2019, DAY, &zone).unwrap().time(365), None);
        assert_eq!(hours.time(0), None);
        assert_eq!(hours.time(366 * 24 + 1), None);
        assert_eq!(hours.time(i64::MAX), None);
        assert_eq!(hours.time(i64::MIN), None);
        assert!(Clock::new(1677, DAY, &zone).is_none());
    }

    #[test]
    fn a_tick_reads_back_within_one_tick_in_every_zone_and_timeframe() {
        let zones = [
            "UTC",
            "America/New_York",
            "Asia/Tokyo",
            "Asia/Kolkata",
            "Atlantic/Azores",
        ];
        for zone in zones.map(|name| Zone::parse(name).unwrap()) {
            for timeframe in [SECOND, MINUTE, 7 * MINUTE, HOUR, 4 * HOUR, DAY] {
                let clock = Clock::new(2020, timeframe, &zone).unwrap();
                let tick = 1 + timeframe / (1 << 32);
                for index in [1, 2, 77, 150, 300] {
                    let start = clock.time(index).unwrap();
                    let ticks = clock.ticks(index, start).unwrap();
                    let inside = [
                        0,
                        1,
                        1000,
                        123_456_789,
                        timeframe / 3,
                        timeframe - SECOND / 2,
                    ];
                    for offset in inside {
                        let time = start + offset;
                        let read = ticks.time(store(&clock, index, time)).unwrap();
                        // Far from the base the float of MarketStore itself has lost bits.
                        let slack = if ticks.ahead == 0 { tick } else { tick + 16 };
                        assert!(
                            (time - read).abs() <= slack,
                            "{zone:?} {timeframe} {index} {offset}: {}",
                            time - read
                        );
                    }
                    let exact = ticks.time(store(&clock, index, start)).unwrap();
                    // Below the base the float is cut upwards.
                    let slack = if ticks.ahead < 0 { tick } else { 0 };
                    assert!(exact - start <= slack, "{zone:?} {timeframe} {index}");
                }
            }
        }
    }

    #[test]
    fn whole_seconds_are_not_one_second_late() {
        let clock = Clock::new(2022, MINUTE, &Zone::utc()).unwrap();
        let start = clock.time(1).unwrap();
        let ticks = clock.ticks(1, start).unwrap();
        let read = |time: i64| ticks.time(store(&clock, 1, start + time)).unwrap() - start;
        assert_eq!(read(SECOND), 999_999_996);
        assert_eq!(read(3 * SECOND), 2_999_999_989);
        assert_eq!(read(SECOND / 2), 499_999_998);
        assert_eq!(read(30_123_456_789), 30_123_456_786);
        assert_eq!(read(5), 0);
    }

    #[test]
    fn numbers_that_no_time_gives_are_refused() {
        let seven = Clock::new(2020, 7 * MINUTE, &Zone::utc()).unwrap();
        let ticks = seven.ticks(1, seven.time(1).unwrap()).unwrap();
        assert!(ticks.time(u32::MAX).is_err());
        // Machines that saturate instead of wrapping store the same number for every tick.
        let west = Clock::new(2020, MINUTE, &Zone::parse("America/New_York").unwrap()).unwrap();
        let ticks = west.ticks(9, west.time(9).unwrap()).unwrap();
        assert!(ticks.time(u32::MAX).is_err());
        let week = Clock::new(2020, 7 * DAY, &Zone::utc()).unwrap();
        assert!(week.ticks(1, week.time(1).unwrap()).is_none());
    }
}
