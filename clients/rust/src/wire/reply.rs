//! Replies. A reply is a list of byte chunks: column buffers are handed over as they are.

use std::borrow::Cow;

use bytes::Bytes;

use super::call::{Codec, raw};
use super::json;
use super::msgpack::Writer;

/// Buffers below this are copied beside their neighbours: a chunk of its own costs more.
const COPY_BYTES_MAX: usize = 4096;

/// A body in pieces.
#[derive(Debug, Clone, Default)]
pub struct Body {
    chunks: Vec<Bytes>,
}

impl Body {
    /// A body of these pieces.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        Self { chunks }
    }

    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces.
    pub fn into_chunks(self) -> Vec<Bytes> {
        self.chunks
    }

    /// All bytes in one piece.
    pub fn concat(&self) -> Bytes {
        match &self.chunks[..] {
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

/// Result of a method.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Of `Query`.
    Query {
        /// One dataset for each request.
        responses: Vec<DatasetReply>,
        /// Version of the server.
        version: String,
        /// Name of its zone.
        timezone: String,
    },
    /// Of `Write`: only failures. Of `Create` and `Destroy`: one for each request.
    Entries(Vec<Entry>),
    /// Of `GetInfo`.
    Info(Vec<Info>),
    /// Of `ListSymbols`.
    List(Vec<String>),
    /// Of `Delete`: rows deleted, or counted.
    Deleted(Vec<Counted>),
    /// Of `Alter`: versions of the schema.
    Altered(Vec<Counted>),
}

/// How a request about one bucket went, with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The key as it was sent.
    pub key: String,
    /// What was counted; 0 with an error.
    pub count: u64,
    /// Empty if all is well.
    pub error: String,
}

/// How one request went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Empty if all is well.
    pub error: String,
    /// Version of the server.
    pub version: String,
}

/// Rows of some buckets.
#[derive(Debug, Clone, Default)]
pub struct DatasetReply {
    /// Type codes.
    pub types: Vec<Cow<'static, str>>,
    /// Column names.
    pub names: Vec<String>,
    /// Values by column.
    pub data: Vec<ColumnData>,
    /// Rows of all buckets.
    pub length: usize,
    /// Key with its categories, first row, number of rows.
    pub slices: Vec<(String, usize, usize)>,
}

/// Values of one column, in pieces.
#[derive(Debug, Clone, Default)]
pub struct ColumnData {
    chunks: Vec<Bytes>,
    /// Small pieces behind the chunks, joined as they come.
    small: Vec<u8>,
    bytes: usize,
}

impl ColumnData {
    /// Appends values, without a copy if they are many.
    pub fn push(&mut self, values: &Bytes) {
        self.bytes += values.len();
        if values.len() < COPY_BYTES_MAX {
            self.small.extend_from_slice(values);
            return;
        }
        if !self.small.is_empty() {
            self.chunks.push(std::mem::take(&mut self.small).into());
        }
        self.chunks.push(values.clone());
    }
}

impl ColumnData {
    /// Bytes of all values.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// All values in order, without a copy.
    pub fn into_chunks(mut self) -> Vec<Bytes> {
        if !self.small.is_empty() {
            self.chunks.push(self.small.into());
        }
        self.chunks
    }

    /// All values in one piece; a copy unless they are in one already.
    pub fn into_bytes(mut self) -> Bytes {
        if self.small.is_empty() && self.chunks.len() == 1 {
            return self.chunks.remove(0);
        }
        let mut all = Vec::with_capacity(self.bytes);
        self.chunks
            .iter()
            .for_each(|chunk| all.extend_from_slice(chunk));
        all.extend_from_slice(&self.small);
        all.into()
    }
}

/// What is known of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Year of the newest row.
    pub latest_year: i64,
    /// Length of a bar in nanoseconds.
    pub timeframe: i64,
    /// Columns, `Epoch` first; `None` for a missing bucket.
    pub columns: Option<Vec<InfoColumn>>,
    /// 0 one row per time, 1 every row.
    pub record_type: i8,
    /// Why there is nothing.
    pub entry: Entry,
}

/// Name and element type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoColumn {
    /// Name.
    pub name: String,
    /// Number of the type.
    pub ty: u8,
}

impl Reply {
    /// The body that carries the result.
    pub fn encode(&self, codec: Codec, id: &Bytes) -> Body {
        let mut out = Assembler::default();
        let writer = &mut out.writer;
        writer.map(3);
        writer.text("jsonrpc");
        writer.text("2.0");
        writer.text("result");
        self.result(&mut out);
        out.writer.text("id");
        raw(&mut out.writer, id);
        let body = out.finish();
        match codec {
            Codec::MsgPack => body,
            Codec::Json => Body::new(vec![json::reply(&body.concat(), true)]),
        }
    }

    fn result(&self, out: &mut Assembler) {
        let writer = &mut out.writer;
        match self {
            Self::List(names) => {
                writer.map(1);
                writer.text("Results");
                writer.array(names.len());
                names.iter().for_each(|n| writer.text(n));
            }
            Self::Entries(entries) => {
                writer.map(1);
                list_header(writer, entries.len());
                entries.iter().for_each(|e| e.write(writer));
            }
            Self::Deleted(all) => {
                writer.map(1);
                list_header(writer, all.len());
                all.iter().for_each(|one| one.write("rows", writer));
            }
            Self::Altered(all) => {
                writer.map(1);
                list_header(writer, all.len());
                all.iter().for_each(|one| one.write("version", writer));
            }
            Self::Info(infos) => {
                writer.map(1);
                list_header(writer, infos.len());
                infos.iter().for_each(|i| i.write(writer));
            }
            Self::Query {
                responses,
                version,
                timezone,
            } => {
                writer.map(3);
                list_header(writer, responses.len());
                for response in responses {
                    out.writer.map(1);
                    out.writer.text("result");
                    response.write(out);
                }
                out.writer.text("version");
                out.writer.text(version);
                out.writer.text("timezone");
                out.writer.text(timezone);
            }
        }
    }
}

/// No responses are nil, as the reference sends it and clients expect.
fn list_header(writer: &mut Writer, len: usize) {
    writer.text("responses");
    match len {
        0 => writer.nil(),
        len => writer.array(len),
    }
}

impl Entry {
    fn write(&self, writer: &mut Writer) {
        writer.map(2);
        writer.text("error");
        writer.text(&self.error);
        writer.text("version");
        writer.text(&self.version);
    }
}

impl Counted {
    fn write(&self, count: &str, writer: &mut Writer) {
        writer.map(3);
        writer.text("key");
        writer.text(&self.key);
        writer.text(count);
        writer.int(i64::try_from(self.count).unwrap_or(i64::MAX));
        writer.text("error");
        writer.text(&self.error);
    }
}

impl Info {
    fn write(&self, writer: &mut Writer) {
        writer.map(5);
        writer.text("LatestYear");
        writer.int(self.latest_year);
        writer.text("TimeFrame");
        writer.int(self.timeframe);
        writer.text("DSV");
        match &self.columns {
            None => writer.nil(),
            Some(columns) => {
                writer.array(columns.len());
                for column in columns {
                    writer.map(2);
                    writer.text("Name");
                    writer.text(&column.name);
                    writer.text("Type");
                    writer.u8(column.ty);
                }
            }
        }
        writer.text("RecordType");
        writer.i8(self.record_type);
        writer.text("ServerResp");
        self.entry.write(writer);
    }
}

impl DatasetReply {
    fn write(&self, out: &mut Assembler) {
        let writer = &mut out.writer;
        writer.map(6);
        writer.text("types");
        writer.array(self.types.len());
        self.types.iter().for_each(|t| writer.text(t));
        writer.text("names");
        writer.array(self.names.len());
        self.names.iter().for_each(|n| writer.text(n));
        writer.text("data");
        writer.array(self.data.len());
        for column in &self.data {
            out.writer.bytes_header(column.bytes);
            column.chunks.iter().for_each(|chunk| out.push(chunk));
            out.writer.out.extend_from_slice(&column.small);
        }
        let writer = &mut out.writer;
        writer.text("length");
        writer.int(self.length as i64);
        writer.text("startindex");
        writer.map(self.slices.len());
        for (key, start, _) in &self.slices {
            writer.text(key);
            writer.int(*start as i64);
        }
        writer.text("lengths");
        writer.map(self.slices.len());
        for (key, _, len) in &self.slices {
            writer.text(key);
            writer.int(*len as i64);
        }
    }
}

/// Written bytes with large buffers between them.
#[derive(Default)]
struct Assembler {
    writer: Writer,
    chunks: Vec<Bytes>,
}

impl Assembler {
    fn push(&mut self, buffer: &Bytes) {
        if buffer.len() < COPY_BYTES_MAX {
            self.writer.out.extend_from_slice(buffer);
            return;
        }
        self.cut();
        self.chunks.push(buffer.clone());
    }

    fn cut(&mut self) {
        if !self.writer.out.is_empty() {
            self.chunks
                .push(std::mem::take(&mut self.writer.out).into());
        }
    }

    fn finish(mut self) -> Body {
        self.cut();
        Body::new(self.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(rows: usize) -> DatasetReply {
        let mut data = ColumnData::default();
        data.push(&vec![1; rows * 8].into());
        data.push(&vec![2; rows * 8].into());
        DatasetReply {
            types: vec!["i8".into()],
            names: vec!["Epoch".into()],
            data: vec![data],
            length: rows * 2,
            slices: vec![(
                "A/1Min/X:Symbol/Timeframe/AttributeGroup".into(),
                0,
                rows * 2,
            )],
        }
    }

    #[test]
    fn large_buffers_are_handed_over_and_the_bytes_are_the_same() {
        for rows in [0, 1, 511, 512, 100_000] {
            let reply = Reply::Query {
                responses: vec![dataset(rows)],
                version: "v".into(),
                timezone: "UTC".into(),
            };
            let body = reply.encode(Codec::MsgPack, &Bytes::from_static(b"\xa11"));
            assert_eq!(
                body.clone().into_chunks().len(),
                if rows < 512 { 1 } else { 4 }
            );
            let bytes = body.concat();
            assert_eq!(bytes.len(), body.len());
            let value = rmpv::decode::read_value(&mut &bytes[..]).unwrap();
            let data = &value["result"]["responses"][0]["result"]["data"][0];
            let expected = [vec![1_u8; rows * 8], vec![2; rows * 8]].concat();
            assert_eq!(data.as_slice(), Some(&expected[..]));
            assert_eq!(value["id"].as_str(), Some("1"));
        }
    }

    #[test]
    fn a_json_reply_has_the_names_of_its_codec() {
        let reply = Reply::Query {
            responses: vec![dataset(1)],
            version: String::new(),
            timezone: "UTC".into(),
        };
        let body = reply
            .encode(Codec::Json, &Bytes::from_static(b"\x01"))
            .concat();
        let key = "\"A/1Min/X:Symbol/Timeframe/AttributeGroup\"";
        let expected = format!(
            "{{\"jsonrpc\":\"2.0\",\"result\":{{\"Responses\":[{{\"Result\":{{\"ColumnTypes\":\
             [\"i8\"],\"ColumnNames\":[\"Epoch\"],\"ColumnData\":[\"AQEBAQEBAQECAgICAgICAg==\"],\
             \"Length\":2,\"StartIndex\":{{{key}:0}},\"Lengths\":{{{key}:2}}}}}}],\
             \"Version\":\"\",\"Timezone\":\"UTC\"}},\"id\":1}}\n"
        );
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
        let none = Reply::Entries(Vec::new())
            .encode(Codec::Json, &Bytes::new())
            .concat();
        assert_eq!(
            String::from_utf8(none.to_vec()).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"result\":{\"Responses\":null},\"id\":null}\n"
        );
    }
}
