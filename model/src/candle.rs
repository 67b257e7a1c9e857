//! Rolling rows up into the windows of a coarser timeframe: the kernel behind every aggregate.
//!
//! First the windows are found, once, from the times; then each column is reduced window by window.
//! Nothing is done per row that can be done per window.

use crate::batch::{Column, Value};
use crate::functions::Grid;
use crate::schema::ColumnType;
use crate::timeframe::{Timeframe, Window};
use crate::zone::Zone;

/// How the values of one window become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// The first value.
    First,
    /// The largest; NaN counts only if every value is NaN.
    Max,
    /// The smallest; NaN counts only if every value is NaN.
    Min,
    /// The last value.
    Last,
    /// The sum. Integers are added in 128 bits and floats in 64; a sum that does not fit the type
    /// of the column becomes the nearest value that does, and [`RollUp::saturated`] is counted.
    Sum,
}

/// The windows that hold at least one row: row `ends[i - 1]` (0 for the first) up to `ends[i]`
/// belong to the window that starts at `starts[i]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    /// Start of each window, ascending.
    pub starts: Vec<i64>,
    /// Row after the last of each window.
    pub ends: Vec<u32>,
}

impl Windows {
    /// Finds the windows of ascending times on any grid.
    pub fn on(times: &[i64], grid: &Grid) -> Self {
        debug_assert!(times.is_sorted(), "rows are rolled up in order of time");
        let mut windows = Self::default();
        let mut cursor = grid.cursor();
        let (mut row, mut count) = (0, 1);
        while let Some(time) = times.get(row) {
            let window = cursor.window(*time);
            count = rows_before(&times[row..], window.end, count);
            row += count;
            windows.starts.push(window.start);
            windows.ends.push(row as u32);
        }
        windows
    }

    /// Finds the windows of ascending times.
    pub fn of(times: &[i64], timeframe: Timeframe, zone: &Zone) -> Self {
        debug_assert!(times.is_sorted(), "rows are rolled up in order of time");
        let fixed = timeframe.fixed(zone);
        let mut windows = Self::with_capacity(times, timeframe);
        let mut window = Window {
            start: i64::MIN,
            end: i64::MIN,
        };
        let (mut row, mut count) = (0, 1);
        while let Some(time) = times.get(row) {
            window = next_window(window, *time, fixed, timeframe, zone);
            count = rows_before(&times[row..], window.end, count);
            row += count;
            windows.starts.push(window.start);
            windows.ends.push(row as u32);
        }
        windows
    }

    /// Room for as many windows as lie between the first and the last time.
    fn with_capacity(times: &[i64], timeframe: Timeframe) -> Self {
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return Self::default();
        };
        let span = last.saturating_sub(*first) / timeframe.nanos();
        let windows = usize::try_from(span).map_or(times.len(), |n| times.len().min(n + 2));
        Self {
            starts: Vec::with_capacity(windows),
            ends: Vec::with_capacity(windows),
        }
    }
}

/// How many of ascending times, the first of which does, lie before `end`. Most windows hold as many
/// rows as the one before; that is tried first, and then the rows between are not even read.
#[inline]
fn rows_before(times: &[i64], end: i64, guess: usize) -> usize {
    const STEP: usize = 16;
    if let [.., last, after] = times.get(..=guess).unwrap_or_default()
        && *last < end
        && *after >= end
    {
        return guess;
    }
    let mut count = 0;
    while times.get(count + STEP - 1).is_some_and(|time| *time < end) {
        count += STEP;
    }
    let rest = &times[count..times.len().min(count + STEP)];
    count
        + rest
            .iter()
            .map(|time| usize::from(*time < end))
            .sum::<usize>()
}

/// The window of `time`. Mostly it is the one after the last, which needs no division.
#[inline]
fn next_window(
    last: Window,
    time: i64,
    fixed: Option<(i64, i64)>,
    timeframe: Timeframe,
    zone: &Zone,
) -> Window {
    match fixed {
        Some((length, _)) if last.end != i64::MIN && time - last.end < length => Window {
            start: last.end,
            end: last.end + length,
        },
        _ => timeframe.window(time, zone),
    }
}

/// A column with one value per window.
#[derive(Debug, Clone)]
pub struct RollUp {
    /// The values, of the type of the rows.
    pub column: Column,
    /// Windows whose sum did not fit the type.
    pub saturated: usize,
}

/// Reduces a column window by window. Text knows only [`Aggregation::First`] and
/// [`Aggregation::Last`]; of other aggregations it gives the last.
pub fn roll_up(column: &Column, windows: &Windows, how: Aggregation) -> RollUp {
    macro_rules! by_type {
        ($($ty:ident = $rust:ty),*) => { match column.ty() {
            $(ColumnType::$ty => {
                let values: &[$rust] = column.values().expect("the type is the one just matched");
                reduce(values, &windows.ends, how)
            })*
            ColumnType::Str16 => {
                let values: &[[u32; 16]] = column.values().expect("the type is the one just matched");
                let pick = if how == Aggregation::First { first } else { last };
                RollUp { column: Column::from_values(each(values, &windows.ends, pick)), saturated: 0 }
            }
        } };
    }
    by_type!(
        F32 = f32,
        I32 = i32,
        F64 = f64,
        I64 = i64,
        I8 = i8,
        I16 = i16,
        U8 = u8,
        U16 = u16,
        U32 = u32,
        U64 = u64
    )
}

fn reduce<T: Number>(values: &[T], ends: &[u32], how: Aggregation) -> RollUp {
    let mut saturated = 0;
    let out = match how {
        Aggregation::First => each(values, ends, first),
        Aggregation::Last => each(values, ends, last),
        Aggregation::Max => each(values, ends, |w| {
            w[1..].iter().fold(w[0], |a, b| a.larger(*b))
        }),
        Aggregation::Min => each(values, ends, |w| {
            w[1..].iter().fold(w[0], |a, b| a.smaller(*b))
        }),
        Aggregation::Sum => each(values, ends, |w| {
            let (sum, fits) = T::sum(w);
            saturated += usize::from(!fits);
            sum
        }),
    };
    RollUp {
        column: Column::from_values(out),
        saturated,
    }
}

#[inline]
fn each<T: Value>(values: &[T], ends: &[u32], mut f: impl FnMut(&[T]) -> T) -> Vec<T> {
    let mut out = Vec::with_capacity(ends.len());
    let mut rest = values;
    let mut start = 0;
    for end in ends {
        let (window, after) = rest.split_at((end - start) as usize);
        out.push(f(window));
        (rest, start) = (after, *end);
    }
    out
}

fn first<T: Copy>(window: &[T]) -> T {
    window[0]
}

fn last<T: Copy>(window: &[T]) -> T {
    window[window.len() - 1]
}

/// What a number must know to be aggregated.
trait Number: Value {
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
    /// The sum, and whether it fits.
    fn sum(window: &[Self]) -> (Self, bool);
}

macro_rules! integer {
    ($($ty:ty, $wide:ty);*) => { $(impl Number for $ty {
        #[inline(always)]
        fn larger(self, other: Self) -> Self { self.max(other) }
        #[inline(always)]
        fn smaller(self, other: Self) -> Self { self.min(other) }
        #[inline(always)]
        fn sum(window: &[Self]) -> (Self, bool) {
            let sum: $wide = window.iter().map(|v| <$wide>::from(*v)).sum();
            match Self::try_from(sum) {
                Ok(sum) => (sum, true),
                Err(_) => (if sum < 0 { Self::MIN } else { Self::MAX }, false),
            }
        }
    })* };
}
// A window has less than 2^32 rows: sums of up to 32 bits fit an i64 after 2^31 of them.
integer!(i8, i64; i16, i64; i32, i64; i64, i128; u8, i64; u16, i64; u32, i64; u64, i128);

macro_rules! float {
    ($($ty:ty),*) => { $(impl Number for $ty {
        #[inline(always)]
        fn larger(self, other: Self) -> Self { self.max(other) }
        #[inline(always)]
        fn smaller(self, other: Self) -> Self { self.min(other) }
        #[inline(always)]
        fn sum(window: &[Self]) -> (Self, bool) {
            (window.iter().map(|v| f64::from(*v)).sum::<f64>() as Self, true)
        }
    })* };
}
float!(f32, f64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::NANOS_PER_SECOND;

    fn windows(seconds: &[i64], timeframe: &str, zone: &str) -> Windows {
        let times: Vec<i64> = seconds.iter().map(|s| s * NANOS_PER_SECOND).collect();
        let timeframe = Timeframe::parse(timeframe).unwrap();
        Windows::of(&times, timeframe, &Zone::parse(zone).unwrap())
    }

    fn aggregate<T: Value + PartialEq + std::fmt::Debug>(
        values: &[T],
        how: Aggregation,
    ) -> (T, usize) {
        let windows = Windows {
            starts: vec![0],
            ends: vec![values.len() as u32],
        };
        let out = roll_up(&Column::from_values(values.to_vec()), &windows, how);
        (out.column.values::<T>().unwrap()[0], out.saturated)
    }

    #[test]
    fn windows_are_found_across_gaps() {
        let found = windows(&[0, 59, 60, 300, 301, 900], "1Min", "UTC");
        assert_eq!(found.ends, [2, 3, 5, 6]);
        assert_eq!(
            found.starts,
            [0, 60, 300, 900].map(|s| s * NANOS_PER_SECOND)
        );
        assert_eq!(windows(&[], "1Min", "UTC"), Windows::default());
        let before_1970 = windows(&[-61, -60, -1, 0], "1Min", "UTC");
        assert_eq!(before_1970.ends, [1, 3, 4]);
    }

    #[test]
    fn windows_equal_the_floor_of_each_time() {
        let seconds: Vec<i64> = (0..5000).map(|i| 1_583_000_000 + i * 977).collect();
        for timeframe in ["5Min", "1H", "1D", "1W", "1Y", "7Min"] {
            for zone in ["UTC", "America/New_York", "Asia/Kolkata"] {
                let found = windows(&seconds, timeframe, zone);
                let (tf, zone) = (
                    Timeframe::parse(timeframe).unwrap(),
                    Zone::parse(zone).unwrap(),
                );
                let mut row = 0;
                for (start, end) in found.starts.iter().zip(&found.ends) {
                    for second in &seconds[row..*end as usize] {
                        assert_eq!(tf.floor(second * NANOS_PER_SECOND, &zone), *start);
                    }
                    row = *end as usize;
                }
                assert_eq!(row, seconds.len());
                assert!(found.starts.is_sorted_by(|a, b| a < b));
            }
        }
    }

    #[test]
    fn windows_of_any_number_of_rows_are_found() {
        // Rows of consecutive minutes: about the lengths at which the search changes its way,
        // repeated and not.
        let counts = [
            1, 1, 15, 16, 17, 17, 16, 0, 32, 33, 60, 60, 60, 59, 60, 2, 1, 48, 48, 0, 7,
        ];
        for skip in 0..counts.len() {
            let mut seconds = Vec::new();
            let mut ends = Vec::new();
            for (minute, count) in counts[skip..].iter().enumerate() {
                seconds.extend((0..*count).map(|second| minute as i64 * 60 + second));
                if *count > 0 {
                    ends.push(seconds.len() as u32);
                }
            }
            let found = windows(&seconds, "1Min", "UTC");
            assert_eq!(found.ends, ends, "from the window {skip} on");
            assert_eq!(found.starts.len(), ends.len());
        }
    }

    #[test]
    fn each_aggregation_is_right() {
        let values = [3.0_f32, f32::NAN, 7.5, -1.0];
        assert_eq!(aggregate(&values, Aggregation::First).0, 3.0);
        assert_eq!(aggregate(&values, Aggregation::Last).0, -1.0);
        assert_eq!(aggregate(&values, Aggregation::Max).0, 7.5);
        assert_eq!(aggregate(&values, Aggregation::Min).0, -1.0);
        assert!(aggregate(&values, Aggregation::Sum).0.is_nan());
        assert_eq!(aggregate(&[1_u8, 2, 3], Aggregation::Sum), (6, 0));
    }

    #[test]
    fn sums_do_not_wrap() {
        assert_eq!(aggregate(&[i32::MAX, 1], Aggregation::Sum), (i32::MAX, 1));
        assert_eq!(
            aggregate(&[i32::MAX, 1, -1], Aggregation::Sum),
            (i32::MAX, 0)
        );
        assert_eq!(aggregate(&[i64::MIN, -1], Aggregation::Sum), (i64::MIN, 1));
        assert_eq!(aggregate(&[u64::MAX, 1], Aggregation::Sum), (u64::MAX, 1));
        assert_eq!(aggregate(&[1.5e9_f64, 1.5e9], Aggregation::Sum), (3.0e9, 0));
    }
}
