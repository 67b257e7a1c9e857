//! Times in a statement: texts and integers beside a column of times.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, Cast, Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use jiff::civil::{Date, Time};
use model::{NANOS_PER_SECOND, Zone};

use crate::{Error, ErrorKind};

/// Integers up to here are seconds, beyond nanoseconds: the last second of the year 2999.
const SECONDS_MAX: i64 = 32_503_680_000;

/// The time type of all columns of times.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

pub(crate) fn time_value(time: i64) -> ScalarValue {
    ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into()))
}

/// Makes times of the texts and integers that are compared with times.
#[derive(Debug)]
pub(crate) struct TimeLiterals {
    pub(crate) zone: Zone,
}

impl ExprPlanner for TimeLiterals {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let compares = matches!(
            expr.op,
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq | Op::Spaceship
        );
        if compares {
            if is_time(&expr.left, schema) {
                expr.right = as_time(expr.right, &self.zone)?;
            } else if is_time(&expr.right, schema) {
                expr.left = as_time(expr.left, &self.zone)?;
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn is_time(expr: &Expr, schema: &DFSchema) -> bool {
    let is_literal = matches!(expr, Expr::Literal(..));
    !is_literal && matches!(expr.get_type(schema), Ok(DataType::Timestamp(..)))
}

/// Does the same for BETWEEN and IN, which the planner does not ask about, and for times that are
/// typed by the statement: `TIMESTAMP '...'` in another zone than UTC.
pub(crate) fn rewrite(plan: LogicalPlan, zone: &Zone) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        plan.map_expressions(|expr| expr.transform_up(|expr| rewrite_expr(expr, &schema, zone)))
    });
    rewritten.map(|rewritten| rewritten.data)
}

fn rewrite_expr(expr: Expr, schema: &DFSchema, zone: &Zone) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if is_time(&expr, schema) => {
            let low = Box::new(as_time(*low, zone)?);
            let high = Box::new(as_time(*high, zone)?);
            let between = Between {
                expr,
                negated,
                low,
                high,
            };
            Ok(Transformed::yes(Expr::Between(between)))
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) if is_time(&expr, schema) => {
            let list = list.into_iter().map(|item| as_time(item, zone));
            let list = list.collect::<Result<Vec<_>>>()?;
            let list = InList {
                expr,
                list,
                negated,
            };
            Ok(Transformed::yes(Expr::InList(list)))
        }
        expr => Ok(Transformed::no(expr)),
    }
}

/// A literal as a time; what is no literal stays.
fn as_time(expr: Expr, zone: &Zone) -> Result<Expr> {
    let time = match &expr {
        Expr::Literal(value, _) => of_value(value, zone),
        Expr::Negative(inner) => match &**inner {
            Expr::Literal(ScalarValue::Int64(Some(n)), _) => Some(of_integer(-n)),
            _ => None,
        },
        // TIMESTAMP '2020-01-02 00:00' without a zone is in the statement's.
        Expr::Cast(Cast { expr: inner, field }) => match (&**inner, field.data_type()) {
            (Expr::Literal(value, _), DataType::Timestamp(_, None)) => of_text(value, zone),
            _ => None,
        },
        _ => None,
    };
    match time {
        Some(Ok(time)) => Ok(Expr::Literal(time_value(time), None)),
        Some(Err(error)) => Err(error.wrap()),
        None => Ok(expr),
    }
}

fn of_value(value: &ScalarValue, zone: &Zone) -> Option<std::result::Result<i64, Error>> {
    match value {
        ScalarValue::Int64(Some(n)) => Some(of_integer(*n)),
        ScalarValue::UInt64(Some(n)) => Some(match i64::try_from(*n) {
            Ok(n) => of_integer(n),
            Err(_) => Err(out_of_range(n)),
        }),
        ScalarValue::Float64(Some(seconds)) => Some(of_seconds(*seconds)),
        _ => of_text(value, zone),
    }
}

fn of_text(value: &ScalarValue, zone: &Zone) -> Option<std::result::Result<i64, Error>> {
    let text = value.try_as_str()??;
    Some(parse_time(text, zone))
}

pub(crate) fn of_integer(n: i64) -> std::result::Result<i64, Error> {
    match n.abs() <= SECONDS_MAX {
        true => n
            .checked_mul(NANOS_PER_SECOND)
            .ok_or_else(|| out_of_range(&n)),
        false => Ok(n),
    }
}

fn of_seconds(seconds: f64) -> std::result::Result<i64, Error> {
    let nanos = seconds * 1e9;
    match nanos.is_finite() && nanos.abs() < 9.2e18 {
        true => Ok(nanos.round() as i64),
        false => Err(out_of_range(&seconds)),
    }
}

fn out_of_range(what: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("the time {what} is outside 1678-01-01..2261-12-31"),
    )
}

/// A time as people and MarketStore's clients write it: `2020-01-02`, `2020-01-02-15:04:05.5`,
/// `2020-01-02 15:04`, `2020-01-02T15:04:05Z`, with an offset or the name of a zone behind it.
pub(crate) fn parse_time(text: &str, zone: &Zone) -> std::result::Result<i64, Error> {
    parse(text.trim(), zone).ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        let message = format!("unable to convert string to date: \"{shown}\"");
        Error::new(ErrorKind::Invalid, message).with_hint(
            "times are like 2020-01-02, 2020-01-02-15:04:05.123, '2020-01-02 15:04 America/New_York' \
             or seconds since 1970",
        )
    })
}

fn parse(text: &str, zone: &Zone) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let date = parse_date(date)?;
    let Some(separator) = rest.chars().next() else {
        return instant(date, Time::midnight(), zone);
    };
    if !matches!(separator, '-' | 'T' | 't' | ' ') {
        return None;
    }
    let rest = &rest[1..];
    if separator == ' ' && !rest.starts_with(|c: char| c.is_ascii_digit()) {
        // A date and a zone.
        return instant(date, Time::midnight(), &named_zone(rest)?);
    }
    let clock = rest.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'));
    let (clock, place) = rest.split_at(clock.unwrap_or(rest.len()));
    let time = parse_clock(clock)?;
    match place.trim() {
        "" => instant(date, time, zone),
        place => match parse_offset(place) {
            Some(offset) => {
                let utc = instant(date, time, &Zone::utc())?;
                utc.checked_sub(offset.checked_mul(NANOS_PER_SECOND)?)
            }
            None => instant(date, time, &named_zone(place)?),
        },
    }
}

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    if parts.next().is_some() {
        return None;
    }
    Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    )
    .ok()
}

fn parse_clock(text: &str) -> Option<Time> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0), |text| digits(text, 2))?;
    if parts.next().is_some() || fraction.is_some() && clock.len() < 8 {
        return None;
    }
    let nanos = match fraction {
        None => 0,
        Some(fraction) => {
            let known = fraction.len() <= 9 && !fraction.is_empty();
            let digits = known.then(|| format!("{fraction:0<9}"))?;
            digits.parse().ok()?
        }
    };
    let [hour, minute, second] = [hour, minute, second].map(|n| i8::try_from(n).ok());
    Time::new(hour?, minute?, second?, nanos).ok()
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let all = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

/// Seconds east of UTC.
fn parse_offset(text: &str) -> Option<i64> {
    match text {
        "Z" | "z" | "UTC" | "GMT" => return Some(0),
        // The zones of the exchanges that MarketStore's users write so.
        "EST" => return Some(-5 * 3600),
        "EDT" => return Some(-4 * 3600),
        _ => {}
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let rest = &text[1..];
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if rest.len() == 4 && rest.is_ascii() => rest.split_at(2),
        None => (rest, "00"),
    };
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn named_zone(name: &str) -> Option<Zone> {
    Zone::parse(name).ok()
}

fn instant(date: Date, time: Time, zone: &Zone) -> Option<i64> {
    let day = (date - Date::constant(1970, 1, 1)).get_days();
    let seconds =
        i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    // The zone counts in seconds.
    let at = zone.instant(i64::from(day), seconds * NANOS_PER_SECOND);
    let at = at.checked_add(i64::from(time.subsec_nanosecond()))?;
    (model::TIME_MIN..=model::TIME_MAX)
        .contains(&at)
        .then_some(at)
}

pub(crate) fn planner(zone: &Zone) -> Arc<dyn ExprPlanner> {
    Arc::new(TimeLiterals { zone: zone.clone() })
}
