//! Rows as Parquet. A slice of rows is a row group.

use arrow_schema::SchemaRef;
use model::{BucketKey, ColumnBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::output::Output;
use super::{Compression, Layout, Writer};
use arrow_batch::EPOCH;

/// Most rows in a row group: what a reader has to skip or hold.
const GROUP_ROWS: usize = 128 << 10;

/// A Parquet file under construction.
pub(super) struct ParquetWriter {
    writer: ArrowWriter<Output>,
    schema: SchemaRef,
    keyed: bool,
}

impl ParquetWriter {
    pub(super) fn new(output: Output, layout: &Layout) -> Result<Self, String> {
        let metadata = layout.metadata();
        let schema = arrow_batch::schema(
            &layout.columns,
            layout.keyed,
            metadata.iter().cloned().collect(),
        );
        let codec = match layout.compression {
            Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
            Compression::Snappy => Codec::SNAPPY,
            Compression::Gzip | Compression::None => Codec::UNCOMPRESSED,
        };
        let pairs = metadata.into_iter().map(|(k, v)| KeyValue::new(k, v));
        let properties = WriterProperties::builder()
            .set_created_by(format!("mkts {}", env!("CARGO_PKG_VERSION")))
            .set_compression(codec)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_key_value_metadata(Some(pairs.collect()))
            // Times hardly repeat; their differences do.
            .set_column_dictionary_enabled(ColumnPath::from(EPOCH), false)
            .set_column_encoding(ColumnPath::from(EPOCH), Encoding::DELTA_BINARY_PACKED)
            .build();
        let writer =
            ArrowWriter::try_new(output, schema.clone(), Some(properties)).map_err(told)?;
        Ok(Self {
            writer,
            schema,
            keyed: layout.keyed,
        })
    }
}

impl Writer for ParquetWriter {
    fn write(&mut self, key: &BucketKey, batch: &ColumnBatch) -> Result<(), String> {
        let batch = arrow_batch::record_batch(&self.schema, self.keyed.then_some(key), batch)?;
        self.writer.write(&batch).map_err(told)
    }

    fn finish(self: Box<Self>) -> Result<Output, String> {
        self.writer.into_inner().map_err(told)
    }
}

/// What went wrong, without the name of the layer that an error of the system came through.
fn told(error: ParquetError) -> String {
    match error {
        ParquetError::External(error) => error.to_string(),
        other => other.to_string(),
    }
}
