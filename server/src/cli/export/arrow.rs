//! Rows as an Arrow IPC file (Feather 2). A slice of rows is a record batch.

use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{ArrowError, SchemaRef};
use model::{BucketKey, ColumnBatch};

use super::output::Output;
use super::{Compression, Layout, Writer};

/// An IPC file under construction.
pub(super) struct IpcWriter {
    writer: FileWriter<Output>,
    schema: SchemaRef,
    keyed: bool,
}

impl IpcWriter {
    pub(super) fn new(output: Output, layout: &Layout) -> Result<Self, String> {
        let metadata = layout.metadata().into_iter().collect();
        let schema = arrow_batch::schema(&layout.columns, layout.keyed, metadata);
        let codec = match layout.compression {
            Compression::Zstd => Some(CompressionType::ZSTD),
            _ => None,
        };
        let writer = IpcWriteOptions::default()
            .try_with_compression(codec)
            .and_then(|options| FileWriter::try_new_with_options(output, &schema, options))
            .map_err(told)?;
        Ok(Self {
            writer,
            schema,
            keyed: layout.keyed,
        })
    }
}

impl Writer for IpcWriter {
    fn write(&mut self, key: &BucketKey, batch: &ColumnBatch) -> Result<(), String> {
        let batch = arrow_batch::record_batch(&self.schema, self.keyed.then_some(key), batch)?;
        self.writer.write(&batch).map_err(told)
    }

    fn finish(self: Box<Self>) -> Result<Output, String> {
        self.writer.into_inner().map_err(told)
    }
}

/// What went wrong, without the name of the layer that an error of the system came through.
fn told(error: ArrowError) -> String {
    match error {
        ArrowError::IoError(what, _) => what,
        other => other.to_string(),
    }
}
