//! A blocking client of the RPC over one kept-alive connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use model::{BucketKey, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use crate::target::{Socket, Target};
use crate::wire::msgpack::{DecodeError, Reader, Writer};
use crate::wire::{Dataset, DatasetError, write_code, write_dataset};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server answered with an HTTP error.
    #[error("the server answered {0}: {1}")]
    Status(u16, String),
    /// The method failed.
    #[error("{0}")]
    Rpc(String),
    /// The reply is not what the protocol says.
    #[error("the reply cannot be read: {0}")]
    Reply(String),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Reply(error.to_string())
    }
}

impl From<DatasetError> for Error {
    fn from(error: DatasetError) -> Self {
        Self::Reply(error.to_string())
    }
}

/// Rows of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The bucket they came from; not always the one asked for, see `Query`.
    pub key: BucketKey,
    /// The rows.
    pub batch: ColumnBatch,
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Query {
    destination: String,
    from: Option<i64>,
    to: Option<i64>,
    limit: Option<(usize, bool)>,
    columns: Vec<String>,
    functions: Vec<String>,
}

impl Query {
    /// All rows of `AAPL/1Min/OHLCV`, `AAPL,MSFT/1Min/OHLCV` or `*/1Min/OHLCV`.
    pub fn of(destination: impl Into<String>) -> Self {
        Self {
            destination: destination.into(),
            ..Self::default()
        }
    }

    /// Only rows from this time on, in nanoseconds since 1970.
    pub fn from(mut self, time: i64) -> Self {
        self.from = Some(time);
        self
    }

    /// Only rows up to this time, inclusive.
    pub fn to(mut self, time: i64) -> Self {
        self.to = Some(time);
        self
    }

    /// Only the last rows of each bucket.
    pub fn last(mut self, rows: usize) -> Self {
        self.limit = Some((rows, false));
        self
    }

    /// Only the first rows of each bucket.
    pub fn first(mut self, rows: usize) -> Self {
        self.limit = Some((rows, true));
        self
    }

    /// Only these columns.
    pub fn columns(mut self, names: &[&str]) -> Self {
        self.columns = names.iter().map(|n| (*n).into()).collect();
        self
    }

    /// Calls functions on the rows, like `candlecandler('5Min',Open,High,Low,Close)`.
    pub fn functions(mut self, calls: &[String]) -> Self {
        self.functions = calls.to_vec();
        self
    }

    fn write(&self, writer: &mut Writer) {
        let optional = [self.from.is_some(), self.to.is_some(), self.limit.is_some()];
        let twos = optional.iter().filter(|o| **o).count() * 2;
        let lists = [&self.columns, &self.functions];
        let lists = lists.iter().filter(|list| !list.is_empty()).count();
        writer.map(1 + twos + lists);
        writer.text("destination");
        writer.text(&self.destination);
        for (time, name) in [(self.from, "epoch_start"), (self.to, "epoch_end")] {
            if let Some(time) = time {
                let (seconds, nanos) = model::epoch_and_nanos(time);
                writer.text(name);
                writer.int(seconds);
                writer.text(&format!("{name}_nanos"));
                writer.int(i64::from(nanos));
            }
        }
        if let Some((rows, first)) = self.limit {
            writer.text("limit_record_count");
            writer.int(rows as i64);
            writer.text("limit_from_start");
            writer.bool(first);
        }
        if !self.columns.is_empty() {
            writer.text("columns");
            writer.array(self.columns.len());
            self.columns.iter().for_each(|c| writer.text(c));
        }
        if !self.functions.is_empty() {
            writer.text("functions");
            writer.array(self.functions.len());
            self.functions.iter().for_each(|call| writer.text(call));
        }
    }
}

/// What the server knows of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Year of the newest row.
    pub latest_year: i64,
    /// Length of a bar in nanoseconds.
    pub timeframe: i64,
    /// Bars or ticks.
    pub kind: RowKind,
    /// Columns besides time.
    pub columns: Vec<ColumnDef>,
}

/// Changes of a bucket's columns, made together in this order: drop, rename, widen, add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alter {
    /// New columns.
    pub add: Vec<ColumnDef>,
    /// Columns with their wider types.
    pub widen: Vec<ColumnDef>,
    /// Old names with new names.
    pub rename: Vec<(String, String)>,
    /// Columns that go, with their values.
    pub drop: Vec<String>,
}

/// One connection to a server. It connects on first use, and again after an error.
#[derive(Debug)]
pub struct Client {
    target: Target,
    connection: Option<BufReader<Socket>>,
    timeout: Option<Duration>,
}

impl Client {
    /// A client of `host:port`, or of a [`Target`] with token and TLS. Does not connect yet.
    pub fn new(target: impl Into<Target>) -> Self {
        Self {
            target: target.into(),
            connection: None,
            timeout: Some(Duration::from_secs(120)),
        }
    }

    /// The server.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How long to wait for bytes; `None` for ever.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Writes rows of any number of buckets as one commit for each schema among them. With
    /// [`RowKind::Tick`] new buckets keep every row and times are sent to the nanosecond.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn write(
        &mut self,
        tables: &[(BucketKey, ColumnBatch)],
        kind: RowKind,
    ) -> Result<(), Error> {
        let reply = self.call_raw(&Self::write_request(tables, kind))?;
        entries(&result(&reply)?)
    }

    /// The body of [`Client::write`], for callers that send it many times.
    pub fn write_request(tables: &[(BucketKey, ColumnBatch)], kind: RowKind) -> Bytes {
        let mut groups: Vec<(&Schema, Vec<(&str, &ColumnBatch)>)> = Vec::new();
        for (key, batch) in tables {
            match groups.iter_mut().find(|g| g.0 == batch.schema()) {
                Some(group) => group.1.push((key.as_str(), batch)),
                None => groups.push((batch.schema(), vec![(key.as_str(), batch)])),
            }
        }
        let mut writer = envelope("Write");
        writer.map(1);
        writer.text("requests");
        writer.array(groups.len());
        for (_, tables) in &groups {
            writer.map(2);
            writer.text("dataset");
            write_dataset(tables, kind == RowKind::Tick, &mut writer);
            writer.text("is_variable_length");
            writer.bool(kind == RowKind::Tick);
        }
        writer.out.into()
    }

    /// Reads rows, one table for each bucket.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn query(&mut self, query: &Query) -> Result<Vec<Table>, Error> {
        let reply = self.call_raw(&Self::query_request(query))?;
        let mut tables = Vec::new();
        for response in list(&field(&result(&reply)?, "responses")?)? {
            let dataset = field(&response, "result")?;
            let dataset = Dataset::read(&mut Reader::new(&dataset))?;
            for (key, batch) in dataset.tables(true)? {
                let key = BucketKey::parse(key).map_err(|e| Error::Reply(e.to_string()))?;
                tables.push(Table { key, batch });
            }
        }
        Ok(tables)
    }

    /// The body of [`Client::query`], for callers that send it many times.
    pub fn query_request(query: &Query) -> Bytes {
        let mut writer = envelope("Query");
        writer.map(1);
        writer.text("requests");
        writer.array(1);
        query.write(&mut writer);
        writer.out.into()
    }

    /// All symbols.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn symbols(&mut self) -> Result<Vec<String>, Error> {
        self.list("symbol")
    }

    /// All bucket keys.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn buckets(&mut self) -> Result<Vec<String>, Error> {
        self.list("tbk")
    }

    fn list(&mut self, format: &str) -> Result<Vec<String>, Error> {
        let mut writer = envelope("ListSymbols");
        writer.map(1);
        writer.text("format");
        writer.text(format);
        let reply = self.call_raw(&writer.out)?;
        let names = list(&field(&result(&reply)?, "Results")?)?;
        let text = |raw: &Bytes| Ok(Reader::new(raw).text()?.to_owned());
        names.iter().map(text).collect()
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn create(&mut self, key: &BucketKey, kind: RowKind, schema: &Schema) -> Result<(), Error> {
        let mut writer = envelope("Create");
        writer.map(1);
        writer.text("requests");
        writer.array(1);
        writer.map(4);
        writer.text("key");
        writer.text(&format!("{key}:Symbol/Timeframe/AttributeGroup"));
        writer.text("column_types");
        writer.array(schema.len());
        schema
            .columns()
            .iter()
            .for_each(|c| writer.text(write_code(c.ty)));
        writer.text("column_names");
        writer.array(schema.len());
        schema.columns().iter().for_each(|c| writer.text(&c.name));
        writer.text("is_variable_length");
        writer.bool(kind == RowKind::Tick);
        let reply = self.call_raw(&writer.out)?;
        entries(&result(&reply)?)
    }

    /// Drops a bucket (`AAPL/1Min/OHLCV`) or all below (`AAPL/1Min`, `AAPL`).
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn destroy(&mut self, key: &str) -> Result<(), Error> {
        let reply = self.call_raw(&key_request("Destroy", key))?;
        entries(&result(&reply)?)
    }

    /// Deletes the rows with `from <= time <= to` (nanoseconds since 1970), or only counts them;
    /// how many.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn delete(
        &mut self,
        key: &BucketKey,
        from: i64,
        to: i64,
        dry_run: bool,
    ) -> Result<u64, Error> {
        let mut writer = envelope("Delete");
        writer.map(1);
        writer.text("requests");
        writer.array(1);
        // The ends of time are no bounds, but one of the two must be there.
        let bounds = [(from, "epoch_start"), (to, "epoch_end")];
        let is_bound = |time: i64| time != i64::MIN && time != i64::MAX;
        let any = bounds.iter().any(|(time, _)| is_bound(*time));
        let bounds = bounds.iter().filter(|(time, _)| is_bound(*time) || !any);
        writer.map(2 + 2 * bounds.clone().count());
        writer.text("key");
        writer.text(key.as_str());
        for &(time, name) in bounds {
            let (seconds, nanos) = model::epoch_and_nanos(time);
            writer.text(name);
            writer.int(seconds);
            writer.text(&format!("{name}_nanos"));
            writer.int(i64::from(nanos));
        }
        writer.text("dry_run");
        writer.bool(dry_run);
        counted(&self.call_raw(&writer.out)?, "rows")
    }

    /// Changes the columns of a bucket; the new version of its schema.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn alter(&mut self, key: &BucketKey, alter: &Alter) -> Result<u64, Error> {
        let mut writer = envelope("Alter");
        writer.map(1);
        writer.text("requests");
        writer.array(1);
        writer.map(5);
        writer.text("key");
        writer.text(key.as_str());
        for (name, columns) in [("add", &alter.add), ("widen", &alter.widen)] {
            writer.text(name);
            writer.array(columns.len());
            for column in columns {
                pair(
                    &mut writer,
                    ["name", "type"],
                    [&column.name, write_code(column.ty)],
                );
            }
        }
        writer.text("rename");
        writer.array(alter.rename.len());
        for (from, to) in &alter.rename {
            pair(&mut writer, ["from", "to"], [from, to]);
        }
        writer.text("drop");
        writer.array(alter.drop.len());
        alter.drop.iter().for_each(|name| writer.text(name));
        counted(&self.call_raw(&writer.out)?, "version")
    }

    /// Columns and kind of a bucket.
    ///
    /// # Errors
    /// If the connection fails or the server refuses.
    pub fn get_info(&mut self, key: &BucketKey) -> Result<BucketInfo, Error> {
        let reply = self.call_raw(&key_request("GetInfo", key.as_str()))?;
        let info = list(&field(&result(&reply)?, "responses")?)?;
        let info = info
            .first()
            .ok_or_else(|| Error::Reply("it is empty".into()))?;
        entry(&field(info, "ServerResp")?)?;
        let int =
            |name: &str| -> Result<i64, Error> { Ok(Reader::new(&field(info, name)?).int()?) };
        let mut columns = Vec::new();
        for column in list(&field(info, "DSV")?)?.iter().skip(1) {
            let code = Reader::new(&field(column, "Type")?).int()?;
            let ty = u8::try_from(code).ok().and_then(ColumnType::from_code);
            let ty = ty.ok_or_else(|| Error::Reply(format!("type {code} is not known")))?;
            let name = field(column, "Name")?;
            columns.push(ColumnDef::new(Reader::new(&name).text()?, ty));
        }
        let kind = u8::try_from(int("RecordType")?)
            .ok()
            .and_then(RowKind::from_code);
        Ok(BucketInfo {
            latest_year: int("LatestYear")?,
            timeframe: int("TimeFrame")?,
            kind: kind.ok_or_else(|| Error::Reply("the record type is not known".into()))?,
            columns,
        })
    }

    /// Version of the server, from its header.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn version(&mut self) -> Result<String, Error> {
        let reply = self.exchange("HEAD", "/rpc", "", b"")?;
        let version = reply
            .headers
            .into_iter()
            .find(|h| h.0 == "marketstore-version");
        version
            .map(|h| h.1)
            .ok_or_else(|| Error::Reply("there is no Marketstore-Version header".into()))
    }

    /// Posts a body to `/rpc` and answers the body of the reply.
    ///
    /// # Errors
    /// If the connection fails, or the status is not 200.
    pub fn call_raw(&mut self, body: &[u8]) -> Result<Bytes, Error> {
        let reply = self.exchange("POST", "/rpc", "application/x-msgpack", body)?;
        if reply.status != 200 {
            let text = match result(&reply.body) {
                Err(Error::Rpc(text)) => text,
                _ => String::from_utf8_lossy(&reply.body).into_owned(),
            };
            let text = text.trim().chars().take(200).collect();
            return Err(Error::Status(reply.status, text));
        }
        Ok(reply.body)
    }

    /// Gets a text like `/metrics` or `/heartbeat`, whatever the status.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn get(&mut self, path: &str) -> Result<(u16, String), Error> {
        let reply = self.exchange("GET", path, "", b"")?;
        Ok((
            reply.status,
            String::from_utf8_lossy(&reply.body).into_owned(),
        ))
    }

    /// Posts JSON to a path like `/admin/v1/checkpoint`, whatever the status.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn post(&mut self, path: &str, json: &str) -> Result<(u16, String), Error> {
        self.send("POST", path, json)
    }

    /// Puts JSON to a path, whatever the status.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn put(&mut self, path: &str, json: &str) -> Result<(u16, String), Error> {
        self.send("PUT", path, json)
    }

    fn send(&mut self, method: &str, path: &str, json: &str) -> Result<(u16, String), Error> {
        let reply = self.exchange(method, path, "application/json", json.as_bytes())?;
        Ok((
            reply.status,
            String::from_utf8_lossy(&reply.body).into_owned(),
        ))
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<HttpReply, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut head = self.head(method, path, kind);
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        // One write for a small request; a large body follows without being copied.
        let mut head = head.into_bytes();
        let rest = if body.len() <= 16 << 10 {
            head.extend_from_slice(body);
            &[]
        } else {
            body
        };
        let stream = connection.get_mut();
        let sent = stream
            .write_all(&head)
            .and_then(|()| stream.write_all(rest))
            .and_then(|()| stream.flush());
        // A server that refuses by the headers answers and stops reading: the answer counts.
        let reply = match read_reply(&mut connection, method == "HEAD") {
            Ok(reply) => reply,
            Err(error) => return Err(sent.err().unwrap_or(error).into()),
        };
        let closes =
            |h: &(String, String)| h.0 == "connection" && h.1.eq_ignore_ascii_case("close");
        if !reply.headers.iter().any(closes) {
            self.connection = Some(connection);
        }
        Ok(reply)
    }

    /// The head of a request, up to the headers that depend on its body.
    pub(crate) fn head(&self, method: &str, path: &str, kind: &str) -> String {
        let addr = self.target.addr();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n");
        if let Some(authorization) = self.target.authorization() {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        if !kind.is_empty() {
            head.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        head
    }

    pub(crate) fn connect(&self) -> io::Result<BufReader<Socket>> {
        let stream = self.target.connect(self.timeout)?;
        Ok(BufReader::with_capacity(64 << 10, stream))
    }
}

struct HttpReply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

pub(crate) fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Status and headers of a reply, their names in lower case.
pub(crate) fn read_head(from: &mut BufReader<Socket>) -> io::Result<(u16, Vec<(String, String)>)> {
    let line = read_line(from)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| bad(format!("no HTTP status in \"{line}\"")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    match status {
        100 => read_head(from),
        _ => Ok((status, headers)),
    }
}

fn read_reply(from: &mut BufReader<Socket>, is_head: bool) -> io::Result<HttpReply> {
    let (status, headers) = read_head(from)?;
    let length = headers.iter().find(|h| h.0 == "content-length");
    let length: usize = match length {
        _ if is_head => 0,
        Some(h) => {
            h.1.parse()
                .map_err(|e| bad(format!("content-length: {e}")))?
        }
        None => return Err(bad("the reply has no Content-Length".into())),
    };
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(HttpReply {
        status,
        headers,
        body: body.into(),
    })
}

pub(crate) fn read_line(from: &mut BufReader<Socket>) -> io::Result<String> {
    let mut line = String::new();
    // A header line of ours is short; a peer that sends no end of line is cut off.
    if from.take(64 << 10).read_line(&mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed the connection",
        ));
    }
    Ok(line.trim_end().to_owned())
}

/// The envelope up to the parameters, which the caller appends.
fn envelope(method: &str) -> Writer {
    let mut writer = Writer::default();
    writer.map(4);
    writer.text("jsonrpc");
    writer.text("2.0");
    writer.text("method");
    writer.text(&format!("DataService.{method}"));
    writer.text("id");
    writer.text("1");
    writer.text("params");
    writer
}

fn key_request(method: &str, key: &str) -> Vec<u8> {
    let mut writer = envelope(method);
    writer.map(1);
    writer.text("requests");
    writer.array(1);
    writer.map(1);
    writer.text("key");
    writer.text(key);
    writer.out
}

/// A map of two texts.
fn pair(writer: &mut Writer, names: [&str; 2], values: [&str; 2]) {
    writer.map(2);
    for (name, value) in names.into_iter().zip(values) {
        writer.text(name);
        writer.text(value);
    }
}

/// The number in the only response of a reply.
fn counted(reply: &Bytes, name: &str) -> Result<u64, Error> {
    let responses = list(&field(&result(reply)?, "responses")?)?;
    let response = responses.first();
    let response = response.ok_or_else(|| Error::Reply("it is empty".into()))?;
    entry(response)?;
    let count = Reader::new(&field(response, name)?).int()?;
    u64::try_from(count).map_err(|_| Error::Reply(format!("{name} is {count}")))
}

/// The result of a reply, or its error.
fn result(reply: &Bytes) -> Result<Bytes, Error> {
    let error = field(reply, "error")?;
    if !Reader::new(&error).nil() {
        let message = field(&error, "message")?;
        return Err(Error::Rpc(Reader::new(&message).text()?.into()));
    }
    field(reply, "result")
}

/// An entry of a map; nil if it is not there.
fn field(map: &Bytes, name: &str) -> Result<Bytes, Error> {
    let mut reader = Reader::new(map);
    for _ in 0..reader.map()? {
        let found = reader.text()? == name;
        let value = reader.raw()?;
        if found {
            return Ok(value);
        }
    }
    Ok(Bytes::from_static(&[0xc0]))
}

/// The items of a list; none if it is nil.
fn list(raw: &Bytes) -> Result<Vec<Bytes>, Error> {
    let mut reader = Reader::new(raw);
    if reader.nil() {
        return Ok(Vec::new());
    }
    (0..reader.array()?).map(|_| Ok(reader.raw()?)).collect()
}

/// The first failure among the entries of a result.
fn entries(result: &Bytes) -> Result<(), Error> {
    list(&field(result, "responses")?)?
        .iter()
        .try_for_each(entry)
}

fn entry(entry: &Bytes) -> Result<(), Error> {
    let error = field(entry, "error")?;
    match Reader::new(&error).text()? {
        "" => Ok(()),
        text => Err(Error::Rpc(text.into())),
    }
}
