//! Rows as CSV.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::cell::{Cells, Look};
use super::{RowsWriter, Watched};

/// Lines gathered before they go on.
const BUFFER_BYTES: usize = 1 << 16;

/// Rows of CSV on their way.
pub(in crate::cli) struct CsvWriter<W> {
    out: W,
    look: Look,
    lines: csv::Writer<Vec<u8>>,
    field: String,
    pending: usize,
}

impl<W: Write> CsvWriter<W> {
    pub(in crate::cli) fn new(
        out: W,
        schema: &SchemaRef,
        look: Look,
        header: bool,
    ) -> Result<Self, String> {
        let mut writer = Self {
            out,
            look,
            lines: csv::Writer::from_writer(Vec::new()),
            field: String::new(),
            pending: 0,
        };
        if header {
            let names = schema.fields().iter().map(|field| field.name());
            let written = writer.lines.write_record(names);
            written.map_err(|error| error.to_string())?;
            writer.flush()?;
        }
        Ok(writer)
    }

    /// Appends rows.
    pub(in crate::cli) fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let columns: Result<Vec<Cells<'_>>, String> =
            batch.columns().iter().map(Cells::new).collect();
        let columns = columns?;
        for row in 0..batch.num_rows() {
            for column in &columns {
                self.field.clear();
                column.show(row, self.look, &mut self.field);
                self.pending += self.field.len() + 1;
                let written = self.lines.write_field(&self.field);
                written.map_err(|error| error.to_string())?;
            }
            let ended = self.lines.write_record(None::<&[u8]>);
            ended.map_err(|error| error.to_string())?;
            if self.pending >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), String> {
        self.pending = 0;
        let lines = std::mem::replace(&mut self.lines, csv::Writer::from_writer(Vec::new()));
        let lines = lines.into_inner().map_err(|error| error.to_string())?;
        self.out
            .write_all(&lines)
            .map_err(|error| error.to_string())
    }

    /// Gives the output back.
    pub(in crate::cli) fn end(self) -> W {
        self.out
    }
}

impl RowsWriter for CsvWriter<Watched> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), String> {
        self.add(batch)
    }

    fn finish(self: Box<Self>) -> Result<Watched, String> {
        Ok(self.end())
    }
}
