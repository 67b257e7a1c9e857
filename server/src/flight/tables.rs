//! What there is: catalogs, schemas, tables, and what the server can do.

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, SqlInfo,
    SqlSupportedTransaction,
};
use engine::Engine;
use sql::Caller;

/// The only catalog and the only schema: the store.
const CATALOG: &str = "mkts";
const SCHEMA: &str = "public";
const TABLE: &str = "TABLE";

pub(super) fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch, FlightError> {
    let mut builder = command.into_builder();
    builder.append(CATALOG);
    builder.build()
}

pub(super) fn schemas(command: CommandGetDbSchemas) -> Result<RecordBatch, FlightError> {
    let mut builder = command.into_builder();
    builder.append(CATALOG, SCHEMA);
    builder.build()
}

pub(super) fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch, FlightError> {
    let mut builder = command.into_builder();
    builder.append(TABLE);
    builder.build()
}

/// Every bucket that the caller may read.
pub(super) fn tables(
    engine: &Engine,
    caller: &Caller,
    command: CommandGetTables,
) -> Result<RecordBatch, FlightError> {
    let mut builder = command.into_builder();
    for bucket in engine.buckets().iter() {
        if !caller.access.may_read(&bucket.key) {
            continue;
        }
        let schema = arrow_batch::schema(&bucket.schema, false, HashMap::new());
        builder.append(CATALOG, SCHEMA, bucket.key.as_str(), TABLE, &schema)?;
    }
    builder.build()
}

/// The schema that [`tables`] answers with.
pub(super) fn tables_schema(command: CommandGetTables) -> SchemaRef {
    command.into_builder().schema()
}

static INFO: LazyLock<Result<SqlInfoData, FlightError>> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "mkts");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::None as i32,
    );
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.build()
});

/// What the server says of itself.
pub(super) fn info() -> Result<&'static SqlInfoData, FlightError> {
    INFO.as_ref()
        .map_err(|error| FlightError::ExternalError(error.to_string().into()))
}
