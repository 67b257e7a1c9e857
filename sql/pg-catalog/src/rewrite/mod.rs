//! The tree of a question to plain SQL.
//!
//! From the leaves up: names of tables are resolved (`relations`), operators, casts and calls become
//! those that we have (`expressions`), what can have no rows is cut off (`empty`), and columns get the
//! names that PostgreSQL gives them (`labels`).

mod empty;
mod expressions;
mod labels;
mod relations;
mod subqueries;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sql::datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use sql::datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use sql::datafusion::sql::sqlparser::parser::Parser;
use sql::{Error, ErrorKind};

pub use labels::visible;

/// Rewrites a statement.
pub(crate) fn statement(statement: &mut Statement) -> Result<(), Error> {
    let mut names = Names::default();
    let _ = Visit::visit(statement, &mut names);
    let mut rewriter = Rewriter {
        expressions: names.0,
    };
    match VisitMut::visit(statement, &mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(message) => Err(Error::new(ErrorKind::Unsupported, message)),
    }
}

/// Names of WITH: they hide tables.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0
            .extend(tables.map(|table| table.alias.name.value.clone()));
        ControlFlow::Continue(())
    }
}

struct Rewriter {
    /// Names of WITH.
    expressions: BTreeSet<String>,
}

impl VisitorMut for Rewriter {
    type Break = String;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<String> {
        flow(relations::resolve(factor, &self.expressions))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        flow(expressions::rewrite(expr).and_then(|()| subqueries::rewrite(expr)))
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<String> {
        flow(subqueries::of_items(select).map(|()| {
            labels::name(select);
            empty::fold(select);
        }))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<String> {
        if empty::is_empty(query) {
            // It may be by columns that are gone.
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }
}

fn flow(done: Result<(), String>) -> ControlFlow<String> {
    match done {
        Ok(()) => ControlFlow::Continue(()),
        Err(message) => ControlFlow::Break(message),
    }
}

/// An expression from its text.
fn expression(text: &str) -> Result<Expr, String> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    let parsed = parser.and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|error| format!("{text}: {error}"))
}

/// A table from its text.
fn relation(text: &str) -> Result<TableFactor, String> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    let parsed = parser.and_then(|mut parser| parser.parse_table_factor());
    parsed.map_err(|error| format!("{text}: {error}"))
}
