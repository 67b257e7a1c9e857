//! The tables of the catalog as DataFusion finds them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use sql::datafusion::catalog::{SchemaProvider, Session, TableProvider};
use sql::datafusion::datasource::memory::MemorySourceConfig;
use sql::datafusion::error::Result;
use sql::datafusion::logical_expr::{Expr, TableType};
use sql::datafusion::physical_plan::ExecutionPlan;

use crate::Known;
use crate::definitions::{ALL, Table};
use crate::rows::{self, Cell, Row};

/// Where all tables are, those of `information_schema` with that name in theirs.
pub(crate) const SCHEMA: &str = "pg_catalog";

/// The schema of the catalog.
pub(crate) struct PgCatalog(pub(crate) Arc<Known>);

impl fmt::Debug for PgCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgCatalog")
    }
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        ALL.keys().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let found = ALL.get_key_value(name);
        Ok(found.map(|(name, table)| {
            let known = self.0.clone();
            Arc::new(Listing { known, name, table }) as Arc<dyn TableProvider>
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        ALL.contains_key(name)
    }
}

/// One table.
struct Listing {
    known: Arc<Known>,
    name: &'static str,
    table: &'static Table,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[async_trait]
impl TableProvider for Listing {
    fn schema(&self) -> SchemaRef {
        self.table.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = rows::of(self.name, &self.known);
        let all: Vec<usize> = (0..self.table.letters.len()).collect();
        let wanted = projection.unwrap_or(&all);
        let schema = Arc::new(self.table.schema.project(wanted)?);
        let columns = wanted
            .iter()
            .map(|at| column(&rows, self.table, *at))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![batch]],
            schema,
            None,
        )?)
    }
}

fn column(rows: &[Row], table: &Table, at: usize) -> ArrayRef {
    let field = table.schema.field(at);
    let letter = table.letters[at];
    let cells = rows.iter().map(|row| row.cell(field.name()));
    let int = |cell: Cell| match cell {
        Cell::Int(value) => Some(value),
        // information_schema has numbers only where there is something to say.
        _ if letter == b'i' => None,
        _ => Some(0),
    };
    match field.data_type() {
        DataType::Utf8 => {
            let text = |cell| match cell {
                Cell::Text(text) => Some(text),
                _ if letter == b'c' => Some(String::new()),
                _ => None,
            };
            Arc::new(cells.map(text).collect::<StringArray>())
        }
        DataType::Boolean => {
            let is = |cell| Some(cell == Cell::Bool(true));
            Arc::new(cells.map(is).collect::<BooleanArray>())
        }
        DataType::Int64 => Arc::new(cells.map(int).collect::<Int64Array>()),
        DataType::Int32 => {
            let small = |cell| int(cell).and_then(|value| i32::try_from(value).ok());
            Arc::new(cells.map(small).collect::<Int32Array>())
        }
        DataType::Int16 => {
            let small = |cell| int(cell).and_then(|value| i16::try_from(value).ok());
            Arc::new(cells.map(small).collect::<Int16Array>())
        }
        DataType::Float32 => {
            let float = |cell| int(cell).map(|value| value as f32);
            Arc::new(cells.map(float).collect::<Float32Array>())
        }
        other => new_null_array(other, rows.len()),
    }
}
