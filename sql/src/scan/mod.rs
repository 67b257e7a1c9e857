//! The leaf of every plan: rows of buckets as record batches.
//!
//! A partition is a list of pieces, each a bucket and a span of time, read one after the other. Batches
//! are built from what the engine hands out; buffers are shared, not copied, where types agree.

mod known;
mod parts;
mod read;

use std::fmt;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
    SortOrderPushdownResult,
};
use engine::Snapshot;

use self::known::properties;
pub(crate) use self::read::{fitted, times};
use crate::Error;
use crate::range::Range;
use crate::table::{BucketTable, Member, Source};
use crate::zones::Zones;

/// Rows below which a bucket is not cut into parts: a part should outlast starting it.
pub(crate) const PART_ROWS_MIN: u64 = if cfg!(test) { 2048 } else { 131_072 };

/// Buckets up to which statistics are worth their look-ups.
const COUNTED_MAX: usize = 4096;

/// What a plan wants of a table.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) members: Arc<[Member]>,
    /// Positions in the table's schema.
    pub(crate) columns: Vec<usize>,
    pub(crate) range: Range,
    /// Rows of each partition at most.
    pub(crate) limit: Option<usize>,
    /// What the rows that are wanted have; others may come.
    pub(crate) zones: Zones,
}

/// A bucket (position in `Wanted::members`) and a span of its time.
#[derive(Debug, Clone, Copy)]
struct Piece {
    member: usize,
    range: Range,
}

/// Reads rows of buckets.
#[derive(Clone)]
pub(crate) struct BucketScan {
    pub(crate) name: String,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) wanted: Wanted,
    pub(crate) columns: Vec<Source>,
    pub(crate) schema: SchemaRef,
    partitions: Arc<Vec<Vec<Piece>>>,
    /// The newest first.
    backwards: bool,
    /// Partitions follow each other, and are not read all at a time.
    is_cut: bool,
    /// Threads that there are to read it.
    pub(crate) threads: usize,
    properties: Arc<PlanProperties>,
    statistics: Arc<OnceLock<Arc<Statistics>>>,
    metrics: ExecutionPlanMetricsSet,
}

impl BucketScan {
    pub(crate) fn new(
        table: &BucketTable,
        wanted: Wanted,
        partitions: usize,
        threads: usize,
    ) -> Result<Self> {
        let schema = Arc::new(table.schema.project(&wanted.columns)?);
        let columns = wanted.columns.iter().map(|at| table.sources[*at]).collect();
        let mut scan = Self {
            name: table.name.clone(),
            snapshot: table.snapshot.clone(),
            columns,
            partitions: Arc::default(),
            backwards: false,
            is_cut: false,
            threads,
            properties: Arc::new(properties(&schema, None, 1)),
            statistics: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            schema,
            wanted,
        };
        // A limit of few rows is met by the first piece.
        let few = scan
            .wanted
            .limit
            .is_some_and(|rows| rows < PART_ROWS_MIN as usize);
        scan.partitions = Arc::new(match few {
            true => vec![scan.pieces()],
            false => scan.parts(partitions.max(1))?,
        });
        scan.properties = Arc::new(scan.declared());
        Ok(scan)
    }
}

impl fmt::Debug for BucketScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketScan({})", self.name)
    }
}

impl DisplayAs for BucketScan {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketScan: {}", self.name)?;
        write!(f, ", buckets={}", self.wanted.members.len())?;
        let Range { from, to } = self.wanted.range;
        if from != i64::MIN {
            write!(f, ", from={}", shown(from))?;
        }
        if to != i64::MAX {
            write!(f, ", to={}", shown(to))?;
        }
        let names = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        write!(f, ", columns=[{}]", names.collect::<Vec<_>>().join(", "))?;
        if self.partitions.len() > 1 && !self.is_cut {
            write!(f, ", {} at a time", self.partitions.len())?;
        }
        if let Some(limit) = self.wanted.limit {
            write!(f, ", limit={limit}")?;
        }
        if self.backwards {
            write!(f, ", newest first")?;
        }
        if !self.wanted.zones.is_empty() {
            write!(f, ", zones=[{}]", self.wanted.zones.names.join(", "))?;
        }
        Ok(())
    }
}

fn shown(time: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time)) {
        Ok(time) => time.to_string(),
        Err(_) => time.to_string(),
    }
}

impl ExecutionPlan for BucketScan {
    fn name(&self) -> &str {
        "BucketScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let mut reader = self.reader(partition);
        let batches = std::iter::from_fn(move || reader.next(rows).transpose());
        let batches = futures::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            batches,
        )))
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        if args.partition().is_some() && self.partitions.len() > 1 {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        }
        if let Some(known) = self.statistics.get() {
            return Ok(known.clone());
        }
        let counted = Arc::new(self.counted()?);
        Ok(self.statistics.get_or_init(|| counted).clone())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn fetch(&self) -> Option<usize> {
        self.wanted.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut scan = self.clone();
        scan.wanted.limit = limit;
        scan.statistics = Arc::default();
        Some(Arc::new(scan))
    }

    /// Time descending is the scan from the other end.
    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let is_time = |sort: &PhysicalSortExpr| {
            let column = (sort.expr.as_ref() as &dyn std::any::Any).downcast_ref::<ColumnExpr>();
            column.is_some_and(|c| self.columns.get(c.index()) == Some(&Source::Epoch))
        };
        let [sort] = order else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        if !is_time(sort) || sort.options.descending == self.backwards {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let mut scan = self.clone();
        scan.backwards = sort.options.descending;
        match scan.ordering() {
            None => Ok(SortOrderPushdownResult::Unsupported),
            Some(_) => {
                scan.properties = Arc::new(scan.declared());
                let inner: Arc<dyn ExecutionPlan> = Arc::new(scan);
                Ok(SortOrderPushdownResult::Exact { inner })
            }
        }
    }
}

pub(crate) fn failed(what: impl Into<String>) -> DataFusionError {
    Error::failed(what).wrap()
}
