//! Tables as DataFusion looks for them: one catalog, one schema. Tables of the statement are open; all
//! other buckets are listed, for `information_schema`, without being opened.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use model::BucketKey;

use crate::parse::{CATALOG, SCHEMA};
use crate::shared::SharedRef;
use crate::table::BucketTable;
use crate::tables::Tables;

/// The catalog of one statement.
#[derive(Clone)]
pub(crate) struct Catalog(Arc<Inner>);

struct Inner {
    tables: Tables,
    shared: SharedRef,
    /// Schemas of the caller's door.
    more: Vec<(String, Arc<dyn SchemaProvider>)>,
}

impl Catalog {
    pub(crate) fn new(tables: Tables, shared: SharedRef) -> Self {
        let extension = shared.caller.extension.as_ref();
        let more = extension.map(|e| e.schemas()).unwrap_or_default();
        Self(Arc::new(Inner {
            tables,
            shared,
            more,
        }))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalog")
    }
}

impl CatalogProviderList for Catalog {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.into()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        name.eq_ignore_ascii_case(CATALOG)
            .then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names = vec![SCHEMA.to_owned()];
        names.extend(self.0.more.iter().map(|(name, _)| name.clone()));
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name.eq_ignore_ascii_case(SCHEMA) {
            return Some(Arc::new(self.clone()));
        }
        let mut more = self.0.more.iter();
        let found = more.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, schema)| schema.clone())
    }
}

#[async_trait]
impl SchemaProvider for Catalog {
    fn table_names(&self) -> Vec<String> {
        let shared = &self.0.shared;
        let buckets = shared.engine.buckets();
        let readable = buckets
            .iter()
            .filter(|info| shared.caller.access.may_read(&info.key));
        readable.map(|info| info.key.to_string()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.0.tables.get(name) {
            return Ok(Some(table.clone()));
        }
        // Listed, not named by the statement.
        let shared = &self.0.shared;
        let Ok(key) = BucketKey::parse(name) else {
            return Ok(None);
        };
        let Some(info) = shared.engine.bucket(&key) else {
            return Ok(None);
        };
        if !shared.caller.access.may_read(&info.key) {
            return Ok(None);
        }
        let snapshot = Arc::new(shared.engine.snapshot(&[info.id]));
        if snapshot.buckets().is_empty() {
            return Ok(None);
        }
        let table = BucketTable::new(name, snapshot, vec![0], false, false);
        Ok(Some(Arc::new(table.map_err(crate::Error::wrap)?)))
    }

    async fn table_type(&self, _name: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.tables.contains_key(name)
    }
}
