//! PostgreSQL's catalog over the buckets of a store: what psql, DuckDB, Grafana and libraries ask before
//! they read a row.
//!
//! [`is_question`] tells by its words whether a statement asks the catalog. Such a statement is parsed
//! as PostgreSQL does ([`sql::Dialect::Postgres`]), `rewrite` makes plain SQL of its tree, and it runs
//! as any other: the tables of `pg_catalog` and `information_schema` are tables (`tables`, `rows`), its
//! functions are functions (`functions`).
//!
//! Invariants: nothing is known by the text of a client's statement. A catalog holds only what its
//! caller may read. Tables about things that a bucket never has (indexes, policies, ...) have their
//! columns and no rows.
//!
//! What it is not: it knows no sockets and no messages.
#![forbid(unsafe_code)]

mod call;
mod definitions;
mod functions;
mod public;
mod question;
mod rewrite;
mod rows;
mod tables;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{BucketInfo, Engine};
use sql::datafusion::catalog::SchemaProvider;
use sql::datafusion::execution::session_state::SessionStateBuilder;
use sql::datafusion::sql::sqlparser::ast::Statement;
use sql::{Access, Error, Extension};

pub use question::is_question;
pub use rewrite::visible;
pub use types::TYPE_KEY;

/// The version that clients are told: of a PostgreSQL whose catalogs we have the parts of.
pub const SERVER_VERSION: &str = "16.6";

/// The only database.
pub const DATABASE: &str = "mkts";

/// What a session is asked about itself.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The name that was logged in with.
    pub user: String,
    /// Its number.
    pub pid: i32,
    /// Settings by name.
    pub settings: BTreeMap<String, String>,
}

/// The catalog as one caller sees it.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Known>);

/// What tables and functions are made of.
#[derive(Debug)]
struct Known {
    session: Session,
    /// Those that may be read, by name.
    buckets: Vec<Arc<BucketInfo>>,
}

/// The first number that PostgreSQL gives to what users make.
const FIRST_OID: i64 = 16_384;

impl Known {
    fn oid(bucket: &BucketInfo) -> i64 {
        FIRST_OID + i64::from(bucket.id.0)
    }

    fn bucket(&self, oid: i64) -> Option<&Arc<BucketInfo>> {
        self.buckets.iter().find(|bucket| Self::oid(bucket) == oid)
    }

    fn named(&self, name: &str) -> Option<&Arc<BucketInfo>> {
        let found = self.buckets.binary_search_by(|b| b.key.as_str().cmp(name));
        found.ok().map(|at| &self.buckets[at])
    }
}

impl Catalog {
    /// The catalog of now.
    pub fn new(engine: &Engine, access: &dyn Access, session: Session) -> Self {
        let all = engine.buckets();
        let readable = all.iter().filter(|bucket| access.may_read(&bucket.key));
        let mut buckets: Vec<_> = readable.cloned().collect();
        buckets.sort_unstable_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        Self(Arc::new(Known { session, buckets }))
    }
}

impl Extension for Catalog {
    fn schemas(&self) -> Vec<(String, Arc<dyn SchemaProvider>)> {
        let schema = Arc::new(tables::PgCatalog(self.0.clone()));
        vec![(tables::SCHEMA.to_owned(), schema)]
    }

    fn rewrite(&self, statement: &mut Statement) -> Result<(), Error> {
        rewrite::statement(statement)
    }

    fn register(&self, mut builder: SessionStateBuilder) -> SessionStateBuilder {
        let known = functions::all(&self.0);
        let all = builder.scalar_functions().get_or_insert_default();
        all.extend(known);
        builder
    }
}
