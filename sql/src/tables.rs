//! Names of a statement to tables, all at one LSN.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{Spanned, Statement, visit_relations};
use engine::BucketId;
use model::{BucketKey, KeyPattern};

use crate::error::nearest;
use crate::functions::actions_of;
use crate::shared::Shared;
use crate::table::BucketTable;
use crate::{Dialect, Error, ErrorKind};

/// Tables by name.
pub(crate) type Tables = BTreeMap<String, Arc<BucketTable>>;

/// Buckets that a name stands for.
enum Named {
    One(BucketId),
    Many(Vec<BucketId>),
}

/// Opens the tables of a statement as one snapshot.
pub(crate) fn open(
    references: &[TableReference],
    statement: &Statement,
    shared: &Shared,
) -> Result<Tables, Error> {
    let mut named: BTreeMap<&str, Named> = BTreeMap::new();
    for reference in references {
        if reference
            .schema()
            .is_some_and(|schema| schema != crate::parse::SCHEMA)
        {
            continue;
        }
        let name = reference.table();
        match resolve(name, shared) {
            Ok(found) => drop(named.insert(name, found)),
            Err(error) => return Err(place(error, name, statement)),
        }
    }
    let mut ids: Vec<BucketId> = Vec::new();
    for found in named.values() {
        match found {
            Named::One(id) => ids.push(*id),
            Named::Many(many) => ids.extend(many),
        }
    }
    ids.extend(actions_of(statement, shared));
    ids.sort_unstable();
    ids.dedup();
    let snapshot = Arc::new(shared.engine.snapshot(&ids));
    // A statement opens its tables once.
    let _ = shared.snapshot.set(snapshot.clone());
    // Buckets that were dropped meanwhile are not in it.
    let mut positions: foldhash::HashMap<BucketId, usize> = Default::default();
    for (position, info) in snapshot.buckets().iter().enumerate() {
        positions.insert(info.id, position);
    }
    let nanoseconds = shared.dialect() == Dialect::MarketStore;
    let mut tables = Tables::new();
    for (name, found) in named {
        let (ids, keyed) = match &found {
            Named::One(id) => (std::slice::from_ref(id), false),
            Named::Many(many) => (&many[..], true),
        };
        let indices: Vec<usize> = ids
            .iter()
            .filter_map(|id| positions.get(id).copied())
            .collect();
        if indices.is_empty() && !keyed {
            return Err(place(unknown(name, shared), name, statement));
        }
        let table = BucketTable::new(name, snapshot.clone(), indices, keyed, nanoseconds);
        let table = table.map_err(|error| place(error, name, statement))?;
        tables.insert(name.to_owned(), Arc::new(table));
    }
    Ok(tables)
}

/// One table by itself, for its columns.
pub(crate) fn one(name: &str, shared: &Shared) -> Result<BucketTable, Error> {
    let (ids, keyed) = match resolve(name, shared)? {
        Named::One(id) => (vec![id], false),
        Named::Many(ids) => (ids, true),
    };
    let snapshot = Arc::new(shared.engine.snapshot(&ids));
    let indices: Vec<usize> = (0..snapshot.buckets().len()).collect();
    if indices.is_empty() {
        return Err(unknown(name, shared));
    }
    let nanoseconds = shared.dialect() == Dialect::MarketStore;
    BucketTable::new(name, snapshot, indices, keyed, nanoseconds)
}

fn resolve(name: &str, shared: &Shared) -> Result<Named, Error> {
    let access = &shared.caller.access;
    if !is_pattern(name) {
        let key = BucketKey::parse(name);
        let key = key.map_err(|_| unknown(name, shared))?;
        // Before the look: who may not read a bucket does not learn whether it is there.
        if !access.may_read(&key) {
            let message = format!("reading {key} is not allowed");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let info = shared.engine.bucket(&key);
        return info
            .map(|info| Named::One(info.id))
            .ok_or_else(|| unknown(name, shared));
    }
    let pattern = KeyPattern::parse(name);
    let pattern = pattern.map_err(|error| Error::invalid(error.to_string()))?;
    let buckets = shared.engine.buckets();
    let matching = buckets.iter().filter(|info| pattern.matches(&info.key));
    let readable = matching.filter(|info| access.may_read(&info.key));
    let ids: Vec<BucketId> = readable.map(|info| info.id).collect();
    if ids.is_empty() {
        let message = format!("no bucket matches \"{name}\"");
        return Err(Error::new(ErrorKind::Unknown, message));
    }
    if ids.len() > shared.buckets_max {
        return Err(Error::limit(format!(
            "\"{name}\" matches {} buckets, over the limit of {} (sql.buckets)",
            ids.len(),
            shared.buckets_max
        ))
        .with_hint("narrow the pattern"));
    }
    Ok(Named::Many(ids))
}

/// Whether a name stands for all buckets that match it.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '{', '['])
}

/// Names compared for a hint at most: with very many buckets it would take too long.
const COMPARED_MAX: usize = 20_000;

/// Says that there is no such table. Only what the caller may read is in the hint.
pub(crate) fn unknown(name: &str, shared: &Shared) -> Error {
    let shown: String = name.chars().take(200).collect();
    let error = Error::new(ErrorKind::Unknown, format!("no table \"{shown}\""));
    let buckets = shared.engine.buckets();
    let names = buckets
        .iter()
        .take(COMPARED_MAX)
        .filter(|info| shared.caller.access.may_read(&info.key))
        .map(|info| info.key.as_str());
    if let Some(nearest) = nearest(name, names) {
        return error.with_hint(format!("did you mean \"{nearest}\"?"));
    }
    match name.matches('/').count() {
        2 => error.with_hint("SHOW BUCKETS lists them"),
        _ => error.with_hint("tables are buckets, like \"AAPL/1Min/OHLCV\" or \"*/1Min/OHLCV\""),
    }
}

/// Adds the place where the statement first names a table.
fn place(error: Error, name: &str, statement: &Statement) -> Error {
    let mut found = None;
    let _ = visit_relations(statement, |relation| {
        let last = relation.0.last().and_then(|part| part.as_ident());
        match last {
            Some(ident) if ident.value == name => {
                found = Some(relation.span().start);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    });
    match found {
        Some(start) => error.at(start.line, start.column),
        None => error,
    }
}
