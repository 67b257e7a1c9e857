//! Parquet files as record batches.

use std::fs::File;
use std::path::Path;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::tables::{BATCH_ROWS, Table};

/// Opens a file and reads its footer.
pub(super) fn open(path: &Path) -> Result<Table, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|error| format!("is no readable Parquet file: {error}"))?;
    let schema = builder.schema().clone();
    let mut metadata = schema.metadata().clone();
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    for pair in pairs.into_iter().flatten() {
        if let Some(value) = &pair.value {
            metadata.insert(pair.key.clone(), value.clone());
        }
    }
    // Of a row group only the pages that are read are in memory, however large it is.
    let reader = builder
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| error.to_string())?;
    let batches = reader.map(|batch| batch.map_err(|error| error.to_string()));
    Ok(Table {
        schema,
        metadata,
        batches: Box::new(batches),
    })
}
