//! Subqueries in expressions: those without rows are known, those that refer to the query around them
//! become aggregates, and lists of them become arrays.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sql::datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    TableFactor, UnaryOperator, Value, visit_expressions, visit_expressions_mut,
};

use super::empty::{aggregates, is_empty};
use super::expression;
use super::expressions::take;

/// Rewrites one expression, its subqueries being done.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), String> {
    match expr {
        Expr::Subquery(query) if is_empty(query) => *expr = Expr::value(Value::Null),
        Expr::Subquery(query) => single(query)?,
        Expr::Exists { subquery, negated } if is_empty(subquery) => {
            *expr = Expr::value(Value::Boolean(*negated));
        }
        Expr::InSubquery {
            subquery, negated, ..
        } if is_empty(subquery) => *expr = Expr::value(Value::Boolean(*negated)),
        Expr::Function(function) => {
            let FunctionArguments::Subquery(query) = &mut function.args else {
                return Ok(());
            };
            *expr = match is_empty(query) {
                true => expression("no_texts()")?,
                false => {
                    gathered(query)?;
                    Expr::Subquery(query.clone())
                }
            };
        }
        // A plan has a place for `IN (SELECT ...)` in conditions alone.
        Expr::Case { .. } => return lists(expr),
        _ => {}
    }
    Ok(())
}

/// `x IN (SELECT ...)` in a select list.
pub(super) fn of_items(select: &mut Select) -> Result<(), String> {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            lists(expr)?;
        }
    }
    Ok(())
}

/// Makes `array_has((SELECT array_agg(...) ...), x)` of `x IN (SELECT ...)` everywhere in an expression.
fn lists(expr: &mut Expr) -> Result<(), String> {
    let done = visit_expressions_mut(expr, |expr| match listed(expr) {
        Ok(()) => ControlFlow::Continue(()),
        Err(message) => ControlFlow::Break(message),
    });
    match done {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(message) => Err(message),
    }
}

fn listed(expr: &mut Expr) -> Result<(), String> {
    let Expr::InSubquery {
        expr: wanted,
        subquery,
        negated,
    } = expr
    else {
        return Ok(());
    };
    gathered(subquery)?;
    let has = expression(&format!(
        "coalesce(array_has(({subquery}), {wanted}), false)"
    ))?;
    *expr = match negated {
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(has),
        },
        false => has,
    };
    Ok(())
}

/// The only item of a plain select, and its select.
fn item(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) if select.projection.len() == 1 => Some(select),
        _ => None,
    }
}

fn value(select: &mut Select) -> Option<&mut Expr> {
    match select.projection.first_mut()? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Gathers the rows of a query of one column into an array.
fn gathered(query: &mut Query) -> Result<(), String> {
    let order = query.order_by.take();
    let refused = "a list of this query is not supported";
    let select = item(query).ok_or(refused)?;
    let of = value(select).ok_or(refused)?;
    let by = match order.map(|order| order.kind) {
        Some(OrderByKind::Expressions(by)) => by,
        _ => Vec::new(),
    };
    let by: Vec<String> = by
        .iter()
        .map(|by| match by.to_string() {
            text if text == "1" => of.to_string(),
            text => text,
        })
        .collect();
    let by = match by.is_empty() {
        true => String::new(),
        false => format!(" ORDER BY {}", by.join(", ")),
    };
    *of = expression(&format!("array_agg({of}{by})"))?;
    Ok(())
}

/// A query that refers to the one around it has one row at most if it is right: the largest is it. A
/// plan needs to see that.
fn single(query: &mut Query) -> Result<(), String> {
    let Some(select) = item(query) else {
        return Ok(());
    };
    let grouped = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if !by.is_empty());
    if grouped || select.projection.iter().any(aggregates) || !is_correlated(select) {
        return Ok(());
    }
    let Some(of) = value(select) else {
        return Ok(());
    };
    let inner = take(of);
    *of = expression(&format!("max({inner})"))?;
    query.order_by = None;
    query.limit_clause = None;
    Ok(())
}

fn is_correlated(select: &Select) -> bool {
    let mut own = BTreeSet::new();
    for table in &select.from {
        let joined = table.joins.iter().map(|join| &join.relation);
        own.extend(
            std::iter::once(&table.relation)
                .chain(joined)
                .filter_map(named),
        );
    }
    let found = visit_expressions(&select.selection, |expr| match expr {
        Expr::CompoundIdentifier(parts) if !own.contains(&parts[0].value) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The name that a relation's columns have in front.
fn named(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table {
            alias: None, name, ..
        } => {
            let last = name.0.last().and_then(|part| part.as_ident());
            last.map(|ident| ident.value.clone())
        }
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => {
            alias.as_ref().map(|alias| alias.name.value.clone())
        }
        _ => None,
    }
}
