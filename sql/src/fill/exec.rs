//! FILL as it runs.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt32Array,
};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::{cast, concat_batches, take};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, Result, internal_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr,
    PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, stream};

use super::grid::TIME;
use super::{Fill, FillNode, Grid, Role};
use crate::asof::{KeyOrder, ORDER};

/// Rows of a batch of the output.
const BATCH_ROWS: usize = 8192;

/// The input with the missing buckets.
#[derive(Debug)]
pub(crate) struct FillExec {
    input: Arc<dyn ExecutionPlan>,
    roles: Arc<[Role]>,
    grid: Grid,
    properties: Arc<PlanProperties>,
}

impl FillExec {
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        roles: Arc<[Role]>,
        grid: Grid,
        schema: SchemaRef,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema.clone(), ordering(&schema, &roles)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            input,
            roles,
            grid,
            properties: Arc::new(properties),
        }
    }
}

/// By keys, then by time.
fn ordering(schema: &SchemaRef, roles: &[Role]) -> Option<LexOrdering> {
    let of = |wanted: Role| {
        let columns = roles
            .iter()
            .enumerate()
            .filter(move |(_, role)| **role == wanted);
        columns.map(|(index, _)| {
            let column = Column::new(schema.field(index).name(), index);
            PhysicalSortExpr::new(Arc::new(column), ORDER)
        })
    };
    LexOrdering::new(of(Role::Key).chain(of(Role::Time)))
}

impl DisplayAs for FillExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let roles: Vec<String> = self.roles.iter().map(ToString::to_string).collect();
        write!(f, "FillExec: [{}]", roles.join(", "))
    }
}

impl ExecutionPlan for FillExec {
    fn name(&self) -> &'static str {
        "FillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![ordering(&self.input.schema(), &self.roles).map(OrderingRequirements::from)]
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
        let Some(input) = children.pop() else {
            return internal_err!("FillExec has an input");
        };
        let (roles, grid) = (Arc::clone(&self.roles), self.grid.clone());
        Ok(Arc::new(Self::new(input, roles, grid, self.schema())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let filler = Filler {
            roles: Arc::clone(&self.roles),
            grid: self.grid.clone(),
            schema: self.schema(),
            part: None,
        };
        let batches = stream::try_unfold((input, filler), |(mut input, mut filler)| async move {
            loop {
                if let Some(batch) = filler.next()? {
                    return Ok(Some((batch, (input, filler))));
                }
                match input.next().await.transpose()? {
                    Some(batch) => filler.push(&batch)?,
                    None => return Ok(None),
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

/// Puts rows between rows.
struct Filler {
    roles: Arc<[Role]>,
    grid: Grid,
    schema: SchemaRef,
    part: Option<Part>,
}

/// A batch on its way, in front of it the last row of the one before.
struct Part {
    batch: RecordBatch,
    keys: KeyOrder,
    times: Int64Array,
    /// The bucket just before that of each row.
    before: Vec<i64>,
    row: usize,
    /// Where the row's gap is filled to; `None` if not even the row is put out.
    filled: Option<i64>,
}

/// Rows of the output: where they come from.
#[derive(Default)]
struct Plan {
    times: Vec<Option<i64>>,
    prev: Vec<u32>,
    /// For a row of a gap, the row after it.
    next: Vec<Option<u32>>,
}

impl Plan {
    fn push(&mut self, time: Option<i64>, prev: usize, next: Option<usize>) {
        self.times.push(time);
        self.prev.push(prev as u32);
        self.next.push(next.map(|next| next as u32));
    }
}

impl Filler {
    fn columns(&self, batch: &RecordBatch, wanted: &Role) -> Vec<ArrayRef> {
        let columns = self.roles.iter().zip(batch.columns());
        columns
            .filter(|(role, _)| *role == wanted)
            .map(|(_, column)| Arc::clone(column))
            .collect()
    }

    /// Adds rows; those pushed before were asked for to their end.
    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (batch, filled) = match &self.part {
            Some(part) => {
                let last = part.batch.slice(part.batch.num_rows() - 1, 1);
                (
                    concat_batches(&batch.schema(), [&last, batch])?,
                    part.filled,
                )
            }
            None => (batch.clone(), None),
        };
        let keys = self.columns(&batch, &Role::Key);
        let time = self.columns(&batch, &Role::Time);
        let Some(time) = time.first() else {
            return internal_err!("Fill has a time");
        };
        let times = cast(time, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone();
        let before = times.values().iter().map(|time| time.saturating_sub(1));
        let before = self.grid.starts(before.collect())?;
        self.part = Some(Part {
            keys: KeyOrder::new(&keys, &keys)?,
            batch,
            times,
            before,
            row: 0,
            filled,
        });
        Ok(())
    }

    /// The next rows of the batch pushed last; `None` if there are no more.
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(part) = &mut self.part else {
            return Ok(None);
        };
        let mut plan = Plan::default();
        let rows = part.batch.num_rows();
        while plan.times.len() < BATCH_ROWS {
            let (row, next) = (part.row, part.row + 1);
            let time = part.times.is_valid(row).then(|| part.times.value(row));
            if part.filled.is_none() {
                plan.push(time, row, None);
                part.filled = Some(time.unwrap_or(i64::MAX));
            }
            if next == rows {
                break;
            }
            let has_gap = time.is_some_and(|time| part.before[next] > time)
                && part.times.is_valid(next)
                && part.keys.compare(row, next).is_eq();
            if let (true, Some(filled)) = (has_gap, part.filled) {
                let left = BATCH_ROWS - plan.times.len();
                let starts = self.grid.between(filled, part.times.value(next), left)?;
                starts
                    .iter()
                    .for_each(|start| plan.push(Some(*start), row, Some(next)));
                part.filled = starts.last().copied().or(part.filled);
                if starts.len() == left {
                    // There may be more.
                    continue;
                }
            }
            part.row = next;
            part.filled = None;
        }
        match plan.times.is_empty() {
            true => Ok(None),
            false => self.output(plan).map(Some),
        }
    }

    fn output(&self, plan: Plan) -> Result<RecordBatch> {
        let Some(part) = &self.part else {
            return internal_err!("rows are put out of a batch");
        };
        let is_gap: BooleanArray = plan.next.iter().map(|next| Some(next.is_some())).collect();
        let prev = UInt32Array::from(plan.prev);
        let own: UInt32Array = prev
            .iter()
            .zip(&plan.next)
            .map(|(p, n)| p.filter(|_| n.is_none()))
            .collect();
        let next: UInt32Array = prev.iter().zip(&plan.next).map(|(p, n)| n.or(p)).collect();
        let times = Int64Array::from(plan.times);
        let columns = self
            .roles
            .iter()
            .zip(part.batch.columns())
            .map(|(role, column)| {
                Ok(match role {
                    Role::Time => cast(&times, column.data_type())?,
                    Role::Key | Role::Value(Fill::Prev) => take(column, &prev, None)?,
                    Role::Value(Fill::Null) => take(column, &own, None)?,
                    Role::Value(Fill::Value(value)) => {
                        zip(&is_gap, &value.to_scalar()?, &take(column, &prev, None)?)?
                    }
                    Role::Value(Fill::Linear) => {
                        let prev_times = take(&part.times, &prev, None)?;
                        let next_times = take(&part.times, &next, None)?;
                        let line = Line {
                            times: &times,
                            ends: [prev_times.as_primitive(), next_times.as_primitive()],
                        };
                        let ends = [take(column, &prev, None)?, take(column, &next, None)?];
                        zip(&is_gap, &line.values(&ends)?, &ends[0])?
                    }
                })
            });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Times between two others.
struct Line<'a> {
    times: &'a Int64Array,
    ends: [&'a Int64Array; 2],
}

impl Line<'_> {
    /// Values between two others, where these are known. Whole numbers are rounded to the nearest.
    fn values(&self, ends: &[ArrayRef; 2]) -> Result<ArrayRef> {
        let ty = ends[0].data_type();
        let from = cast(&ends[0], &DataType::Float64)?;
        let to = cast(&ends[1], &DataType::Float64)?;
        let (from, to) = (
            from.as_primitive::<Float64Type>(),
            to.as_primitive::<Float64Type>(),
        );
        let value = |row: usize| {
            let known = from.is_valid(row) && to.is_valid(row) && self.times.is_valid(row);
            known.then(|| {
                let start = self.ends[0].value(row);
                let length = self.ends[1].value(row).wrapping_sub(start) as f64;
                let share = match length > 0.0 {
                    true => self.times.value(row).wrapping_sub(start) as f64 / length,
                    false => 0.0,
                };
                let value = from.value(row) + (to.value(row) - from.value(row)) * share;
                if ty.is_integer() {
                    value.round()
                } else {
                    value
                }
            })
        };
        let values: Float64Array = (0..from.len()).map(value).collect();
        Ok(cast(&values, ty)?)
    }
}

/// Makes a [`FillExec`] of a [`FillNode`].
#[derive(Debug)]
pub(crate) struct FillPlanner;

#[async_trait]
impl ExtensionPlanner for FillPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn datafusion::catalog::Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<FillNode>() else {
            return Ok(None);
        };
        let [input] = physical_inputs else {
            return internal_err!("Fill has an input");
        };
        let fields = node.schema().fields().iter().zip(&node.roles);
        let mut times = fields.filter(|(_, role)| **role == Role::Time);
        let Some((time, _)) = times.next() else {
            return internal_err!("Fill has a time");
        };
        let time = time.data_type().clone();
        let given = Field::new(TIME, time.clone(), false);
        let given = DFSchema::from_unqualified_fields(vec![given].into(), Default::default())?;
        let function = session.create_physical_expr(node.bucket.clone(), &given)?;
        let made = function.data_type(given.as_arrow())?;
        if made != time {
            return plan_err!(
                "FILL needs buckets of the type of their times: {made} is not {time}"
            );
        }
        let schema = Arc::new(node.schema().as_arrow().clone());
        let (roles, grid) = (node.roles.clone().into(), Grid::new(function, time));
        Ok(Some(Arc::new(FillExec::new(
            Arc::clone(input),
            roles,
            grid,
            schema,
        ))))
    }
}
