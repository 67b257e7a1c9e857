//! Rows as JSON: a list of objects, or an object a line.
//!
//! Numbers are exact; what JSON has no number for (NaN, infinities, missing values) is null. Times
//! are RFC 3339.

use std::fmt::Write as _;
use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::cell::{Cells, Look};
use super::{RowsWriter, Watched};

/// Objects on their way.
pub(super) struct JsonWriter {
    out: Watched,
    /// `"name":` of each column.
    names: Vec<String>,
    is_list: bool,
    any: bool,
    text: String,
    field: String,
}

impl JsonWriter {
    pub(super) fn new(out: Watched, schema: &SchemaRef, is_list: bool) -> Self {
        let name = |field: &arrow_schema::FieldRef| format!("{}:", quoted(field.name()));
        Self {
            out,
            names: schema.fields().iter().map(name).collect(),
            is_list,
            any: false,
            text: String::new(),
            field: String::new(),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Appends a value.
fn push(cells: &Cells<'_>, row: usize, field: &mut String, out: &mut String) {
    if cells.is_null(row) {
        return out.push_str("null");
    }
    field.clear();
    match cells {
        Cells::F32(a) if !a.value(row).is_finite() => out.push_str("null"),
        Cells::F64(a) if !a.value(row).is_finite() => out.push_str("null"),
        Cells::Text(_) | Cells::Time(..) | Cells::Other(..) => {
            cells.show(row, Look::Exact, field);
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", quoted(field));
        }
        _ => cells.show(row, Look::Exact, out),
    }
}

impl RowsWriter for JsonWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let columns: Result<Vec<Cells<'_>>, String> =
            batch.columns().iter().map(Cells::new).collect();
        let columns = columns?;
        self.text.clear();
        for row in 0..batch.num_rows() {
            self.text.push_str(match (self.is_list, self.any) {
                (true, false) => "[",
                (true, true) => ",\n",
                (false, _) => "",
            });
            self.any = true;
            self.text.push('{');
            for (at, (column, name)) in columns.iter().zip(&self.names).enumerate() {
                if at > 0 {
                    self.text.push(',');
                }
                self.text.push_str(name);
                push(column, row, &mut self.field, &mut self.text);
            }
            self.text.push_str(if self.is_list { "}" } else { "}\n" });
        }
        let written = self.out.write_all(self.text.as_bytes());
        written.map_err(|error| error.to_string())
    }

    fn finish(mut self: Box<Self>) -> Result<Watched, String> {
        let end = match (self.is_list, self.any) {
            (true, true) => "]\n",
            (true, false) => "[]\n",
            (false, _) => "",
        };
        let written = self.out.write_all(end.as_bytes());
        written.map_err(|error| error.to_string())?;
        Ok(self.out)
    }
}
