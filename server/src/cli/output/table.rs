//! Aligned columns, in the layout of MarketStore's client.
//!
//! ```text
//! =============================  ==========  ==========
//!                         Epoch        Open      Volume
//! =============================  ==========  ==========
//! 2020-01-02 00:00:00 +0000 UTC          10           0
//! =============================  ==========  ==========
//! (1 rows * 3 columns)
//! ```

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};

use super::cell::{Cells, Look};
use super::{RowsWriter, Watched};

/// Rows looked at before the widths are settled.
const MEASURED_ROWS: usize = 1000;

/// Widths that MarketStore has; wider values make wider columns, nothing is cut off.
const TIME_WIDTH: usize = 29;
const TEXT_WIDTH: usize = 16;
const NUMBER_WIDTH: usize = 10;

/// A table under construction.
pub(in crate::cli) struct TableWriter<W> {
    out: W,
    names: Vec<String>,
    is_text: Vec<bool>,
    widths: Vec<usize>,
    /// Rows that are not printed yet, until the widths are settled.
    held: Vec<Vec<String>>,
    is_settled: bool,
    rows: u64,
    line: String,
}

impl<W: Write> TableWriter<W> {
    pub(in crate::cli) fn new(out: W, schema: &SchemaRef) -> Self {
        let fields = schema.fields();
        let names: Vec<String> = fields.iter().map(|f| f.name().replace('\n', " ")).collect();
        let least = |ty: &DataType| match ty {
            DataType::Timestamp(..) => TIME_WIDTH,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => TEXT_WIDTH,
            _ => NUMBER_WIDTH,
        };
        let widths = fields.iter().zip(&names);
        let widths = widths.map(|(f, name)| least(f.data_type()).max(name.chars().count()));
        Self {
            out,
            is_text: fields
                .iter()
                .map(|f| least(f.data_type()) == TEXT_WIDTH)
                .collect(),
            widths: widths.collect(),
            names,
            held: Vec::new(),
            is_settled: false,
            rows: 0,
            line: String::new(),
        }
    }

    /// Appends rows.
    pub(in crate::cli) fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let columns: Result<Vec<Cells<'_>>, String> =
            batch.columns().iter().map(Cells::new).collect();
        let columns = columns?;
        self.rows += batch.num_rows() as u64;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| {
                let mut text = String::new();
                column.show(row, Look::MarketStore, &mut text);
                // A line break would tear the table.
                match text.contains(|c: char| c.is_control()) {
                    true => text.replace(|c: char| c.is_control(), " "),
                    false => text,
                }
            });
            let cells: Vec<String> = cells.collect();
            if self.is_settled {
                self.print(&cells)?;
                continue;
            }
            self.held.push(cells);
            if self.held.len() >= MEASURED_ROWS {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Prints the head and what was held.
    fn settle(&mut self) -> Result<(), String> {
        self.is_settled = true;
        let held = std::mem::take(&mut self.held);
        for cells in &held {
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        self.rule()?;
        let names = self.names.clone();
        self.print(&names)?;
        self.rule()?;
        held.iter().try_for_each(|cells| self.print(cells))
    }

    fn rule(&mut self) -> Result<(), String> {
        let rules: Vec<String> = self.widths.iter().map(|width| "=".repeat(*width)).collect();
        writeln!(self.out, "{}", rules.join("  ")).map_err(|error| error.to_string())
    }

    fn print(&mut self, cells: &[String]) -> Result<(), String> {
        self.line.clear();
        let columns = cells.iter().zip(&self.widths).zip(&self.is_text);
        for (at, ((cell, width), is_text)) in columns.enumerate() {
            if at > 0 {
                self.line.push_str("  ");
            }
            let pad = width.saturating_sub(cell.chars().count());
            let pad = std::iter::repeat_n(' ', pad);
            if *is_text {
                self.line.push_str(cell);
                self.line.extend(pad);
            } else {
                self.line.extend(pad);
                self.line.push_str(cell);
            }
        }
        let line = self.line.trim_end();
        writeln!(self.out, "{line}").map_err(|error| error.to_string())
    }

    /// Ends the table.
    pub(in crate::cli) fn end(mut self) -> Result<W, String> {
        let said = if self.rows == 0 {
            writeln!(self.out, "No results")
        } else {
            if !self.is_settled {
                self.settle()?;
            }
            self.rule()?;
            let columns = self.names.len();
            writeln!(self.out, "({} rows * {columns} columns)", self.rows)
        };
        said.map_err(|error| error.to_string())?;
        Ok(self.out)
    }
}

impl RowsWriter for TableWriter<Watched> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), String> {
        self.add(batch)
    }

    fn finish(self: Box<Self>) -> Result<Watched, String> {
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float32Array, Int32Array, StringArray, TimestampNanosecondArray};

    use super::*;

    fn table(columns: Vec<(&str, ArrayRef)>) -> String {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut table = TableWriter::new(Vec::new(), &batch.schema());
        table.add(&batch).unwrap();
        String::from_utf8(table.end().unwrap()).unwrap()
    }

    #[test]
    fn the_layout_is_that_of_the_reference() {
        let times = TimestampNanosecondArray::from(vec![1_577_923_200_000_000_000]);
        let text = table(vec![
            ("Epoch", Arc::new(times)),
            ("Open", Arc::new(Float32Array::from(vec![10.0]))),
            ("Volume", Arc::new(Int32Array::from(vec![0]))),
        ]);
        let wanted = "\
=============================  ==========  ==========
                        Epoch        Open      Volume
=============================  ==========  ==========
2020-01-02 00:00:00 +0000 UTC          10           0
=============================  ==========  ==========
(1 rows * 3 columns)
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn wide_values_stay_whole_and_aligned() {
        let name = "a name that is wider than sixteen";
        let text = table(vec![
            ("key", Arc::new(StringArray::from(vec![name, "b\nc"]))),
            ("n", Arc::new(Int32Array::from(vec![1, 2]))),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], format!("{name}           1"));
        assert_eq!(lines[4].len(), lines[3].len());
        assert!(lines[4].starts_with("b c "), "{text}");
        let empty = table(vec![("n", Arc::new(Int32Array::from(Vec::<i32>::new())))]);
        assert_eq!(empty, "No results\n");
    }
}
