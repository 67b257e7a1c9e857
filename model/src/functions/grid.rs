//! Windows that functions cut time into: those of a timeframe, calendar months, and windows that
//! are counted from a time of the local day, like the opening of a session.

use crate::timeframe::{Timeframe, Unit, Window};
use crate::zone::{DAY_NANOS, Zone};

/// The length of a window: a timeframe, or months, which cannot be stored but aggregated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// `5Min`, `1D`, ...
    Timeframe(Timeframe),
    /// `1M`, `3M`: calendar months, counted from January of the year 0.
    Months(u32),
}

impl Step {
    /// Parses a timeframe, or `nM` with up to 120 months.
    ///
    /// # Errors
    /// A text that names the word and says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(count) = text.strip_suffix('M')
            && let Ok(count @ 1..=120) = count.parse()
        {
            return Ok(Self::Months(count));
        }
        let timeframe = Timeframe::parse(text).map_err(|error| {
            let word = error.0;
            format!(
                "unable to get timeframe from \"{word}\": use a whole number and Sec, Min, H, D, W, \
                 M (months) or Y"
            )
        })?;
        Ok(Self::Timeframe(timeframe))
    }

    /// Nominal length in nanoseconds: a month is 30 days.
    pub fn nanos(self) -> i64 {
        match self {
            Self::Timeframe(timeframe) => timeframe.nanos(),
            Self::Months(count) => i64::from(count) * 30 * DAY_NANOS,
        }
    }

    /// First and next day of the window of a local day; `None` if it is shorter than a day.
    fn days(self, day: i64) -> Option<(i64, i64)> {
        match self {
            Self::Timeframe(timeframe) if is_of_days(timeframe) => Some(timeframe.days(day)),
            Self::Timeframe(_) => None,
            Self::Months(count) => Some(months(day, i64::from(count))),
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeframe(timeframe) => timeframe.fmt(f),
            Self::Months(count) => write!(f, "{count}M"),
        }
    }
}

fn is_of_days(timeframe: Timeframe) -> bool {
    matches!(timeframe.unit(), Unit::Day | Unit::Week | Unit::Year)
}

fn months(day: i64, count: i64) -> (i64, i64) {
    let (year, month, _) = Zone::civil(day);
    let month = i64::from(year) * 12 + i64::from(month) - 1;
    let first = month - month.rem_euclid(count);
    let start = |month: i64| Zone::month_start_day(month.div_euclid(12), month.rem_euclid(12) + 1);
    (start(first), start(first + count))
}

/// All windows of a [`Step`]: every time lies in exactly one.
///
/// Without an anchor they are those of stored rows ([`Timeframe::window`]). With one they are
/// counted from that time of each local day: days, weeks, months and years begin at it, and shorter
/// windows are counted from it anew each day, the last one cut short if the day is no multiple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    step: Step,
    zone: Zone,
    /// Nanoseconds after local midnight.
    anchor: Option<i64>,
}

impl Grid {
    /// The windows of stored rows.
    pub fn new(step: Step, zone: Zone) -> Self {
        Self {
            step,
            zone,
            anchor: None,
        }
    }

    /// Windows counted from a time of the local day, `09:30` or `09:30:00`.
    ///
    /// # Errors
    /// If the text is no time of a day, or the step is longer than a day but no number of days.
    pub fn anchored(step: Step, zone: Zone, anchor: &str) -> Result<Self, String> {
        let anchor = time_of_day(anchor)
            .ok_or_else(|| format!("\"{anchor}\" is no time of the day, use one like 09:30"))?;
        if step.days(0).is_none() && step.nanos() > DAY_NANOS {
            return Err(format!(
                "windows of {step} cannot begin at a time of the day, use at most 24H or days"
            ));
        }
        Ok(Self {
            step,
            zone,
            anchor: Some(anchor),
        })
    }

    /// The length of the windows.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The zone of days.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The window that holds `time`.
    pub fn window(&self, time: i64) -> Window {
        self.cursor().window(time)
    }

    /// Floors every time to the start of its window, in place.
    pub fn floor_all(&self, times: &mut [i64]) {
        let mut cursor = self.cursor();
        for time in times {
            *time = cursor.window(*time).start;
        }
    }

    /// A finder of windows that is fast if times come in order.
    pub fn cursor(&self) -> Cursor<'_> {
        let fixed = match (self.anchor, self.step) {
            (None, Step::Timeframe(timeframe)) => timeframe.fixed(&self.zone),
            _ => None,
        };
        Cursor {
            grid: self,
            fixed,
            session: NOWHERE,
            window: NOWHERE,
        }
    }

    /// The calendar window of `time`: whole days of a step of days, else the day from the anchor.
    fn calendar(&self, time: i64) -> Window {
        let anchor = self.anchor.unwrap_or(0);
        let mut day = self.zone.local_day(time);
        if time < self.zone.instant(day, anchor) {
            day -= 1;
        } else if time >= self.zone.instant(day + 1, anchor) {
            day += 1;
        }
        let (first, next) = self.step.days(day).unwrap_or((day, day + 1));
        Window {
            start: self.zone.instant(first, anchor),
            end: self.zone.instant(next, anchor),
        }
    }
}

const NOWHERE: Window = Window { start: 0, end: 0 };

/// Finds window after window of a [`Grid`].
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    grid: &'a Grid,
    fixed: Option<(i64, i64)>,
    // The anchored day that shorter windows are counted in.
    session: Window,
    window: Window,
}

impl Cursor<'_> {
    /// The window that holds `time`.
    #[inline]
    pub fn window(&mut self, time: i64) -> Window {
        if !(self.window.start <= time && time < self.window.end) {
            self.window = self.find(time);
        }
        self.window
    }

    fn find(&mut self, time: i64) -> Window {
        if let Some((length, anchor)) = self.fixed {
            // Mostly the window after the last, which needs no division.
            let next = self.window.end;
            let start = match time.checked_sub(next) {
                Some(0..) if self.window != NOWHERE && time - next < length => next,
                _ => time - (time - anchor).rem_euclid(length),
            };
            return Window {
                start,
                end: start.saturating_add(length),
            };
        }
        if self.grid.step.days(0).is_some() {
            return self.grid.calendar(time);
        }
        if !(self.session.start <= time && time < self.session.end) {
            self.session = self.grid.calendar(time);
        }
        let (from, length) = (self.session.start, self.grid.step.nanos());
        let start = from + (time - from).div_euclid(length) * length;
        Window {
            start,
            end: start.saturating_add(length).min(self.session.end),
        }
    }
}

/// Nanoseconds after midnight of `09:30` or `09:30:00`.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut next = |max: i64| -> Option<i64> {
        let part = parts.next()?;
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        let number = part.parse().ok().filter(|_| digits)?;
        (number <= max).then_some(number)
    };
    let (hours, minutes) = (next(23)?, next(59)?);
    let seconds = match text.len() {
        5 => 0,
        8 => next(59)?,
        _ => return None,
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * crate::NANOS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        let time: jiff::Timestamp = text.parse().unwrap();
        i64::try_from(time.as_nanosecond()).unwrap()
    }

    fn show(window: Window) -> String {
        let show = |t: i64| jiff::Timestamp::from_nanosecond(i128::from(t)).unwrap();
        format!("{} {}", show(window.start), show(window.end))
    }

    fn new_york() -> Zone {
        Zone::parse("America/New_York").unwrap()
    }

    #[test]
    fn months_are_those_of_the_zone() {
        let grid = |step| Grid::new(Step::parse(step).unwrap(), new_york());
        assert_eq!(
            show(grid("1M").window(at("2020-03-01T04:59:59Z"))),
            "2020-02-01T05:00:00Z 2020-03-01T05:00:00Z"
        );
        assert_eq!(
            show(grid("3M").window(at("2020-12-31T12:00:00Z"))),
            "2020-10-01T04:00:00Z 2021-01-01T05:00:00Z"
        );
    }

    #[test]
    fn a_session_begins_at_its_anchor() {
        let anchored = |step, anchor: &str| {
            Grid::anchored(Step::parse(step).unwrap(), new_york(), anchor).unwrap()
        };
        assert_eq!(
            show(anchored("1H", "09:30").window(at("2020-03-02T15:29:00Z"))),
            "2020-03-02T14:30:00Z 2020-03-02T15:30:00Z"
        );
        // An hour later by UTC once the clocks have changed.
        assert_eq!(
            show(anchored("1H", "09:30").window(at("2020-03-09T15:29:00Z"))),
            "2020-03-09T14:30:00Z 2020-03-09T15:30:00Z"
        );
        assert_eq!(
            show(anchored("7H", "09:30").window(at("2020-03-03T14:29:59Z"))),
            "2020-03-03T11:30:00Z 2020-03-03T14:30:00Z",
            "the last window of a day is cut short"
        );
        assert_eq!(
            show(anchored("1D", "18:00").window(at("2020-03-08T22:30:00Z"))),
            "2020-03-08T22:00:00Z 2020-03-09T22:00:00Z"
        );
        assert_eq!(
            show(anchored("1W", "18:00").window(at("2020-03-02T12:00:00Z"))),
            "2020-02-24T23:00:00Z 2020-03-02T23:00:00Z"
        );
    }

    #[test]
    fn bad_words_are_named() {
        for bad in ["", "5", "M", "0M", "121M", "5min", "1Mo"] {
            let error = Step::parse(bad).unwrap_err();
            assert!(error.contains(&format!("\"{bad}\"")), "{error}");
        }
        let hour = Step::parse("1H").unwrap();
        for bad in ["", "9:30", "24:00", "09:60", "09:30:", "09:30:60", "0930"] {
            assert!(Grid::anchored(hour, Zone::utc(), bad).is_err(), "{bad}");
        }
        assert!(Grid::anchored(Step::parse("36H").unwrap(), Zone::utc(), "09:30").is_err());
    }

    #[test]
    fn a_cursor_finds_what_each_time_finds() {
        let zones = ["UTC", "America/New_York", "Asia/Kolkata"].map(|z| Zone::parse(z).unwrap());
        let steps = ["7Min", "5Min", "1H", "1D", "2D", "1W", "1M", "5M", "1Y"];
        for zone in zones {
            for step in steps.map(|s| Step::parse(s).unwrap()) {
                let anchored = Grid::anchored(step, zone.clone(), "09:30").unwrap();
                for grid in [Grid::new(step, zone.clone()), anchored] {
                    let mut cursor = grid.cursor();
                    let mut time = at("2020-02-27T00:00:00Z");
                    for i in 0..2000_i64 {
                        let window = cursor.window(time);
                        assert!(window.start <= time && time < window.end, "{grid:?}");
                        assert_eq!(grid.window(time), window, "{grid:?}");
                        assert_eq!(grid.window(window.start), window, "{grid:?}");
                        assert_eq!(grid.window(window.end - 1), window, "{grid:?}");
                        assert_eq!(grid.window(window.end).start, window.end, "{grid:?}");
                        time += 61_000_000_001 * (1 + (i * i) % 97);
                    }
                }
            }
        }
    }

    #[test]
    fn windows_without_an_anchor_are_those_of_rows() {
        for step in ["1Sec", "7Min", "4H", "1D", "2W", "1Y"] {
            let timeframe = Timeframe::parse(step).unwrap();
            let grid = Grid::new(Step::Timeframe(timeframe), new_york());
            let mut times: Vec<i64> = (0..999)
                .map(|i| at("2019-10-30T05:17:11Z") + i * 7_777_777_777_777)
                .collect();
            let each: Vec<i64> = times
                .iter()
                .map(|t| timeframe.floor(*t, &new_york()))
                .collect();
            grid.floor_all(&mut times);
            assert_eq!(times, each, "{step}");
        }
    }
}
