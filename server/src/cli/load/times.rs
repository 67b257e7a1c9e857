//! Times of a CSV file in every common spelling.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use model::{NANOS_PER_SECOND, TIME_MAX, TIME_MIN, Zone};

/// How the time column is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    /// Seconds since 1970 if it is a number, else an ISO 8601 date or time.
    Auto,
    /// Since 1970 in units of this many nanoseconds; a fraction is allowed.
    Number(i64),
    /// ISO 8601 with an offset, or in the zone.
    Iso,
    /// A pattern as of `strptime`.
    Pattern(String),
    /// `timeFormat` of a control file: a Go layout of so many bytes, with the sub-seconds behind
    /// it that MarketStore's loader reads.
    Control {
        /// The layout as a pattern.
        pattern: String,
        /// Bytes of the layout.
        layout_bytes: usize,
    },
}

impl TimeFormat {
    /// Reads the value of `--time-format`: a unit, `rfc3339`, a strftime pattern, or a layout that
    /// shows Go's reference time (`1/2/2006 3:04:05 PM`).
    ///
    /// # Errors
    /// If it is none of these.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "s" | "seconds" | "timestamp" => Self::Number(NANOS_PER_SECOND),
            "ms" | "milliseconds" => Self::Number(1_000_000),
            "us" | "microseconds" => Self::Number(1_000),
            "ns" | "nanoseconds" => Self::Number(1),
            "rfc3339" | "iso8601" | "iso" => Self::Iso,
            _ if text.contains('%') => Self::Pattern(text.into()),
            _ if text.contains("06") && text.contains('2') => Self::Pattern(from_go_layout(text)),
            _ => {
                return Err(format!(
                    "time format \"{text}\" is not known; use auto, s, ms, us, ns, rfc3339, a pattern \
                     like \"%Y-%m-%d %H:%M:%S\", or a Go layout like \"2006-01-02 15:04:05\""
                ));
            }
        })
    }

    /// Reads `timeFormat` of a control file.
    pub(crate) fn of_control(text: &str) -> Self {
        match text {
            "timestamp" => Self::Number(NANOS_PER_SECOND),
            layout => Self::Control {
                pattern: from_go_layout(layout),
                layout_bytes: layout.len(),
            },
        }
    }

    /// Nanoseconds since 1970 in UTC. Times without an offset are in `zone`.
    ///
    /// # Errors
    /// If the text does not have this format or is out of range.
    pub(crate) fn read(&self, text: &str, zone: &Zone) -> Result<i64, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the time is empty".into());
        }
        let time = match self {
            Self::Auto => match looks_like_number(text) {
                true => auto_number(text)?,
                false => iso(text, zone)?,
            },
            Self::Number(unit) => number(text, *unit)?,
            Self::Iso => iso(text, zone)?,
            Self::Pattern(pattern) => by_pattern(pattern, text, zone)?,
            Self::Control {
                pattern,
                layout_bytes,
            } => by_control(pattern, *layout_bytes, text, zone)?,
        };
        match (TIME_MIN..=TIME_MAX).contains(&time) {
            true => Ok(time),
            false => Err(out_of_range(text)),
        }
    }
}

fn out_of_range(text: &str) -> String {
    format!("time {text} is outside 1678-01-01..2261-12-31")
}

fn looks_like_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn auto_number(text: &str) -> Result<i64, String> {
    let whole = text.split('.').next().unwrap_or("").trim_start_matches('-');
    // Seconds have ten digits in our times; the next units have three more each.
    let hint = match whole.len() {
        8 if matches!(&whole[..2], "19" | "20") => "looks like a date, use --time-format %Y%m%d",
        12..=14 => "looks like milliseconds, use --time-format ms",
        15..=17 => "looks like microseconds, use --time-format us",
        18.. => "looks like nanoseconds, use --time-format ns",
        _ => return number(text, NANOS_PER_SECOND),
    };
    Err(format!("time {text} {hint}"))
}

/// A decimal number without rounding: whole units, then digit by digit.
fn number(text: &str, unit: i64) -> Result<i64, String> {
    let wrong = || format!("time \"{text}\" is not a number");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    let mut time = whole.checked_mul(unit).ok_or_else(|| out_of_range(text))?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        time += i64::from(digit - b'0') * place;
    }
    Ok(if negative { -time } else { time })
}

fn iso(text: &str, zone: &Zone) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return nanos(time, text);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return in_zone(time, zone, text);
    }
    Err(format!(
        "time \"{text}\" is not a date or time like 2020-01-31 or 2020-01-31T15:04:05Z"
    ))
}

fn by_pattern(pattern: &str, text: &str, zone: &Zone) -> Result<i64, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("time \"{text}\" does not fit \"{pattern}\": {error}")
    };
    let parts = BrokenDownTime::parse(pattern, text).map_err(|e| wrong(&e))?;
    if parts.offset().is_some() || parts.timestamp().is_some() {
        return nanos(parts.to_timestamp().map_err(|e| wrong(&e))?, text);
    }
    let date = parts.to_date().map_err(|e| wrong(&e))?;
    let time = match parts.hour() {
        Some(_) => parts.to_time().map_err(|e| wrong(&e))?,
        None => Time::midnight(),
    };
    in_zone(date.to_datetime(time), zone, text)
}

/// A time that is longer than its layout by 3 characters has milliseconds behind it, by 7
/// microseconds behind one separator (`20161230 21:37:57 140000`).
fn by_control(pattern: &str, layout_bytes: usize, text: &str, zone: &Zone) -> Result<i64, String> {
    let whole = by_pattern(pattern, text, zone);
    let Err(wrong) = whole else {
        return whole;
    };
    let (digits_at, unit) = match text.len().checked_sub(layout_bytes) {
        Some(3) => (0, 1_000_000),
        Some(7) => (1, 1_000),
        _ => return Err(wrong),
    };
    let Some((head, rest)) = text.split_at_checked(layout_bytes) else {
        return Err(wrong);
    };
    let digits = rest.get(digits_at..).unwrap_or("").trim_start();
    match digits.parse::<i64>() {
        Ok(count) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(by_pattern(pattern, head, zone)? + count * unit)
        }
        _ => Err(wrong),
    }
}

fn nanos(time: jiff::Timestamp, text: &str) -> Result<i64, String> {
    i64::try_from(time.as_nanosecond()).map_err(|_| out_of_range(text))
}

fn in_zone(time: DateTime, zone: &Zone, text: &str) -> Result<i64, String> {
    // The zone counts in i64 nanoseconds and saturates outside; refuse before that.
    if !(1678..=2261).contains(&time.year()) {
        return Err(out_of_range(text));
    }
    let days = time.date() - Date::constant(1970, 1, 1);
    let of_day = time.time() - Time::midnight();
    let of_day = of_day.total(jiff::Unit::Nanosecond).unwrap_or(0.0);
    let whole_seconds = (of_day / 1e9).floor() as i64 * NANOS_PER_SECOND;
    let below = i64::from(time.subsec_nanosecond());
    Ok(zone.instant(i64::from(days.get_days()), whole_seconds) + below)
}

/// Go writes a layout as the time 2006-01-02 15:04:05.000 -0700 would look.
fn from_go_layout(layout: &str) -> String {
    const PARTS: &[(&str, &str)] = &[
        ("January", "%B"),
        ("Monday", "%A"),
        ("-07:00", "%:z"),
        ("Z07:00", "%:z"),
        ("-0700", "%z"),
        ("2006", "%Y"),
        ("Jan", "%b"),
        ("Mon", "%a"),
        ("01", "%m"),
        ("02", "%d"),
        ("_2", "%e"),
        ("15", "%H"),
        ("03", "%I"),
        ("04", "%M"),
        ("05", "%S"),
        ("06", "%y"),
        ("PM", "%p"),
        ("pm", "%p"),
        ("1", "%m"),
        ("2", "%d"),
        ("3", "%I"),
        ("4", "%M"),
        ("5", "%S"),
    ];
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some((part, code)) = PARTS.iter().find(|(part, _)| rest.starts_with(part)) {
            out.push_str(code);
            rest = &rest[part.len()..];
            // A fraction belongs to the seconds before it: .000, .999999, ,000.
            let zeros = rest.strip_prefix(['.', ',']).unwrap_or("");
            let width = zeros
                .bytes()
                .take_while(|b| matches!(b, b'0' | b'9'))
                .count();
            if *code == "%S" {
                // Go takes a fraction behind the seconds also where the layout shows none.
                out.push_str("%.f");
                if width > 0 {
                    rest = &zeros[width..];
                }
            }
            continue;
        }
        if first == '%' {
            out.push('%');
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, zone: &str, text: &str) -> Result<i64, String> {
        TimeFormat::parse(format)?.read(text, &Zone::parse(zone).unwrap())
    }

    #[test]
    fn every_spelling_gives_the_same_instant() {
        let second = 1_580_482_645;
        for (format, zone, text) in [
            ("auto", "", "1580482645"),
            ("auto", "", "2020-01-31T14:57:25Z"),
            ("auto", "America/New_York", "2020-01-31 09:57:25"),
            ("s", "", "1580482645"),
            ("ms", "", "1580482645000"),
            ("us", "", "1580482645000000"),
            ("ns", "", "1580482645000000000"),
            ("rfc3339", "", "2020-01-31T09:57:25-05:00"),
            ("%Y%m%d %H:%M:%S", "", "20200131 14:57:25"),
            ("%Y-%m-%d %H:%M:%S %z", "", "2020-01-31 09:57:25 -0500"),
            (
                "2006-01-02 15:04:05",
                "America/New_York",
                "2020-01-31 09:57:25",
            ),
            ("1/2/2006 3:04:05 PM", "", "1/31/2020 2:57:25 PM"),
            ("02.01.2006 15:04:05", "", "31.01.2020 14:57:25"),
            ("2006-01-02T15:04:05Z07:00", "", "2020-01-31T09:57:25-05:00"),
            ("Jan _2 15:04:05 2006", "", "Jan 31 14:57:25 2020"),
        ] {
            let time = read(format, zone, text);
            assert_eq!(time, Ok(second * NANOS_PER_SECOND), "{format} {text}");
        }
    }

    #[test]
    fn fractions_are_exact() {
        assert_eq!(
            read("s", "", "1580482645.140000001"),
            Ok(1_580_482_645_140_000_001)
        );
        assert_eq!(read("auto", "", "-1.5"), Ok(-1_500_000_000));
        assert_eq!(
            read("ms", "", "1580482645140.5"),
            Ok(1_580_482_645_140_500_000)
        );
        let layout = "20060102 15:04:05.000000";
        assert_eq!(
            read(layout, "", "20161230 21:37:57.140000"),
            Ok(1_483_133_877_140_000_000)
        );
        assert_eq!(
            read("auto", "Europe/Berlin", "2016-12-30T22:37:57.000000009"),
            Ok(1_483_133_877_000_000_009)
        );
    }

    #[test]
    fn control_files_have_sub_seconds_behind_the_layout() {
        let format = TimeFormat::of_control("20060102 15:04:05");
        let eastern = Zone::parse("US/Eastern").unwrap();
        let read = |text: &str| format.read(text, &eastern);
        let second = 1_483_151_877 * NANOS_PER_SECOND;
        assert_eq!(read("20161230 21:37:57"), Ok(second));
        assert_eq!(read("20161230 21:37:57 140000"), Ok(second + 140_000_000));
        assert_eq!(read("20161230 21:37:57.140000"), Ok(second + 140_000_000));
        assert_eq!(read("20161230 21:37:57 14"), Ok(second + 14_000_000));
        assert_eq!(read("20161230 21:37:57140"), Ok(second + 140_000_000));
        for bad in ["20161230 21:37:57 1400", "20161230 21:37:57 14000x", "x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let seconds = TimeFormat::of_control("timestamp");
        assert_eq!(
            seconds.read("1483151877.14", &eastern),
            Ok(second + 140_000_000)
        );
    }

    #[test]
    fn dates_are_midnight_in_the_zone() {
        assert_eq!(
            read("auto", "", "2020-01-31"),
            Ok(1_580_428_800 * NANOS_PER_SECOND)
        );
        assert_eq!(
            read("%Y%m%d", "Asia/Tokyo", "20200131"),
            Ok(1_580_396_400 * NANOS_PER_SECOND)
        );
    }

    #[test]
    fn wrong_times_say_why() {
        for (format, text, part) in [
            ("auto", "", "is empty"),
            ("auto", "1580482645000", "looks like milliseconds"),
            ("auto", "1580482645000000000", "looks like nanoseconds"),
            ("auto", "20200131", "looks like a date"),
            ("auto", "yesterday", "is not a date or time"),
            ("s", "12a", "is not a number"),
            ("s", "99999999999", "is outside 1678-01-01..2261-12-31"),
            ("s", "9999999999999999999", "is not a number"),
            ("%H", "12", "does not fit"),
            ("%Y", "2020-", "does not fit"),
            ("auto", "9999-01-01", "is outside"),
            ("tomorrow", "1", "is not known"),
        ] {
            let error = read(format, "", text).expect_err(text);
            assert!(error.contains(part), "{format} {text}: {error}");
        }
    }
}
