//! `schedule:` of an entry: `every 5m`, or a cron line.
//!
//! A cron line has five fields: minute, hour, day of the month, month, day of the week (0 and 7 are
//! Sunday). A field is `*`, a number, a range `a-b`, a list of those, each with a step `/n`; months and
//! days have their English names, too. If both days are restricted either is enough, as in cron.

use std::time::Duration;

/// When an instance is told the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At every multiple of this since 1970, in UTC.
    Every(Duration),
    /// When the clock of the zone shows one of these.
    Cron(Cron),
}

/// A cron line as sets: bit n is the value n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    /// Minutes 0 to 59.
    pub minutes: u64,
    /// Hours 0 to 23.
    pub hours: u32,
    /// Days of the month 1 to 31.
    pub days: u32,
    /// Months 1 to 12.
    pub months: u16,
    /// Days of the week 0 (Sunday) to 6.
    pub weekdays: u8,
    /// Whether the field of days begins with `*`.
    pub any_day: bool,
    /// Whether the field of days of the week begins with `*`.
    pub any_weekday: bool,
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Shorter ticks would be a busy loop.
const EVERY_MIN: Duration = Duration::from_millis(100);

impl Schedule {
    /// Reads what stands behind `schedule:`.
    ///
    /// # Errors
    /// One line that names the wrong part and the fix.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("every ") {
            return every(rest).map(Self::Every);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        match fields[..] {
            [minute, hour, day, month, weekday] => {
                cron([minute, hour, day, month, weekday]).map(Self::Cron)
            }
            _ => Err(format!(
                "\"{text}\" is no schedule; write \"every 5m\" or the five fields of a cron line, \
                 like \"30 9 * * mon-fri\""
            )),
        }
    }
}

fn every(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = || format!("every {text}: write a time like 500ms, 10s, 5m, 1h or 1d");
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let every = Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?);
    if every < EVERY_MIN || every > Duration::from_secs(366 * 86_400) {
        return Err(format!("every {text}: must be from 100ms to 366d"));
    }
    Ok(every)
}

fn cron(fields: [&str; 5]) -> Result<Cron, String> {
    let set = |at: usize, name: &str, low, high, names| {
        field(fields[at], low, high, names)
            .map_err(|why| format!("{name} \"{}\": {why}", fields[at]))
    };
    let weekdays = set(4, "day of the week", 0, 7, WEEKDAYS)?;
    let narrow = "the bits are below the field's highest value";
    let cron = Cron {
        minutes: set(0, "minute", 0, 59, &[])?,
        hours: u32::try_from(set(1, "hour", 0, 23, &[])?).expect(narrow),
        days: u32::try_from(set(2, "day of the month", 1, 31, &[])?).expect(narrow),
        months: u16::try_from(set(3, "month", 1, 12, MONTHS)?).expect(narrow),
        // 7 is Sunday as well.
        weekdays: u8::try_from((weekdays | (weekdays >> 7)) & 0x7f).expect(narrow),
        any_day: fields[2].starts_with('*'),
        any_weekday: fields[4].starts_with('*'),
    };
    if !cron.any_day && cron.any_weekday && !cron.day_exists() {
        return Err(format!(
            "no month of \"{}\" has a day \"{}\"",
            fields[3], fields[2]
        ));
    }
    Ok(cron)
}

impl Cron {
    /// Whether any of its months has one of its days: 30 February would never come.
    fn day_exists(&self) -> bool {
        const DAYS: [u32; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        (1..=12).any(|month: usize| {
            let days = (1u64 << (DAYS[month] + 1)) - 1;
            self.months & (1 << month) != 0 && u64::from(self.days) & days != 0
        })
    }
}

fn field(text: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step: u32 = step
                    .parse()
                    .ok()
                    .filter(|step| *step > 0)
                    .ok_or("a step is a number above 0")?;
                (range, Some(step))
            }
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((first, last)) => (
                value(first, low, high, names)?,
                value(last, low, high, names)?,
            ),
            None => {
                let first = value(range, low, high, names)?;
                // `5/15` is from 5 to the end, as in cron.
                (first, if step.is_some() { high } else { first })
            }
        };
        if first > last {
            return Err(format!("{first} is behind {last}"));
        }
        let step = usize::try_from(step.unwrap_or(1)).expect("32 bits fit");
        bits |= (first..=last)
            .step_by(step)
            .fold(0, |bits, n| bits | 1u64 << n);
    }
    Ok(bits)
}

fn value(text: &str, low: u32, high: u32, names: &[&str]) -> Result<u32, String> {
    let named = names
        .iter()
        .position(|name| text.eq_ignore_ascii_case(name));
    // The names of a field begin at its lowest value.
    let named = named
        .and_then(|at| u32::try_from(at).ok())
        .map(|at| at + low);
    named
        .or_else(|| text.parse().ok())
        .filter(|n| (low..=high).contains(n))
        .ok_or_else(|| format!("must be from {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Cron {
        match Schedule::parse(text) {
            Ok(Schedule::Cron(cron)) => cron,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn intervals_have_units_and_bounds() {
        let every = |text: &str| Schedule::parse(text);
        assert_eq!(
            every("every 5m"),
            Ok(Schedule::Every(Duration::from_secs(300)))
        );
        assert_eq!(
            every("every  90 s"),
            Ok(Schedule::Every(Duration::from_secs(90)))
        );
        for bad in [
            "every 5",
            "every m",
            "every 1ms",
            "every 9999d",
            "every 99999999999999999999h",
        ] {
            assert!(every(bad).unwrap_err().starts_with("every "), "{bad}");
        }
        assert!(every("5m").unwrap_err().contains("write \"every 5m\""));
    }

    #[test]
    fn a_cron_line_becomes_sets() {
        let cron = line("*/15 9-16 * jan,DEC mon-fri");
        assert_eq!(cron.minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(cron.hours, 0x1_fe00);
        assert_eq!(cron.days, !1);
        assert_eq!(cron.months, 1 << 1 | 1 << 12);
        assert_eq!(cron.weekdays, 0b011_1110);
        assert!(cron.any_day && !cron.any_weekday);
        assert_eq!(line("0 0 * * 7").weekdays, line("0 0 * * sun").weekdays);
        assert_eq!(line("50/5 0 * * *").minutes, 1 << 50 | 1 << 55);
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (text, part) in [
            ("60 * * * *", "minute \"60\": must be from 0 to 59"),
            ("* 5-1 * * *", "hour \"5-1\": 5 is behind 1"),
            ("* * 0 * *", "day of the month \"0\""),
            ("* * * foo *", "month \"foo\""),
            ("* * * * */0", "a step is a number above 0"),
            ("0 0 30 feb *", "no month of \"feb\" has a day \"30\""),
            ("0 0 * *", "five fields"),
            ("", "no schedule"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
