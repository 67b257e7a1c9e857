//! LATEST BY in a plan.

use std::cmp::Ordering;

use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// The rows of the input that are the latest of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LatestNode {
    pub(crate) input: LogicalPlan,
    /// Columns; none for the latest row of all.
    pub(crate) keys: Vec<Expr>,
    pub(crate) time: Expr,
}

impl PartialOrd for LatestNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for LatestNode {
    fn name(&self) -> &'static str {
        "LatestBy"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().chain([&self.time]).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "LatestBy: [{}], time={}", keys.join(", "), self.time)
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let (Some(time), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return internal_err!("LatestBy has a time and an input");
        };
        Ok(Self {
            input,
            keys: exprs,
            time,
        })
    }

    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        // A filter on keys drops whole keys; one on anything else may drop the latest row of one.
        let is_key = |name: &str| {
            let mut keys = self.keys.iter();
            keys.any(|key| matches!(key, Expr::Column(column) if column.name == name))
        };
        let fields = self.schema().fields();
        // Only names are asked for: of two tables that have the column, one may be no key.
        let is_unique =
            |name: &str| fields.iter().filter(|field| field.name() == name).count() == 1;
        let names = fields.iter().map(|field| field.name().clone());
        names
            .filter(|name| !(is_key(name) && is_unique(name)))
            .collect()
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output.to_vec()])
    }
}
