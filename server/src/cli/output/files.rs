//! Rows as Arrow IPC and Parquet.

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{RowsWriter, Watched};

/// Opens an IPC file, which can be read at any place.
pub(super) fn arrow_file(out: Watched, schema: &SchemaRef) -> Result<Box<dyn RowsWriter>, String> {
    let writer = FileWriter::try_new(out, schema).map_err(told)?;
    Ok(Box::new(ArrowFile(writer)))
}

/// Opens an IPC stream, which can be read as it comes.
pub(super) fn arrow_stream(
    out: Watched,
    schema: &SchemaRef,
) -> Result<Box<dyn RowsWriter>, String> {
    let writer = StreamWriter::try_new(out, schema).map_err(told)?;
    Ok(Box::new(ArrowStream(writer)))
}

/// Opens a Parquet file.
pub(super) fn parquet(out: Watched, schema: &SchemaRef) -> Result<Box<dyn RowsWriter>, String> {
    let properties = WriterProperties::builder()
        .set_created_by(format!("mkts {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(told)?;
    Ok(Box::new(ParquetFile(writer)))
}

struct ArrowFile(FileWriter<Watched>);
struct ArrowStream(StreamWriter<Watched>);
struct ParquetFile(ArrowWriter<Watched>);

impl RowsWriter for ArrowFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), String> {
        self.0.write(batch).map_err(told)
    }

    fn finish(self: Box<Self>) -> Result<Watched, String> {
        self.0.into_inner().map_err(told)
    }
}

impl RowsWriter for ArrowStream {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), String> {
        self.0.write(batch).map_err(told)
    }

    fn finish(self: Box<Self>) -> Result<Watched, String> {
        self.0.into_inner().map_err(told)
    }
}

impl RowsWriter for ParquetFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), String> {
        self.0.write(batch).map_err(told)
    }

    fn finish(self: Box<Self>) -> Result<Watched, String> {
        self.0.into_inner().map_err(told)
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
