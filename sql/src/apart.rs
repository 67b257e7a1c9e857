//! Groups of several partitions, brought together without waiting for each other, where they are not
//! made piece by piece (see `pieces`).
//!
//! Partitions of a bucket are stretches of time, so groups of time come out of each in order, and
//! DataFusion merges them in that order: the second partition then waits until the first is read to
//! its end. What it would spare is memory for groups that are complete. Here the order is hidden behind
//! the groups of each partition, so that all are read at once; the few groups are sorted afterwards if
//! the statement says so.
//!
//! The order stays where it is worth more: where a limit ends the reading early, and where rows are
//! grouped by their own time, which makes about as many groups as there are rows.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputOrderMode,
    PlanProperties, replace_children_if_necessary,
};

use crate::pieces::by_pieces;

/// Hides the order of groups where it would make partitions wait.
#[derive(Debug)]
pub(crate) struct Apart;

impl Apart {
    /// The name of the rule that this one comes before: it decides where orders are kept.
    pub(crate) const BEFORE: &str = "EnsureRequirements";
}

impl PhysicalOptimizerRule for Apart {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        apart(plan, false, config)
    }

    fn name(&self) -> &str {
        "Apart"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `limited`: not all rows of the plan are asked for.
fn apart(
    plan: Arc<dyn ExecutionPlan>,
    limited: bool,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let limited = limited || plan.fetch().is_some();
    if !limited && let Some(pieces) = by_pieces(&plan, config)? {
        return Ok(pieces);
    }
    let hides = !limited && has_groups_in_order(&plan);
    let limited = limited && passes_on(&plan)?;
    let mut children = Vec::with_capacity(plan.children().len());
    for child in plan.children() {
        let new = apart(Arc::clone(child), limited, config)?;
        children.push(match hides {
            true => Arc::new(UnorderedExec::new(new)),
            false => new,
        });
    }
    replace_children_if_necessary(plan, children)
}

/// Whether the plan brings together groups that come in order out of several partitions.
fn has_groups_in_order(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(last) = plan.downcast_ref::<AggregateExec>() else {
        return false;
    };
    let brings_together = matches!(
        last.mode(),
        AggregateMode::Final | AggregateMode::FinalPartitioned
    );
    let Some(partial) = last.input().downcast_ref::<AggregateExec>() else {
        return false;
    };
    let schema = partial.input().schema();
    let is_time = |expr: &Arc<dyn PhysicalExpr>| {
        let ty = expr.data_type(&schema);
        expr.is::<Column>() && matches!(ty, Ok(DataType::Timestamp(..)))
    };
    brings_together
        && *partial.mode() == AggregateMode::Partial
        && *partial.input_order_mode() != InputOrderMode::Linear
        && partial.input().output_partitioning().partition_count() > 1
        && !partial.group_expr().input_exprs().iter().any(is_time)
}

/// Whether a limit above ends what is below early.
fn passes_on(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let input = sort.input().equivalence_properties();
        return input.ordering_satisfy(sort.expr().clone());
    }
    // Groups without an order are complete when the last row is read.
    let groups = plan.downcast_ref::<AggregateExec>();
    Ok(groups.is_none_or(|groups| *groups.input_order_mode() != InputOrderMode::Linear))
}

/// The rows of the input, without a word about their order.
#[derive(Debug)]
struct UnorderedExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl UnorderedExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for UnorderedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnorderedExec")
    }
}

impl ExecutionPlan for UnorderedExec {
    fn name(&self) -> &'static str {
        "UnorderedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(input))),
            None => internal_err!("UnorderedExec has an input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }
}
