//! Where functions, joins and rewritings beyond plain SQL are put in. One list for each step of a
//! statement, in the order of the steps.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_planner::ExtensionPlanner;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use crate::clauses::ClauseError;
use crate::shared::SharedRef;
use crate::{Error, ErrorKind, clauses, functions};

/// 0. The tokens, without blanks: what the parser does not take is put into words that it takes.
pub(crate) fn tokens(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, Error> {
    clauses::rewrite_tokens(tokens).map_err(|error| placed(ErrorKind::Syntax, error))
}

/// 1. The tree, before its tables are looked up. Spans of what is kept must stay.
pub(crate) fn rewrite(statement: &mut Statement, shared: &SharedRef) -> Result<(), Error> {
    functions::rewrite(statement, shared)?;
    clauses::rewrite(statement).map_err(|error| placed(ErrorKind::Invalid, error))
}

fn placed(kind: ErrorKind, error: ClauseError) -> Error {
    let start = error.span.start;
    Error::new(kind, error.message).at(start.line, start.column)
}

/// 2. Functions, planners of relations, rules of the optimizer: the same for all statements.
pub(crate) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    clauses::register(functions::register(builder))
}

/// 2b. What is made with a statement.
pub(crate) fn register_own(state: &mut SessionState, shared: &SharedRef) -> Result<(), Error> {
    functions::register_own(state, shared)
}

/// 3. The plan, before types are fitted and before the optimizer.
pub(crate) fn replan(plan: LogicalPlan, _shared: &SharedRef) -> Result<LogicalPlan, Error> {
    Ok(plan)
}

/// 4. Nodes of ours in the plan that runs.
pub(crate) fn extension_planners() -> Vec<Arc<dyn ExtensionPlanner + Send + Sync>> {
    clauses::extension_planners()
}
