//! Rows as they stand, filtered and projected: where a plan reads them in one partition, or merges
//! partitions that follow each other.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

use super::{PiecesExec, chain, ends};
use crate::scan::BucketScan;

/// Puts pieces in.
#[derive(Debug)]
pub(crate) struct Pieces;

impl Pieces {
    /// The name of the rule that this one comes before: it lets leaves pause.
    pub(crate) const BEFORE: &str = "EnsureCooperative";
}

impl PhysicalOptimizerRule for Pieces {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        replaced(plan, false)
    }

    fn name(&self) -> &str {
        "Pieces"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `limited`: not all rows of the plan are asked for.
fn replaced(plan: Arc<dyn ExecutionPlan>, limited: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let limited = limited || plan.fetch().is_some();
    if let Some(newest) = newest(&plan)? {
        return Ok(newest);
    }
    if let Some(sort) = ends::of_buckets(&plan)? {
        return Ok(sort);
    }
    let merge = plan.downcast_ref::<SortPreservingMergeExec>();
    let pieces = match merge.filter(|merge| merge.fetch().is_none()) {
        Some(merge) => pieces(merge.input(), Some(merge.expr()), limited)?,
        None if plan.output_partitioning().partition_count() == 1 => pieces(&plan, None, limited)?,
        None => None,
    };
    if let Some(pieces) = pieces {
        return Ok(pieces);
    }
    let children = plan.children().into_iter().map(Arc::clone);
    let children = children.map(|child| replaced(child, limited));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children)
}

/// The last rows of a bucket that pass a filter, in pieces from the end, if that is what is wanted: other
/// than a bare scan, a filter does not turn round on its own.
fn newest(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let merge = plan.downcast_ref::<SortPreservingMergeExec>();
    let below = merge.map_or(plan, |merge| merge.input());
    let Some((sort, rows, scan)) = ends::limited(below_projections(below)) else {
        return Ok(None);
    };
    let is_one = scan.wanted.members.len() == 1 && sort.expr().len() == 1;
    let is_whole = merge.is_some() || plan.output_partitioning().partition_count() == 1;
    if !is_one || !is_whole || !ends::is_by_time(sort, scan)? || !sort.expr()[0].options.descending
    {
        return Ok(None);
    }
    let rows = merge
        .and_then(ExecutionPlan::fetch)
        .unwrap_or(rows)
        .min(rows);
    let scan = scan.newest_first();
    let turned = match in_order(sort.input(), &scan, Some(sort.expr()), true)? {
        Some(pieces) => pieces,
        None => chain::over(sort.input(), scan.in_one())?,
    };
    let limited = Arc::new(GlobalLimitExec::new(turned, 0, Some(rows)));
    projected(below, limited).map(Some)
}

fn below_projections(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => below_projections(projection.input()),
        None => plan,
    }
}

/// The projections of a plan over something else.
fn projected(
    plan: &Arc<dyn ExecutionPlan>,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else {
        return Ok(input);
    };
    let input = projected(projection.input(), input)?;
    replace_children_if_necessary(Arc::clone(plan), vec![input])
}

/// The rows of a scan, filtered and projected, in one partition, if they are such rows and have this
/// order. Else the input.
pub(crate) fn instead(
    input: &Arc<dyn ExecutionPlan>,
    order: Option<LexOrdering>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let pieces = match &order {
        Some(order) => pieces(input, Some(order), false)?,
        None => None,
    };
    Ok(pieces.unwrap_or_else(|| Arc::clone(input)))
}

fn pieces(
    plan: &Arc<dyn ExecutionPlan>,
    order: Option<&LexOrdering>,
    limited: bool,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    match chain::scan(plan) {
        Some(scan) => in_order(plan, scan, order, limited),
        None => Ok(None),
    }
}

/// The same over `scan`, which may stand in another order than that of the plan.
fn in_order(
    plan: &Arc<dyn ExecutionPlan>,
    scan: &BucketScan,
    order: Option<&LexOrdering>,
    limited: bool,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if scan.threads < 2 {
        return Ok(None);
    }
    let whole = chain::over(plan, scan.in_one())?;
    if let Some(order) = order
        && !whole
            .equivalence_properties()
            .ordering_satisfy(order.clone())?
    {
        return Ok(None);
    }
    let parts = scan.in_parts(&|_, (_, borders)| Ok(borders))?;
    if parts.scan.partition_count() < 2 {
        return Ok(None);
    }
    let ahead = scan.ahead();
    let cut = chain::over(plan, parts.scan)?;
    Ok(Some(Arc::new(PiecesExec::new(cut, &whole, ahead, limited))))
}

/// Makes plans of pieces children, after all rules that would change them.
#[derive(Debug)]
pub(crate) struct Shown;

impl PhysicalOptimizerRule for Shown {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let shown = plan.transform_up(|plan| match plan.downcast_ref::<PiecesExec>() {
            Some(pieces) => {
                let mut pieces = pieces.clone();
                pieces.shown = true;
                Ok(Transformed::yes(Arc::new(pieces) as Arc<dyn ExecutionPlan>))
            }
            None => Ok(Transformed::no(plan)),
        });
        shown.map(|shown| shown.data)
    }

    fn name(&self) -> &str {
        "Shown"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
