//! Time is nanoseconds since 1970-01-01 in UTC, an `i64`, everywhere inside. Seconds and a
//! `Nanoseconds` column exist only on the wire.

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// First time that can be stored: 1678-01-01T00:00:00Z, the first whole year of the range.
pub const TIME_MIN: i64 = -9_214_560_000 * NANOS_PER_SECOND;

/// Last time that can be stored: 2261-12-31T23:59:59.999999999Z.
pub const TIME_MAX: i64 = 9_214_646_400 * NANOS_PER_SECOND - 1;

/// Why a wire time cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// Seconds outside the range; the hint names what the value looks like.
    #[error("epoch {0} is outside 1678-01-01..2261-12-31 (seconds){1}")]
    Range(i64, &'static str),
    /// Nanoseconds outside a second.
    #[error("nanoseconds {0} are outside 0..999999999")]
    Nanoseconds(i64),
}

/// Joins seconds and nanoseconds of a second.
///
/// # Errors
/// If the result cannot be stored, see [`TIME_MIN`] and [`TIME_MAX`].
pub fn time_from_epoch(seconds: i64, nanoseconds: i64) -> Result<i64, TimeError> {
    if !(0..NANOS_PER_SECOND).contains(&nanoseconds) {
        return Err(TimeError::Nanoseconds(nanoseconds));
    }
    if !(TIME_MIN / NANOS_PER_SECOND..=TIME_MAX / NANOS_PER_SECOND).contains(&seconds) {
        return Err(TimeError::Range(seconds, looks_like(seconds)));
    }
    Ok(seconds * NANOS_PER_SECOND + nanoseconds)
}

/// Splits a time into whole seconds (rounded down) and nanoseconds of the second.
pub fn epoch_and_nanos(time: i64) -> (i64, i32) {
    let nanos = time.rem_euclid(NANOS_PER_SECOND);
    (time.div_euclid(NANOS_PER_SECOND), nanos as i32)
}

/// People send milliseconds or nanoseconds by mistake; say so.
fn looks_like(seconds: i64) -> &'static str {
    match seconds.unsigned_abs() {
        0..=99_999_999_999 => "",
        100_000_000_000..=99_999_999_999_999 => ", it looks like milliseconds",
        100_000_000_000_000..=99_999_999_999_999_999 => ", it looks like microseconds",
        _ => ", it looks like nanoseconds",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_whole_years() {
        let year = |t: i64| {
            jiff::Timestamp::from_nanosecond(i128::from(t))
                .unwrap()
                .to_string()
        };
        assert_eq!(year(TIME_MIN), "1678-01-01T00:00:00Z");
        assert_eq!(year(TIME_MAX), "2261-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn split_and_join_are_inverse() {
        for time in [TIME_MIN, -1, 0, 1, 1_583_159_400_123_456_789, TIME_MAX] {
            let (seconds, nanos) = epoch_and_nanos(time);
            assert_eq!(time_from_epoch(seconds, i64::from(nanos)), Ok(time));
        }
    }

    #[test]
    fn times_out_of_range_are_refused_with_a_hint() {
        assert!(
            time_from_epoch(1_583_159_400_000, 0)
                .unwrap_err()
                .to_string()
                .contains("milli")
        );
        assert!(
            time_from_epoch(i64::MAX, 0)
                .unwrap_err()
                .to_string()
                .contains("nano")
        );
        assert!(time_from_epoch(0, 1_000_000_000).is_err());
        assert!(time_from_epoch(0, -1).is_err());
    }
}
