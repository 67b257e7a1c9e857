//! A statement's text to what is done for it.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::Result as PlanResult;
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast;
use model::Zone;

use crate::apart::Apart;
use crate::catalog::Catalog;
use crate::change::Change;
use crate::pauses::Pauses;
use crate::pieces::{Pieces, Shown};
use crate::session::{Inner, parameters};
use crate::shared::SharedRef;
use crate::tables::Tables;
use crate::{Dialect, Error, bounded, change, extend, fill, order, parse, show, tables, times};

/// What is done for a statement.
#[derive(Clone)]
pub(crate) enum Planned {
    /// A plan gives the rows.
    Query {
        state: Arc<SessionState>,
        plan: LogicalPlan,
        /// Parameters that its text has; a rewriting may have left some out.
        placeholders: usize,
    },
    /// The rows are there.
    Ready {
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        setting: Option<(String, String)>,
    },
    /// The store is changed.
    Change(Change),
}

pub(crate) async fn plan(inner: &Inner, text: &str, shared: SharedRef) -> Result<Planned, Error> {
    let tokens = parse::tokens(text, shared.dialect())?;
    if shared.dialect() == Dialect::Postgres {
        let statement = parse::statement(tokens, shared.dialect())?;
        return match statement {
            ast::Statement::Query(_) => query(inner, statement, shared).await,
            other => Err(refused(&other)),
        };
    }
    if let Some(ready) = show::plan(inner, &tokens, &shared)? {
        return Ok(ready);
    }
    let statement = parse::statement(extend::tokens(tokens)?, shared.dialect())?;
    match statement {
        ast::Statement::Query(_)
        | ast::Statement::Explain { .. }
        | ast::Statement::ShowTables { .. } => query(inner, statement, shared).await,
        ast::Statement::Insert(insert) => change::insert(inner, insert, shared).await,
        ast::Statement::Delete(delete) => change::delete(inner, delete, shared).await,
        other => Err(refused(&other)),
    }
}

/// Plans what gives rows.
pub(crate) async fn query(
    inner: &Inner,
    mut statement: ast::Statement,
    shared: SharedRef,
) -> Result<Planned, Error> {
    let placeholders = placeholders(&statement);
    if let Some(extension) = &shared.caller.extension {
        extension.rewrite(&mut statement)?;
    }
    extend::rewrite(&mut statement, &shared)?;
    let statement = DfStatement::Statement(Box::new(statement));
    let (mut references, _) = resolve_table_references(&statement, false)?;
    // A function that gives a table is listed like one.
    let functions = inner.base.table_functions();
    references.retain(|name| !functions.contains_key(name.table()));
    let DfStatement::Statement(tree) = &statement else {
        return Err(Error::failed(
            "internal error: a statement changed its kind",
        ));
    };
    let open = tables::open(&references, tree, &shared)?;
    let mut state = state(inner, open, &shared)?;
    state.mark_start_execution();
    let plan = state.statement_to_plan(statement).await?;
    let plan = times::rewrite(plan, &shared.zone)?;
    let plan = extend::replan(plan, &shared)?;
    allowed(&plan)?;
    if is_flat(&plan) {
        // Nothing that a second pass of the optimizer would find.
        state.config_mut().options_mut().optimizer.max_passes = 1;
    }
    if order::is_from_the_start(&plan) {
        // Partitions would race; pieces come in their order, by all threads.
        let options = state.config_mut().options_mut();
        options.execution.target_partitions = 1;
    }
    Ok(Planned::Query {
        state: Arc::new(state),
        plan,
        placeholders,
    })
}

/// The highest number of a parameter.
fn placeholders(statement: &ast::Statement) -> usize {
    let mut highest = 0;
    let ControlFlow::Continue(()) = ast::visit_expressions(statement, |expr| {
        if let ast::Expr::Value(value) = expr
            && let ast::Value::Placeholder(name) = &value.value
            && let Some(Ok(number)) = name.strip_prefix('$').map(str::parse::<usize>)
        {
            highest = highest.max(number);
        }
        ControlFlow::<Infallible>::Continue(())
    });
    highest
}

/// Whether a plan only filters, orders and cuts the rows of one table.
fn is_flat(plan: &LogicalPlan) -> bool {
    let is_of_them = matches!(
        plan,
        LogicalPlan::TableScan(_)
            | LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::SubqueryAlias(_)
    );
    let has_subquery = || {
        let expressions = plan.expressions();
        let mut found = expressions.iter().map(|e| e.exists(|e| Ok(is_subquery(e))));
        found.any(|found| found.unwrap_or(true))
    };
    is_of_them && !has_subquery() && plan.inputs().into_iter().all(is_flat)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
    )
}

/// A plan with values for its parameters, of which the text has at least `placeholders`.
pub(crate) fn with_values(
    plan: LogicalPlan,
    placeholders: usize,
    values: Vec<ScalarValue>,
) -> Result<LogicalPlan, Error> {
    let wanted = parameters(&plan, placeholders).len();
    if values.len() != wanted {
        return Err(Error::invalid(format!(
            "the statement has {wanted} parameters, {} values are given",
            values.len()
        )));
    }
    match wanted {
        0 => Ok(plan),
        _ => {
            let values = ParamValues::from(values);
            let plan = fill::with_values(plan, &values)?;
            Ok(plan.with_param_values(values)?)
        }
    }
}

/// The last fence: whatever the tree was, the plan reads only.
fn allowed(plan: &LogicalPlan) -> Result<(), Error> {
    use datafusion::execution::context::SQLOptions;
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    Ok(options.verify_plan(plan)?)
}

/// What sessions of all statements have in common.
pub(crate) fn base(environment: Arc<RuntimeEnv>, threads: usize) -> Result<SessionState, Error> {
    let mut state = SessionStateBuilder::new()
        .with_config(config(threads))
        .with_runtime_env(environment)
        .with_default_features()
        .with_query_planner(Arc::new(Planner))
        .with_physical_optimizer_rules(physical_rules())
        .build();
    bounded::bound(&mut state)?;
    Ok(state)
}

/// A session for statements in a zone, without their tables and what looks at the store for them.
pub(crate) fn usual(base: &SessionState, zone: &Zone) -> SessionState {
    let builder = SessionStateBuilder::new_from_existing(base.clone());
    let mut builder = extend::register(builder);
    builder
        .expr_planners()
        .get_or_insert_default()
        .insert(0, times::planner(zone));
    builder.build()
}

/// DataFusion's rules and ours.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let before = rules.iter().position(|rule| rule.name() == Apart::BEFORE);
    debug_assert!(before.is_some(), "{} has another name", Apart::BEFORE);
    rules.insert(before.unwrap_or(0), Arc::new(Apart));
    let before = rules.iter().position(|rule| rule.name() == Pieces::BEFORE);
    debug_assert!(before.is_some(), "{} has another name", Pieces::BEFORE);
    rules.insert(before.unwrap_or(0), Arc::new(Pieces));
    rules.push(Arc::new(Shown));
    rules.push(Arc::new(Pauses));
    rules
}

/// A session for one statement. Building one registers hundreds of functions: most statements take a
/// copy of the usual one.
pub(crate) fn state(
    inner: &Inner,
    tables: Tables,
    shared: &SharedRef,
) -> Result<SessionState, Error> {
    let is_usual = shared.zone == inner.options.zone;
    let mut state = match is_usual {
        true => inner.usual.clone(),
        false => usual(&inner.base, &shared.zone),
    };
    if let Some(extension) = &shared.caller.extension {
        let builder = SessionStateBuilder::new_from_existing(state);
        state = extension.register(builder).build();
    }
    extend::register_own(&mut state, shared)?;
    let catalog = Catalog::new(tables, shared.clone());
    state.register_catalog_list(Arc::new(catalog));
    Ok(state)
}

/// Threads that a statement may be run by, however many partitions its plan has.
pub(crate) struct Threads(pub(crate) usize);

fn config(threads: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_extension(Arc::new(Threads(threads)))
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(parse::CATALOG, parse::SCHEMA);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    config
}

/// The planner of DataFusion with nodes of ours.
#[derive(Debug)]
struct Planner;

#[async_trait::async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(extend::extension_planners());
        planner.create_physical_plan(plan, session).await
    }
}

fn refused(statement: &ast::Statement) -> Error {
    let text = statement.to_string();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let hint = match statement {
        ast::Statement::Update(_) => "write the rows again: of equal times the last write wins",
        ast::Statement::CreateTable(_) => "the first write makes a bucket",
        ast::Statement::Copy { .. } => {
            "SQL reads and writes no files; see mkts export and mkts load"
        }
        ast::Statement::Drop { .. } => "mkts destroy drops a bucket",
        _ => {
            "there are SELECT, INSERT INTO, DELETE FROM, SHOW, DESCRIBE, EXPLAIN and SET TIME ZONE"
        }
    };
    Error::unsupported(format!(
        "{} is not supported",
        words.join(" ").to_uppercase()
    ))
    .with_hint(hint)
}
