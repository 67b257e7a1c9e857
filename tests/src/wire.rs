//! The MessagePack dialect of the RPC: datasets, tables and calls.

use crate::http::Client;
use rmpv::Value;
use std::collections::BTreeMap;

/// Bytes of one value of a column type; `None` for a type that is not on the wire.
pub fn width(code: &str) -> Option<usize> {
    Some(match code {
        "i1" | "u1" => 1,
        "i2" | "u2" => 2,
        "i4" | "u4" | "f4" => 4,
        "i8" | "u8" | "f8" => 8,
        _ => 4 * code.strip_prefix('U')?.parse::<usize>().ok()?,
    })
}

/// One column of a table: its little-endian bytes are compared, never its printed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Column name.
    pub name: String,
    /// Type code.
    pub code: String,
    /// Values, one after the other.
    pub data: Vec<u8>,
}

/// The rows of one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Number of rows.
    pub rows: usize,
    /// Columns in wire order.
    pub columns: Vec<Column>,
}

impl Table {
    /// Adds a column; the first one fixes the number of rows.
    pub fn with(mut self, name: &str, code: &str, data: Vec<u8>) -> Self {
        let width = width(code).expect("a known type");
        if self.columns.is_empty() {
            self.rows = data.len() / width;
        }
        assert_eq!(data.len(), self.rows * width, "length of column {name}");
        self.columns.push(Column {
            name: name.into(),
            code: code.into(),
            data,
        });
        self
    }

    /// Adds an i8 column.
    pub fn i8(self, name: &str, values: &[i64]) -> Self {
        self.with(
            name,
            "i8",
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    }

    /// Adds an i4 column.
    pub fn i4(self, name: &str, values: &[i32]) -> Self {
        self.with(
            name,
            "i4",
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    }

    /// Adds an f4 column.
    pub fn f4(self, name: &str, values: &[f32]) -> Self {
        self.with(
            name,
            "f4",
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Values of an i8 column.
    pub fn get_i8(&self, name: &str) -> Vec<i64> {
        self.typed(name, "i8", |b| {
            i64::from_le_bytes(b.try_into().expect("8 bytes"))
        })
    }

    /// Values of an i4 column.
    pub fn get_i4(&self, name: &str) -> Vec<i32> {
        self.typed(name, "i4", |b| {
            i32::from_le_bytes(b.try_into().expect("4 bytes"))
        })
    }

    /// Values of an f4 column.
    pub fn get_f4(&self, name: &str) -> Vec<f32> {
        self.typed(name, "f4", |b| {
            f32::from_le_bytes(b.try_into().expect("4 bytes"))
        })
    }

    fn typed<T>(&self, name: &str, code: &str, read: impl Fn(&[u8]) -> T) -> Vec<T> {
        let column = self
            .column(name)
            .unwrap_or_else(|| panic!("no column {name}"));
        assert_eq!(column.code, code, "type of column {name}");
        column
            .data
            .chunks_exact(width(code).expect("known"))
            .map(read)
            .collect()
    }
}

/// A map value from pairs.
pub fn map(pairs: Vec<(&str, Value)>) -> Value {
    Value::Map(
        pairs
            .into_iter()
            .map(|(k, v)| (Value::from(k), v))
            .collect(),
    )
}

/// The entry of a map value.
pub fn get<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value
        .as_map()?
        .iter()
        .find(|(k, _)| k.as_str() == Some(key))
        .map(|(_, v)| v)
}

/// One dataset that holds several tables of equal columns.
pub fn dataset(tables: &[(&str, &Table)]) -> Value {
    let first = tables.first().map(|(_, t)| &t.columns[..]).unwrap_or(&[]);
    let mut data: Vec<Vec<u8>> = vec![Vec::new(); first.len()];
    let (mut start, mut starts, mut lengths) = (0, Vec::new(), Vec::new());
    for (key, table) in tables {
        for (buffer, column) in data.iter_mut().zip(&table.columns) {
            buffer.extend_from_slice(&column.data);
        }
        starts.push((*key, Value::from(start)));
        lengths.push((*key, Value::from(table.rows)));
        start += table.rows;
    }
    let texts = |f: fn(&Column) -> &String| {
        Value::Array(first.iter().map(|c| Value::from(f(c).as_str())).collect())
    };
    map(vec![
        ("types", texts(|c| &c.code)),
        ("names", texts(|c| &c.name)),
        (
            "data",
            Value::Array(data.into_iter().map(Value::Binary).collect()),
        ),
        ("length", Value::from(start)),
        ("startindex", map(starts)),
        ("lengths", map(lengths)),
    ])
}

/// Reads a dataset strictly: counts, buffer lengths and slices must agree.
pub fn tables(dataset: &Value) -> Result<BTreeMap<String, Table>, String> {
    let list = |key: &str| -> Result<&Vec<Value>, String> {
        get(dataset, key)
            .and_then(Value::as_array)
            .ok_or(format!("no list {key}"))
    };
    let slices = |key: &str| -> Result<BTreeMap<String, usize>, String> {
        let entries = get(dataset, key)
            .and_then(Value::as_map)
            .ok_or(format!("no map {key}"))?;
        let entry = |(k, v): &(Value, Value)| {
            Some((k.as_str()?.to_string(), usize::try_from(v.as_u64()?).ok()?))
        };
        let slices: Option<BTreeMap<_, _>> = entries.iter().map(entry).collect();
        slices.ok_or(format!("{key} is not a map of text to counts"))
    };
    let (names, types, data) = (list("names")?, list("types")?, list("data")?);
    let (starts, lengths) = (slices("startindex")?, slices("lengths")?);
    if names.len() != types.len() || names.len() != data.len() {
        return Err(format!(
            "{} names, {} types, {} data",
            names.len(),
            types.len(),
            data.len()
        ));
    }
    let total = get(dataset, "length")
        .and_then(Value::as_u64)
        .ok_or("no length")? as usize;
    if starts.keys().ne(lengths.keys()) || lengths.values().sum::<usize>() != total {
        return Err(format!(
            "slices {starts:?} {lengths:?} do not make {total} rows"
        ));
    }
    let mut result: BTreeMap<String, Table> = lengths
        .iter()
        .map(|(key, rows)| {
            (
                key.clone(),
                Table {
                    rows: *rows,
                    columns: Vec::new(),
                },
            )
        })
        .collect();
    for ((name, code), data) in names.iter().zip(types).zip(data) {
        let (name, code) = (text(name)?, text(code)?);
        let width = width(code).ok_or(format!("type {code}"))?;
        let Value::Binary(data) = data else {
            return Err(format!("{name}: data is not binary"));
        };
        if data.len() != total * width {
            return Err(format!(
                "{name}: {} bytes for {total} rows of {code}",
                data.len()
            ));
        }
        for (key, table) in &mut result {
            let from = starts[key] * width;
            let part = data
                .get(from..from + table.rows * width)
                .ok_or("slice beyond the data")?;
            let (name, code) = (name.to_string(), code.to_string());
            table.columns.push(Column {
                name,
                code,
                data: part.to_vec(),
            });
        }
    }
    Ok(result)
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or(format!("{value} is not text"))
}

/// Why a call did not succeed.
#[derive(Debug)]
pub enum CallError {
    /// No reply.
    Io(std::io::Error),
    /// The top-level error object.
    Rpc(i64, String),
    /// An entry of `responses` with an error text.
    Entry(String),
    /// A reply that is not understood.
    Odd(String),
}

/// The bytes of a request.
pub fn request(method: &str, params: Value) -> Vec<u8> {
    encode(&map(vec![
        ("method", format!("DataService.{method}").into()),
        ("id", "1".into()),
        ("jsonrpc", "2.0".into()),
        ("params", params),
    ]))
}

/// MessagePack bytes of a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("memory takes it");
    bytes
}

/// The value of MessagePack bytes, which must hold exactly one.
pub fn decode(mut bytes: &[u8]) -> Result<Value, String> {
    let value = rmpv::decode::read_value(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(format!("{} bytes too many", bytes.len()))
    }
}

/// Calls a method and returns its `result`.
pub fn call(client: &mut Client, method: &str, params: Value) -> Result<Value, CallError> {
    let reply = client
        .rpc(&request(method, params))
        .map_err(CallError::Io)?;
    let value = decode(&reply.body).map_err(CallError::Odd)?;
    if let Some(error) = get(&value, "error") {
        let code = get(error, "code").and_then(Value::as_i64).unwrap_or(0);
        let message = get(error, "message").and_then(Value::as_str).unwrap_or("");
        return Err(CallError::Rpc(code, message.to_string()));
    }
    get(&value, "result")
        .cloned()
        .ok_or_else(|| CallError::Odd(format!("{value}")))
}

/// Writes one dataset; `Ok` means acknowledged.
pub fn write(
    client: &mut Client,
    tables: &[(&str, &Table)],
    variable: bool,
) -> Result<(), CallError> {
    let one = map(vec![
        ("dataset", dataset(tables)),
        ("is_variable_length", variable.into()),
    ]);
    let result = call(
        client,
        "Write",
        map(vec![("requests", Value::Array(vec![one]))]),
    )?;
    match get(&result, "responses") {
        Some(Value::Nil) => Ok(()),
        Some(Value::Array(entries)) => Err(CallError::Entry(format!("{entries:?}"))),
        _ => Err(CallError::Odd(format!("{result}"))),
    }
}

/// Everything in the buckets of `destination`, by `SYM/TF/GROUP`.
pub fn query(client: &mut Client, destination: &str) -> Result<BTreeMap<String, Table>, CallError> {
    query_with(client, destination, &[])
}

/// The same through calls of functions.
pub fn query_with(
    client: &mut Client,
    destination: &str,
    functions: &[&str],
) -> Result<BTreeMap<String, Table>, CallError> {
    let functions = functions.iter().map(|f| Value::from(*f)).collect();
    let one = map(vec![
        ("destination", destination.into()),
        ("functions", Value::Array(functions)),
    ]);
    let short = |key: String| key.split(':').next().unwrap_or_default().to_string();
    let tables = ask(client, one)?.into_iter();
    Ok(tables.map(|(key, table)| (short(key), table)).collect())
}

/// The rows of a statement.
pub fn sql(client: &mut Client, text: &str) -> Result<Table, CallError> {
    let one = map(vec![
        ("is_sqlstatement", true.into()),
        ("sql_statement", text.into()),
    ]);
    let tables = ask(client, one)?;
    let mut tables = tables.into_values();
    match (tables.next(), tables.next()) {
        (Some(table), None) => Ok(table),
        _ => Err(CallError::Odd("not one table".into())),
    }
}

/// The tables that one request is answered with, by what stands for their keys.
fn ask(client: &mut Client, one: Value) -> Result<BTreeMap<String, Table>, CallError> {
    let requests = map(vec![("requests", Value::Array(vec![one]))]);
    let result = call(client, "Query", requests)?;
    let set = get(&result, "responses")
        .and_then(Value::as_array)
        .and_then(|list| list.first())
        .and_then(|first| get(first, "result"))
        .ok_or_else(|| CallError::Odd(format!("{result}")))?;
    tables(set).map_err(CallError::Odd)
}

/// The rows of one bucket; empty when it does not exist.
pub fn query_one(client: &mut Client, key: &str) -> Result<Table, CallError> {
    match query(client, key) {
        Ok(mut tables) => Ok(tables.remove(key).unwrap_or_default()),
        Err(CallError::Rpc(-32000, text))
            if text.contains("no files returned") || text.contains("not in catalog") =>
        {
            Ok(Table::default())
        }
        Err(e) => Err(e),
    }
}

/// All bucket keys, sorted.
pub fn list(client: &mut Client) -> Result<Vec<String>, CallError> {
    let result = call(client, "ListSymbols", map(vec![("format", "tbk".into())]))?;
    let mut keys: Vec<String> = match get(&result, "Results") {
        Some(Value::Nil) => Vec::new(),
        Some(Value::Array(a)) => a
            .iter()
            .filter_map(Value::as_str)
            .map(String::from)
            .collect(),
        _ => return Err(CallError::Odd(format!("{result}"))),
    };
    keys.sort();
    Ok(keys)
}
