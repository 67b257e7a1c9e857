//! Whom a statement runs for, and what it runs in.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::catalog::SchemaProvider;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::sql::sqlparser::ast::Statement;
use model::{BucketKey, Zone};

use crate::Error;

/// Rights per bucket. Everything the caller may not read does not exist for patterns, and is refused
/// by name.
pub trait Access: Send + Sync + Debug {
    /// Whether rows of the bucket may be read.
    fn may_read(&self, key: &BucketKey) -> bool;
    /// Whether rows of the bucket may be written and deleted.
    fn may_write(&self, key: &BucketKey) -> bool;
    /// Whether the server's state may be seen (SHOW STATUS, SHOW TRIGGERS).
    fn is_admin(&self) -> bool;
}

/// Allows everything.
#[derive(Debug, Clone, Copy)]
pub struct Everyone;

impl Access for Everyone {
    fn may_read(&self, _key: &BucketKey) -> bool {
        true
    }
    fn may_write(&self, _key: &BucketKey) -> bool {
        true
    }
    fn is_admin(&self) -> bool {
        true
    }
}

/// How a text is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// SQL.
    #[default]
    Standard,
    /// What clients of MarketStore send on `/rpc` and gRPC: tables of ticks have a column
    /// `Nanoseconds`, and functions without GROUP BY have MarketStore's results.
    MarketStore,
    /// What clients of PostgreSQL ask its catalog: its operators, casts and names. The caller's
    /// [`Extension`] makes plain SQL of the tree.
    Postgres,
}

/// Whom a statement runs for.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Rights.
    pub access: Arc<dyn Access>,
    /// Refuses INSERT and DELETE.
    pub read_only: bool,
    /// How the text is understood.
    pub dialect: Dialect,
    /// Zone of time literals that name none; `None` is that of [`crate::Options`].
    pub zone: Option<Zone>,
    /// Schemas and functions of a door, like those of `pg_catalog`.
    pub extension: Option<Arc<dyn Extension>>,
}

/// What a door adds to the statements that come through it.
pub trait Extension: Send + Sync + Debug {
    /// Schemas beside `public`, by name.
    fn schemas(&self) -> Vec<(String, Arc<dyn SchemaProvider>)>;
    /// Changes the tree of a statement, before its tables are looked up.
    ///
    /// # Errors
    /// If it asks for something that is not there.
    fn rewrite(&self, statement: &mut Statement) -> Result<(), Error>;
    /// Adds functions and rules.
    fn register(&self, builder: SessionStateBuilder) -> SessionStateBuilder;
}

impl Caller {
    /// Everybody, SQL, may write.
    pub fn anyone() -> Self {
        Self {
            access: Arc::new(Everyone),
            read_only: false,
            dialect: Dialect::Standard,
            zone: None,
            extension: None,
        }
    }
}

/// What the server knows that the store does not.
pub trait Surroundings: Send + Sync + Debug {
    /// SHOW TRIGGERS: names of the columns, then a row for each trigger.
    fn triggers(&self) -> (Vec<String>, Vec<Vec<String>>);
    /// SHOW STATUS: names and values.
    fn status(&self) -> Vec<(String, String)>;
}

/// A store without a server around it.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl Surroundings for Nothing {
    fn triggers(&self) -> (Vec<String>, Vec<Vec<String>>) {
        (vec!["trigger".into()], Vec::new())
    }
    fn status(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
