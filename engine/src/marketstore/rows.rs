//! Rows as MarketStore stores them, turned into columns.

use bytes::Bytes;
use model::{Column, ColumnBatch, Schema};

/// Collects rows of one schema.
#[derive(Debug)]
pub(super) struct Rows {
    schema: Schema,
    times: Vec<i64>,
    columns: Vec<Vec<u8>>,
}

impl Rows {
    pub(super) fn new(schema: Schema) -> Self {
        let columns = vec![Vec::new(); schema.len()];
        Self {
            schema,
            times: Vec::new(),
            columns,
        }
    }

    /// Adds a row: its values back to back, in the order of the schema.
    pub(super) fn push(&mut self, time: i64, mut values: &[u8]) {
        self.times.push(time);
        for (column, def) in self.columns.iter_mut().zip(self.schema.columns()) {
            let (value, rest) = values.split_at(def.ty.size());
            column.extend_from_slice(value);
            values = rest;
        }
    }

    /// Bytes collected.
    pub(super) fn bytes(&self) -> usize {
        self.times.len() * self.schema.row_bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The rows so far, as a batch.
    pub(super) fn take(&mut self) -> ColumnBatch {
        let columns = self.columns.iter_mut().zip(self.schema.columns());
        let columns = columns.map(|(column, def)| {
            let bytes = Bytes::from(std::mem::take(column));
            Column::new(def.ty, bytes).expect("values were added whole")
        });
        let columns = columns.collect();
        let times = Column::from_values(std::mem::take(&mut self.times));
        ColumnBatch::new(self.schema.clone(), times, columns)
            .expect("every row adds one value to every column")
    }
}
