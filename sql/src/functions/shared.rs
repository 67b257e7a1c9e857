//! What functions ask the store, as the caller of a statement may.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, visit_expressions,
};
use engine::{BucketId, Scan};
use model::{BucketKey, ColumnBatch, ColumnDef, KeyPattern};

use super::factor::ADJUST_FACTOR;
use super::{Lookup, Rewriter, like};
use crate::shared::{Shared, SharedRef};
use crate::tables::is_pattern;
use crate::{Dialect, Error, ErrorKind};

/// Puts plain SQL in the place of functions of several columns.
pub(crate) fn rewrite(statement: &mut Statement, shared: &SharedRef) -> Result<(), Error> {
    like::rewrite(statement);
    let rewriter = Rewriter {
        lookup: shared.clone(),
        marketstore: shared.dialect() == Dialect::MarketStore,
        now: shared.now,
    };
    rewriter.rewrite(statement).map_err(|fault| {
        let error = Error::new(ErrorKind::Invalid, fault.message);
        match fault.span.start {
            start if start.line > 0 => error.at(start.line, start.column),
            _ => error,
        }
    })
}

/// Adds the functions that know nothing of a statement.
pub(crate) fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
        .aggregate_functions()
        .get_or_insert_default()
        .extend(super::aggregates());
    builder
}

/// Adds those that ask the store, or know the zone.
pub(crate) fn register_own(state: &mut SessionState, shared: &SharedRef) -> Result<(), Error> {
    let lookup: Arc<dyn Lookup> = shared.clone();
    for function in super::scalars(&shared.zone, &lookup) {
        state.register_udf(function)?;
    }
    Ok(())
}

impl Lookup for Shared {
    fn columns(&self, table: &str) -> Option<Vec<ColumnDef>> {
        if !is_pattern(table) {
            let info = self.engine.bucket(&BucketKey::parse(table).ok()?)?;
            let readable = self.caller.access.may_read(&info.key);
            return readable.then(|| info.schema.columns().to_vec());
        }
        let pattern = KeyPattern::parse(table).ok()?;
        let buckets = self.engine.buckets();
        let matching = buckets.iter().filter(|info| pattern.matches(&info.key));
        let readable = matching.filter(|info| self.caller.access.may_read(&info.key));
        let mut columns: Vec<ColumnDef> = Vec::new();
        let mut last = None;
        for info in readable {
            // Nearly all buckets of a pattern are alike.
            if last == Some(&info.schema) {
                continue;
            }
            last = Some(&info.schema);
            for def in info.schema.columns() {
                if !columns.iter().any(|known| known.name == def.name) {
                    columns.push(def.clone());
                }
            }
        }
        Some(columns)
    }

    fn actions(&self, symbol: &str) -> Result<Option<ColumnBatch>, String> {
        let Ok(key) = BucketKey::new(symbol, "1D", ACTIONS) else {
            return Ok(None);
        };
        if !self.caller.access.may_read(&key) {
            return match self.engine.bucket(&key) {
                Some(_) => Err(format!("reading {key} is not allowed")),
                None => Ok(None),
            };
        }
        let Some(snapshot) = self.snapshot.get() else {
            return Ok(None);
        };
        let Some(at) = snapshot.buckets().iter().position(|info| info.key == key) else {
            return Ok(None);
        };
        let rows = snapshot.scan(at, &Scan::all());
        rows.map(Some).map_err(|error| error.to_string())
    }
}

/// The attribute group of corporate actions.
const ACTIONS: &str = "ACTIONS";

/// The buckets of corporate actions that a rewritten statement may read: they belong into its
/// snapshot, so that rows and what they are adjusted by are of one LSN.
pub(crate) fn actions_of(statement: &Statement, shared: &Shared) -> Vec<BucketId> {
    let mut symbols = BTreeSet::new();
    let mut any = false;
    let _ = visit_expressions(statement, |expr| {
        if let Expr::Function(function) = expr
            && function
                .name
                .to_string()
                .eq_ignore_ascii_case(ADJUST_FACTOR)
            && let FunctionArguments::List(list) = &function.args
        {
            let symbol = match list.args.first() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) => {
                    value.clone().value.into_string()
                }
                _ => None,
            };
            match symbol {
                Some(symbol) => drop(symbols.insert(symbol)),
                None => any = true,
            }
        }
        ControlFlow::<()>::Continue(())
    });
    let of_symbol = |symbol: &String| {
        let key = BucketKey::new(symbol, "1D", ACTIONS).ok()?;
        let info = shared.engine.bucket(&key)?;
        shared.caller.access.may_read(&key).then_some(info.id)
    };
    if !any {
        return symbols.iter().filter_map(of_symbol).collect();
    }
    // Of a column of symbols nobody knows yet which.
    let buckets = shared.engine.buckets();
    let actions = buckets.iter().filter(|info| {
        let key = &info.key;
        key.timeframe() == "1D"
            && key.attribute_group() == ACTIONS
            && shared.caller.access.may_read(key)
    });
    actions.map(|info| info.id).collect()
}
