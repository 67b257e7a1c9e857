//! Filters above the join that may as well stand below it.
//!
//! A filter on the left leaves the matches of the other rows as they are, so it moves below. One on
//! the right does not: without the row it drops, the join would find another. But what is known of
//! the left's keys and times bounds the rows of the right that can match at all, and so a range of
//! time on the left becomes a range of the scan on the right.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Extension, Filter, LogicalPlan, Operator, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::{AsofNode, Direction};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AsofPushdown;

impl OptimizerRule for AsofPushdown {
    fn name(&self) -> &'static str {
        "asof_pushdown"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let LogicalPlan::Extension(extension) = filter.input.as_ref() else {
            return Ok(Transformed::no(plan));
        };
        let Some(node) = extension.node.as_any().downcast_ref::<AsofNode>() else {
            return Ok(Transformed::no(plan));
        };
        let terms = split_conjunction_owned(filter.predicate.clone());
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            terms.into_iter().partition(|term| is_of_left(term, node));
        if below.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let right = below.iter().flat_map(|term| implied(term, node)).collect();
        let node = AsofNode::new(
            filtered(node.left.clone(), below)?,
            filtered(node.right.clone(), right)?,
            node.on.clone(),
            node.times.clone(),
            node.rule,
        )?;
        let join = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        Ok(Transformed::yes(filtered(join, above)?))
    }
}

fn filtered(plan: LogicalPlan, terms: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(match conjunction(terms) {
        Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?),
        None => plan,
    })
}

/// Whether an expression has columns, and all of them are the left's.
fn is_of_left(expr: &Expr, node: &AsofNode) -> bool {
    let columns = expr.column_refs();
    let schema = node.left.schema();
    !columns.is_empty()
        && !expr.is_volatile()
        && columns.iter().all(|column| schema.has_column(column))
        && !has_subquery(expr)
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })
    .unwrap_or(true)
}

/// What a condition on a row of the left says of each row of the right that can match it.
fn implied(term: &Expr, node: &AsofNode) -> Vec<Expr> {
    for (left, right) in &node.on {
        if let Some(term) = on_other_key(term, left, right) {
            return vec![term];
        }
    }
    match term {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, value) = match (left.as_ref(), right.as_ref()) {
                (expr, Expr::Literal(value, _)) if *expr == node.times.0 => (Some(*op), value),
                (Expr::Literal(value, _), expr) if *expr == node.times.0 => (op.swap(), value),
                _ => return Vec::new(),
            };
            op.map(|op| bounds(op, value, node)).unwrap_or_default()
        }
        Expr::Between(between) if !between.negated && *between.expr == node.times.0 => {
            let mut terms = Vec::new();
            if let Expr::Literal(low, _) = between.low.as_ref() {
                terms.extend(bounds(Operator::GtEq, low, node));
            }
            if let Expr::Literal(high, _) = between.high.as_ref() {
                terms.extend(bounds(Operator::LtEq, high, node));
            }
            terms
        }
        _ => Vec::new(),
    }
}

/// The same condition on the other side of an equality, if it is one on this key alone.
fn on_other_key(term: &Expr, left: &Expr, right: &Expr) -> Option<Expr> {
    let Expr::Column(column) = left else {
        return None;
    };
    let columns = term.column_refs();
    if columns.len() != 1 || !columns.contains(column) {
        return None;
    }
    let replaced = term.clone().transform(|expr| {
        Ok(match &expr {
            Expr::Column(found) if found == column => Transformed::yes(right.clone()),
            _ => Transformed::no(expr),
        })
    });
    replaced.ok().map(|replaced| replaced.data)
}

/// Bounds of the time on the right, from `left time <op> value`.
fn bounds(op: Operator, value: &ScalarValue, node: &AsofNode) -> Vec<Expr> {
    let (at_least, at_most) = match op {
        Operator::Gt | Operator::GtEq => (Some(value), None),
        Operator::Lt | Operator::LtEq => (None, Some(value)),
        Operator::Eq => (Some(value), Some(value)),
        _ => return Vec::new(),
    };
    let tolerance = node.rule.tolerance;
    // How far before, and after, the time on the left a match may be; `None`: any distance.
    let (before, after) = match node.rule.direction {
        Direction::Backward => (tolerance, Some(0)),
        Direction::Forward => (Some(0), tolerance),
        Direction::Nearest => (tolerance, tolerance),
    };
    let time = |op: Operator, value: ScalarValue| {
        let (left, right) = (Box::new(node.times.1.clone()), Box::new(lit(value)));
        Expr::BinaryExpr(BinaryExpr { left, op, right })
    };
    let least = at_least
        .zip(before)
        .and_then(|(value, by)| shifted(value, by.checked_neg()?));
    let most = at_most
        .zip(after)
        .and_then(|(value, by)| shifted(value, by));
    let least = least.map(|value| time(Operator::GtEq, value));
    least
        .into_iter()
        .chain(most.map(|value| time(Operator::LtEq, value)))
        .collect()
}

fn shifted(value: &ScalarValue, by: i64) -> Option<ScalarValue> {
    use ScalarValue::{
        Int64, TimestampMicrosecond, TimestampMillisecond, TimestampNanosecond, TimestampSecond,
    };
    let shift = |time: &Option<i64>| time.and_then(|time| time.checked_add(by)).map(Some);
    Some(match value {
        Int64(time) => Int64(shift(time)?),
        TimestampSecond(time, zone) => TimestampSecond(shift(time)?, zone.clone()),
        TimestampMillisecond(time, zone) => TimestampMillisecond(shift(time)?, zone.clone()),
        TimestampMicrosecond(time, zone) => TimestampMicrosecond(shift(time)?, zone.clone()),
        TimestampNanosecond(time, zone) => TimestampNanosecond(shift(time)?, zone.clone()),
        _ => return None,
    })
}
