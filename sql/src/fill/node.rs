//! FILL in a plan.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, ParamValues, Result, internal_err};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{Fill, Role};

/// The input with the missing buckets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FillNode {
    pub(crate) input: LogicalPlan,
    /// One a column of the input, one of them the time.
    pub(crate) roles: Vec<Role>,
    /// The function that makes buckets, of the column [`super::grid::TIME`].
    pub(crate) bucket: Expr,
    schema: DFSchemaRef,
}

impl FillNode {
    pub(crate) fn new(input: LogicalPlan, roles: Vec<Role>, bucket: Expr) -> Result<Self> {
        let schema = input.schema();
        let fields = schema.iter().zip(&roles).map(|((qualifier, field), role)| {
            let field = match role {
                Role::Value(Fill::Null) => Arc::new(field.as_ref().clone().with_nullable(true)),
                _ => Arc::clone(field),
            };
            (qualifier.cloned(), field)
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
        Ok(Self {
            input,
            roles,
            bucket,
            schema: Arc::new(schema),
        })
    }
}

/// The plan with values for parameters in the functions of FILL, which the planner does not know of:
/// they are expressions of a time that is no column.
pub(crate) fn with_values(plan: LogicalPlan, values: &ParamValues) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let node = match &plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<FillNode>(),
            _ => None,
        };
        let Some(node) = node else {
            return Ok(Transformed::no(plan));
        };
        let bucket = node.bucket.clone().transform_up(|expr| match expr {
            Expr::Placeholder(Placeholder { id, .. }) => {
                let value = values.get_placeholders_with_values(&id)?;
                Ok(Transformed::yes(Expr::Literal(value.value, value.metadata)))
            }
            expr => Ok(Transformed::no(expr)),
        })?;
        if !bucket.transformed {
            return Ok(Transformed::no(plan));
        }
        let node = FillNode {
            bucket: bucket.data,
            ..node.clone()
        };
        let node = Arc::new(node);
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    });
    plan.map(|plan| plan.data)
}

impl PartialOrd for FillNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for FillNode {
    fn name(&self) -> &'static str {
        "Fill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.schema.fields().iter().zip(&self.roles);
        let columns: Vec<String> = columns
            .map(|(field, role)| format!("{}: {role}", field.name()))
            .collect();
        write!(f, "Fill: {}", columns.join(", "))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) if input.schema().fields().len() == self.roles.len() => {
                Self::new(input, self.roles.clone(), self.bucket.clone())
            }
            _ => internal_err!("Fill has an input with a role for each column"),
        }
    }
}
