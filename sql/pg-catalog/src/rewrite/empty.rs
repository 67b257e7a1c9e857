//! What can have no rows: a select that joins a table about something that a bucket never has. It is
//! replaced by one without tables, and the parts of PostgreSQL's SQL that we lack go with them.

use std::ops::ControlFlow;

use sql::datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, GroupByExpr, JoinOperator, Query, Select, SelectItem, SetExpr,
    TableFactor, TableWithJoins, Value, Visit, Visitor,
};

use super::expression;
use super::relations::of_catalog;
use crate::definitions::ALL;

/// Whether a query was found to have no rows.
pub(super) fn is_empty(query: &Query) -> bool {
    of_body(&query.body)
}

fn of_body(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => {
            let is_false = |value: &Expr| *value == Expr::value(Value::Boolean(false));
            select.from.is_empty() && select.selection.as_ref().is_some_and(is_false)
        }
        SetExpr::Query(query) => is_empty(query),
        SetExpr::SetOperation { left, right, .. } => of_body(left) && of_body(right),
        _ => false,
    }
}

/// Empties a select that can have no rows. Its columns keep their names, and their types where they are
/// known.
pub(super) fn fold(select: &mut Select) {
    let grouped = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if !by.is_empty());
    let is_plain = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::ExprWithAlias { .. } | SelectItem::UnnamedExpr(_)
        )
    };
    if !select.from.iter().any(without_rows)
        || !select.projection.iter().all(is_plain)
        || !grouped && select.projection.iter().any(aggregates)
    {
        return;
    }
    let from = std::mem::take(&mut select.from);
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) = item {
            let name = super::labels::label(expr);
            let nothing = nothing(expr, &from);
            match item {
                SelectItem::ExprWithAlias { expr, .. } => *expr = nothing,
                other => {
                    *other = SelectItem::ExprWithAlias {
                        expr: nothing,
                        alias: super::labels::quoted(&name),
                    };
                }
            }
        }
    }
    select.selection = Some(Expr::value(Value::Boolean(false)));
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    if matches!(select.distinct, Some(Distinct::On(_))) {
        select.distinct = None;
    }
}

fn without_rows(table: &TableWithJoins) -> bool {
    let mut empty = relation(&table.relation);
    for join in &table.joins {
        let joined = relation(&join.relation);
        empty = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
                empty || joined
            }
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => joined,
            JoinOperator::FullOuter(_) => empty && joined,
            _ => empty,
        };
    }
    empty
}

fn relation(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, .. } => of_catalog(name).is_some_and(|name| !ALL[name].has_rows),
        TableFactor::Derived { subquery, .. } => is_empty(subquery),
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => without_rows(table_with_joins),
        _ => false,
    }
}

/// Functions of many rows: without GROUP BY they give one of none.
const AGGREGATES: [&str; 12] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "array_agg",
    "string_agg",
    "bool_and",
    "bool_or",
    "every",
    "json_agg",
    "jsonb_agg",
];

/// Whether an item is about all rows together. Subqueries in it are about rows of their own.
pub(super) fn aggregates(item: &SelectItem) -> bool {
    item.visit(&mut Aggregates { depth: 0 }).is_break()
}

struct Aggregates {
    /// Queries around the expression.
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if self.depth == 0 && is_aggregate(function) => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_aggregate(function: &Function) -> bool {
    let name = function.name.0.last().and_then(|part| part.as_ident());
    function.over.is_none() && name.is_some_and(|ident| AGGREGATES.contains(&ident.value.as_str()))
}

/// Nothing, of the type of a column if it is a column.
fn nothing(expr: &Expr, from: &[TableWithJoins]) -> Expr {
    let column = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    let tables = from.iter().flat_map(|table| {
        let joined = table.joins.iter().map(|join| &join.relation);
        std::iter::once(&table.relation).chain(joined)
    });
    let letter = column.and_then(|column| {
        let tables = tables.filter_map(|factor| match factor {
            TableFactor::Table { name, .. } => of_catalog(name),
            _ => None,
        });
        tables
            .filter_map(|name| ALL[name].letter(&column.value))
            .next()
    });
    let ty = match letter {
        Some(b'o' | b'8') => "BIGINT",
        Some(b'b') => "BOOLEAN",
        Some(b'2') => "SMALLINT",
        Some(b'4' | b'i') => "INTEGER",
        Some(b'f') => "REAL",
        Some(b'n' | b't' | b'c' | b'r') => "TEXT",
        _ => return Expr::value(Value::Null),
    };
    expression(&format!("CAST(NULL AS {ty})")).unwrap_or(Expr::value(Value::Null))
}
