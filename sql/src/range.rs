//! What a filter says about time and keys.
//!
//! I24: a range is exact only if the filter is true for every row in it and false for every other.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use crate::table::EPOCH;

/// Times, both ends inclusive; empty if it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Range {
    pub(crate) const ALL: Self = Self {
        from: i64::MIN,
        to: i64::MAX,
    };
    const NONE: Self = Self { from: 1, to: 0 };

    pub(crate) fn is_empty(self) -> bool {
        self.from > self.to
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            to: self.to.min(other.to),
        }
    }

    /// The least range with both.
    fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self {
                from: self.from.min(other.from),
                to: self.to.max(other.to),
            },
        }
    }
}

/// A filter as a range of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Rows outside do not pass the filter.
    pub(crate) range: Range,
    /// Rows inside pass it.
    pub(crate) exact: bool,
}

impl Bounds {
    fn exact(range: Range) -> Self {
        Self { range, exact: true }
    }
}

/// What a filter says about time.
pub(crate) fn bounds(filter: &Expr) -> Bounds {
    let unknown = Bounds {
        range: Range::ALL,
        exact: false,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => {
                let (a, b) = (bounds(left), bounds(right));
                Bounds {
                    range: a.range.and(b.range),
                    exact: a.exact && b.exact,
                }
            }
            Operator::Or => {
                let (a, b) = (bounds(left), bounds(right));
                Bounds {
                    range: a.range.hull(b.range),
                    exact: false,
                }
            }
            _ => compared(left, *op, right).map_or(unknown, Bounds::exact),
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) if is_epoch(expr) => match (time(low), time(high)) {
            (Some(from), Some(to)) => Bounds::exact(Range { from, to }),
            _ => unknown,
        },
        Expr::InList(list) if !list.negated && is_epoch(&list.expr) => {
            let times: Option<Vec<i64>> = list.list.iter().map(time).collect();
            let Some(times) = times else { return unknown };
            let ends = times.iter().min().zip(times.iter().max());
            let range = ends.map_or(Range::NONE, |(from, to)| Range {
                from: *from,
                to: *to,
            });
            let exact = range.from >= range.to;
            Bounds { range, exact }
        }
        _ => unknown,
    }
}

fn compared(left: &Expr, op: Operator, right: &Expr) -> Option<Range> {
    let (op, time) = if is_epoch(left) {
        (op, time(right)?)
    } else if is_epoch(right) {
        (op.swap()?, time(left)?)
    } else {
        return None;
    };
    let below = time.checked_sub(1).map(|to| Range { to, ..Range::ALL });
    let above = time.checked_add(1).map(|from| Range { from, ..Range::ALL });
    Some(match op {
        Operator::Eq => Range {
            from: time,
            to: time,
        },
        Operator::Lt => below.unwrap_or(Range::NONE),
        Operator::LtEq => Range {
            to: time,
            ..Range::ALL
        },
        Operator::Gt => above.unwrap_or(Range::NONE),
        Operator::GtEq => Range {
            from: time,
            ..Range::ALL
        },
        _ => return None,
    })
}

fn is_epoch(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == EPOCH)
}

fn time(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(time), Some(_)), _) => Some(*time),
        _ => None,
    }
}
