//! Groups of time, piece by piece.
//!
//! Rows come in order of time, and a group of time (`time_bucket`, `date_trunc`, any expression that
//! ascends or descends with the time) is a stretch of them. A piece that begins with the first row of a
//! group and ends with the last one of another is grouped on its own, as its rows come: no group is
//! held longer than until the next begins, and none has to be put together from two pieces. So the
//! borders of pieces are moved to the beginning of the group that they fall into.
//!
//! Where groups are so long that few pieces are left, there are few groups, and the usual way, each
//! partition's groups put together at the end, is as good.

use std::sync::Arc;

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewArray, TimestampNanosecondArray};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_optimizer::update_aggr_exprs::OptimizeAggregateOrder;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};

use super::{PiecesExec, chain};
use crate::asof::KeyOrder;
use crate::scan::{BucketScan, failed};
use crate::table::{Source, key_part};

/// The groups of `plan` by pieces, if they are such groups.
pub(crate) fn by_pieces(
    plan: &Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(partial) = partial(plan) else {
        return Ok(None);
    };
    let input = partial.input();
    let Some(scan) = chain::scan(input).filter(|scan| scan.threads > 1) else {
        return Ok(None);
    };
    let whole = single(partial, chain::over(input, scan.in_one())?)?;
    let Some(borders) = Borders::new(scan, input, &whole)? else {
        return Ok(None);
    };
    if whole.schema() != plan.schema() || !has_order(&whole)? {
        return Ok(None);
    }
    let ahead = scan.ahead();
    let parts = scan.in_parts(&|member, borders_of| borders.moved(member, borders_of))?;
    let pieces = parts.scan.partition_count();
    if pieces < 2 || pieces < parts.wanted.min(2 * ahead) {
        return Ok(None);
    }
    let cut: Arc<dyn ExecutionPlan> = Arc::new(single(partial, chain::over(input, parts.scan)?)?);
    let cut = OptimizeAggregateOrder::new().optimize(cut, config)?;
    let cut = ProjectionPushdown::new().optimize(cut, config)?;
    let whole: Arc<dyn ExecutionPlan> = Arc::new(whole);
    Ok(Some(Arc::new(PiecesExec::new(cut, &whole, ahead, false))))
}

/// The first step of a grouping in two steps.
fn partial(plan: &Arc<dyn ExecutionPlan>) -> Option<&AggregateExec> {
    let last = plan.downcast_ref::<AggregateExec>()?;
    let partial = last.input().downcast_ref::<AggregateExec>()?;
    let two_steps = matches!(
        last.mode(),
        AggregateMode::Final | AggregateMode::FinalPartitioned
    ) && *partial.mode() == AggregateMode::Partial;
    let unlimited = last.limit_options().is_none() && partial.limit_options().is_none();
    let by_values = partial.group_expr().is_single() && !partial.group_expr().is_empty();
    (two_steps && unlimited && by_values).then_some(partial)
}

/// The same in one step.
fn single(partial: &AggregateExec, input: Arc<dyn ExecutionPlan>) -> Result<AggregateExec> {
    AggregateExec::try_new(
        AggregateMode::Single,
        partial.group_expr().clone(),
        partial.aggr_expr().to_vec(),
        partial.filter_expr().to_vec(),
        input,
        partial.input_schema(),
    )
}

/// Whether rows come in an order that its functions are content with.
fn has_order(groups: &AggregateExec) -> Result<bool> {
    let mut required = groups.required_input_ordering();
    let Some(required) = required.pop().flatten() else {
        return Ok(true);
    };
    let order = groups.input().equivalence_properties();
    order.ordering_satisfy_requirement(required.into_single())
}

/// Where one group ends and the next begins.
struct Borders<'a> {
    scan: &'a BucketScan,
    /// Columns of the scan that the terms are made of: the time, and those of the key.
    columns: Vec<usize>,
    schema: SchemaRef,
    /// What groups differ by, over these columns. They ascend or descend with the time.
    terms: Vec<Arc<dyn PhysicalExpr>>,
}

impl<'a> Borders<'a> {
    fn new(
        scan: &'a BucketScan,
        input: &Arc<dyn ExecutionPlan>,
        groups: &AggregateExec,
    ) -> Result<Option<Self>> {
        let all = groups.group_expr().input_exprs();
        let sorted = match groups.input_order_mode() {
            InputOrderMode::Sorted => all,
            InputOrderMode::PartiallySorted(some) => {
                some.iter().map(|at| Arc::clone(&all[*at])).collect()
            }
            InputOrderMode::Linear => return Ok(None),
        };
        let sorted = sorted.iter().map(|expr| chain::lowered(expr, input));
        let sorted = sorted.collect::<Result<Vec<_>>>()?;
        if !tells_buckets_apart(scan, &sorted) {
            return Ok(None);
        }
        let is = |column: usize, wanted: fn(&Source) -> bool| {
            scan.columns.get(column).is_some_and(wanted)
        };
        let is_of_time = |expr: &&Arc<dyn PhysicalExpr>| {
            let columns = collect_columns(expr);
            let mut columns = columns.iter().map(Column::index);
            let known = |at| {
                is(at, |source| {
                    matches!(source, Source::Epoch | Source::Key(_))
                })
            };
            columns.clone().all(known) && columns.any(|at| is(at, |s| *s == Source::Epoch))
        };
        let terms: Vec<_> = sorted.iter().filter(is_of_time).cloned().collect();
        if terms.is_empty() {
            return Ok(None);
        }
        let known = |at: &usize| is(*at, |s| matches!(s, Source::Epoch | Source::Key(_)));
        let columns: Vec<usize> = (0..scan.columns.len()).filter(known).collect();
        let schema = Arc::new(scan.schema.project(&columns)?);
        let terms = terms.into_iter().map(|term| placed(term, &columns));
        Ok(Some(Self {
            scan,
            schema,
            terms: terms.collect::<Result<_>>()?,
            columns,
        }))
    }

    /// Each time moved back to the first one of its group, but not before `least`. Without those that
    /// are there already, and without `least`.
    fn moved(&self, member: usize, (least, mut borders): (i64, Vec<i64>)) -> Result<Vec<i64>> {
        let wanted = self.groups(member, &borders)?;
        let mut low = vec![least; borders.len()];
        while low.iter().zip(&borders).any(|(low, high)| low < high) {
            let middle = |(low, high): (&i64, &i64)| low + ((high.abs_diff(*low)) / 2) as i64;
            let middle: Vec<i64> = low.iter().zip(&borders).map(middle).collect();
            let found = self.groups(member, &middle)?;
            let order = KeyOrder::new(&found, &wanted)?;
            for (at, middle) in middle.into_iter().enumerate() {
                match order.compare(at, at).is_eq() {
                    true => borders[at] = middle,
                    false => low[at] = middle + 1,
                }
            }
        }
        borders.dedup();
        borders.retain(|border| *border > least);
        Ok(borders)
    }

    /// The terms at these times of a bucket.
    fn groups(&self, member: usize, times: &[i64]) -> Result<Vec<ArrayRef>> {
        let index = self.scan.wanted.members[member].index;
        let info = &self.scan.snapshot.buckets()[index];
        let columns = self.columns.iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| -> Result<ArrayRef> {
            Ok(match self.scan.columns[*column] {
                Source::Key(part) => {
                    let item = StringViewArray::from_iter_values([key_part(info, part)]);
                    take(&item, &UInt32Array::from_value(0, times.len()), None)?
                }
                _ => {
                    let times = TimestampNanosecondArray::from(times.to_vec());
                    Arc::new(times.with_data_type(field.data_type().clone()))
                }
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let terms = self.terms.iter();
        let terms = terms.map(|term| term.evaluate(&batch)?.into_array(times.len()));
        terms.collect()
    }
}

/// Whether rows of different buckets are always of different groups.
fn tells_buckets_apart(scan: &BucketScan, sorted: &[Arc<dyn PhysicalExpr>]) -> bool {
    let is_key = |part: usize| {
        sorted.iter().any(|expr| {
            let column = expr.downcast_ref::<Column>();
            column.is_some_and(|c| scan.columns.get(c.index()) == Some(&Source::Key(part)))
        })
    };
    (0..3).all(|part| scan.is_same(part) || is_key(part))
}

/// An expression over all columns of the scan, over some of them.
fn placed(expr: Arc<dyn PhysicalExpr>, columns: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let placed = expr.transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else {
            return Ok(Transformed::no(expr));
        };
        let at = columns.iter().position(|at| *at == column.index());
        let at = at.ok_or_else(|| failed("a term has a column that it was not said to have"))?;
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), at));
        Ok(Transformed::yes(column))
    });
    placed.map(|placed| placed.data)
}
