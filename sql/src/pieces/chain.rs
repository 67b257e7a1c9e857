//! Plans that make of each row of a scan at most one row, in the same order.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::buffer::BufferExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use crate::scan::BucketScan;

/// The scan at the end of such a plan, if all of its rows are read.
pub(super) fn scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&BucketScan> {
    if plan.fetch().is_some() {
        return None;
    }
    match plan.downcast_ref::<BucketScan>() {
        Some(scan) => Some(scan),
        None => scan(input(plan)?),
    }
}

fn input(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    let known = plan.is::<FilterExec>() || plan.is::<ProjectionExec>() || is_passing(plan);
    known.then(|| plan.children().pop()).flatten()
}

/// Whether rows are left out.
pub(super) fn has_filter(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<FilterExec>() || input(plan).is_some_and(has_filter)
}

/// Whether it hands out what it gets.
fn is_passing(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<CooperativeExec>() || plan.is::<BufferExec>()
}

/// The same plan over another scan of the same columns.
pub(super) fn over(
    plan: &Arc<dyn ExecutionPlan>,
    scan: BucketScan,
) -> Result<Arc<dyn ExecutionPlan>> {
    match input(plan) {
        // Pauses after some batches, so that a piece can be given up.
        None => Ok(Arc::new(CooperativeExec::new(Arc::new(scan)))),
        Some(below) if is_passing(plan) => over(below, scan),
        Some(below) => replace_children_if_necessary(Arc::clone(plan), vec![over(below, scan)?]),
    }
}

/// An expression over the output of such a plan, over the columns of its scan.
pub(super) fn lowered(
    expr: &Arc<dyn PhysicalExpr>,
    plan: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let Some(below) = input(plan) else {
        return Ok(Arc::clone(expr));
    };
    let expr = Arc::clone(expr).transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else {
            return Ok(Transformed::no(expr));
        };
        Ok(match source(plan, column.index()) {
            Some(source) => Transformed::yes(source),
            None => Transformed::no(expr),
        })
    });
    lowered(&expr?.data, below)
}

/// What a column is made of, if it is not the same below.
fn source(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<Arc<dyn PhysicalExpr>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let term = projection.expr().get(column)?;
        return Some(Arc::clone(&term.expr));
    }
    let filter = plan.downcast_ref::<FilterExec>()?;
    let below = *filter.projection().as_ref()?.get(column)?;
    let schema = filter.input().schema();
    Some(Arc::new(Column::new(schema.field(below).name(), below)))
}
