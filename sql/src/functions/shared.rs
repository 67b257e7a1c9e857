//! What functions ask the store, as the caller of a statement may.

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::sql::sqlparser::ast::Statement;
use engine::Scan;
use model::{BucketKey, ColumnBatch, ColumnDef, KeyPattern};

use super::{Lookup, Rewriter};
use crate::shared::{Shared, SharedRef};
use crate::tables::is_pattern;
use crate::{Dialect, Error, ErrorKind};

/// Puts plain SQL in the place of functions of several columns.
pub(crate) fn rewrite(statement: &mut Statement, shared: &SharedRef) -> Result<(), Error> {
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

/// Adds the functions to a session.
pub(crate) fn register(
    mut builder: SessionStateBuilder,
    shared: &SharedRef,
) -> SessionStateBuilder {
    let lookup: Arc<dyn Lookup> = shared.clone();
    let scalars = super::scalars(&shared.zone, &lookup);
    builder
        .scalar_functions()
        .get_or_insert_default()
        .extend(scalars);
    builder
        .aggregate_functions()
        .get_or_insert_default()
        .extend(super::aggregates());
    builder
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
        let Ok(key) = BucketKey::new(symbol, "1D", "ACTIONS") else {
            return Ok(None);
        };
        let Some(info) = self.engine.bucket(&key) else {
            return Ok(None);
        };
        if !self.caller.access.may_read(&key) {
            return Err(format!("reading {key} is not allowed"));
        }
        let snapshot = self.engine.snapshot(&[info.id]);
        if snapshot.buckets().is_empty() {
            return Ok(None);
        }
        let rows = snapshot.scan(0, &Scan::all());
        rows.map(Some).map_err(|error| error.to_string())
    }
}
