//! A scan, and what is done with its rows one by one, in the scan's order by several tasks at a time.
//!
//! Partitions of a scan are long stretches of time or neighbouring buckets, so one who needs the rows in
//! order would wait for the first partition while the others stand still. Here the pieces are small,
//! several are worked on at once, and what comes of them is handed out in their order. In memory is what
//! comes of as many pieces as are begun, each of about 130 000 rows; it is counted against
//! `sql.memory`, and where that is short the pieces are done one after the other as their rows are taken.
//!
//! [`groups`]: pieces that begin and end with a group need nothing put together afterwards.
//! [`plain`]: rows as they stand, filtered and projected. [`ends`]: the first or last of many buckets.

mod ahead;
mod chain;
mod ends;
mod groups;
mod plain;

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::stream;

use self::ahead::Ahead;
pub(crate) use self::ends::nearness;
pub(crate) use self::groups::by_pieces;
pub(crate) use self::plain::{Pieces, Shown, instead};

/// What comes of the partitions of a plan, one partition behind the other.
#[derive(Debug, Clone)]
pub(crate) struct PiecesExec {
    /// Its partitions are the pieces.
    plan: Arc<dyn ExecutionPlan>,
    /// Pieces that are worked on at once.
    ahead: usize,
    /// Not all rows are asked for: the second piece waits for the end of the first.
    limited: bool,
    /// The plan is a child. Before, rules would bring its partitions together.
    shown: bool,
    properties: Arc<PlanProperties>,
}

impl PiecesExec {
    /// `whole`: the same plan in one partition, whose order is that of the output.
    fn new(
        plan: Arc<dyn ExecutionPlan>,
        whole: &Arc<dyn ExecutionPlan>,
        ahead: usize,
        limited: bool,
    ) -> Self {
        let properties = PlanProperties::new(
            whole.equivalence_properties().clone(),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            plan,
            ahead,
            limited,
            shown: false,
            properties: Arc::new(properties),
        }
    }

    fn pieces(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }
}

impl DisplayAs for PiecesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pieces, ahead) = (self.pieces(), self.ahead);
        write!(f, "PiecesExec: {pieces} pieces in order, {ahead} at a time")
    }
}

impl ExecutionPlan for PiecesExec {
    fn name(&self) -> &'static str {
        "PiecesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        match self.shown {
            true => vec![&self.plan],
            false => Vec::new(),
        }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true; self.children().len()]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children().len()]
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
        let mut new = self.as_ref().clone();
        match (children.pop(), self.shown) {
            (Some(plan), true) if children.is_empty() => new.plan = plan,
            (None, false) => {}
            _ => return internal_err!("PiecesExec has another number of children"),
        }
        Ok(Arc::new(new))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let ahead = Ahead::new(self, context);
        let batches = stream::try_unfold(ahead, |mut ahead| async move {
            let batch = ahead.next().await?;
            Ok(batch.map(|batch| (batch, ahead)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

#[cfg(test)]
mod tests;
