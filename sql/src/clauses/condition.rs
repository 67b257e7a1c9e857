//! What the condition of an ASOF join says: keys, times, direction, tolerance.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr as Ast, Function, Ident, Spanned};

use super::tree::{argument, arguments, split};
use super::{marker, placed};
use crate::asof::{AsofNode, Direction, Rule};

/// The times of a join without an inequality.
const TIME: &str = "Epoch";

/// What was read of a condition.
pub(super) struct Condition<'a, 'c> {
    left: &'a LogicalPlan,
    right: &'a LogicalPlan,
    schema: DFSchema,
    context: &'a mut (dyn RelationPlannerContext + 'c),
    on: Vec<(Expr, Expr)>,
    times: Option<(Expr, Expr, Direction, bool)>,
    tolerance: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl<'a, 'c> Condition<'a, 'c> {
    pub(super) fn new(
        left: &'a LogicalPlan,
        right: &'a LogicalPlan,
        context: &'a mut (dyn RelationPlannerContext + 'c),
    ) -> Result<Self> {
        let schema = left.schema().join(right.schema())?;
        Ok(Self {
            left,
            right,
            schema,
            context,
            on: Vec::new(),
            times: None,
            tolerance: None,
        })
    }

    /// Reads a condition. `explicit` is what the join's words say of rows that match nothing: without
    /// them they stay, but not where the condition is written as in DuckDB.
    pub(super) fn read(
        mut self,
        condition: Option<Ast>,
        explicit: Option<bool>,
    ) -> Result<AsofNode> {
        let mut terms = Vec::new();
        if let Some(condition) = condition {
            split(condition, &mut terms);
        }
        let mut matching = false;
        let mut plain = Vec::new();
        for term in terms {
            match term {
                Ast::Function(function) if function.name.to_string() == marker::MATCH => {
                    matching = true;
                    for arg in arguments(function).into_iter().filter_map(argument) {
                        split(arg, &mut plain);
                    }
                }
                term => plain.push(term),
            }
        }
        for term in plain {
            let span = term.span();
            self.term(term).map_err(|error| placed(error, span))?;
        }
        let as_in_duckdb = self.times.is_some() && !matching;
        if self.times.is_none() {
            self.default_times()?;
        }
        self.finish(explicit.unwrap_or(!as_in_duckdb))
    }

    fn term(&mut self, term: Ast) -> Result<()> {
        match term {
            Ast::Nested(inner) => match *inner {
                Ast::BinaryOp {
                    op: BinaryOperator::And,
                    ..
                } => {
                    let mut terms = Vec::new();
                    split(*inner, &mut terms);
                    terms.into_iter().try_for_each(|term| self.term(term))
                }
                inner => self.term(inner),
            },
            Ast::Function(function) => self.function(function),
            // As QuestDB has it: ON (symbol).
            Ast::Identifier(name) => self.same_name(&name),
            Ast::Tuple(names) => names.into_iter().try_for_each(|name| self.term(name)),
            Ast::BinaryOp { left, op, right } => self.comparison(*left, op, *right),
            other => refuse(&other.to_string()),
        }
    }

    fn function(&mut self, function: Function) -> Result<()> {
        let name = function.name.to_string();
        let text = function.to_string();
        let mut args = arguments(function).into_iter().filter_map(argument);
        if name == marker::TOLERANCE {
            let Some(tolerance) = args.next() else {
                return plan_err!("TOLERANCE takes a length of time");
            };
            let tolerance = self.plan(tolerance)?.0;
            return self.set_tolerance(tolerance);
        }
        if name == marker::USING {
            return self.using(args.collect());
        }
        let (Some(first), Some(second), None) = (args.next(), args.next(), args.next()) else {
            return refuse(&text);
        };
        if !name.eq_ignore_ascii_case("nearest") {
            return refuse(&text);
        }
        let (first, second) = (self.plan(first)?, self.plan(second)?);
        match (first, second) {
            ((l, Some(Side::Left)), (r, Some(Side::Right)))
            | ((r, Some(Side::Right)), (l, Some(Side::Left))) => {
                self.set_times(l, r, Direction::Nearest, false)
            }
            _ => plan_err!("nearest(..) in an ASOF join takes a time of each table"),
        }
    }

    /// Columns of both tables that are equal; of several, the last is the time if it is one.
    fn using(&mut self, names: Vec<Ast>) -> Result<()> {
        let last = names.len().saturating_sub(1);
        for (index, name) in names.into_iter().enumerate() {
            let Ast::Identifier(name) = name else {
                return refuse(&name.to_string());
            };
            let (left, right) = self.both(&name)?;
            let is_time = matches!(left.get_type(self.left.schema())?, DataType::Timestamp(..));
            if index > 0 && index == last && is_time {
                self.set_times(left, right, Direction::Backward, false)?;
            } else {
                self.on.push((left, right));
            }
        }
        Ok(())
    }

    fn same_name(&mut self, name: &Ident) -> Result<()> {
        let pair = self.both(name)?;
        self.on.push(pair);
        Ok(())
    }

    fn both(&mut self, name: &Ident) -> Result<(Expr, Expr)> {
        let of = |context: &mut dyn RelationPlannerContext, plan: &LogicalPlan| {
            context.sql_to_expr(Ast::Identifier(name.clone()), plan.schema())
        };
        Ok((of(self.context, self.left)?, of(self.context, self.right)?))
    }

    fn default_times(&mut self) -> Result<()> {
        let name = Ident::with_quote('"', TIME);
        match self.both(&name) {
            Ok((left, right)) => self.set_times(left, right, Direction::Backward, false),
            Err(_) => plan_err!(
                "an ASOF join needs a comparison of times, such as MATCH_CONDITION (t.Epoch >= q.Epoch)"
            ),
        }
    }

    fn comparison(&mut self, left: Ast, op: BinaryOperator, right: Ast) -> Result<()> {
        let text = format!("{left} {op} {right}");
        let (left, right) = (self.plan(left)?, self.plan(right)?);
        let op = match op {
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            _ => return refuse(&text),
        };
        // The left table on the left.
        let (op, left, right) = match (left.1, right.1) {
            (Some(Side::Right), _) | (None, Some(Side::Left)) => {
                (op.swap().unwrap_or(op), right, left)
            }
            _ => (op, left, right),
        };
        match (op, left, right) {
            (Operator::Eq, (l, Some(Side::Left)), (r, Some(Side::Right))) => {
                self.on.push((l, r));
                Ok(())
            }
            (op, (l, Some(Side::Left)), (r, Some(Side::Right))) => self.inequality(op, l, r),
            (op, (between, None), (length, None)) => self.distance(op, &between, length, &text),
            _ => refuse(&text),
        }
    }

    /// `left <op> right`: the comparison of the times, or its tolerance.
    fn inequality(&mut self, op: Operator, left: Expr, right: Expr) -> Result<()> {
        // t - interval <= q and t <= q + interval; t + interval >= q and t >= q - interval.
        let length = match (&left, &right) {
            (Expr::BinaryExpr(side), _) if matches!(side.op, Operator::Minus | Operator::Plus) => {
                Some((side.op, side.right.as_ref()))
            }
            (_, Expr::BinaryExpr(side)) if matches!(side.op, Operator::Minus | Operator::Plus) => {
                let swapped = if side.op == Operator::Plus {
                    Operator::Minus
                } else {
                    Operator::Plus
                };
                Some((swapped, side.right.as_ref()))
            }
            _ => None,
        };
        if let Some((shift, length)) = length
            && is_length(length)
        {
            return match (shift, op) {
                (Operator::Minus, Operator::LtEq) | (Operator::Plus, Operator::GtEq) => {
                    self.set_tolerance(length.clone())
                }
                _ => plan_err!(
                    "the tolerance of an ASOF join includes its end: write it with <= or >="
                ),
            };
        }
        let (direction, strict) = match op {
            Operator::GtEq => (Direction::Backward, false),
            Operator::Gt => (Direction::Backward, true),
            Operator::LtEq => (Direction::Forward, false),
            _ => (Direction::Forward, true),
        };
        self.set_times(left, right, direction, strict)
    }

    /// `t - q <= length`, whichever is first.
    fn distance(&mut self, op: Operator, between: &Expr, length: Expr, text: &str) -> Result<()> {
        let (op, between, length) = match is_length(between) {
            true => (op.swap().unwrap_or(op), &length.clone(), between.clone()),
            false => (op, between, length),
        };
        let is_difference = matches!(
            between,
            Expr::BinaryExpr(BinaryExpr {
                op: Operator::Minus,
                ..
            })
        );
        match (is_difference && is_length(&length), op) {
            (true, Operator::LtEq) => self.set_tolerance(length),
            (true, _) => {
                plan_err!("the tolerance of an ASOF join includes its end: write it with <=")
            }
            _ => refuse(text),
        }
    }

    /// An expression, and the table that all of its columns are of.
    fn plan(&mut self, expr: Ast) -> Result<(Expr, Option<Side>)> {
        let expr = self.context.sql_to_expr(expr, &self.schema)?;
        let columns = expr.column_refs();
        let all = |plan: &LogicalPlan| {
            columns
                .iter()
                .all(|column| plan.schema().has_column(column))
        };
        let side = match columns.is_empty() {
            true => None,
            false if all(self.left) => Some(Side::Left),
            false if all(self.right) => Some(Side::Right),
            false => None,
        };
        Ok((expr, side))
    }

    fn set_times(
        &mut self,
        left: Expr,
        right: Expr,
        direction: Direction,
        strict: bool,
    ) -> Result<()> {
        match self.times.replace((left, right, direction, strict)) {
            None => Ok(()),
            Some(_) => plan_err!(
                "an ASOF join compares times once; give the greatest distance as TOLERANCE INTERVAL '5 seconds'"
            ),
        }
    }

    fn set_tolerance(&mut self, tolerance: Expr) -> Result<()> {
        match self.tolerance.replace(tolerance) {
            None => Ok(()),
            Some(_) => plan_err!("an ASOF join has one tolerance"),
        }
    }

    fn finish(self, outer: bool) -> Result<AsofNode> {
        let Some((left, right, direction, strict)) = self.times else {
            return plan_err!("an ASOF join compares times");
        };
        let types = (
            left.get_type(self.left.schema())?,
            right.get_type(self.right.schema())?,
        );
        let time = match &types {
            (a, b) if a == b && is_time(a) => a.clone(),
            (a @ DataType::Timestamp(_, zone), b @ DataType::Timestamp(..)) if a != b => {
                DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())
            }
            (a, b) if a.is_integer() && b.is_integer() => DataType::Int64,
            (a, b) => {
                return plan_err!("an ASOF join compares times or whole numbers, not {a} with {b}");
            }
        };
        let on = self.on.into_iter().map(|(left, right)| {
            let (a, b) = (
                left.get_type(self.left.schema())?,
                right.get_type(self.right.schema())?,
            );
            let Some(ty) = comparison_coercion(&a, &b) else {
                return plan_err!("{left} of type {a} is never equal to {right} of type {b}");
            };
            Ok((fitted(left, &a, &ty), fitted(right, &b, &ty)))
        });
        let rule = Rule {
            direction,
            strict,
            tolerance: self
                .tolerance
                .map(|length| tolerance(&length, &time))
                .transpose()?,
            outer,
        };
        let times = (
            fitted(left, &types.0, &time),
            fitted(right, &types.1, &time),
        );
        let on = on.collect::<Result<Vec<_>>>()?;
        AsofNode::new(self.left.clone(), self.right.clone(), on, times, rule)
    }
}

fn is_time(ty: &DataType) -> bool {
    matches!(ty, DataType::Timestamp(..) | DataType::Int64)
}

fn fitted(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    match from == to {
        true => expr,
        false => Expr::Cast(Cast::new(Box::new(expr), to.clone())),
    }
}

fn is_length(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if length(value).is_some())
}

fn refuse<T>(text: &str) -> Result<T> {
    Err(DataFusionError::Plan(format!(
        "{text} cannot be a part of an ASOF join: it takes equal keys, one comparison of times and a \
         tolerance, joined by AND; filter in WHERE"
    )))
}

/// A tolerance in units of the times.
fn tolerance(given: &Expr, time: &DataType) -> Result<i64> {
    let Expr::Literal(value, _) = given else {
        return plan_err!("the tolerance of an ASOF join is a literal, not {given}");
    };
    let unit = match time {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1000,
        _ => 1,
    };
    let found = match (length(value), time) {
        (Some(Length::Units(units)), DataType::Int64) => Some(units),
        (Some(Length::Nanos(nanos)), DataType::Timestamp(..)) => Some(nanos / unit),
        _ => None,
    };
    match found {
        Some(found) if found >= 0 => Ok(found),
        Some(_) => plan_err!("the tolerance of an ASOF join is not negative"),
        None => plan_err!(
            "{value} is no tolerance for times of type {time}: write INTERVAL '5 seconds' or 5s"
        ),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Nanos(i64),
    /// A number without a unit.
    Units(i64),
}

/// A length of time, if it is always the same: a month is none.
fn length(value: &ScalarValue) -> Option<Length> {
    const DAY: i64 = 86_400_000_000_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            let days = i64::from(interval.days).checked_mul(DAY)?;
            days.checked_add(interval.nanoseconds).map(Length::Nanos)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            let days = i64::from(interval.days).checked_mul(DAY)?;
            days.checked_add(i64::from(interval.milliseconds) * 1_000_000)
                .map(Length::Nanos)
        }
        ScalarValue::DurationNanosecond(Some(nanos)) => Some(Length::Nanos(*nanos)),
        ScalarValue::Int64(Some(units)) => Some(Length::Units(*units)),
        ScalarValue::Utf8(Some(text)) => text_length(text),
        _ => None,
    }
}

/// `5s`, `5 seconds`, `250ms`, `5`.
fn text_length(text: &str) -> Option<Length> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: i64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let nanos = match unit.to_ascii_lowercase().as_str() {
        "" => return Some(Length::Units(number)),
        "ns" | "nanosecond" | "nanoseconds" => 1,
        "us" | "microsecond" | "microseconds" => 1000,
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        _ => return None,
    };
    number.checked_mul(nanos).map(Length::Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        let nanos = |text| match text_length(text) {
            Some(Length::Nanos(nanos)) => Some(nanos),
            _ => None,
        };
        assert_eq!(nanos("5s"), Some(5_000_000_000));
        assert_eq!(nanos(" 5 seconds "), Some(5_000_000_000));
        assert_eq!(nanos("250ms"), Some(250_000_000));
        assert_eq!(nanos("1Min"), Some(60_000_000_000));
        assert_eq!(nanos("1 month"), None);
        assert_eq!(nanos("soon"), None);
        assert_eq!(nanos("99999999999999h"), None);
        assert_eq!(text_length("7"), Some(Length::Units(7)));
    }
}
