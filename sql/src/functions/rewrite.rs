//! Finds the functions that give several columns and puts plain SQL in their place.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement, TableFactor, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use model::functions::Argument;

use super::{Lookup, adjust, ast, candles, gaps, marketstore, tables};

/// What is wrong with a call, and where it is in the statement.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) span: Span,
}

/// Rewrites one statement.
#[derive(Debug)]
pub(crate) struct Rewriter {
    pub(crate) lookup: Arc<dyn Lookup>,
    /// MarketStore's dialect: its aggregates, and its shapes.
    pub(crate) marketstore: bool,
    /// The time of aggregates over everything (ns).
    pub(crate) now: i64,
}

/// What a select has become.
pub(super) struct Rewritten {
    pub(super) body: SetExpr,
    /// Positions of the columns that the rows are ordered by, unless the query says how.
    pub(super) order: Vec<usize>,
}

/// A call in the select list.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// In small letters.
    pub(super) name: String,
    pub(super) function: &'a Function,
    pub(super) alias: Option<&'a Ident>,
    /// Position in the select list.
    pub(super) item: usize,
}

impl Rewriter {
    /// Puts plain SQL in the place of all functions of several columns.
    pub(crate) fn rewrite(&self, statement: &mut Statement) -> Result<(), Fault> {
        let mut visitor = Visitor {
            rewriter: self,
            depth: 0,
            inner: None,
        };
        match statement.visit(&mut visitor) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(fault) => Err(fault),
        }
    }

    fn query(
        &self,
        query: &mut Query,
        is_outermost: bool,
        inner: Option<Ordered>,
    ) -> Result<Option<Ordered>, Fault> {
        let order = self.body(&mut query.body)?;
        let ordered = match order.is_empty() {
            true => inner.filter(|inner| passes_on(query, &inner.body)),
            false => ordered(&query.body, &order),
        };
        let wants_order = is_outermost || query.limit_clause.is_some() || query.fetch.is_some();
        if wants_order && query.order_by.is_none() {
            let terms: Vec<Expr> = match order.is_empty() {
                true => {
                    let columns = ordered.iter().flat_map(|ordered| &ordered.columns);
                    columns.cloned().map(Expr::Identifier).collect()
                }
                false => order.iter().map(|at| ast::number(*at as i64)).collect(),
            };
            if !terms.is_empty() {
                query.order_by = Some(ast::order_by(terms.into_iter()));
            }
        }
        Ok(ordered.map(|ordered| Ordered {
            body: query.body.as_ref().clone(),
            ..ordered
        }))
    }

    fn body(&self, body: &mut SetExpr) -> Result<Vec<usize>, Fault> {
        match body {
            SetExpr::Select(select) => {
                let Some(rewritten) = self.select(select)? else {
                    return Ok(Vec::new());
                };
                *body = rewritten.body;
                Ok(rewritten.order)
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)?;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn select(&self, select: &Select) -> Result<Option<Rewritten>, Fault> {
        let calls = self.calls(select);
        let Some(first) = calls.first() else {
            return Ok(None);
        };
        if marketstore::is_aggregate(&first.name) {
            let grouped = !matches!(&select.group_by, datafusion::sql::sqlparser::ast::GroupByExpr::Expressions(by, _) if by.is_empty());
            if !grouped
                && calls
                    .iter()
                    .all(|call| marketstore::is_aggregate(&call.name))
            {
                return marketstore::aggregates(self, select, &calls).map(Some);
            }
            if grouped {
                return Ok(None);
            }
        }
        let wide: Vec<&Call<'_>> = calls.iter().filter(|c| is_wide(&c.name)).collect();
        let call = match &wide[..] {
            [] => return Ok(None),
            [call] if wide.len() == calls.len() => *call,
            [_, other, ..] => {
                return Err(
                    other.fault("one function of several columns a SELECT, this is the second")
                );
            }
            [call] => {
                return Err(call.fault(&format!(
                    "{} and other functions have different numbers of rows, ask for one at a time",
                    call.name
                )));
            }
        };
        match call.name.as_str() {
            "gap" => gaps::rewrite(self, select, call),
            "adjust" => adjust::rewrite(self, select, call),
            _ => candles::rewrite(self, select, call),
        }
        .map(Some)
    }

    /// The functions of ours among the items of a select.
    fn calls<'a>(&self, select: &'a Select) -> Vec<Call<'a>> {
        let items = select.projection.iter().enumerate();
        let calls = items.filter_map(|(item, select_item)| {
            let (expr, alias) = match select_item {
                SelectItem::UnnamedExpr(expr) => (expr, None),
                SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
                _ => return None,
            };
            let Expr::Function(function) = expr else {
                return None;
            };
            let [ObjectNamePart::Identifier(name)] = &function.name.0[..] else {
                return None;
            };
            let name = name.value.to_ascii_lowercase();
            let is_ours = is_wide(&name) || self.marketstore && marketstore::is_aggregate(&name);
            let plain = function.over.is_none() && function.filter.is_none();
            (is_ours && plain).then_some(Call {
                name,
                function,
                alias,
                item,
            })
        });
        calls.collect()
    }
}

/// Functions that give several columns.
pub(super) fn is_wide(name: &str) -> bool {
    matches!(
        name,
        "candlecandler" | "tickcandler" | "ohlcv" | "gap" | "adjust"
    )
}

/// A query of functions, and the columns that its rows stand in order of.
struct Ordered {
    body: SetExpr,
    columns: Vec<Ident>,
}

fn ordered(body: &SetExpr, order: &[usize]) -> Option<Ordered> {
    let SetExpr::Select(select) = body else {
        return None;
    };
    let name = |at: &usize| match select.projection.get(at.checked_sub(1)?)? {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.clone()),
        _ => None,
    };
    let columns = order.iter().map(name).collect::<Option<Vec<_>>>()?;
    let body = body.clone();
    Some(Ordered { body, columns })
}

/// Whether a query gives all columns of this one, row by row: then they stay in their order.
fn passes_on(query: &Query, inner: &SetExpr) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let [from] = &select.from[..] else {
        return false;
    };
    let TableFactor::Derived { subquery, .. } = &from.relation else {
        return false;
    };
    !is_grouped
        && select.distinct.is_none()
        && select.having.is_none()
        && matches!(select.projection[..], [SelectItem::Wildcard(_)])
        && from.joins.is_empty()
        && subquery.body.as_ref() == inner
}

struct Visitor<'a> {
    rewriter: &'a Rewriter,
    depth: usize,
    /// The query visited last, if it is one of functions.
    inner: Option<Ordered>,
}

impl VisitorMut for Visitor<'_> {
    type Break = Fault;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Fault> {
        match tables::rewrite(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(fault),
        }
    }

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Fault> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Fault> {
        self.depth -= 1;
        let inner = self.inner.take();
        match self.rewriter.query(query, self.depth == 0, inner) {
            Ok(ordered) => {
                self.inner = ordered;
                ControlFlow::Continue(())
            }
            Err(fault) => ControlFlow::Break(fault),
        }
    }
}

/// The arguments of a call: what the grammar of the calls sees, in which column `n` stands for the
/// expression at `n`.
pub(super) struct Arguments {
    pub(super) arguments: Vec<Argument>,
    pub(super) columns: Vec<Expr>,
}

impl Call<'_> {
    pub(super) fn fault(&self, message: &str) -> Fault {
        Fault {
            message: message.to_owned(),
            span: ast::place(self.function),
        }
    }

    pub(super) fn no_alias(&self) -> Result<(), Fault> {
        match self.alias {
            None => Ok(()),
            Some(alias) => Err(Fault {
                message: format!("{} gives several columns and takes no alias", self.name),
                span: alias.span,
            }),
        }
    }

    pub(super) fn arguments(&self) -> Result<Arguments, Fault> {
        let mut found = Arguments {
            arguments: Vec::new(),
            columns: Vec::new(),
        };
        let list = match &self.function.args {
            FunctionArguments::List(list) => &list.args[..],
            _ => &[],
        };
        for arg in list {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {
                    found.add(None, ast::column("*"))
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => found.take(expr),
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(expr),
                    ..
                } => {
                    found.add(Some(name.value.clone()), expr.clone());
                }
                other => return Err(self.fault(&format!("{}: what is {other}?", self.name))),
            }
        }
        Ok(found)
    }
}

impl Arguments {
    fn take(&mut self, expr: &Expr) {
        match expr {
            Expr::Value(value) => match value.clone().value.into_string() {
                Some(text) => self.arguments.push(Argument::Literal(text)),
                None => self.add(None, expr.clone()),
            },
            // `Sum::Volume` as one name.
            Expr::Identifier(ident) if ident.value.contains("::") => {
                let (parameter, column) = ident.value.split_once("::").unwrap_or_default();
                let mut name = ast::name(column);
                name.span = ident.span;
                self.add(Some(parameter.to_owned()), Expr::Identifier(name));
            }
            // And as a parser sees it that takes it for a cast.
            Expr::Cast {
                expr, data_type, ..
            } if matches!(**expr, Expr::Identifier(_)) => {
                self.add(Some(expr.to_string()), ast::column(&data_type.to_string()));
            }
            _ => self.add(None, expr.clone()),
        }
    }

    fn add(&mut self, parameter: Option<String>, expr: Expr) {
        let column = self.columns.len().to_string();
        self.columns.push(expr);
        self.arguments.push(Argument::Column { parameter, column });
    }

    /// The expression that a column stands for.
    pub(super) fn column(&self, name: &str) -> Expr {
        let at = name.parse::<usize>().ok();
        let found = at.and_then(|at| self.columns.get(at));
        found.cloned().unwrap_or_else(|| ast::column(name))
    }
}

/// What an expression is called in names of results.
pub(super) fn called(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts
            .last()
            .map(|part| part.value.clone())
            .unwrap_or_default(),
        other => other.to_string(),
    }
}

/// The select with other items; all else stays.
pub(super) fn with_items(select: &Select, projection: Vec<SelectItem>) -> Select {
    Select {
        projection,
        ..select.clone()
    }
}

/// The name of the only table that a select reads from.
pub(super) fn only_table(select: &Select) -> Option<&str> {
    match &select.from[..] {
        [from] if from.joins.is_empty() => ast::table_name(&from.relation),
        _ => None,
    }
}

/// The columns of the key that tell the buckets of a pattern apart.
pub(super) fn key_columns(table: &str) -> Vec<&'static str> {
    let is_open = |part: &str| part.contains(['*', '?', '{', '[']);
    let names = ["symbol", "timeframe", "attribute_group"];
    let parts: Vec<&str> = table.split('/').collect();
    match parts[..] {
        _ if !is_open(table) => Vec::new(),
        [_, _, _] if !table.contains("**") => {
            let parts = parts.iter().zip(names);
            parts
                .filter(|(part, _)| is_open(part))
                .map(|(_, name)| name)
                .collect()
        }
        _ => names.to_vec(),
    }
}
