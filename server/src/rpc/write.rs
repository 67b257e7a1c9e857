//! `DataService.Write`. Each request is one commit: all its buckets and rows, or nothing. Requests
//! of one call are queued in order and waited for together, so that they share a sync.

use std::time::Instant;

use client::wire::{Reply, WriteRequest};
use engine::{Commit, Error, Origin, Rows, Ticket};
use model::{BucketKey, RowKind, Schema, Timeframe};

use super::{entry, timeframe_error};
use crate::auth::{Caller, Right};
use crate::http::App;

/// Success adds no entry: clients take any entry for a failure.
pub(super) fn run(app: &App, caller: &Caller, requests: &[WriteRequest]) -> Reply {
    let start = Instant::now();
    let tickets: Vec<_> = requests.iter().map(|r| queue(app, caller, r)).collect();
    let wait = |ticket: Result<Option<Ticket>, String>| match ticket? {
        Some(ticket) => ticket.wait().map(drop).map_err(|e| text(&e)),
        None => Ok(()),
    };
    let failures = tickets.into_iter().map(wait).filter(Result::is_err);
    let failures = failures.map(|f| entry(app, f)).collect();
    let seconds = start.elapsed().as_secs_f64();
    metrics::histogram!("alpaca_marketstore_write_csm_duration_seconds").record(seconds);
    Reply::Entries(failures)
}

fn queue(app: &App, caller: &Caller, request: &WriteRequest) -> Result<Option<Ticket>, String> {
    let is_variable = request.is_variable_length;
    let tables = request
        .dataset
        .tables(is_variable)
        .map_err(|e| e.to_string())?;
    let kind = if is_variable {
        RowKind::Tick
    } else {
        RowKind::Bar
    };
    let mut rows: Vec<Rows> = Vec::with_capacity(tables.len());
    for (key, batch) in tables {
        let key = BucketKey::parse(key).map_err(|e| e.to_string())?;
        caller
            .require(Right::Write, &key)
            .map_err(|e| e.to_string())?;
        // Nearly always that of the bucket before.
        let is_known = rows
            .last()
            .is_some_and(|r| r.key.timeframe() == key.timeframe());
        if !is_known && Timeframe::parse(key.timeframe()).is_err() {
            return Err(timeframe_error(key.timeframe()));
        }
        // No rows make no bucket.
        if !batch.is_empty() {
            rows.push(Rows {
                key,
                batch,
                create: Some(kind),
            });
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let commit = Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows,
        section: None,
    };
    app.engine.write(commit).map(Some).map_err(|e| text(&e))
}

/// Clients compare columns with those they sent, where `Epoch` is one.
fn text(error: &Error) -> String {
    match error {
        Error::SchemaMismatch { given, stored } => format!(
            "unable to match data columns ({}) to bucket columns ({})",
            with_epoch(given),
            with_epoch(stored)
        ),
        other => other.to_string(),
    }
}

fn with_epoch(schema: &Schema) -> String {
    let columns = format!("{schema:?}");
    columns.replacen('[', "[{Epoch INT64} ", 1)
}
