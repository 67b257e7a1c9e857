//! The join in a plan, before it is known how its sides are read.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, JoinType, Result, internal_err};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::Rule;

/// ASOF JOIN. The expressions of a pair have the same type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AsofNode {
    pub(crate) left: LogicalPlan,
    pub(crate) right: LogicalPlan,
    /// Keys that are equal: of the left, of the right.
    pub(crate) on: Vec<(Expr, Expr)>,
    /// Times: of the left, of the right.
    pub(crate) times: (Expr, Expr),
    pub(crate) rule: Rule,
    schema: DFSchemaRef,
}

impl AsofNode {
    pub(crate) fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        on: Vec<(Expr, Expr)>,
        times: (Expr, Expr),
        rule: Rule,
    ) -> Result<Self> {
        let kind = if rule.outer {
            JoinType::Left
        } else {
            JoinType::Inner
        };
        let schema = build_join_schema(left.schema(), right.schema(), &kind)?;
        Ok(Self {
            left,
            right,
            on,
            times,
            rule,
            schema: Arc::new(schema),
        })
    }

    /// How many of the columns are the left's, which come first.
    pub(crate) fn left_columns(&self) -> usize {
        self.left.schema().fields().len()
    }
}

impl PartialOrd for AsofNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for AsofNode {
    fn name(&self) -> &'static str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.on.iter().flat_map(|(left, right)| [left, right]);
        keys.chain([&self.times.0, &self.times.1])
            .cloned()
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AsofJoin: {}, on=[", self.rule)?;
        for (index, (left, right)) in self.on.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{left} = {right}")?;
        }
        write!(f, "], times=[{}, {}]", self.times.0, self.times.1)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("AsofJoin has two inputs");
        };
        let mut exprs = exprs.into_iter();
        let mut pair = || Some((exprs.next()?, exprs.next()?));
        let on = self.on.iter().map_while(|_| pair()).collect::<Vec<_>>();
        let Some(times) = pair().filter(|_| on.len() == self.on.len()) else {
            return internal_err!(
                "AsofJoin has a pair of expressions for each key and for the times"
            );
        };
        Self::new(left, right, on, times, self.rule)
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let left_columns = self.left_columns();
        let (left, right): (Vec<usize>, Vec<usize>) =
            output.iter().partition(|c| **c < left_columns);
        let right = right.into_iter().map(|column| column - left_columns);
        Some(vec![left, right.collect()])
    }
}
