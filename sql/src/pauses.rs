//! Ends of joins that were aborted.
//!
//! DataFusion counts batches at the leaves and pauses after some. A join makes any number of batches of
//! one from below, and a filter above that lets none through would ask for them without a pause: so
//! batches of joins are counted too. The filter within a join lets it go over all pairs of rows before
//! its first batch: so each such filter looks whether its statement is still wanted.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};

use crate::{Error, ErrorKind};

/// Counts the batches of every join.
#[derive(Debug)]
pub(crate) struct Pauses;

impl PhysicalOptimizerRule for Pauses {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let paused = plan.transform_up(|plan| match plan.name().ends_with("JoinExec") {
            true => Ok(Transformed::yes(
                Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>
            )),
            false => Ok(Transformed::no(plan)),
        });
        paused.map(|paused| paused.data)
    }

    fn name(&self) -> &str {
        "Pauses"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether one run of a statement is over, for work that takes long between two pauses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The plan with filters of joins that fail when the run is over.
pub(crate) fn watched(
    plan: Arc<dyn ExecutionPlan>,
    ended: &Ended,
) -> Result<Arc<dyn ExecutionPlan>> {
    let watch = |filter: &JoinFilter| {
        let inner = Arc::clone(filter.expression());
        let ended = ended.clone();
        JoinFilter::new(
            Arc::new(Watched { inner, ended }),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    };
    let plan = plan.transform_up(|plan| {
        if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            let join = NestedLoopJoinExecBuilder::from(join).with_filter(Some(watch(filter)));
            return Ok(Transformed::yes(
                Arc::new(join.build()?) as Arc<dyn ExecutionPlan>
            ));
        }
        if let Some(join) = plan.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            let join = HashJoinExecBuilder::from(join).with_filter(Some(watch(filter)));
            return Ok(Transformed::yes(join.build_exec()?));
        }
        Ok(Transformed::no(plan))
    });
    plan.map(|plan| plan.data)
}

/// An expression that fails when its statement's run is over.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn PhysicalExpr>,
    ended: Ended,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        match self.ended.is_set() {
            true => Err(Error::new(ErrorKind::Cancelled, "the statement was cancelled").wrap()),
            false => self.inner.evaluate(batch),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| Arc::clone(&self.inner));
        let ended = self.ended.clone();
        Ok(Arc::new(Self { inner, ended }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
