//! Arrow's times as nanoseconds since 1970 in UTC.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt32Type, UInt64Type,
};
use arrow_schema::{DataType, TimeUnit};
use model::{Column, NANOS_PER_SECOND, TIME_MAX, TIME_MIN, Zone};

use super::{BadValue, adopt_times};

const DAY_NANOS: i64 = 86_400 * NANOS_PER_SECOND;

/// How times are meant that do not say it themselves.
#[derive(Debug, Clone)]
pub struct TimeRules {
    /// Nanoseconds in one unit of integers.
    pub unit: Option<i64>,
    /// Zone of dates and of times without a zone.
    pub zone: Zone,
}

/// Whether a type says by itself that it is a time.
pub fn is_time(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
    )
}

/// The values of an array as times.
///
/// # Errors
/// The first value that is missing or out of range; row 0 if the type is no time.
pub fn times(array: &dyn Array, rules: &TimeRules) -> Result<Column, BadValue> {
    if let DataType::Timestamp(TimeUnit::Nanosecond, zone) = array.data_type()
        && array.null_count() == 0
        && (zone.is_some() || rules.zone.is_utc())
    {
        let nanos = array.as_primitive::<TimestampNanosecondType>();
        if let Some(row) = nanos.values().iter().position(|time| !in_range(*time)) {
            return Err(out_of_range(row, i128::from(nanos.value(row))));
        }
        return Ok(adopt_times(nanos));
    }
    let mut times = Vec::with_capacity(array.len());
    for (row, raw) in raw(array, rules)?.enumerate() {
        let Some(raw) = raw else {
            let what = "the time is missing".into();
            return Err(BadValue { row, what });
        };
        let time = i64::try_from(raw).map_err(|_| out_of_range(row, raw))?;
        times.push(time);
    }
    if is_local(array.data_type()) && !rules.zone.is_utc() {
        localize(&mut times, &rules.zone)?;
    }
    match times.iter().position(|time| !in_range(*time)) {
        Some(row) => Err(out_of_range(row, i128::from(times[row]))),
        None => Ok(Column::from_values(times)),
    }
}

fn in_range(time: i64) -> bool {
    (TIME_MIN..=TIME_MAX).contains(&time)
}

fn out_of_range(row: usize, time: i128) -> BadValue {
    BadValue {
        row,
        what: format!(
            "the time {time} (ns since 1970) is outside 1678-01-01..2261-12-31; is the unit right?"
        ),
    }
}

/// Whether values are what a clock on the wall shows.
fn is_local(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64
    )
}

/// Times of the wall to instants. They are in range first: the zone counts in i64.
fn localize(times: &mut [i64], zone: &Zone) -> Result<(), BadValue> {
    for (row, time) in times.iter_mut().enumerate() {
        if !in_range(*time) {
            return Err(out_of_range(row, i128::from(*time)));
        }
        *time = zone.instant(time.div_euclid(DAY_NANOS), time.rem_euclid(DAY_NANOS));
    }
    Ok(())
}

type Raw<'a> = Box<dyn Iterator<Item = Option<i128>> + 'a>;

/// Nanoseconds of each value, in a width that cannot overflow.
fn raw<'a>(array: &'a dyn Array, rules: &TimeRules) -> Result<Raw<'a>, BadValue> {
    macro_rules! of {
        ($ty:ty, $unit:expr) => {{
            let unit = i128::from($unit);
            let values = array.as_primitive::<$ty>().iter();
            Box::new(values.map(move |v| v.map(|v| i128::from(v) * unit)))
        }};
    }
    let ty = array.data_type();
    let unit = rules.unit;
    Ok(match (ty, unit) {
        (DataType::Timestamp(TimeUnit::Second, _), _) => of!(TimestampSecondType, NANOS_PER_SECOND),
        (DataType::Timestamp(TimeUnit::Millisecond, _), _) => {
            of!(TimestampMillisecondType, 1_000_000)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), _) => of!(TimestampMicrosecondType, 1_000),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => of!(TimestampNanosecondType, 1),
        (DataType::Date32, _) => of!(Date32Type, DAY_NANOS),
        (DataType::Date64, _) => of!(Date64Type, 1_000_000),
        (DataType::Int64, Some(unit)) => of!(Int64Type, unit),
        (DataType::Int32, Some(unit)) => of!(Int32Type, unit),
        (DataType::UInt64, Some(unit)) => of!(UInt64Type, unit),
        (DataType::UInt32, Some(unit)) => of!(UInt32Type, unit),
        (DataType::Int64 | DataType::Int32 | DataType::UInt64 | DataType::UInt32, None) => {
            return Err(BadValue {
                row: 0,
                what: format!("times are {ty}; say what they count with --time-unit s|ms|us|ns"),
            });
        }
        _ => {
            return Err(BadValue {
                row: 0,
                what: format!("{ty} is no time; a timestamp, a date or an integer is"),
            });
        }
    })
}
