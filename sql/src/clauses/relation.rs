//! Relations that `tree` made of clauses, as nodes of the plan.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNode,
};
use datafusion::sql::sqlparser::ast::{
    Expr as Ast, FunctionArg, Ident, Join, JoinConstraint, JoinOperator, Spanned, TableFactor,
};

use super::condition::Condition;
use super::tree::argument;
use super::{marker, placed};
use crate::fill::{Fill, FillNode, Role, grid_time_column};
use crate::latest::LatestNode;

/// The time of LATEST BY.
const TIME: &str = "Epoch";

/// Plans ASOF JOIN, LATEST BY and FILL.
#[derive(Debug)]
pub(super) struct ClausePlanner;

impl RelationPlanner for ClausePlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let is_clause = matches!(&relation, TableFactor::NestedJoin { table_with_joins, .. }
            if table_with_joins.joins.len() == 1 && table_with_joins.joins[0].global);
        let TableFactor::NestedJoin {
            mut table_with_joins,
            alias,
        } = relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        if !is_clause {
            let relation = TableFactor::NestedJoin {
                table_with_joins,
                alias,
            };
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let Some(join) = table_with_joins.joins.pop() else {
            return plan_err!("a clause has one join");
        };
        let span = join.span();
        let left = context.plan(table_with_joins.relation)?;
        let plan = match &join.relation {
            TableFactor::Function { name, args, .. } => match name.to_string().as_str() {
                marker::LATEST => latest(left, None, args.clone(), context),
                marker::LATEST_ON => {
                    let mut args = args.clone();
                    let time = args.drain(..1).next().and_then(argument);
                    latest(left, time, args, context)
                }
                marker::FILL => fill(left, args.clone(), context),
                _ => asof(&left, join, context),
            },
            _ => asof(&left, join, context),
        };
        let plan = plan.map_err(|error| placed(error, span))?;
        let planned = PlannedRelation::new(plan, alias);
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

fn node(node: impl UserDefinedLogicalNode + 'static) -> LogicalPlan {
    LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    })
}

fn asof(
    left: &LogicalPlan,
    join: Join,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let right = context.plan(join.relation)?;
    let (constraint, outer) = match join.join_operator {
        JoinOperator::Join(constraint) => (constraint, None),
        JoinOperator::Inner(constraint) => (constraint, Some(false)),
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            (constraint, Some(true))
        }
        _ => return plan_err!("an ASOF join is LEFT or INNER"),
    };
    let condition = match constraint {
        JoinConstraint::On(condition) => Some(condition),
        JoinConstraint::None => None,
        _ => return plan_err!("an ASOF join takes ON, USING or MATCH_CONDITION"),
    };
    Ok(node(
        Condition::new(left, &right, context)?.read(condition, outer)?,
    ))
}

fn latest(
    input: LogicalPlan,
    time: Option<Ast>,
    keys: Vec<FunctionArg>,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let time = time.unwrap_or_else(|| Ast::Identifier(Ident::with_quote('"', TIME)));
    let time = context.sql_to_expr(time, input.schema())?;
    match time.get_type(input.schema())? {
        DataType::Timestamp(..) | DataType::Int64 => {}
        other => return plan_err!("LATEST takes the greatest time, and {time} is {other}"),
    }
    let keys = keys.into_iter().filter_map(argument);
    let keys = keys.map(|key| context.sql_to_expr(key, input.schema()));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    Ok(node(LatestNode { input, keys, time }))
}

/// The function of buckets, then the role of each column.
fn fill(
    input: LogicalPlan,
    args: Vec<FunctionArg>,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let mut args = args.into_iter().filter_map(argument);
    let bucket = args.next();
    let columns: Vec<(Column, Arc<Field>)> = input
        .schema()
        .iter()
        .map(|(qualifier, field)| (Column::from((qualifier, field)), Arc::clone(field)))
        .collect();
    let mut roles = Vec::new();
    let mut time = None;
    for ((_, field), role) in columns.iter().zip(args) {
        let span = role.span();
        let role = match word(&role).as_str() {
            "time" => {
                time = Some(field.data_type().clone());
                Role::Time
            }
            "key" => Role::Key,
            "null" => Role::Value(Fill::Null),
            "prev" => Role::Value(Fill::Prev),
            "linear" if field.data_type().is_numeric() => Role::Value(Fill::Linear),
            "linear" => {
                let (name, ty) = (field.name(), field.data_type());
                let refused = plan_datafusion_err!(
                    "FILL(linear) needs numbers, and {name} is {ty}; use prev or null"
                );
                return Err(placed(refused, span));
            }
            _ => {
                let value = constant(role, field, context);
                Role::Value(Fill::Value(value.map_err(|error| placed(error, span))?))
            }
        };
        roles.push(role);
    }
    let (Some(bucket), Some(time)) = (bucket, time) else {
        return plan_err!("FILL needs a column of time buckets");
    };
    if !matches!(time, DataType::Timestamp(..)) {
        return plan_err!("FILL needs time buckets that are timestamps, not {time}");
    }
    let given = Field::new(grid_time_column(), time, false);
    let given = DFSchema::from_unqualified_fields(vec![given].into(), Default::default())?;
    let bucket = context.sql_to_expr(bucket, &given)?;
    Ok(node(FillNode::new(input, roles, bucket)?))
}

/// A role, or one of the words for what fills, in lower case.
fn word(role: &Ast) -> String {
    match role {
        Ast::Identifier(name) => name.value.to_ascii_lowercase(),
        Ast::Value(value) => match &value.value {
            datafusion::sql::sqlparser::ast::Value::SingleQuotedString(text) => text.clone(),
            datafusion::sql::sqlparser::ast::Value::Null => "null".into(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn constant(
    given: Ast,
    field: &Field,
    context: &mut dyn RelationPlannerContext,
) -> Result<ScalarValue> {
    let text = given.to_string();
    let words = "none, null, prev, linear or a number";
    let value = match context.sql_to_expr(given, &DFSchema::empty()) {
        Ok(Expr::Literal(value, _)) => value,
        Ok(Expr::Negative(value)) => match *value {
            Expr::Literal(value, _) => value.arithmetic_negate()?,
            _ => return plan_err!("FILL takes {words}, not {text}"),
        },
        _ => return plan_err!("FILL takes {words}, not {text}"),
    };
    match value.cast_to(field.data_type()) {
        Ok(value) => Ok(value),
        Err(_) => plan_err!(
            "FILL({text}) does not fit {} of type {}",
            field.name(),
            field.data_type()
        ),
    }
}
