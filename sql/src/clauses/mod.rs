//! Clauses of time series that SQL does not have: ASOF JOIN, LATEST BY, FILL.
//!
//! A statement meets this module four times. Its **tokens** are rewritten to what the parser takes,
//! with a marker where the clause stood (`tokens`); spans stay, so errors point at the text as it was
//! written. The **tree** is turned so that each clause is one relation in FROM (`tree`): an ASOF join
//! of its own, a LATEST over what stands before it, a FILL over the whole query. The planner of
//! **relations** makes nodes of them (`relation`), and the **extension planners** make those run.

mod condition;
mod relation;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;

use std::sync::Arc;

use datafusion::common::{DataFusionError, Diagnostic};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_planner::ExtensionPlanner;
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::asof::{AsofPlanner, AsofPushdown};
use crate::fill::FillPlanner;
use crate::latest::LatestPlanner;

pub(crate) use tokens::{ClauseError, rewrite_tokens};
pub(crate) use tree::rewrite;

/// Names of the markers: functions that nobody else has.
mod marker {
    /// Around a MATCH_CONDITION.
    pub(super) const MATCH: &str = "__asof_match";
    /// Around a TOLERANCE.
    pub(super) const TOLERANCE: &str = "__asof_tolerance";
    /// Around the columns of USING in an ASOF join.
    pub(super) const USING: &str = "__asof_using";
    /// Around the columns of LATEST BY.
    pub(super) const LATEST: &str = "__latest_by";
    /// Around the time and the columns of LATEST ON.
    pub(super) const LATEST_ON: &str = "__latest_on";
    /// Around what FILL fills with.
    pub(super) const FILL: &str = "__fill";
}

/// The error, about a place of the statement unless it has one already.
fn placed(error: DataFusionError, span: Span) -> DataFusionError {
    let place = datafusion::common::Span::try_from_sqlparser_span(span);
    match (error.diagnostic(), place) {
        (None, Some(place)) => {
            let diagnostic = Diagnostic::new_error(error.to_string(), Some(place));
            error.with_diagnostic(diagnostic)
        }
        _ => error,
    }
}

/// The planner of relations and the rule of the optimizer.
pub(crate) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    // Before filters are pushed down, which stops at nodes it does not know.
    let rule: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(AsofPushdown);
    let mut rules = Optimizer::new().rules;
    let at = rules
        .iter()
        .position(|rule| rule.name() == "push_down_filter")
        .unwrap_or(0);
    rules.insert(at, rule);
    builder
        .with_optimizer_rules(rules)
        .with_relation_planners(vec![Arc::new(relation::ClausePlanner)])
}

/// What makes the nodes run.
pub(crate) fn extension_planners() -> Vec<Arc<dyn ExtensionPlanner + Send + Sync>> {
    vec![
        Arc::new(AsofPlanner),
        Arc::new(LatestPlanner),
        Arc::new(FillPlanner),
    ]
}
