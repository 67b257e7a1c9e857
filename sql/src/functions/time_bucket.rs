//! `time_bucket('5Min', Epoch [, zone [, anchor]])`: the start of the window that holds a time.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, TimestampNanosecondArray};
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit, TimestampNanosecondType};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use model::functions::{Grid, Step};
use model::{NANOS_PER_SECOND, Unit, Zone};

/// Times are UTC, in nanoseconds.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The function; days without a zone argument are those of `zone`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimeBucket {
    signature: Signature,
    zone: Zone,
}

impl Hash for TimeBucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.zone.name().hash(state);
    }
}

impl TimeBucket {
    pub(super) fn new(zone: Zone) -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            zone,
        }
    }

    fn grid(&self, args: &[ColumnarValue]) -> Result<Grid> {
        let step = step(&args[0])?;
        let words = args[2..].iter().map(text).collect::<Result<Vec<_>>>()?;
        let zone =
            |name: &str| Zone::parse(name).or_else(|error| plan_err!("time_bucket: {error}"));
        let grid = match &words[..] {
            [] => return Ok(Grid::new(step, self.zone.clone())),
            // A zone that is named means its days, for hours as well.
            [name] => match is_short(step) {
                true => Grid::anchored(step, zone(name)?, "00:00"),
                false => Ok(Grid::new(step, zone(name)?)),
            },
            [name, anchor, ..] => Grid::anchored(step, zone(name)?, anchor),
        };
        grid.or_else(|error| plan_err!("time_bucket: {error}"))
    }
}

/// Shorter than a day, so that windows fit between two midnights.
fn is_short(step: Step) -> bool {
    let Step::Timeframe(timeframe) = step else {
        return false;
    };
    let is_of_clocks = matches!(timeframe.unit(), Unit::Second | Unit::Minute | Unit::Hour);
    is_of_clocks && timeframe.nanos() <= 24 * 3600 * NANOS_PER_SECOND
}

/// A length as text or as an interval.
fn step(value: &ColumnarValue) -> Result<Step> {
    let ColumnarValue::Scalar(scalar) = value else {
        return plan_err!("time_bucket: the length is not the same for all rows");
    };
    if let ScalarValue::IntervalMonthDayNano(Some(interval)) = scalar {
        let (months, days, nanos) = (interval.months, interval.days, interval.nanoseconds);
        let text = match (months, days, nanos) {
            (1.., 0, 0) => format!("{months}M"),
            (0, 1.., 0) => format!("{days}D"),
            (0, 0, 1..) if nanos % NANOS_PER_SECOND == 0 => {
                format!("{}Sec", nanos / NANOS_PER_SECOND)
            }
            _ => {
                return plan_err!(
                    "time_bucket: the interval must be a number of months, of days, or of seconds"
                );
            }
        };
        return Step::parse(&text).or_else(|error| plan_err!("time_bucket: {error}"));
    }
    Step::parse(&text(value)?).or_else(|error| plan_err!("time_bucket: {error}"))
}

fn text(value: &ColumnarValue) -> Result<String> {
    match value {
        ColumnarValue::Scalar(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::Utf8View(Some(text))
            | ScalarValue::LargeUtf8(Some(text)),
        ) => Ok(text.clone()),
        _ => plan_err!("time_bucket: length, zone and anchor are texts like '5Min', or parameters"),
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(time_type())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=4).contains(&types.len()) {
            return plan_err!(
                "time_bucket takes a length and a time, and may take a zone and a time of the day: \
                 time_bucket('1H', Epoch, 'America/New_York', '09:30')"
            );
        }
        let length = match &types[0] {
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            // A parameter has no type before it has its value.
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => {
                DataType::Utf8
            }
            other => {
                return plan_err!(
                    "time_bucket: the length is a text like '5Min' or an INTERVAL, not {other}"
                );
            }
        };
        match &types[1] {
            DataType::Timestamp(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Int64
            | DataType::Null => {}
            other => return plan_err!("time_bucket: the second argument is a time, not {other}"),
        }
        let mut out = vec![length, time_type()];
        out.extend(types[2..].iter().map(|_| DataType::Utf8));
        Ok(out)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let grid = self.grid(&args.args)?;
        match &args.args[1] {
            ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(time, zone)) => {
                let start = time.map(|time| grid.window(time).start);
                let start = ScalarValue::TimestampNanosecond(start, zone.clone());
                Ok(ColumnarValue::Scalar(start))
            }
            ColumnarValue::Scalar(other) => plan_err!("time_bucket: {other} is no time"),
            ColumnarValue::Array(array) => {
                let times = array.as_primitive::<TimestampNanosecondType>();
                let mut starts = times.values().to_vec();
                grid.floor_all(&mut starts);
                let starts = TimestampNanosecondArray::new(starts.into(), times.nulls().cloned());
                Ok(ColumnarValue::Array(Arc::new(starts.with_timezone("UTC"))))
            }
        }
    }

    /// Windows ascend with their times, so that rows in order of time are grouped as they come.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        let others = inputs.iter().enumerate().filter(|(at, _)| *at != 1);
        let mut others = others.map(|(_, input)| input.sort_properties);
        Ok(
            match others.all(|order| order == SortProperties::Singleton) {
                true => inputs[1].sort_properties,
                false => SortProperties::Unordered,
            },
        )
    }
}
