//! The join as it runs: both sides are read by several tasks each, and one task walks. The walk is
//! faster than reading, so it is not split.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::stream;

use super::sorted::{ORDER, Sorted, Terms};
use super::walk::{Source, Step, Walk};
use super::{AsofNode, Rule};
use crate::pieces;

/// Batches of a partition that are read ahead.
const READ_AHEAD: usize = 2;

/// ASOF JOIN. See the module.
#[derive(Debug)]
pub(crate) struct AsofExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    left_terms: Terms,
    right_terms: Terms,
    rule: Rule,
    /// Columns of the output, as positions in the left's columns followed by the right's.
    output: Vec<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsofExec {
    /// With all columns of both sides. `schema` is that of the output.
    pub(crate) fn new(
        sides: [Arc<dyn ExecutionPlan>; 2],
        terms: [Terms; 2],
        rule: Rule,
        schema: &SchemaRef,
    ) -> Self {
        let output = (0..schema.fields().len()).collect();
        Self::with_output(sides, terms, rule, output, schema.clone())
    }

    fn with_output(
        [left, right]: [Arc<dyn ExecutionPlan>; 2],
        [left_terms, right_terms]: [Terms; 2],
        rule: Rule,
        output: Vec<usize>,
        schema: SchemaRef,
    ) -> Self {
        let ordering = ordering(&left_terms).and_then(|order| moved(&order, &output));
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, ordering),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            left,
            right,
            left_terms,
            right_terms,
            rule,
            output,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn with(
        &self,
        sides: [Arc<dyn ExecutionPlan>; 2],
        output: Vec<usize>,
        schema: SchemaRef,
    ) -> Self {
        let terms = [self.left_terms.clone(), self.right_terms.clone()];
        Self::with_output(sides, terms, self.rule, output, schema)
    }

    fn sources(&self) -> Vec<Source> {
        let left = self.left.schema().fields().len();
        let source = |position: &usize| match position.checked_sub(left) {
            Some(right) => Source::Right(right),
            None => Source::Left(*position),
        };
        self.output.iter().map(source).collect()
    }
}

/// What a side has to be sorted by.
fn ordering(terms: &Terms) -> Option<LexOrdering> {
    let terms = terms.keys.iter().chain([&terms.time]);
    LexOrdering::new(terms.map(|term| PhysicalSortExpr::new(Arc::clone(term), ORDER)))
}

/// An ordering of the left in terms of the output, as far as its columns are there.
fn moved(order: &LexOrdering, output: &[usize]) -> Option<LexOrdering> {
    let terms = order.iter().map_while(|term| {
        let column = term.expr.downcast_ref::<Column>()?;
        let position = output.iter().position(|source| *source == column.index())?;
        let column = Arc::new(Column::new(column.name(), position));
        Some(PhysicalSortExpr::new(column, term.options))
    });
    LexOrdering::new(terms.collect::<Vec<_>>())
}

impl DisplayAs for AsofExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (left, right) = (&self.left_terms, &self.right_terms);
        write!(f, "AsofExec: {}, on=[", self.rule)?;
        for (index, (left, right)) in left.keys.iter().zip(&right.keys).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{left} = {right}")?;
        }
        write!(f, "], times=[{}, {}]", left.time, right.time)
    }
}

impl ExecutionPlan for AsofExec {
    fn name(&self) -> &'static str {
        "AsofExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let required = |terms| ordering(terms).map(OrderingRequirements::from);
        vec![required(&self.left_terms), required(&self.right_terms)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // It would have to be undone.
        vec![false, false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for terms in [&self.left_terms, &self.right_terms] {
            for term in terms.keys.iter().chain([&terms.time]) {
                if f(term)? == TreeNodeRecursion::Stop {
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok(sides) = <[Arc<dyn ExecutionPlan>; 2]>::try_from(children) else {
            return internal_err!("AsofExec has two inputs");
        };
        Ok(Arc::new(self.with(
            sides,
            self.output.clone(),
            self.schema(),
        )))
    }

    /// Takes a choice of columns in, so that the others are never gathered.
    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let mut output = Vec::new();
        for term in projection.expr() {
            let Some(column) = term.expr.downcast_ref::<Column>() else {
                return Ok(None);
            };
            output.push(self.output[column.index()]);
        }
        let sides = [Arc::clone(&self.left), Arc::clone(&self.right)];
        Ok(Some(Arc::new(self.with(
            sides,
            output,
            projection.schema(),
        ))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let streams = |side: &Arc<dyn ExecutionPlan>| {
            let partitions = 0..side.output_partitioning().partition_count();
            let streams = partitions.map(|partition| {
                let stream = side.execute(partition, Arc::clone(&context))?;
                Ok(spawn_buffered(stream, READ_AHEAD))
            });
            streams.collect::<Result<Vec<_>>>()
        };
        let join = Join {
            left: Sorted::new(streams(&self.left)?, self.left_terms.clone()),
            right: Sorted::new(streams(&self.right)?, self.right_terms.clone()),
            right_terms: self.right_terms.clone(),
            walk: Walk::new(self.rule, self.schema(), self.sources()),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let batches = stream::try_unfold(join, |mut join| async move {
            let batch = join.next().await?;
            Ok(batch.map(|batch| (batch, join)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

struct Join {
    left: Sorted,
    right: Sorted,
    right_terms: Terms,
    walk: Walk,
    metrics: BaselineMetrics,
}

impl Join {
    async fn next(&mut self) -> Result<Option<datafusion::arrow::array::RecordBatch>> {
        loop {
            let timer = self.metrics.elapsed_compute().timer();
            let step = self.walk.step()?;
            drop(timer);
            match step {
                Step::Output(batch) => {
                    self.metrics.record_output(batch.num_rows());
                    return Ok(Some(batch));
                }
                Step::NeedLeft => match self.left.next().await? {
                    Some(rows) => self.walk.push_left(rows)?,
                    None => return Ok(None),
                },
                Step::NeedRight => {
                    let rows = self.right.next().await?;
                    let rows = rows
                        .map(|rows| rows.matchable(&self.right_terms))
                        .transpose()?;
                    // All of them may have been without a key.
                    if rows.as_ref().is_none_or(|rows| rows.len() > 0) {
                        self.walk.push_right(rows)?;
                    }
                }
            }
        }
    }
}

/// Makes an [`AsofExec`] of an [`AsofNode`].
#[derive(Debug)]
pub(crate) struct AsofPlanner;

#[async_trait]
impl ExtensionPlanner for AsofPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn datafusion::catalog::Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<AsofNode>() else {
            return Ok(None);
        };
        let ([left, right], [left_plan, right_plan]) = (physical_inputs, logical_inputs) else {
            return internal_err!("AsofNode has two inputs");
        };
        let term = |expr, plan: &LogicalPlan| {
            planner.create_physical_expr(expr, plan.schema(), session, context)
        };
        let keys = node.on.iter();
        let left_terms = Terms {
            keys: keys
                .clone()
                .map(|(key, _)| term(key, left_plan))
                .collect::<Result<_>>()?,
            time: term(&node.times.0, left_plan)?,
        };
        let right_terms = Terms {
            keys: keys
                .map(|(_, key)| term(key, right_plan))
                .collect::<Result<_>>()?,
            time: term(&node.times.1, right_plan)?,
        };
        let schema: Schema = node.schema().as_arrow().clone();
        let sides = [
            pieces::instead(left, ordering(&left_terms))?,
            pieces::instead(right, ordering(&right_terms))?,
        ];
        let exec = AsofExec::new(
            sides,
            [left_terms, right_terms],
            node.rule,
            &Arc::new(schema),
        );
        Ok(Some(Arc::new(exec)))
    }
}
