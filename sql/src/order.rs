//! Whether rows must come in the order in which they are stored.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

/// Whether a plan hands out rows as they stand, or cuts them off without an order: then they come in
/// order of time, as MarketStore gives them, and a LIMIT is that of the oldest.
pub(crate) fn is_from_the_start(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Explain(explain) => is_from_the_start(&explain.plan),
        LogicalPlan::Analyze(analyze) => is_from_the_start(&analyze.input),
        _ => is_plain(plan) || has_unordered_limit(plan),
    }
}

/// Only nodes that keep the order of one table.
fn is_plain(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_) => plan.inputs().iter().all(|input| is_plain(input)),
        _ => false,
    }
}

fn has_unordered_limit(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            found |= is_plain(&limit.input);
        }
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    walked.is_err() || found
}
