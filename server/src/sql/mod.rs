//! SQL through the server's doors: `POST /sql` here, Flight SQL and the PostgreSQL wire beside it.
//!
//! The crate `sql` plans and runs; a door only establishes who calls ([`caller`]), turns its own
//! kind of request into a text and parameters, and the batches of the result into its own bytes.
//! Batches are pulled one by one as the client takes them, and a client that goes away drops the
//! result, which ends its work.

pub(crate) mod cells;
pub(crate) mod http;
mod output;
mod parameters;

use std::sync::Arc;

use model::Zone;
use sql::{Caller, Sql, Surroundings};

use crate::auth;
use crate::config;
use crate::http::App;
pub(crate) use parameters::fitted;

/// Opens SQL over the store of a server, unless it is switched off.
pub(crate) fn open(app: &App, options: &config::Sql) -> Option<Sql> {
    if !options.enabled {
        return None;
    }
    let surroundings = Arc::new(Around {
        host: app.host.clone(),
        engine: app.engine.clone(),
    });
    let limits = sql::Options {
        threads: options.threads,
        memory_bytes: options.memory,
        time: options.time,
        statement_bytes: options.statement_bytes,
        statements: options.statements,
        zone: app.zone.clone(),
        ..sql::Options::default()
    };
    Sql::new(app.engine.clone(), surroundings, limits)
        .inspect_err(|error| tracing::error!("SQL is not available: {error}"))
        .ok()
}

/// What the server knows beside the store.
struct Around {
    host: plugin_host::Host,
    engine: engine::Engine,
}

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Around")
    }
}

impl Surroundings for Around {
    fn triggers(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let names = ["trigger", "kind", "state", "reason"].map(str::to_owned);
        let row = |status: plugin_host::InstanceStatus| {
            vec![
                status.id.clone(),
                status.kind.to_string(),
                status.state.to_string(),
                status.reason.clone(),
            ]
        };
        let rows = self.host.status().into_iter().map(row);
        (names.into(), rows.collect())
    }

    fn status(&self) -> Vec<(String, String)> {
        let status = self.engine.status();
        let counts = [
            ("buckets", status.buckets as u64),
            ("segments", status.segments as u64),
            ("segment_bytes", status.segment_bytes),
            ("wal_bytes", status.wal_bytes),
            ("tail_bytes", status.tail_bytes),
            ("commits", status.commits),
            ("rows", status.rows),
        ];
        let counts = counts.map(|(name, count)| (name.to_owned(), count.to_string()));
        let mut rows: Vec<_> = counts.into();
        rows.push(("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        rows.push((
            "poisoned".to_owned(),
            status.poisoned.unwrap_or_default().to_string(),
        ));
        rows
    }
}

/// Whom a statement runs for: the one place where the doors of SQL say what a token may.
pub(crate) fn caller(who: &auth::Caller, read_only: bool, zone: Option<Zone>) -> Caller {
    Caller {
        access: Arc::new(who.clone()),
        read_only,
        zone,
        ..Caller::anyone()
    }
}

/// What a door counts of one statement.
#[derive(Debug)]
pub(crate) struct Tally {
    door: &'static str,
    began: std::time::Instant,
    rows: u64,
}

impl Tally {
    pub(crate) fn start(door: &'static str) -> Self {
        Self {
            door,
            began: std::time::Instant::now(),
            rows: 0,
        }
    }

    pub(crate) fn add(&mut self, rows: u64) {
        self.rows += rows;
    }

    pub(crate) fn failed(&self, error: &sql::Error) {
        let kind = error.kind.name();
        metrics::counter!("mkts_sql_errors_total", "door" => self.door, "kind" => kind)
            .increment(1);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        metrics::histogram!("mkts_sql_seconds", "door" => self.door).record(self.began.elapsed());
        metrics::counter!("mkts_sql_rows_total", "door" => self.door).increment(self.rows);
    }
}
