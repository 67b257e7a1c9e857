//! Parameters of the methods. Field names are matched without regard to case and underscores,
//! which covers the vocabularies of both codecs and of older clients; fields may also come as a
//! list in the order of declaration. Nil is an absent field, unknown fields are skipped.

use bytes::Bytes;

use super::dataset::Dataset;
use super::msgpack::{DecodeError, Reader};

/// Most names in a list of columns.
const NAMES_MAX: usize = model::COLUMNS_MAX + 2;

/// Parameters, decoded.
#[derive(Debug, Clone)]
pub enum Request {
    /// `DataService.Query`
    Query(Vec<QueryRequest>),
    /// `DataService.Write`
    Write(Vec<WriteRequest>),
    /// `DataService.Create`
    Create(Vec<CreateRequest>),
    /// `DataService.Destroy`
    Destroy(Vec<KeyRequest>),
    /// `DataService.GetInfo`
    GetInfo(Vec<KeyRequest>),
    /// `DataService.ListSymbols`
    ListSymbols(ListRequest),
    /// `DataService.Delete`, which the reference does not have.
    Delete(Vec<DeleteRequest>),
    /// `DataService.Alter`, which the reference does not have.
    Alter(Vec<AlterRequest>),
}

/// One query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRequest {
    /// Whether only `sql_statement` counts.
    pub is_sqlstatement: bool,
    /// SQL.
    pub sql_statement: String,
    /// `AAPL,MSFT/1Min/OHLCV`
    pub destination: String,
    /// Names of the parts of `destination`; empty for the usual ones.
    pub key_category: String,
    /// First second, inclusive.
    pub epoch_start: Option<i64>,
    /// Added to `epoch_start`.
    pub epoch_start_nanos: i64,
    /// Last second, inclusive.
    pub epoch_end: Option<i64>,
    /// Added to `epoch_end`.
    pub epoch_end_nanos: i64,
    /// Most rows of a bucket; 0 for all.
    pub limit_record_count: i64,
    /// Whether the first rows are wanted rather than the last.
    pub limit_from_start: bool,
    /// Columns wanted; none means all.
    pub columns: Vec<String>,
    /// Functions to apply.
    pub functions: Vec<String>,
}

/// One write.
#[derive(Debug, Clone, Default)]
pub struct WriteRequest {
    /// The rows.
    pub dataset: Dataset,
    /// Whether a new bucket keeps every row, and `Nanoseconds` is part of the time.
    pub is_variable_length: bool,
}

/// One bucket to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Bucket key.
    pub key: String,
    /// Type codes.
    pub column_types: Vec<String>,
    /// Names.
    pub column_names: Vec<String>,
    /// Whether every row is kept.
    pub is_variable_length: bool,
    /// `Open,High/float32:Volume/int64`, the older way to say the columns.
    pub data_shapes: String,
    /// `fixed` or `variable`, as the Python client says it; empty if absent.
    pub row_type: String,
}

/// One bucket named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRequest {
    /// Bucket key.
    pub key: String,
}

/// A range of time to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Bucket key.
    pub key: String,
    /// First second, inclusive; absent for the oldest row.
    pub epoch_start: Option<i64>,
    /// Added to `epoch_start`.
    pub epoch_start_nanos: i64,
    /// Last second, inclusive; absent for the newest row.
    pub epoch_end: Option<i64>,
    /// Added to `epoch_end`.
    pub epoch_end_nanos: i64,
    /// Whether rows are only counted.
    pub dry_run: bool,
}

/// Changes of a bucket's columns, made together in this order: drop, rename, widen, add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlterRequest {
    /// Bucket key.
    pub key: String,
    /// New columns: names and type codes.
    pub add: Vec<(String, String)>,
    /// Columns with their wider types.
    pub widen: Vec<(String, String)>,
    /// Old names with new names.
    pub rename: Vec<(String, String)>,
    /// Columns that go.
    pub drop: Vec<String>,
}

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// `tbk` for whole keys, anything else for symbols.
    pub format: String,
    /// Only buckets of this timeframe; empty for all.
    pub timeframe: String,
}

impl Request {
    /// Reads the parameters of a method; `None` if there is no such method.
    pub(crate) fn decode(
        method: &str,
        params: &Bytes,
        max: usize,
    ) -> Option<Result<Self, DecodeError>> {
        let mut reader = Reader::new(params);
        Some(match method {
            "Query" => list(&mut reader, max, QueryRequest::read).map(Self::Query),
            "Write" => list(&mut reader, max, WriteRequest::read).map(Self::Write),
            "Create" => list(&mut reader, max, CreateRequest::read).map(Self::Create),
            "Destroy" => list(&mut reader, max, KeyRequest::read).map(Self::Destroy),
            "GetInfo" => list(&mut reader, max, KeyRequest::read).map(Self::GetInfo),
            "ListSymbols" => ListRequest::read(&mut reader).map(Self::ListSymbols),
            "Delete" => list(&mut reader, max, DeleteRequest::read).map(Self::Delete),
            "Alter" => list(&mut reader, max, AlterRequest::read).map(Self::Alter),
            _ => return None,
        })
    }
}

/// Parameters `{"requests": [...]}`, also `[{"requests": [...]}]` and `[[...]]`; nil has none.
fn list<T>(
    reader: &mut Reader<'_>,
    max: usize,
    read: fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut requests = Vec::new();
    read_params(reader, &["requests"], |_, reader| {
        let len = reader.array()?;
        if len > max {
            return Err(reader.error(format!("{len} requests in one call, the limit is {max}")));
        }
        requests.clear();
        reader.charge(len, size_of::<T>())?;
        for _ in 0..len {
            requests.push(read(reader)?);
        }
        Ok(())
    })?;
    Ok(requests)
}

/// The parameters of a method: a struct, or a list that holds it as its only item.
fn read_params<'a>(
    reader: &mut Reader<'a>,
    names: &[&str],
    set: impl FnMut(usize, &mut Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if reader.clone().skip().is_err() || reader.nil() {
        // Nothing was sent: what was sent has been checked with the envelope.
        return Ok(());
    }
    let mut inner = reader.clone();
    if inner.is_array() && inner.array()? == 1 && inner.is_map() {
        return read_struct(&mut inner, names, set);
    }
    read_struct(reader, names, set)
}

/// Reads a struct: a map keyed by names, or a list of values in the order of `names`. A name may
/// have alternatives, `"types|column_types"`. `set` gets the position of the name.
pub(crate) fn read_struct<'a>(
    reader: &mut Reader<'a>,
    names: &[&str],
    mut set: impl FnMut(usize, &mut Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if reader.is_array() {
        let len = reader.array()?;
        for at in 0..len {
            if reader.nil() {
                continue;
            }
            match names.get(at) {
                Some(_) => set(at, reader)?,
                None => reader.skip()?,
            }
        }
        return Ok(());
    }
    let len = reader.map()?;
    for _ in 0..len {
        let key = reader.text()?;
        let at = names
            .iter()
            .position(|name| name.split('|').any(|n| same_name(n, key)));
        match at {
            Some(_) if reader.nil() => {}
            Some(at) => set(at, reader).map_err(|e| named(names[at], e))?,
            None => reader.skip()?,
        }
    }
    Ok(())
}

/// Puts the name of the field before an error, once.
fn named(name: &str, error: DecodeError) -> DecodeError {
    let name = name.split('|').next().unwrap_or(name);
    if name == "requests" || error.what.contains(": ") {
        return error;
    }
    DecodeError {
        what: format!("{name}: {}", error.what),
        at: error.at,
    }
}

fn same_name(a: &str, b: &str) -> bool {
    let mut left = a.bytes().filter(|c| *c != b'_');
    let mut right = b.bytes().filter(|c| *c != b'_');
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(l), Some(r)) if l.eq_ignore_ascii_case(&r) => {}
            _ => return false,
        }
    }
}

/// A list of texts.
pub(crate) fn texts(reader: &mut Reader<'_>, limit: usize) -> Result<Vec<String>, DecodeError> {
    let len = reader.array()?;
    if len > limit {
        return Err(reader.error(format!("{len} entries in a list, the limit is {limit}")));
    }
    reader.charge(len, 2 * size_of::<String>())?;
    (0..len).map(|_| reader.text().map(str::to_owned)).collect()
}

impl QueryRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const NAMES: &[&str] = &[
            "is_sqlstatement",
            "sql_statement",
            "destination",
            "key_category",
            "epoch_start",
            "epoch_start_nanos",
            "epoch_end",
            "epoch_end_nanos",
            "limit_record_count",
            "limit_from_start",
            "columns",
            "functions",
        ];
        let mut query = Self::default();
        read_struct(reader, NAMES, |at, reader| {
            match at {
                0 => query.is_sqlstatement = reader.bool()?,
                1 => query.sql_statement = reader.text()?.into(),
                2 => query.destination = reader.text()?.into(),
                3 => query.key_category = reader.text()?.into(),
                4 => query.epoch_start = Some(reader.int()?),
                5 => query.epoch_start_nanos = reader.int()?,
                6 => query.epoch_end = Some(reader.int()?),
                7 => query.epoch_end_nanos = reader.int()?,
                8 => query.limit_record_count = reader.int()?,
                9 => query.limit_from_start = reader.bool()?,
                10 => query.columns = texts(reader, NAMES_MAX)?,
                _ => query.functions = texts(reader, NAMES_MAX)?,
            }
            Ok(())
        })?;
        Ok(query)
    }
}

impl WriteRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut write = Self::default();
        read_struct(
            reader,
            &["dataset|data", "is_variable_length"],
            |at, reader| {
                match at {
                    0 => write.dataset = Dataset::read(reader)?,
                    _ => write.is_variable_length = reader.bool()?,
                }
                Ok(())
            },
        )?;
        Ok(write)
    }
}

impl CreateRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const NAMES: &[&str] = &[
            "key",
            "column_types",
            "column_names",
            "is_variable_length",
            "data_shapes",
            "row_type",
        ];
        let mut create = Self::default();
        read_struct(reader, NAMES, |at, reader| {
            match at {
                0 => create.key = reader.text()?.into(),
                1 => create.column_types = texts(reader, NAMES_MAX)?,
                2 => create.column_names = texts(reader, NAMES_MAX)?,
                3 => create.is_variable_length = reader.bool()?,
                4 => create.data_shapes = reader.text()?.into(),
                _ => create.row_type = reader.text()?.into(),
            }
            Ok(())
        })?;
        Ok(create)
    }
}

impl KeyRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut request = Self::default();
        read_struct(reader, &["key"], |_, reader| {
            request.key = reader.text()?.into();
            Ok(())
        })?;
        Ok(request)
    }
}

impl DeleteRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const NAMES: &[&str] = &[
            "key",
            "epoch_start",
            "epoch_start_nanos",
            "epoch_end",
            "epoch_end_nanos",
            "dry_run",
        ];
        let mut delete = Self::default();
        read_struct(reader, NAMES, |at, reader| {
            match at {
                0 => delete.key = reader.text()?.into(),
                1 => delete.epoch_start = Some(reader.int()?),
                2 => delete.epoch_start_nanos = reader.int()?,
                3 => delete.epoch_end = Some(reader.int()?),
                4 => delete.epoch_end_nanos = reader.int()?,
                _ => delete.dry_run = reader.bool()?,
            }
            Ok(())
        })?;
        Ok(delete)
    }
}

impl AlterRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut alter = Self::default();
        let names = &["key", "add", "widen", "rename", "drop"];
        read_struct(reader, names, |at, reader| {
            match at {
                0 => alter.key = reader.text()?.into(),
                1 => alter.add = pairs(reader, ["name", "type"])?,
                2 => alter.widen = pairs(reader, ["name", "type"])?,
                3 => alter.rename = pairs(reader, ["from", "to"])?,
                _ => alter.drop = texts(reader, NAMES_MAX)?,
            }
            Ok(())
        })?;
        Ok(alter)
    }
}

/// A list of structs of two texts.
fn pairs(reader: &mut Reader<'_>, names: [&str; 2]) -> Result<Vec<(String, String)>, DecodeError> {
    let len = reader.array()?;
    if len > NAMES_MAX {
        return Err(reader.error(format!("{len} entries in a list, the limit is {NAMES_MAX}")));
    }
    reader.charge(len, size_of::<(String, String)>())?;
    let one = |_| {
        let mut pair = (String::new(), String::new());
        read_struct(reader, &names, |at, reader| {
            match at {
                0 => pair.0 = reader.text()?.into(),
                _ => pair.1 = reader.text()?.into(),
            }
            Ok(())
        })?;
        Ok(pair)
    };
    (0..len).map(one).collect()
}

impl ListRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut list = Self::default();
        read_params(reader, &["format", "timeframe"], |at, reader| {
            match at {
                0 => list.format = reader.text()?.into(),
                _ => list.timeframe = reader.text()?.into(),
            }
            Ok(())
        })?;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmpv::Value;

    fn bytes(value: &Value) -> Bytes {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).unwrap();
        bytes.into()
    }

    fn decode(method: &str, value: &Value) -> Result<Request, DecodeError> {
        Request::decode(method, &bytes(value), 1024).unwrap()
    }

    fn map(entries: &[(&str, Value)]) -> Value {
        let entries = entries.iter().map(|(k, v)| ((*k).into(), v.clone()));
        Value::Map(entries.collect())
    }

    fn list(items: &[Value]) -> Value {
        Value::Array(items.to_vec())
    }

    #[test]
    fn all_spellings_of_a_query_are_one() {
        let want = QueryRequest {
            destination: "A/1Min/B".into(),
            epoch_start: Some(5),
            limit_record_count: 2,
            limit_from_start: true,
            columns: vec!["Open".into()],
            ..QueryRequest::default()
        };
        let query = |names: [&str; 5]| {
            map(&[
                (names[0], Value::Binary(b"A/1Min/B".to_vec())),
                (names[1], 5.into()),
                (names[2], 2.into()),
                (names[3], true.into()),
                (names[4], list(&["Open".into()])),
                ("epoch_end", Value::Nil),
                ("unknown", list(&[map(&[("x", 1.into())])])),
            ])
        };
        let msgpack = query([
            "destination",
            "epoch_start",
            "limit_record_count",
            "limit_from_start",
            "columns",
        ]);
        let go = query([
            "Destination",
            "EpochStart",
            "LimitRecordCount",
            "LimitFromStart",
            "Columns",
        ]);
        let nil = Value::Nil;
        let positional = list(&[
            nil.clone(),
            nil.clone(),
            "A/1Min/B".into(),
            nil.clone(),
            5.into(),
            nil.clone(),
            nil.clone(),
            nil.clone(),
            2.into(),
            true.into(),
            list(&["Open".into()]),
        ]);
        for one in [msgpack, go, positional] {
            let requests = map(&[("requests", list(&[one]))]);
            let inner = requests.as_map().unwrap()[0].1.clone();
            for params in [requests.clone(), list(&[requests]), list(&[inner])] {
                match decode("Query", &params).unwrap() {
                    Request::Query(queries) => assert_eq!(queries.first(), Some(&want), "{params}"),
                    other => panic!("{other:?}"),
                }
            }
        }
        for none in [
            Value::Nil,
            map(&[]),
            list(&[]),
            map(&[("requests", Value::Nil)]),
        ] {
            assert!(matches!(decode("Query", &none), Ok(Request::Query(q)) if q.is_empty()));
        }
    }

    #[test]
    fn deletes_and_alters_are_read_in_every_spelling() {
        let delete = map(&[
            ("Key", "A/1Min/B".into()),
            ("EpochStart", 5.into()),
            ("epoch_end", 9.into()),
            ("epoch_end_nanos", 7.into()),
            ("dry_run", true.into()),
        ]);
        let wanted = DeleteRequest {
            key: "A/1Min/B".into(),
            epoch_start: Some(5),
            epoch_end: Some(9),
            epoch_end_nanos: 7,
            dry_run: true,
            ..DeleteRequest::default()
        };
        match decode("Delete", &map(&[("requests", list(&[delete]))])).unwrap() {
            Request::Delete(found) => assert_eq!(found, [wanted]),
            other => panic!("{other:?}"),
        }
        let column = map(&[("name", "X".into()), ("type", "f4".into())]);
        let short = list(&["Y".into(), "i8".into()]);
        let alter = map(&[
            ("key", "A/1Min/B".into()),
            ("add", list(&[column, short])),
            (
                "rename",
                list(&[map(&[("from", "a".into()), ("to", "b".into())])]),
            ),
            ("drop", list(&["c".into()])),
        ]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        match decode("Alter", &map(&[("requests", list(&[alter]))])).unwrap() {
            Request::Alter(found) => {
                assert_eq!(found[0].add, [pair("X", "f4"), pair("Y", "i8")]);
                assert_eq!(found[0].rename, [pair("a", "b")]);
                assert_eq!(
                    (found[0].widen.len(), &found[0].drop[..]),
                    (0, &["c".to_owned()][..])
                );
            }
            other => panic!("{other:?}"),
        }
        for (method, name, value) in [
            ("Delete", "dry_run", Value::from("yes")),
            ("Delete", "epoch_start", 1.5.into()),
            ("Alter", "add", "X".into()),
            ("Alter", "drop", list(&[5.into()])),
            ("Alter", "add", list(&[5.into()])),
        ] {
            let params = map(&[("requests", list(&[map(&[(name, value)])]))]);
            let error = decode(method, &params).unwrap_err();
            assert!(error.what.contains(name), "{error}");
        }
        let many = list(&vec![list(&[]); NAMES_MAX + 1]);
        let params = map(&[("requests", list(&[map(&[("add", many)])]))]);
        assert!(decode("Alter", &params).unwrap_err().what.contains("limit"));
    }

    #[test]
    fn values_of_other_types_are_refused_by_name() {
        for (name, value) in [
            ("limit_record_count", Value::from(2.0)),
            ("limit_record_count", "2".into()),
            ("limit_record_count", true.into()),
            ("epoch_start", u64::MAX.into()),
            ("columns", "Open".into()),
            ("columns", list(&[1.into()])),
            ("destination", 5.into()),
            ("limit_from_start", "yes".into()),
        ] {
            let params = map(&[("requests", list(&[map(&[(name, value)])]))]);
            let error = decode("Query", &params).unwrap_err();
            assert!(error.what.contains(name), "{error}");
        }
        for bad in [Value::from("x"), 5.into(), map(&[("requests", map(&[]))])] {
            assert!(decode("Query", &bad).is_err(), "{bad}");
        }
        let short = list(&vec![list(&vec!["".into(); 1000]); 1000]);
        let short = short
            .as_array()
            .expect("a list")
            .iter()
            .map(|c| map(&[("columns", c.clone())]));
        let short = map(&[("requests", Value::Array(short.collect()))]);
        assert!(decode("Query", &short).unwrap_err().what.contains("memory"));
        let many = map(&[("requests", list(&vec![map(&[]); 1025]))]);
        assert!(decode("GetInfo", &many).unwrap_err().what.contains("1024"));
    }
}
