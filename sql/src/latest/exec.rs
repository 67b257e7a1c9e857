//! LATEST BY as it runs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::{cast, interleave_record_batch, partition};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, stream};

use super::LatestNode;
use super::scan::LatestScan;

/// Rows of batches that are held for the sake of a few of them before those are copied out.
const HELD_ROWS_MAX: usize = 1 << 16;

/// The latest row of each key: of each partition, or of all rows.
#[derive(Debug)]
pub(crate) struct LatestExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    time: Arc<dyn PhysicalExpr>,
    /// The input is one partition, and the answer final.
    last: bool,
    properties: Arc<PlanProperties>,
}

impl LatestExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        time: Arc<dyn PhysicalExpr>,
        last: bool,
    ) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            input,
            keys,
            time,
            last,
            properties: Arc::new(properties),
        }
    }

    /// The latest rows of all partitions of the input.
    pub(crate) fn of(
        input: Arc<dyn ExecutionPlan>,
        keys: &[Arc<dyn PhysicalExpr>],
        time: &Arc<dyn PhysicalExpr>,
    ) -> Self {
        let several = input.output_partitioning().partition_count() > 1;
        let input: Arc<dyn ExecutionPlan> = match several {
            true => {
                let each = Self::new(input, keys.to_vec(), Arc::clone(time), false);
                Arc::new(CoalescePartitionsExec::new(Arc::new(each)))
            }
            false => input,
        };
        Self::new(input, keys.to_vec(), Arc::clone(time), true)
    }
}

impl DisplayAs for LatestExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let step = if self.last { "final" } else { "partial" };
        write!(
            f,
            "LatestExec: {step}, by=[{}], time={}",
            keys.join(", "),
            self.time
        )
    }
}

impl ExecutionPlan for LatestExec {
    fn name(&self) -> &'static str {
        "LatestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![match self.last {
            true => Distribution::SinglePartition,
            false => Distribution::UnspecifiedDistribution,
        }])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for term in self.keys.iter().chain([&self.time]) {
            if f(term)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return internal_err!("LatestExec has an input");
        };
        let (keys, time) = (self.keys.clone(), Arc::clone(&self.time));
        Ok(Arc::new(Self::new(input, keys, time, self.last)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, context)?;
        let (keys, time) = (self.keys.clone(), Arc::clone(&self.time));
        let batches = stream::once(async move {
            let mut latest = Latest::default();
            while let Some(batch) = input.next().await.transpose()? {
                latest.add(batch, &keys, &time)?;
            }
            latest.finish()
        });
        let batches = batches.filter_map(|batch| async { batch.transpose() });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

/// The latest rows so far.
#[derive(Default)]
struct Latest {
    converter: Option<RowConverter>,
    /// Where a key is in `winners`.
    places: HashMap<OwnedRow, usize>,
    /// In the order in which keys came: batch, row and time of each.
    winners: Vec<(usize, usize, i64)>,
    batches: Vec<RecordBatch>,
    held_rows: usize,
}

impl Latest {
    fn add(
        &mut self,
        batch: RecordBatch,
        keys: &[Arc<dyn PhysicalExpr>],
        time: &Arc<dyn PhysicalExpr>,
    ) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let evaluate = |term: &Arc<dyn PhysicalExpr>| term.evaluate(&batch)?.into_array(rows);
        let keys = keys.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
        let times = cast(&evaluate(time)?, &DataType::Int64)?;
        let nulls = times.nulls();
        let values = times.as_primitive::<Int64Type>().values();
        let index = self.batches.len();
        for run in runs(&keys, rows)? {
            let known = run
                .clone()
                .filter(|row| nulls.is_none_or(|nulls| nulls.is_valid(*row)));
            // Of equal times the last row stored.
            let Some(row) = known.max_by_key(|row| (values[*row], *row)) else {
                continue;
            };
            let place = self.place(&keys, row)?;
            let won = (index, row, values[row]);
            match self.winners.get_mut(place) {
                Some(winner) if winner.2 <= won.2 => *winner = won,
                Some(_) => {}
                None => self.winners.push(won),
            }
        }
        self.held_rows += rows;
        self.batches.push(batch);
        if self.held_rows > HELD_ROWS_MAX.max(4 * self.winners.len()) {
            self.compact()?;
        }
        Ok(())
    }

    /// The place of a row's key, which is past the winners if it is new.
    fn place(&mut self, keys: &[ArrayRef], row: usize) -> Result<usize> {
        if keys.is_empty() {
            return Ok(0);
        }
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let fields = keys
                    .iter()
                    .map(|key| SortField::new(key.data_type().clone()));
                none.insert(RowConverter::new(fields.collect())?)
            }
        };
        let one: Vec<ArrayRef> = keys.iter().map(|key| key.slice(row, 1)).collect();
        let key = converter.convert_columns(&one)?.row(0).owned();
        let next = self.places.len();
        Ok(match self.places.entry(key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => *place.insert(next),
        })
    }

    /// Copies the winners out of their batches.
    fn compact(&mut self) -> Result<()> {
        let rows: Vec<(usize, usize)> = self
            .winners
            .iter()
            .map(|(batch, row, _)| (*batch, *row))
            .collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let whole = interleave_record_batch(&batches, &rows)?;
        for (row, winner) in self.winners.iter_mut().enumerate() {
            (winner.0, winner.1) = (0, row);
        }
        self.held_rows = whole.num_rows();
        self.batches = vec![whole];
        Ok(())
    }

    fn finish(mut self) -> Result<Option<RecordBatch>> {
        if self.winners.is_empty() {
            return Ok(None);
        }
        self.compact()?;
        Ok(self.batches.pop())
    }
}

/// Stretches of neighbours with equal keys.
fn runs(keys: &[ArrayRef], rows: usize) -> Result<Vec<std::ops::Range<usize>>> {
    match keys.is_empty() {
        true => Ok(std::iter::once(0..rows).collect()),
        false => Ok(partition(keys)?.ranges()),
    }
}

/// Makes a [`LatestExec`] of a [`LatestNode`].
#[derive(Debug)]
pub(crate) struct LatestPlanner;

#[async_trait]
impl ExtensionPlanner for LatestPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn datafusion::catalog::Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<LatestNode>() else {
            return Ok(None);
        };
        let ([input], [plan]) = (physical_inputs, logical_inputs) else {
            return internal_err!("LatestBy has an input");
        };
        let term = |expr| planner.create_physical_expr(expr, plan.schema(), session, context);
        let keys = node.keys.iter().map(term).collect::<Result<Vec<_>>>()?;
        let time = term(&node.time)?;
        let input = match LatestScan::of(input, &keys, &time) {
            Some(scan) => Arc::new(scan),
            None => Arc::clone(input),
        };
        Ok(Some(Arc::new(LatestExec::of(input, &keys, &time))))
    }
}
