//! `sql`, `flight` and `postgres`: the doors of SQL and what a statement may take.

use std::time::Duration;

use super::keys::{FLIGHT_KEYS, POSTGRES_KEYS, SQL_KEYS};
use super::read::Section;

/// SQL, whatever door a statement comes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    /// Whether statements are answered at all.
    pub enabled: bool,
    /// Bytes that all statements under way may take for sorting, joining and grouping.
    pub memory: usize,
    /// Threads that statements run on.
    pub threads: usize,
    /// Time for one statement.
    pub time: Duration,
    /// Statements at once.
    pub statements: usize,
    /// Bytes of one statement's text.
    pub statement_bytes: usize,
}

impl Default for Sql {
    fn default() -> Self {
        Self {
            enabled: true,
            memory: 1 << 30,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            time: Duration::from_secs(300),
            statements: 64,
            statement_bytes: 1 << 20,
        }
    }
}

/// Flight SQL, on the port of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// Whether it is answered where gRPC is.
    pub enabled: bool,
    /// Prepared statements kept; the one used longest ago goes first.
    pub prepared: usize,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            enabled: true,
            prepared: 1024,
        }
    }
}

/// The PostgreSQL wire, at the host of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Postgres {
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Open connections.
    pub connections: usize,
}

/// PostgreSQL's own default.
const CONNECTIONS: usize = 100;

pub(super) fn sql(top: &mut Section<'_, '_>) -> Sql {
    let mut sql = Sql::default();
    let Some(mut section) = top.section("sql", SQL_KEYS) else {
        return sql;
    };
    if let Some(enabled) = section.flag("enabled") {
        sql.enabled = enabled;
    }
    if let Some(bytes) = section.size("memory") {
        sql.memory = usize::try_from(bytes).unwrap_or(usize::MAX);
        // Below that a single sort fails.
        if sql.memory < 1 << 20 {
            section.error("memory", "must be at least 1MiB");
        }
    }
    if let Some(bytes) = section.size("statement_bytes") {
        sql.statement_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    let mut count = |key: &str, field: &mut usize, high: i64| {
        if let Some(value) = section.int(key, 1, high) {
            *field = usize::try_from(value).unwrap_or(1);
        }
    };
    count("threads", &mut sql.threads, 1024);
    count("statements", &mut sql.statements, 1 << 16);
    if let Some(time) = section.duration("time", None) {
        sql.time = time;
        if time.is_zero() {
            section.error("time", "must be longer than nothing");
        }
    }
    sql
}

pub(super) fn flight(top: &mut Section<'_, '_>) -> Flight {
    let mut flight = Flight::default();
    let Some(mut section) = top.section("flight", FLIGHT_KEYS) else {
        return flight;
    };
    if let Some(enabled) = section.flag("enabled") {
        flight.enabled = enabled;
    }
    if let Some(count) = section.int("prepared", 1, 1 << 20) {
        flight.prepared = usize::try_from(count).unwrap_or(1);
    }
    flight
}

/// Off without its port.
pub(super) fn postgres(top: &mut Section<'_, '_>) -> Option<Postgres> {
    let mut section = top.section("postgres", POSTGRES_KEYS)?;
    let connections = match section.int("connections", 1, 1 << 16) {
        Some(count) => usize::try_from(count).unwrap_or(CONNECTIONS),
        None => CONNECTIONS,
    };
    if !section.has("listen_port") {
        let what = "is missing: the port of the PostgreSQL wire, like `listen_port: 5996`";
        section.error("listen_port", what);
    }
    let port = section.port("listen_port")?;
    Some(Postgres { port, connections })
}
