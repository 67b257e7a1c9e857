//! Results as bytes: JSON, lines of JSON, CSV, Arrow IPC.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::writer::StreamWriter;

use super::cells::{Cells, Style, json_text, plain, type_name};

/// What a client wants to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    JsonLines,
    Csv,
    Arrow,
}

/// Each with its media types, the one of replies first.
const MEDIA_TYPES: [(&str, Format); 7] = [
    ("application/json", Format::Json),
    ("application/x-ndjson", Format::JsonLines),
    ("application/ndjson", Format::JsonLines),
    ("application/jsonl", Format::JsonLines),
    ("text/csv", Format::Csv),
    ("application/vnd.apache.arrow.stream", Format::Arrow),
    ("application/x-arrow", Format::Arrow),
];

impl Format {
    /// The format that an `Accept` header likes best; JSON if there is none, `None` if it takes
    /// nothing that we have.
    pub(crate) fn accepted(header: Option<&str>) -> Option<Self> {
        let Some(header) = header else {
            return Some(Self::Json);
        };
        let mut best: Option<(f32, Self)> = None;
        for item in header.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("").to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            let format = match kind.as_str() {
                "*/*" | "application/*" => Some(Self::Json),
                "text/*" => Some(Self::Csv),
                _ => MEDIA_TYPES.iter().find(|m| m.0 == kind).map(|m| m.1),
            };
            let Some(format) = format.filter(|_| weight > 0.0) else {
                continue;
            };
            if best.is_none_or(|(other, _)| weight > other) {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format)
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Makes the bytes of a result, batch by batch. What is made is taken with [`Encoder::take`].
pub(crate) struct Encoder {
    format: Format,
    schema: SchemaRef,
    out: Vec<u8>,
    ipc: Option<StreamWriter<Vec<u8>>>,
    names: Vec<Vec<u8>>,
    rows: u64,
}

impl Encoder {
    /// Begins a result.
    pub(crate) fn new(format: Format, schema: SchemaRef) -> Result<Self, ArrowError> {
        let mut encoder = Self {
            format,
            out: Vec::new(),
            ipc: None,
            names: Vec::new(),
            rows: 0,
            schema,
        };
        encoder.begin()?;
        Ok(encoder)
    }

    fn begin(&mut self) -> Result<(), ArrowError> {
        let fields = self.schema.fields();
        match self.format {
            Format::Json => {
                self.out.extend_from_slice(b"{\"columns\":[");
                for (at, field) in fields.iter().enumerate() {
                    let comma: &[u8] = if at > 0 { b"," } else { b"" };
                    self.out.extend_from_slice(comma);
                    self.out.extend_from_slice(b"{\"name\":");
                    json_text(field.name(), &mut self.out);
                    self.out.extend_from_slice(b",\"type\":");
                    json_text(&type_name(field.data_type()), &mut self.out);
                    self.out.push(b'}');
                }
                self.out.extend_from_slice(b"],\"rows\":[");
            }
            Format::JsonLines => {
                self.names = fields
                    .iter()
                    .map(|field| {
                        let mut name = Vec::new();
                        json_text(field.name(), &mut name);
                        name.push(b':');
                        name
                    })
                    .collect();
            }
            Format::Csv => {
                for (at, field) in fields.iter().enumerate() {
                    if at > 0 {
                        self.out.push(b',');
                    }
                    super::cells::csv_text(field.name(), &mut self.out);
                }
                self.out.push(b'\n');
            }
            Format::Arrow => {
                self.ipc = Some(StreamWriter::try_new(Vec::new(), &self.schema)?);
            }
        }
        Ok(())
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        if let Some(ipc) = &mut self.ipc {
            self.rows += batch.num_rows() as u64;
            return ipc.write(batch);
        }
        let style = match self.format {
            Format::Csv => Style::Csv,
            _ => Style::Json,
        };
        let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect();
        let cells: Vec<_> = columns.iter().map(|c| Cells::new(c, style)).collect();
        for row in 0..batch.num_rows() {
            self.row(&cells, row);
            self.rows += 1;
        }
        Ok(())
    }

    fn row(&mut self, cells: &[Cells<'_>], row: usize) {
        let out = &mut self.out;
        match self.format {
            Format::Json if self.rows > 0 => out.extend_from_slice(b",\n["),
            Format::Json => out.push(b'['),
            Format::JsonLines => out.push(b'{'),
            Format::Csv | Format::Arrow => {}
        }
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if let Some(name) = self.names.get(at) {
                out.extend_from_slice(name);
            }
            match cell.is_null(row) {
                false => cell.write(row, out),
                true if self.format != Format::Csv => out.extend_from_slice(b"null"),
                true => {}
            }
        }
        match self.format {
            Format::Json => out.push(b']'),
            Format::JsonLines => out.extend_from_slice(b"}\n"),
            Format::Csv | Format::Arrow => out.push(b'\n'),
        }
    }

    /// Ends the result.
    pub(crate) fn end(&mut self) -> Result<(), ArrowError> {
        match (&mut self.ipc, self.format) {
            (Some(ipc), _) => ipc.finish()?,
            (None, Format::Json) => {
                let count = format!("],\"row_count\":{}}}\n", self.rows);
                self.out.extend_from_slice(count.as_bytes());
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// Bytes that can be taken.
    pub(crate) fn len(&self) -> usize {
        match &self.ipc {
            Some(ipc) => ipc.get_ref().len(),
            None => self.out.len(),
        }
    }

    /// The bytes made since they were taken last.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        match &mut self.ipc {
            Some(ipc) => std::mem::take(ipc.get_mut()),
            None => std::mem::take(&mut self.out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn the_most_wanted_format_is_taken() {
        for (header, wanted) in [
            (None, Some(Format::Json)),
            (Some("*/*"), Some(Format::Json)),
            (Some("text/csv"), Some(Format::Csv)),
            (
                Some("text/csv;q=0.5, application/x-ndjson"),
                Some(Format::JsonLines),
            ),
            (
                Some("application/vnd.apache.arrow.stream, */*;q=0.1"),
                Some(Format::Arrow),
            ),
            (Some("text/html, */*;q=0.1"), Some(Format::Json)),
            (Some("text/csv;q=0"), None),
            (Some("image/png"), None),
        ] {
            assert_eq!(Format::accepted(header), wanted, "{header:?}");
        }
    }

    #[test]
    fn each_format_is_whole_with_and_without_rows() {
        let fields = vec![
            Field::new("n", DataType::Int64, true),
            Field::new("a \"b\"", DataType::Utf8, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(Int64Array::from(vec![Some(1), None])),
                Arc::new(StringArray::from(vec![Some("x,y"), None])),
            ],
        )
        .unwrap();
        let text = |format, batches: &[&RecordBatch]| {
            let mut encoder = Encoder::new(format, schema.clone()).unwrap();
            batches.iter().for_each(|b| encoder.add(b).unwrap());
            encoder.end().unwrap();
            String::from_utf8(encoder.take()).unwrap()
        };
        let json: serde_json::Value =
            serde_json::from_str(&text(Format::Json, &[&batch, &batch])).unwrap();
        assert_eq!(json["row_count"], 4);
        assert_eq!(json["columns"][1]["name"], "a \"b\"");
        assert_eq!(json["rows"][2], serde_json::json!([1, "x,y"]));
        assert_eq!(json["rows"][3], serde_json::json!([null, null]));
        let empty: serde_json::Value = serde_json::from_str(&text(Format::Json, &[])).unwrap();
        assert_eq!(empty["rows"], serde_json::json!([]));
        assert_eq!(
            text(Format::Csv, &[&batch]),
            "n,\"a \"\"b\"\"\"\n1,\"x,y\"\n,\n"
        );
        assert_eq!(
            text(Format::JsonLines, &[&batch]),
            "{\"n\":1,\"a \\\"b\\\"\":\"x,y\"}\n{\"n\":null,\"a \\\"b\\\"\":null}\n"
        );
        let mut encoder = Encoder::new(Format::Arrow, schema.clone()).unwrap();
        encoder.add(&batch).unwrap();
        encoder.end().unwrap();
        let bytes = encoder.take();
        let (read, batches) = crate::ipc::read(&bytes[..]).unwrap();
        assert_eq!(read, schema);
        assert_eq!(batches.map(Result::unwrap).collect::<Vec<_>>(), [batch]);
    }
}
