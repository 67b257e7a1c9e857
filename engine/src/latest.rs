//! The last row of every bucket in memory: "all symbols, last bar" without a scan.

use bytes::Bytes;
use model::{Column, ColumnBatch, Schema};

/// One row: its time, and its values in the order of the schema, each padded to 8 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Latest {
    time: i64,
    values: Bytes,
}

impl Latest {
    pub(crate) fn new<'a>(time: i64, values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut target = Vec::with_capacity(64);
        target.extend_from_slice(&time.to_le_bytes());
        for value in values {
            target.extend_from_slice(value);
            target.resize(target.len().next_multiple_of(8), 0);
        }
        Self {
            time,
            values: target.into(),
        }
    }

    pub(crate) fn of_batch(batch: &ColumnBatch, row: usize) -> Self {
        let values = batch.columns().iter().map(|column| {
            let size = column.ty().size();
            &column.bytes()[row * size..(row + 1) * size]
        });
        Self::new(batch.times()[row], values)
    }

    /// The row from its stored bytes; `None` if they are too short.
    pub(crate) fn decode(values: Bytes) -> Option<Self> {
        let time = values.first_chunk::<8>()?;
        Some(Self {
            time: i64::from_le_bytes(*time),
            values,
        })
    }

    pub(crate) fn time(&self) -> i64 {
        self.time
    }

    /// Time and values as they are stored.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.values
    }

    /// The row as a batch; `None` if the bytes do not fit the schema.
    pub(crate) fn batch(&self, schema: &Schema) -> Option<ColumnBatch> {
        let mut at = 0;
        let mut next = |ty: model::ColumnType| {
            let end = at + ty.size();
            if end > self.values.len() {
                return None;
            }
            let column = Column::new(ty, self.values.slice(at..end)).ok();
            at = end.next_multiple_of(8);
            column
        };
        let times = next(model::ColumnType::I64)?;
        let columns: Option<Vec<_>> = schema.columns().iter().map(|c| next(c.ty)).collect();
        ColumnBatch::new(schema.clone(), times, columns?).ok()
    }
}
