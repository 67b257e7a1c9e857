//! `mkts query --functions`: a server calls them itself; in a directory this program does what a
//! server would.

use std::time::{SystemTime, UNIX_EPOCH};

use client::{Client, Query};
use engine::Limit;
use model::functions::{self, FunctionCall, FunctionError, Pipeline, Site};
use model::{BatchBuilder, BucketKey, ColumnBatch, KeyPattern, RowKind, Zone};

use super::{Args, none, put, schema};
use crate::cli::place::Opened;
use crate::cli::source::Bucket;
use crate::cli::{Failure, remote};

/// What the calls made of one bucket.
struct Table {
    key: BucketKey,
    kind: RowKind,
    rows: ColumnBatch,
}

/// Calls the functions on the rows and prints what they make of them.
pub(super) fn run(args: &Args, range: (i64, i64)) -> Result<(), Failure> {
    let mut tables = match args.place.open(false)? {
        Opened::Server(client) => of_server(client, args, range)?,
        mut store @ Opened::Store(_) => {
            let tables = of_store(&mut store, args, range)?;
            store.close()?;
            tables
        }
    };
    tables.sort_by(|a, b| a.key.cmp(&b.key));
    let Some(first) = tables.first() else {
        return Err(none(&args.key));
    };
    let keyed = tables.len() > 1;
    let schema = schema(first.rows.schema(), keyed, &first.key, first.kind);
    let mut rows = args.output.open(&schema)?;
    for table in &tables {
        put(&mut rows, &schema, keyed.then_some(&table.key), &table.rows)?;
    }
    rows.finish().map(|_| ())
}

fn of_server(
    mut client: Client,
    args: &Args,
    (from, to): (i64, i64),
) -> Result<Vec<Table>, Failure> {
    let names: Vec<&str> = args.columns.iter().map(String::as_str).collect();
    let mut query = Query::of(args.key.as_str()).columns(&names);
    query = query.functions(&args.functions);
    if from > i64::MIN {
        query = query.from(from);
    }
    if to < i64::MAX {
        query = query.to(to);
    }
    match args.limit {
        Some(rows) if args.from_start => query = query.first(rows),
        Some(rows) => query = query.last(rows),
        None => {}
    }
    let tables = client
        .query(&query)
        .map_err(|error| remote::failure(&error))?;
    let table = |table: client::Table| Table {
        key: table.key,
        kind: RowKind::Bar,
        rows: table.batch,
    };
    Ok(tables.into_iter().map(table).collect())
}

fn of_store(store: &mut Opened, args: &Args, range: (i64, i64)) -> Result<Vec<Table>, Failure> {
    let calls = args.functions.iter().map(|text| functions::parse(text));
    let calls: Vec<FunctionCall> = calls.collect::<Result<_, _>>().map_err(said)?;
    let options = args.place.root()?;
    let zone = options.map_or_else(Zone::utc, |(_, options)| options.zone);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    let on = KeyPattern::parse(&args.key).map_err(|error| Failure::new(error.to_string()))?;
    let mut tables = Vec::new();
    for bucket in store.buckets(&on, &args.columns)? {
        let actions = match calls.iter().any(FunctionCall::needs_actions) {
            true => actions(store, &bucket.key)?,
            false => None,
        };
        let site = Site {
            zone: &zone,
            now,
            actions: actions.as_ref(),
        };
        tables.push(table(store, args, range, &calls, &bucket, &site)?);
    }
    Ok(tables)
}

fn table(
    store: &mut Opened,
    args: &Args,
    range: (i64, i64),
    calls: &[FunctionCall],
    bucket: &Bucket,
    site: &Site<'_>,
) -> Result<Table, Failure> {
    let started = Pipeline::new(calls, &bucket.columns, bucket.kind, site);
    let mut pipeline = started.map_err(|error| about(bucket, &error))?;
    let mut result = BatchBuilder::new(pipeline.schema().clone(), 0);
    let limit = match (args.limit, args.from_start) {
        (None, _) => None,
        (Some(rows), true) => Some(Limit::First(rows)),
        (Some(rows), false) => Some(Limit::Last(rows)),
    };
    let mut each = |piece: ColumnBatch| {
        let certain = pipeline
            .push(&piece)
            .map_err(|error| about(bucket, &error))?;
        append(&mut result, &certain)
    };
    match limit {
        None => store.rows(bucket, range.0, range.1, &mut each)?,
        Some(limit) => each(store.limited(bucket, range, limit)?)?,
    }
    let kind = pipeline.kind();
    let rest = pipeline.finish().map_err(|error| about(bucket, &error))?;
    append(&mut result, &rest)?;
    Ok(Table {
        key: bucket.key.clone(),
        kind,
        rows: result.finish(),
    })
}

fn append(result: &mut BatchBuilder, rows: &ColumnBatch) -> Result<(), Failure> {
    let appended = result.append(rows);
    appended.map_err(|error| Failure::new(error.to_string()))
}

/// The corporate actions of a bucket's symbol, if there are any.
fn actions(store: &mut Opened, key: &BucketKey) -> Result<Option<ColumnBatch>, Failure> {
    let name = format!("{}/1D/ACTIONS", key.symbol());
    let on = KeyPattern::parse(&name).map_err(|error| Failure::new(error.to_string()))?;
    let buckets = store.buckets(&on, &[])?;
    let Some(bucket) = buckets.first() else {
        return Ok(None);
    };
    let mut all = BatchBuilder::new(bucket.columns.clone(), 0);
    store.rows(bucket, i64::MIN, i64::MAX, &mut |piece| {
        append(&mut all, &piece)
    })?;
    Ok(Some(all.finish()))
}

fn about(bucket: &Bucket, error: &FunctionError) -> Failure {
    Failure::new(format!("{}: {}", bucket.key, error.0))
}

fn said(error: FunctionError) -> Failure {
    Failure::new(error.0)
}
