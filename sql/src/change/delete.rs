//! DELETE FROM: of buckets as a whole, what lies in a range of time. The range is what the scan of the
//! same condition would read, and only if that is exact.

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::sql::sqlparser::ast;
use engine::DeleteRange;

use super::may_write;
use crate::range::{Range, bounds};
use crate::session::Inner;
use crate::shared::SharedRef;
use crate::table::BucketTable;
use crate::{Dialect, Error, parse};

/// SELECT * with the tables and the condition of the DELETE.
pub(super) fn as_select(
    statement: ast::Delete,
    shared: &SharedRef,
) -> Result<ast::Statement, Error> {
    let plain = statement.tables.is_empty()
        && statement.using.is_none()
        && statement.returning.is_none()
        && statement.order_by.is_empty()
        && statement.limit.is_none();
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) =
        statement.from;
    if !plain || from.len() != 1 || from.iter().any(|table| !table.joins.is_empty()) {
        return Err(Error::unsupported("DELETE takes one table and WHERE").with_hint(HINT));
    }
    let Some(condition) = statement.selection else {
        return Err(Error::unsupported("DELETE needs WHERE with a range of time").with_hint(HINT));
    };
    let tokens = parse::tokens("SELECT * FROM t", Dialect::Standard)?;
    let mut select = parse::statement(tokens, Dialect::Standard)?;
    if let ast::Statement::Query(query) = &mut select
        && let ast::SetExpr::Select(select) = query.body.as_mut()
    {
        select.from = from;
        select.selection = Some(condition);
        let _ = shared;
        return Ok(ast::Statement::Query(query.clone()));
    }
    Err(Error::failed("internal error: SELECT is no query"))
}

const HINT: &str =
    "like DELETE FROM \"AAPL/1Min/OHLCV\" WHERE Epoch >= '2020-01-02' AND Epoch < '2020-01-03'";

/// The ranges that a condition stands for; an error if it is more than ranges.
pub(super) fn ranges(
    state: &SessionState,
    plan: &LogicalPlan,
    shared: &SharedRef,
) -> Result<Vec<DeleteRange>, Error> {
    let optimized = state.optimize(plan)?;
    let Some(scan) = exact(&optimized)? else {
        return Ok(Vec::new());
    };
    let ranges = scan.filters.iter().map(|filter| bounds(filter).range);
    let range = ranges.fold(Range::ALL, Range::and);
    if range == Range::ALL {
        return Err(Error::unsupported("DELETE needs a range of time in WHERE").with_hint(HINT));
    }
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<BucketTable>() else {
        return Err(Error::unsupported("only rows of buckets can be deleted"));
    };
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let members = table.chosen(state, &scan.filters)?;
    let mut deletes = Vec::with_capacity(members.len());
    for member in members.iter() {
        let key = table.info(member).key.clone();
        may_write(shared, &key)?;
        deletes.push(DeleteRange {
            key,
            from: range.from,
            to: range.to,
        });
    }
    Ok(deletes)
}

/// The scan below, if nothing else decides about rows; `None` if there are no rows.
fn exact(plan: &LogicalPlan) -> Result<Option<&TableScan>, Error> {
    match plan {
        LogicalPlan::TableScan(scan) => Ok(Some(scan)),
        LogicalPlan::EmptyRelation(_) => Ok(None),
        LogicalPlan::Projection(projection) => exact(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => exact(&alias.input),
        _ => Err(Error::unsupported(
            "DELETE takes ranges of Epoch, and symbol, timeframe and attribute_group of a pattern, \
             joined by AND",
        )
        .with_hint(HINT)),
    }
}

pub(super) async fn run(ranges: Vec<DeleteRange>, inner: &Inner) -> Result<u64, Error> {
    if ranges.is_empty() {
        return Ok(0);
    }
    let engine = inner.engine.clone();
    let deleted = tokio::task::spawn_blocking(move || engine.delete(&ranges)).await;
    let deleted = deleted.map_err(|_| crate::rows::given_up())??;
    Ok(deleted.rows.iter().sum())
}
