//! Time zones: where a local day begins.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::time::NANOS_PER_SECOND;

pub(crate) const DAY_NANOS: i64 = 86_400 * NANOS_PER_SECOND;

/// A time zone by its IANA name.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    // None is UTC: days have a fixed length and no look-up is needed.
    tz: Option<TimeZone>,
}

/// An unknown zone name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone \"{0}\", use an IANA name like America/New_York")]
pub struct ZoneError(pub String);

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self {
            name: "UTC".into(),
            tz: None,
        }
    }

    /// Looks a zone up by its IANA name; empty text is UTC.
    ///
    /// # Errors
    /// If the name is not in the time zone database.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        if matches!(name, "" | "UTC" | "Etc/UTC") {
            return Ok(Self::utc());
        }
        let tz = TimeZone::get(name).map_err(|_| ZoneError(name.into()))?;
        Ok(Self {
            name: name.into(),
            tz: Some(tz),
        })
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is UTC.
    pub fn is_utc(&self) -> bool {
        self.tz.is_none()
    }

    /// Days from 1970-01-01 to the local date at `time`.
    pub fn local_day(&self, time: i64) -> i64 {
        (time + self.offset(time)).div_euclid(DAY_NANOS)
    }

    /// Local civil year, month and day at `time`.
    pub fn local_date(&self, time: i64) -> (i16, i8, i8) {
        Self::civil(self.local_day(time))
    }

    /// Civil year, month and day of a day counted from 1970-01-01.
    pub fn civil(day: i64) -> (i16, i8, i8) {
        let date = date_of_day(day);
        (date.year(), date.month(), date.day())
    }

    /// Local time of day at `time`, in nanoseconds since local midnight by the wall clock.
    pub fn time_of_day(&self, time: i64) -> i64 {
        (time + self.offset(time)).rem_euclid(DAY_NANOS)
    }

    /// The first instant of a local day, counted from 1970-01-01. Where midnight is skipped by a
    /// change of clocks it is the first instant after the gap.
    pub fn day_start(&self, day: i64) -> i64 {
        self.instant(day, 0)
    }

    /// The instant at which the wall clock shows `time_of_day` nanoseconds on a local day; the
    /// earlier one where the hour repeats, the first after the gap where it is skipped.
    pub fn instant(&self, day: i64, time_of_day: i64) -> i64 {
        let naive = day.saturating_mul(DAY_NANOS).saturating_add(time_of_day);
        let Some(tz) = &self.tz else { return naive };
        let date = date_of_day(day);
        let second = time_of_day.div_euclid(NANOS_PER_SECOND);
        let time = jiff::civil::Time::midnight() + jiff::SignedDuration::from_secs(second);
        match tz.to_timestamp(date.to_datetime(time)) {
            Ok(at) => i64::try_from(at.as_nanosecond()).unwrap_or(naive),
            Err(_) => naive,
        }
    }

    /// Days from 1970-01-01 to 1 January of a civil year.
    pub fn year_start_day(year: i16) -> i64 {
        Self::month_start_day(i64::from(year), 1)
    }

    /// Days from 1970-01-01 to the first of a month (1 to 12) of a civil year.
    pub fn month_start_day(year: i64, month: i64) -> i64 {
        let epoch = Date::constant(1970, 1, 1);
        let date = match (i16::try_from(year), i8::try_from(month)) {
            (Ok(year), Ok(month)) => Date::new(year, month, 1).unwrap_or(epoch),
            _ => epoch,
        };
        i64::from((date - epoch).get_days())
    }

    /// Nanoseconds to add to UTC to get local time at `time`.
    fn offset(&self, time: i64) -> i64 {
        let Some(tz) = &self.tz else { return 0 };
        match jiff::Timestamp::from_nanosecond(i128::from(time)) {
            Ok(at) => i64::from(tz.to_offset(at).seconds()) * NANOS_PER_SECOND,
            Err(_) => 0,
        }
    }
}

fn date_of_day(day: i64) -> Date {
    let epoch = Date::constant(1970, 1, 1);
    let days = i32::try_from(day).unwrap_or(0);
    epoch
        .checked_add(jiff::Span::new().days(days))
        .unwrap_or(epoch)
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600 * NANOS_PER_SECOND;

    #[test]
    fn days_follow_the_change_of_clocks() {
        let zone = Zone::parse("America/New_York").unwrap();
        // 2020-03-08 is 23 hours long, 2020-11-01 is 25.
        let spring = zone.local_day(1_583_643_600 * NANOS_PER_SECOND);
        assert_eq!(
            zone.day_start(spring + 1) - zone.day_start(spring),
            23 * HOUR
        );
        let autumn = zone.local_day(1_604_203_200 * NANOS_PER_SECOND);
        assert_eq!(
            zone.day_start(autumn + 1) - zone.day_start(autumn),
            25 * HOUR
        );
    }

    #[test]
    fn midnight_can_be_skipped() {
        // Clocks went from 00:00 to 01:00 on 2018-11-04 in Sao Paulo.
        let zone = Zone::parse("America/Sao_Paulo").unwrap();
        let start = zone.day_start(Zone::year_start_day(2018) + 307);
        assert_eq!(zone.local_date(start), (2018, 11, 4));
        assert_eq!(zone.time_of_day(start), HOUR);
        assert_eq!(zone.local_date(start - 1), (2018, 11, 3));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(
            Zone::parse("Mars/Olympus"),
            Err(ZoneError("Mars/Olympus".into()))
        );
        assert!(Zone::parse("").unwrap().is_utc());
        assert_eq!(Zone::parse("Asia/Tokyo").unwrap().name(), "Asia/Tokyo");
    }
}
