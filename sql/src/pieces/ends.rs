//! The first or the last rows, in time, of many buckets: `ORDER BY Epoch DESC LIMIT n`.
//!
//! Of each bucket no more than its last n rows can be among them. Buckets are read from the one that
//! ends last to the one that ends first, and no further once n rows are known that are all later than
//! the end of the next: with n small and buckets of all ages, few of them are read at all. The sort above
//! stays and has few rows to sort.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::TimestampNanosecondType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    replace_children_if_necessary,
};
use futures::{StreamExt, stream};
use model::RowKind;

use super::chain;
use crate::scan::{BucketScan, failed};
use crate::table::Source;

/// Rows up to which their times are kept.
const ROWS_MAX: usize = 1 << 20;

/// The sort over the ends of buckets, if it asks for no more than these.
pub(super) fn of_buckets(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((sort, rows, scan)) = limited(plan) else {
        return Ok(None);
    };
    if scan.wanted.members.len() < 2 || rows > ROWS_MAX || !is_by_time(sort, scan)? {
        return Ok(None);
    }
    let time = &sort.expr()[0];
    let newest = time.options.descending;
    // Without a filter, no more rows are asked for.
    let plain = !chain::has_filter(sort.input());
    let buckets = scan.by_bucket(newest, plain.then_some(rows));
    let ends = EndsExec {
        plan: chain::over(sort.input(), buckets)?,
        buckets: scan.clone(),
        time: Arc::clone(&time.expr),
        rows,
        newest,
        is_only: sort.expr().len() == 1,
        properties: Arc::new(PlanProperties::new(
            EquivalenceProperties::new(sort.input().schema()),
            Partitioning::UnknownPartitioning(scan.partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )),
        metrics: ExecutionPlanMetricsSet::new(),
    };
    let ends = vec![Arc::new(ends) as Arc<dyn ExecutionPlan>];
    replace_children_if_necessary(Arc::clone(plan), ends).map(Some)
}

/// A sort that keeps some rows of a scan.
pub(super) fn limited(plan: &Arc<dyn ExecutionPlan>) -> Option<(&SortExec, usize, &BucketScan)> {
    let sort = plan.downcast_ref::<SortExec>()?;
    Some((sort, sort.fetch()?, chain::scan(sort.input())?))
}

/// Whether rows are sorted by time, and those of one time by nothing that tells rows of a bucket apart.
pub(super) fn is_by_time(sort: &SortExec, scan: &BucketScan) -> Result<bool> {
    let infos = scan.snapshot.buckets();
    let mut members = scan.wanted.members.iter();
    let bars = members.all(|member| infos[member.index].kind == RowKind::Bar);
    for (at, term) in sort.expr().iter().enumerate() {
        let expr = chain::lowered(&term.expr, sort.input())?;
        let column = expr.downcast_ref::<Column>();
        let fits = match column.and_then(|column| scan.columns.get(column.index())) {
            Some(Source::Epoch) => true,
            Some(Source::Key(_)) => at > 0,
            // A bucket of bars has one row of a time.
            _ => at > 0 && bars,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of each partition the rows of buckets that may be among the first or the last.
#[derive(Debug)]
struct EndsExec {
    /// A partition for each bucket, from the wanted end on.
    plan: Arc<dyn ExecutionPlan>,
    /// How buckets stand in partitions.
    buckets: BucketScan,
    time: Arc<dyn PhysicalExpr>,
    rows: usize,
    newest: bool,
    /// Rows of one time are as good as each other.
    is_only: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl DisplayAs for EndsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.newest { "last" } else { "first" };
        let (rows, buckets) = (self.rows, self.buckets.wanted.members.len());
        write!(f, "EndsExec: the {end} {rows} of each of {buckets} buckets")
    }
}

impl ExecutionPlan for EndsExec {
    fn name(&self) -> &'static str {
        "EndsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.plan]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.time)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(plan) = children.pop() else {
            return internal_err!("EndsExec has an input");
        };
        Ok(Arc::new(Self {
            plan,
            buckets: self.buckets.clone(),
            time: Arc::clone(&self.time),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
            ..*self
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut left: Vec<(i64, usize)> = self.buckets.bucket_ends(partition, self.newest);
        // From the nearest end on; the next is the last.
        left.sort_unstable();
        let ends = Ends {
            plan: Arc::clone(&self.plan),
            context,
            time: Arc::clone(&self.time),
            left,
            current: None,
            rows: self.rows,
            newest: self.newest,
            is_only: self.is_only,
            best: BinaryHeap::new(),
            read: MetricBuilder::new(&self.metrics).counter("buckets_read", partition),
        };
        let batches = stream::try_unfold(ends, |mut ends| async move {
            let batch = ends.next().await?;
            Ok(batch.map(|batch| (batch, ends)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

struct Ends {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    time: Arc<dyn PhysicalExpr>,
    /// How near the bucket's end is, the greater the nearer, and its partition of the plan.
    left: Vec<(i64, usize)>,
    current: Option<(SendableRecordBatchStream, usize)>,
    rows: usize,
    newest: bool,
    is_only: bool,
    /// How near the best rows are, up to `rows`; the farthest on top.
    best: BinaryHeap<Reverse<i64>>,
    read: Count,
}

impl Ends {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some((stream, taken)) = &mut self.current else {
                let Some((near, partition)) = self.left.pop() else {
                    return Ok(None);
                };
                if !self.may_count(near) {
                    // The others end even earlier.
                    return Ok(None);
                }
                self.read.add(1);
                let stream = self.plan.execute(partition, Arc::clone(&self.context))?;
                self.current = Some((stream, 0));
                continue;
            };
            let Some(batch) = stream.next().await.transpose()? else {
                self.current = None;
                continue;
            };
            let batch = batch.slice(0, batch.num_rows().min(self.rows - *taken));
            *taken += batch.num_rows();
            let enough = *taken == self.rows;
            let last = self.keep(&batch)?;
            if enough || last.is_some_and(|near| !self.may_count(near)) {
                self.current = None;
            }
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }

    /// Whether a row that is as near may be among those that are wanted.
    fn may_count(&self, near: i64) -> bool {
        match self.best.peek() {
            Some(Reverse(farthest)) if self.best.len() == self.rows => {
                near > *farthest || (near == *farthest && !self.is_only)
            }
            _ => true,
        }
    }

    /// Notes the times of rows. How near the last of them is.
    fn keep(&mut self, batch: &RecordBatch) -> Result<Option<i64>> {
        let times = self.time.evaluate(batch)?.into_array(batch.num_rows())?;
        let times = times
            .as_primitive_opt::<TimestampNanosecondType>()
            .ok_or_else(|| failed("a time of another type at the end of buckets"))?;
        let mut last = None;
        for time in times.values() {
            let near = nearness(*time, self.newest);
            last = Some(near);
            if self.best.len() == self.rows {
                match self.best.peek() {
                    Some(Reverse(farthest)) if near > *farthest => self.best.pop(),
                    _ => continue,
                };
            }
            self.best.push(Reverse(near));
        }
        Ok(last)
    }
}

/// The greater the nearer to the wanted end.
pub(crate) fn nearness(time: i64, newest: bool) -> i64 {
    // All bits turned: the order turned, without an overflow.
    if newest { time } else { !time }
}
