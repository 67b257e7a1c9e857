//! The tree of a statement, turned so that each clause is a relation of its own: a parenthesized join
//! whose only join is GLOBAL, which [`super::relation`] plans.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectFlavor, SelectItem,
    SetExpr, Spanned, Statement, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::{ClauseError, marker};
use crate::fill::grid_time_column;

/// Turns the clauses of a statement into relations.
pub(crate) fn rewrite(statement: &mut Statement) -> Result<(), ClauseError> {
    match statement.visit(&mut Turner) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Turner;

impl VisitorMut for Turner {
    type Break = ClauseError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<ClauseError> {
        let turned = turn_latest(select).and_then(|()| turn_fill(select));
        if let Err(error) = turned {
            return ControlFlow::Break(error);
        }
        select.from.iter_mut().for_each(turn_asof);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<ClauseError> {
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = factor
            && table_with_joins.joins.len() > 1
        {
            turn_asof(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}

/// Of `a JOIN b ASOF JOIN c JOIN d` makes `((a JOIN b) ASOF JOIN c) JOIN d`.
fn turn_asof(tables: &mut TableWithJoins) {
    if !tables.joins.iter().any(|join| join.global) {
        return;
    }
    let joins = std::mem::take(&mut tables.joins);
    for join in joins {
        if !join.global {
            tables.joins.push(join);
            continue;
        }
        if !tables.joins.is_empty() {
            let left = std::mem::take(&mut tables.joins);
            let relation = std::mem::replace(&mut tables.relation, nothing());
            tables.relation = nested(relation, left);
        }
        let relation = std::mem::replace(&mut tables.relation, nothing());
        tables.relation = nested(relation, vec![join]);
    }
}

/// A place holder.
fn nothing() -> TableFactor {
    function_table("", Vec::new())
}

fn nested(relation: TableFactor, joins: Vec<Join>) -> TableFactor {
    TableFactor::NestedJoin {
        table_with_joins: Box::new(TableWithJoins { relation, joins }),
        alias: None,
    }
}

fn function_table(name: &str, args: Vec<FunctionArg>) -> TableFactor {
    TableFactor::Function {
        lateral: false,
        name: ObjectName::from(vec![Ident::new(name)]),
        args,
        with_ordinality: false,
        alias: None,
    }
}

/// The relation `relation` under a clause.
fn clause(relation: TableFactor, name: &str, args: Vec<FunctionArg>) -> TableWithJoins {
    let join = Join {
        relation: function_table(name, args),
        global: true,
        join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
    };
    TableWithJoins {
        relation: nested(relation, vec![join]),
        joins: Vec::new(),
    }
}

fn derived(select: Select) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(Query {
            with: None,
            body: Box::new(SetExpr::Select(Box::new(select))),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: Vec::new(),
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: Vec::new(),
        }),
        alias: None,
        sample: None,
    }
}

/// SELECT * FROM `from`.
fn select_all(from: Vec<TableWithJoins>) -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())],
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// Of `FROM x WHERE (c) AND latest(a) AND (d)` makes `FROM latest(SELECT * FROM x WHERE c) WHERE d`.
fn turn_latest(select: &mut Select) -> Result<(), ClauseError> {
    let Some(selection) = select.selection.take() else {
        return Ok(());
    };
    let mut terms = Vec::new();
    split(selection, &mut terms);
    let is_latest =
        |term: &Expr| is_marker(term, marker::LATEST) || is_marker(term, marker::LATEST_ON);
    let Some(at) = terms.iter().position(is_latest) else {
        select.selection = join(terms);
        return Ok(());
    };
    let after = terms.split_off(at + 1);
    let Some(Expr::Function(function)) = terms.pop() else {
        return Err(fault("LATEST takes columns", select.span()));
    };
    let mut inner = select_all(std::mem::take(&mut select.from));
    inner.selection = join(terms);
    let name = function.name.to_string();
    select.from = vec![clause(derived(inner), &name, arguments(function))];
    select.selection = join(after);
    Ok(())
}

/// Of `SELECT t, a, b GROUP BY t, a HAVING c AND fill(prev)` makes
/// `SELECT * FROM fill(SELECT .. HAVING c)`, with what each column is.
fn turn_fill(select: &mut Select) -> Result<(), ClauseError> {
    let Some(having) = select.having.take() else {
        return Ok(());
    };
    let mut terms = Vec::new();
    split(having, &mut terms);
    let Some(at) = terms.iter().position(|term| is_marker(term, marker::FILL)) else {
        select.having = join(terms);
        return Ok(());
    };
    let Expr::Function(function) = terms.remove(at) else {
        return Err(fault("FILL takes what to fill with", select.span()));
    };
    let span = function.span();
    select.having = join(terms);
    let fills: Vec<Expr> = arguments(function)
        .into_iter()
        .filter_map(argument)
        .collect();
    let is_none = |fill: &Expr| fill.to_string().eq_ignore_ascii_case("none");
    if fills.iter().any(is_none) {
        return match fills.len() {
            1 => Ok(()),
            _ => Err(fault(
                "FILL(none) stands alone: it leaves out every bucket without rows",
                span,
            )),
        };
    }
    let args = fill_arguments(select, fills).map_err(|message| fault(message, span))?;
    let inner = std::mem::replace(select, select_all(Vec::new()));
    select.from = vec![clause(derived(inner), marker::FILL, args)];
    Ok(())
}

fn fault(message: impl Into<String>, span: Span) -> ClauseError {
    let message = message.into();
    ClauseError { message, span }
}

/// The function of buckets, then for each column what it is: `'time'`, `'key'` or what fills it.
fn fill_arguments(select: &Select, fills: Vec<Expr>) -> Result<Vec<FunctionArg>, String> {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else {
        return Err("FILL needs the columns of GROUP BY by name, not GROUP BY ALL".into());
    };
    let mut bucket = None;
    let mut roles = Vec::new();
    let mut found = vec![false; groups.len()];
    let mut values = 0;
    for (index, item) in select.projection.iter().enumerate() {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return Err("FILL needs the columns of the select list by name".into()),
        };
        let is_group = |group: &Expr| {
            group == expr
                || group.to_string() == (index + 1).to_string()
                || matches!((group, alias), (Expr::Identifier(name), Some(alias)) if same(name, alias))
                || matches!((group, expr), (Expr::Identifier(name), Expr::CompoundIdentifier(parts))
                    if parts.last().is_some_and(|last| same(name, last)))
        };
        match groups.iter().position(is_group) {
            Some(group) => {
                found[group] = true;
                match bucket_function(expr) {
                    Some(_) if bucket.is_some() => {
                        return Err(
                            "FILL takes one column of time buckets, and there are two".into()
                        );
                    }
                    Some(function) => {
                        bucket = Some(function);
                        roles.push(text("time"));
                    }
                    None => roles.push(text("key")),
                }
            }
            None => {
                let fill = match fills.len() {
                    1 => fills.first(),
                    _ => fills.get(values),
                };
                values += 1;
                roles.push(fill.cloned().unwrap_or_else(|| text("missing")));
            }
        }
    }
    if fills.len() != 1 && fills.len() != values {
        return Err(format!(
            "FILL has {} values for {values} columns: give one for all, or one for each",
            fills.len()
        ));
    }
    let Some(bucket) = bucket else {
        return Err("FILL needs a time bucket in both the select list and GROUP BY, such as time_bucket('5Min', Epoch)".into());
    };
    if let Some(missing) = found.iter().position(|found| !found) {
        return Err(format!(
            "FILL needs each column of GROUP BY in the select list: {} is missing",
            groups[missing]
        ));
    }
    let args = [bucket].into_iter().chain(roles);
    Ok(args
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
        .collect())
}

fn same(a: &Ident, b: &Ident) -> bool {
    match a.quote_style.is_none() && b.quote_style.is_none() {
        true => a.value.eq_ignore_ascii_case(&b.value),
        false => a.value == b.value,
    }
}

/// The functions that make buckets, with the position of the time in their arguments.
const BUCKETS: [(&str, usize); 3] = [("time_bucket", 1), ("date_bin", 1), ("date_trunc", 1)];

/// A call that makes buckets, of the column of times.
fn bucket_function(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let name = function.name.to_string();
    let (_, at) = BUCKETS
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))?;
    let mut function = function.clone();
    let FunctionArguments::List(list) = &mut function.args else {
        return None;
    };
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(time)) = list.args.get_mut(*at)? else {
        return None;
    };
    *time = Expr::Identifier(Ident::new(grid_time_column()));
    Some(Expr::Function(function))
}

fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

fn is_marker(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Function(function) if function.name.to_string() == name)
}

pub(super) fn arguments(function: Function) -> Vec<FunctionArg> {
    match function.args {
        FunctionArguments::List(list) => list.args,
        _ => Vec::new(),
    }
}

pub(super) fn argument(arg: FunctionArg) -> Option<Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// The parts of an AND, in their order; parentheses around an AND are seen through.
pub(super) fn split(expr: Expr, terms: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split(*left, terms);
            split(*right, terms);
        }
        Expr::Nested(inner)
            if matches!(
                *inner,
                Expr::BinaryOp {
                    op: BinaryOperator::And,
                    ..
                }
            ) =>
        {
            split(*inner, terms);
        }
        expr => terms.push(expr),
    }
}

fn join(terms: Vec<Expr>) -> Option<Expr> {
    terms.into_iter().reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    })
}
