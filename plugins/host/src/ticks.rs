//! `schedule:` of an instance: one pending timer of the host's own, set anew in the commit that fires
//! it. So a tick is as durable as any timer, ticks missed while nothing ran are one, and a tick that
//! has fired does not come again.

use std::time::Duration;

use bytes::Bytes;

use crate::entry::Entry;
use crate::schedule::Schedule;
use crate::section::Change;
use crate::state::{Table, state_key};
use crate::timers::Timer;
use model::Zone;

/// Key of the timer.
pub(crate) const KEY: &[u8] = b"__schedule";

/// The schedule of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Ticks {
    schedule: Schedule,
    zone: Zone,
    /// State key of the timer.
    key: Bytes,
    /// Which schedule a pending timer was set by: its payload.
    spec: Bytes,
}

fn key() -> Bytes {
    state_key(b"", KEY)
}

impl Ticks {
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let schedule = entry.schedule.clone()?;
        let spec = match &schedule {
            Schedule::Every(time) => format!("every {}ms", time.as_millis()),
            Schedule::Cron(cron) => format!("{cron} {}", entry.zone.name()),
        };
        Some(Self {
            schedule,
            zone: entry.zone.clone(),
            key: key(),
            spec: spec.into(),
        })
    }

    /// Whether a timer is ours.
    pub(crate) fn is(&self, key: &Bytes) -> bool {
        self.key == *key
    }

    /// The next tick behind a time; `None` if there will be none.
    pub(crate) fn next(&self, after: i64) -> Option<Timer> {
        Some(Timer {
            due: self.schedule.next(after, &self.zone)?,
            lane: Bytes::new(),
            payload: self.spec.clone(),
        })
    }

    /// What is to change at a start: a timer of this schedule stays, overdue or not. One that is due
    /// long behind the next tick was set by a clock that was wrong then.
    fn at_start(&self, pending: Option<&Timer>, now: i64) -> Option<Change> {
        let next = self.next(now);
        let stays = pending.is_some_and(|timer| {
            let is_far = |next: &Timer| timer.due.saturating_sub(next.due) > CLOCK_CHANGE_MAX;
            timer.payload == self.spec && !next.as_ref().is_some_and(is_far)
        });
        if stays {
            return None;
        }
        let key = self.key.clone();
        match (next, pending) {
            (Some(timer), _) => Some(Change::Timer { key, timer }),
            (None, Some(_)) => Some(Change::Cancel { key }),
            (None, None) => None,
        }
    }
}

/// What is to change in the state of an instance that starts.
pub(crate) fn at_start(ticks: Option<&Ticks>, table: &Table, now: i64) -> Option<Change> {
    let key = key();
    let pending = table.timers.get(&key);
    match ticks {
        Some(ticks) => ticks.at_start(pending, now),
        // The schedule was taken out of the entry.
        None => pending.map(|_| Change::Cancel { key }),
    }
}

/// A clock put back by less makes timers wait; none comes twice.
const CLOCK_CHANGE_MAX: i64 = DAY;

const MINUTE: i64 = 60_000_000_000;
const DAY: i64 = 86_400_000_000_000;

/// No line is without a day for longer: 29 February, over a year that is no leap year.
const DAYS_MAX: i64 = 8 * 366 + 1;

impl Schedule {
    /// The first tick behind a time (wall clock, ns); `None` if the calendar ends before.
    pub fn next(&self, after: i64, zone: &Zone) -> Option<i64> {
        match self {
            Self::Every(time) => {
                let every = i64::try_from(time.max(&Duration::from_nanos(1)).as_nanos()).ok()?;
                after.div_euclid(every).checked_add(1)?.checked_mul(every)
            }
            Self::Cron(cron) => cron.next(after, zone),
        }
    }
}

impl crate::schedule::Cron {
    /// With every hour ticks go on through an hour that the clock shows twice. Otherwise a time that
    /// is shown twice comes the first time only, and one that is skipped comes later by the gap.
    fn next(&self, after: i64, zone: &Zone) -> Option<i64> {
        let first = zone.local_day(after);
        let days = first..first.checked_add(DAYS_MAX)?;
        let mut days = days.filter(|day| self.has_day(*day));
        days.find_map(|day| {
            let last = i64::MAX / DAY - 2;
            (day < last).then(|| self.on_day(day, after, zone))?
        })
    }

    fn on_day(&self, day: i64, after: i64, zone: &Zone) -> Option<i64> {
        if self.hours == (1 << 24) - 1 {
            let end = zone.day_start(day + 1);
            let from = after.div_euclid(MINUTE) * MINUTE + MINUTE;
            let mut at = from.max(zone.day_start(day));
            while at < end {
                let minute = zone.time_of_day(at) / MINUTE % 60;
                if self.minutes & (1 << minute) != 0 {
                    return Some(at);
                }
                at += MINUTE;
            }
            return None;
        }
        let hours = (0..24).filter(|hour| self.hours & (1 << hour) != 0);
        let times = hours.flat_map(|hour| {
            let minutes = (0..60).filter(|minute| self.minutes & (1 << minute) != 0);
            minutes.map(move |minute| (hour * 60 + minute) * MINUTE)
        });
        let mut ticks = times.map(|time| zone.instant(day, time));
        ticks.find(|at| *at > after)
    }

    /// Whether a local day is one of the line's.
    fn has_day(&self, day: i64) -> bool {
        let Some(noon) = day.checked_mul(DAY) else {
            return false;
        };
        let (_, month, of_month) = Zone::utc().local_date(noon);
        // 1970 began on a Thursday.
        let weekday = (day + 4).rem_euclid(7);
        let is_month = self.months & (1 << month) != 0;
        let is_day = self.days & (1 << of_month) != 0;
        let is_weekday = self.weekdays & (1 << weekday) != 0;
        is_month
            && match (self.any_day, self.any_weekday) {
                (false, false) => is_day || is_weekday,
                _ => is_day && is_weekday,
            }
    }
}

impl std::fmt::Display for crate::schedule::Cron {
    /// The sets in hexadecimal: equal lines give equal texts, however they were written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let any = u8::from(self.any_day) + 2 * u8::from(self.any_weekday);
        write!(
            f,
            "cron {:x} {:x} {:x} {:x} {:x} {any}",
            self.minutes, self.hours, self.days, self.months, self.weekdays
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Ticks behind a time, as `day hour:minute` of UTC.
    fn ticks(line: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(line).unwrap();
        let zone = Zone::parse(zone).unwrap();
        let mut at = parse(after);
        let mut found = Vec::new();
        for _ in 0..count {
            at = schedule.next(at, &zone).unwrap();
            assert_eq!(at % MINUTE, 0);
            found.push(show(at));
        }
        found
    }

    /// `2024-03-10 01:30` of UTC.
    fn parse(text: &str) -> i64 {
        let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
        let year = Zone::year_start_day(number(0..4) as i16);
        let day = (year..year + 366)
            .find(|day| {
                let (_, month, of_month) = Zone::utc().local_date(day * DAY);
                (i64::from(month), i64::from(of_month)) == (number(5..7), number(8..10))
            })
            .unwrap();
        day * DAY + (number(11..13) * 60 + number(14..16)) * MINUTE
    }

    fn show(at: i64) -> String {
        let (year, month, day) = Zone::utc().local_date(at);
        let minutes = at.rem_euclid(DAY) / MINUTE;
        format!(
            "{year}-{month:02}-{day:02} {:02}:{:02}",
            minutes / 60,
            minutes % 60
        )
    }

    #[test]
    fn intervals_are_multiples_since_1970() {
        let every = Schedule::parse("every 5m").unwrap();
        let next = |after| every.next(after, &Zone::utc()).unwrap();
        assert_eq!(next(0), 300 * SECOND);
        assert_eq!(next(300 * SECOND - 1), 300 * SECOND);
        assert_eq!(next(300 * SECOND), 600 * SECOND);
        assert_eq!(next(-1), 0);
        assert_eq!(every.next(i64::MAX - 1, &Zone::utc()), None);
    }

    #[test]
    fn cron_lines_follow_the_clock_of_their_zone() {
        assert_eq!(
            ticks(
                "30 9 * * mon-fri",
                "America/New_York",
                "2024-03-08 00:00",
                3
            ),
            // Friday in winter, Monday in summer.
            ["2024-03-08 14:30", "2024-03-11 13:30", "2024-03-12 13:30"]
        );
        assert_eq!(
            ticks("*/20 * * * *", "UTC", "2024-02-28 23:30", 3),
            ["2024-02-28 23:40", "2024-02-29 00:00", "2024-02-29 00:20"]
        );
        assert_eq!(
            ticks("0 0 29 feb *", "UTC", "2024-03-01 00:00", 1),
            ["2028-02-29 00:00"]
        );
        assert_eq!(
            ticks("0 0 29 feb *", "UTC", "2097-01-01 00:00", 1),
            ["2104-02-29 00:00"]
        );
        // Either day, if both are restricted.
        assert_eq!(
            ticks("0 12 15 * sun", "UTC", "2024-09-08 13:00", 3),
            ["2024-09-15 12:00", "2024-09-22 12:00", "2024-09-29 12:00"]
        );
        assert_eq!(
            ticks("0 12 13 * sun", "UTC", "2024-09-08 13:00", 2),
            ["2024-09-13 12:00", "2024-09-15 12:00"]
        );
    }

    #[test]
    fn a_change_of_clocks_neither_loses_nor_repeats_a_tick() {
        let new_york = "America/New_York";
        // 02:30 is skipped on 10 March: it comes when the clock shows 03:30.
        assert_eq!(
            ticks("30 2 * * *", new_york, "2024-03-09 08:00", 2),
            ["2024-03-10 07:30", "2024-03-11 06:30"]
        );
        // 01:30 is shown twice on 3 November.
        assert_eq!(
            ticks("30 1 * * *", new_york, "2024-11-03 00:00", 2),
            ["2024-11-03 05:30", "2024-11-04 06:30"]
        );
        assert_eq!(
            ticks("30 * * * *", new_york, "2024-11-03 04:45", 4),
            [
                "2024-11-03 05:30",
                "2024-11-03 06:30",
                "2024-11-03 07:30",
                "2024-11-03 08:30"
            ]
        );
        assert_eq!(
            ticks("30 * * * *", new_york, "2024-03-10 06:00", 2),
            ["2024-03-10 06:30", "2024-03-10 07:30"]
        );
    }

    #[test]
    fn a_pending_tick_stays_unless_the_schedule_or_the_clock_changed() {
        let ticks = |text: &str| {
            Ticks::of(&Entry {
                schedule: Some(Schedule::parse(text).unwrap()),
                ..Entry::trigger("m")
            })
            .unwrap()
        };
        let five = ticks("every 5m");
        let now = 1_000 * SECOND;
        let Some(Change::Timer { timer, .. }) = five.at_start(None, now) else {
            panic!("a new schedule has no timer yet");
        };
        assert_eq!(timer.due, 1_200 * SECOND);
        assert_eq!(five.at_start(Some(&timer), now), None);
        // Overdue: it fires, once.
        assert_eq!(five.at_start(Some(&timer), now * 100), None);
        // The clock was put back since: a little, and by years.
        assert_eq!(five.at_start(Some(&timer), 10 * SECOND), None);
        let Some(Change::Timer { timer: set, .. }) = five.at_start(Some(&timer), -2 * DAY) else {
            panic!("it would wait for days");
        };
        assert_eq!(set.due, -2 * DAY + 300 * SECOND);
        let cron = ticks("*/5 * * * *");
        let Some(Change::Timer { timer: set, .. }) = cron.at_start(Some(&timer), now) else {
            panic!("another schedule has another timer");
        };
        assert_eq!(set.due, 1_200 * SECOND);
        assert_eq!(ticks("0-59/5 * * * *").spec, cron.spec);
    }
}
