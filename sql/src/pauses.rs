//! Pauses in joins, so that what is aborted ends.
//!
//! DataFusion counts batches at the leaves and pauses after some. A join makes any number of batches of
//! one from below, and a filter above that lets none through would ask for them without a pause.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

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
