//! What filters say about values of columns, for the zone maps of the engine.
//!
//! I24: it only narrows what is read; the filter stays in the plan. So a condition may say too much
//! and never too little, and whatever is not understood says nothing. Comparisons are those of Arrow:
//! NaN is above, or below, all other floats.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, Operator, TryCast};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use engine::{Snapshot, Values};

use crate::Error;
use crate::range::Range;
use crate::table::{Member, Source};

#[cfg(test)]
mod tests;

/// Conditions that each row must meet, by the position of its column among those of all members.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zones {
    conditions: Arc<[Condition]>,
    /// Names of their columns, for EXPLAIN.
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    column: usize,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// One of these, which NULL is not.
    Values(Values),
    Null,
    NotNull,
}

/// Pages of a scan, for EXPLAIN ANALYZE.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pages: Count,
    skipped: Count,
}

impl Counts {
    pub(crate) fn new(zones: &Zones, metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        if zones.is_empty() {
            return Self::default();
        }
        let count = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            pages: count("pages"),
            skipped: count("pages_skipped"),
        }
    }
}

/// The columns of a table.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) schema: &'a SchemaRef,
    pub(crate) sources: &'a [Source],
}

impl Zones {
    /// What filters joined by AND say.
    pub(crate) fn of(filters: &[Expr], columns: Columns<'_>) -> Self {
        let mut found: Vec<Condition> = Vec::new();
        for filter in filters {
            columns.collect(filter, &mut found);
        }
        let mut conditions: Vec<Condition> = Vec::with_capacity(found.len());
        for new in found {
            // Together they may leave NaN out, which each by itself does not.
            let joined = conditions.iter_mut().any(|known| match (known, &new) {
                (
                    Condition {
                        column,
                        test: Test::Values(known),
                    },
                    Condition {
                        column: of,
                        test: Test::Values(new),
                    },
                ) if column == of => {
                    let both = known.and(new);
                    both.map(|both| *known = both).is_some()
                }
                _ => false,
            });
            if !joined && !conditions.contains(&new) {
                conditions.push(new);
            }
        }
        let mut names: Vec<String> = Vec::new();
        for condition in &conditions {
            let source = Source::Column(condition.column);
            let at = columns.sources.iter().position(|found| *found == source);
            let name = at.map(|at| columns.schema.field(at).name().clone());
            names.extend(name.filter(|name| !names.contains(name)));
        }
        Self {
            conditions: conditions.into(),
            names,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// The times of a bucket in which its rows may meet the conditions, ascending.
    pub(crate) fn spans(
        &self,
        snapshot: &Snapshot,
        member: &Member,
        range: Range,
        counts: &Counts,
    ) -> Result<Vec<Range>, Error> {
        let mut conditions = Vec::with_capacity(self.conditions.len());
        for condition in self.conditions.iter() {
            match (&condition.test, member.columns[condition.column]) {
                (Test::Values(values), Some(column)) => {
                    let values = values.clone();
                    conditions.push(engine::Condition { column, values });
                }
                (Test::NotNull, Some(_)) | (Test::Null, None) => {}
                // What a bucket does not have is NULL in all of its rows.
                (Test::Values(_) | Test::NotNull, None) | (Test::Null, Some(_)) => {
                    return Ok(Vec::new());
                }
            }
        }
        if conditions.is_empty() {
            return Ok(vec![range]);
        }
        let zones = snapshot.zones(member.index, range.from, range.to, &conditions)?;
        counts.pages.add(zones.pages as usize);
        counts.skipped.add(zones.skipped as usize);
        let spans = zones.spans.into_iter();
        Ok(spans.map(|(from, to)| Range { from, to }).collect())
    }
}

/// What values are compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Integers,
    Floats,
}

impl Columns<'_> {
    /// Whether a filter says something.
    pub(crate) fn understands(self, filter: &Expr) -> bool {
        let mut found = Vec::new();
        self.collect(filter, &mut found);
        !found.is_empty()
    }

    fn collect(self, filter: &Expr, found: &mut Vec<Condition>) {
        if let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) = filter
        {
            self.collect(left, found);
            self.collect(right, found);
            return;
        }
        found.extend(self.condition(filter));
    }

    fn condition(self, filter: &Expr) -> Option<Condition> {
        let null = |expr: &Expr, test| {
            let (column, _) = self.column(expr)?;
            Some(Condition { column, test })
        };
        match filter {
            Expr::IsNull(expr) => null(expr, Test::Null),
            Expr::IsNotNull(expr) => null(expr, Test::NotNull),
            _ => {
                let (column, values) = self.values(filter)?;
                let test = Test::Values(values);
                Some(Condition { column, test })
            }
        }
    }

    /// A filter as values of one column.
    fn values(self, filter: &Expr) -> Option<(usize, Values)> {
        match filter {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Or,
                right,
            }) => {
                let (a, b) = (self.values(left)?, self.values(right)?);
                let either = a.1.or(&b.1)?;
                (a.0 == b.0).then_some((a.0, either))
            }
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::And,
                right,
            }) => {
                let (a, b) = (self.values(left)?, self.values(right)?);
                let both = a.1.and(&b.1)?;
                (a.0 == b.0).then_some((a.0, both))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if let Some((column, how)) = self.column(left) {
                    return Some((column, compared(*op, literal(right)?, how)?));
                }
                let (column, how) = self.column(right)?;
                Some((column, compared(op.swap()?, literal(left)?, how)?))
            }
            Expr::Between(Between {
                expr,
                negated: false,
                low,
                high,
            }) => {
                let (column, how) = self.column(expr)?;
                let low = compared(Operator::GtEq, literal(low)?, how)?;
                let high = compared(Operator::LtEq, literal(high)?, how)?;
                Some((column, low.and(&high)?))
            }
            Expr::InList(list) if !list.negated => {
                let (column, how) = self.column(&list.expr)?;
                let items = list.list.iter().map(literal);
                Some((column, one_of(items, how)?))
            }
            _ => None,
        }
    }

    /// A column of values, which may be cast to what it is compared as.
    fn column(self, expr: &Expr) -> Option<(usize, As)> {
        let (expr, cast) = match expr {
            Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
                (expr.as_ref(), Some(field.data_type()))
            }
            expr => (expr, None),
        };
        let Expr::Column(column) = expr else {
            return None;
        };
        let at = self.schema.index_of(&column.name).ok()?;
        let Source::Column(position) = self.sources[at] else {
            return None;
        };
        let own = self.schema.field(at).data_type();
        Some((position, compared_as(own, cast.unwrap_or(own))?))
    }
}

/// Whether bounds in `own` are bounds in `ty`, so that a cast to it changes no comparison.
fn compared_as(own: &DataType, ty: &DataType) -> Option<As> {
    match (own, ty) {
        (DataType::Float32, DataType::Float32 | DataType::Float64)
        | (DataType::Float64, DataType::Float64) => Some(As::Floats),
        _ if !own.is_integer() => None,
        _ if ty.is_integer() => Some(As::Integers),
        // The engine rounds bounds to 64 bits, as the cast does with values.
        (_, DataType::Float64) => Some(As::Floats),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) if !value.is_null() => Some(value),
        _ => None,
    }
}

fn integer(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int8(Some(n)) => (*n).into(),
        ScalarValue::Int16(Some(n)) => (*n).into(),
        ScalarValue::Int32(Some(n)) => (*n).into(),
        ScalarValue::Int64(Some(n)) => (*n).into(),
        ScalarValue::UInt8(Some(n)) => (*n).into(),
        ScalarValue::UInt16(Some(n)) => (*n).into(),
        ScalarValue::UInt32(Some(n)) => (*n).into(),
        ScalarValue::UInt64(Some(n)) => (*n).into(),
        _ => return None,
    })
}

fn float(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Float32(Some(n)) => Some((*n).into()),
        ScalarValue::Float64(Some(n)) => Some(*n),
        _ => None,
    }
}

/// The values that compare so with a literal of the same type.
fn compared(op: Operator, value: &ScalarValue, how: As) -> Option<Values> {
    const ENDS: (i128, i128) = (i128::MIN, i128::MAX);
    Some(match how {
        As::Integers => {
            let n = integer(value)?;
            Values::integers(match op {
                Operator::Eq => vec![(n, n)],
                Operator::NotEq => vec![(ENDS.0, n - 1), (n + 1, ENDS.1)],
                Operator::Lt => vec![(ENDS.0, n - 1)],
                Operator::LtEq => vec![(ENDS.0, n)],
                Operator::Gt => vec![(n + 1, ENDS.1)],
                Operator::GtEq => vec![(n, ENDS.1)],
                _ => return None,
            })
        }
        As::Floats => {
            let n = Some(float(value).filter(|n| !n.is_nan())?);
            Values::floats(&[match op {
                Operator::Eq => (n, n),
                // One zero is less than the other.
                Operator::Lt | Operator::LtEq => (None, n),
                Operator::Gt | Operator::GtEq => (n, None),
                _ => return None,
            }])
        }
    })
}

/// The literals; nothing is said if one is none.
fn one_of<'a>(items: impl Iterator<Item = Option<&'a ScalarValue>>, how: As) -> Option<Values> {
    Some(match how {
        As::Integers => {
            let items = items.map(|item| integer(item?)).map(|n| n.map(|n| (n, n)));
            Values::integers(items.collect::<Option<_>>()?)
        }
        As::Floats => {
            let item = |item: Option<&ScalarValue>| float(item?).filter(|n| !n.is_nan());
            let items = items.map(|found| item(found).map(|n| (Some(n), Some(n))));
            Values::floats(&items.collect::<Option<Vec<_>>>()?)
        }
    })
}
