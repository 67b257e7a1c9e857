//! The table of bad requests.

use super::build::{create_params, one, set, write_params};
use super::datasets::datasets;
use rmpv::Value;
use serde_json::json;
use tests::wire::{encode, map, request};

/// What the reply must be; always an error with a text that tells no secrets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expect {
    /// An error object or a failed entry.
    AnyError,
    /// An error object of that code.
    Code(i64),
    /// An error whose text has this word (any case): the field, the limit, the value.
    Naming(&'static str),
}
use Expect::{AnyError, Code, Naming};

/// One bad request.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) expect: Expect,
}

impl Case {
    pub(super) fn msgpack(name: &str, body: Vec<u8>, expect: Expect) -> Self {
        Self {
            name: name.into(),
            content_type: "application/x-msgpack",
            body,
            expect,
        }
    }

    pub(super) fn json(name: &str, body: Vec<u8>, expect: Expect) -> Self {
        Self {
            name: name.into(),
            content_type: "application/json",
            body,
            expect,
        }
    }
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let mut cases = undecodable();
    cases.extend(envelopes());
    cases.extend(keys());
    cases.extend(datasets());
    cases.extend(queries());
    cases.extend(too_much());
    cases
}

/// Bytes that are no request at all.
fn undecodable() -> Vec<Case> {
    let parse = Code(-32700);
    let prefix = b"\x84\xa6method\xb1DataService.Write\xa2id\xa11\xa7jsonrpc\xa32.0\xa6params";
    let with = |tail: &[u8]| [prefix.as_slice(), tail].concat();
    let mut cases = vec![
        Case::msgpack("empty", vec![], parse),
        Case::msgpack("never-used byte", vec![0xc1; 8], parse),
        Case::msgpack("cut text", b"\x81\xa6meth".to_vec(), parse),
        Case::msgpack(
            "map of 4 G entries",
            b"\xdf\xff\xff\xff\xff".to_vec(),
            parse,
        ),
        Case::msgpack(
            "list of 4 G entries",
            b"\xdd\xff\xff\xff\xff".to_vec(),
            parse,
        ),
        Case::msgpack("4 G bytes", b"\xc6\xff\xff\xff\xff".to_vec(), parse),
        Case::msgpack("4 G of text", b"\xdb\xff\xff\xff\xff".to_vec(), parse),
        Case::msgpack("4 G extension", b"\xc9\xff\xff\xff\xff\x01".to_vec(), parse),
        Case::msgpack("a million nested lists", vec![0x91; 1_000_000], AnyError),
        Case::msgpack("a million nested maps", vec![0x81; 1_000_000], AnyError),
        Case::msgpack(
            "params of 4 G entries",
            with(b"\xdf\xff\xff\xff\xff"),
            AnyError,
        ),
        Case::msgpack("params nested deeply", with(&vec![0x91; 100_000]), AnyError),
        Case::msgpack("a number", b"\x01".to_vec(), AnyError),
        Case::msgpack("nil", b"\xc0".to_vec(), AnyError),
        Case::msgpack(
            "text that is not UTF-8",
            b"\x81\xa2\xff\xfe\xc0".to_vec(),
            AnyError,
        ),
        Case::json("empty JSON", vec![], parse),
        Case::json("half JSON", b"{\"jsonrpc\":".to_vec(), parse),
        Case::json("JSON list", b"[1,2]".to_vec(), AnyError),
        Case::json("nested JSON lists", vec![b'['; 1_000_000], AnyError),
        Case::json("nested JSON maps", b"{\"a\":".repeat(200_000), AnyError),
        Case::json("JSON that is not UTF-8", b"{\"\xff\":1}".to_vec(), parse),
        Case::json(
            "huge number",
            b"{\"jsonrpc\":\"2.0\",\"id\":1e999999}".to_vec(),
            AnyError,
        ),
        Case::json("two JSON values", b"{} {}".to_vec(), AnyError),
    ];
    // Length fields that lie inside a good request, one for each place where a length may stand.
    let good = request("Write", write_params("EVIL/1Min/X", |d| d));
    for (at, byte) in good.iter().enumerate() {
        let grown = match byte {
            0xc4 => [&good[..at], b"\xc6\xff\xff\xff\xff", &good[at + 2..]].concat(),
            0x92 => [&good[..at], b"\xdd\xff\xff\xff\xff", &good[at + 1..]].concat(),
            _ => continue,
        };
        cases.push(Case::msgpack(
            &format!("a length that lies at {at}"),
            grown,
            AnyError,
        ));
    }
    for cut in (1..good.len()).step_by(13) {
        cases.push(Case::msgpack(
            &format!("cut at {cut}"),
            good[..cut].to_vec(),
            parse,
        ));
    }
    cases
}

/// Requests whose envelope is wrong.
fn envelopes() -> Vec<Case> {
    let call = |method: Value, version: Value, params: Value| {
        encode(&map(vec![
            ("method", method),
            ("id", 7.into()),
            ("jsonrpc", version),
            ("params", params),
        ]))
    };
    let two = || Value::from("2.0");
    let empty = || map(vec![]);
    let list = || Value::from("DataService.ListSymbols");
    let mut cases = vec![
        Case::msgpack(
            "version 1.0",
            call(list(), "1.0".into(), empty()),
            Code(-32600),
        ),
        Case::msgpack(
            "version as number",
            call(list(), 2.into(), empty()),
            AnyError,
        ),
        Case::msgpack("method as number", call(5.into(), two(), empty()), AnyError),
        Case::msgpack(
            "unknown method",
            call("DataService.Drop".into(), two(), empty()),
            Code(-32000),
        ),
        Case::msgpack(
            "unknown service",
            call("os.Exec".into(), two(), empty()),
            Code(-32000),
        ),
        Case::msgpack(
            "two dots",
            call("a.b.c".into(), two(), empty()),
            Code(-32000),
        ),
        Case::msgpack(
            "endless method",
            call("x".repeat(1 << 20).into(), two(), empty()),
            Code(-32000),
        ),
        Case::msgpack(
            "params as number",
            call(write_method(), two(), 5.into()),
            Code(-32600),
        ),
    ];
    for method in ["Query", "Write", "Create", "Destroy", "GetInfo"] {
        for (what, bad) in [
            ("text", Value::from("x")),
            ("a map", map(vec![("a", 1.into())])),
            ("a number", 1.into()),
            ("a list of numbers", Value::Array(vec![1.into()])),
            (
                "a list of lists",
                Value::Array(vec![Value::Array(vec![Value::Array(vec![])])]),
            ),
        ] {
            // A list is a positional struct; an inner list in place of text is not.
            let body = request(method, map(vec![("requests", bad)]));
            cases.push(Case::msgpack(
                &format!("{method}: requests is {what}"),
                body,
                AnyError,
            ));
        }
    }
    cases
}

fn write_method() -> Value {
    "DataService.Write".into()
}

/// Keys that are no bucket keys, at every method that takes one.
fn keys() -> Vec<Case> {
    let long = format!("{}/1Min/OHLCV", "E".repeat(256));
    let bad = [
        "",
        "/",
        "//",
        "///",
        "evil",
        "evil/1Min",
        "evil/1Min/X/Y",
        "/1Min/X",
        "evil//X",
        "evil/1Min/",
        "../1Min/evil",
        "evil/../X",
        "evil/1Min/..",
        "../../evil",
        "./1Min/evil",
        "evil/1Min/.",
        "..\\evil/1Min/X",
        "evil\0/1Min/X",
        "ev\nil/1Min/X",
        "evil/1Min/\u{7f}",
        "evil/1Min/\u{202e}X",
        "evil/1Min/\u{2066}X",
        "evil/0Min/X",
        "evil/-1Min/X",
        "evil/1min/X",
        "evil/1Min;/X",
        "evil/99999999999999999999Min/X",
        "evil/1Parsec/X",
        "evil/Min/X",
        "evil/1.5H/X",
        "evil/1Min/X:Symbol",
        "evil/1Min/X:A/B/C/D",
        "evil/1Min/X:Symbol/Timeframe/AttributeGroup:x",
        "/etc/passwd",
        "C:\\evil/1Min/X",
        "evil*/1Min/X",
        "evil/1Min/*",
        "evil/*/X",
        &long,
    ];
    let mut cases = Vec::new();
    for key in bad {
        let shown: String = key.escape_debug().take(40).collect();
        let body = request("Write", write_params(key, |d| d));
        cases.push(Case::msgpack(
            &format!("write to {shown:?}"),
            body,
            AnyError,
        ));
        // Here the category part is not optional, so it is there unless it is the fault.
        let full = if key.contains(':') {
            key.into()
        } else {
            format!("{key}:Symbol/Timeframe/AttributeGroup")
        };
        let body = request("Create", create_params(&full, &["f4"], &["V"]));
        cases.push(Case::msgpack(&format!("create {shown:?}"), body, AnyError));
        let body = request("Destroy", one(vec![("key", key.into())]));
        cases.push(Case::msgpack(&format!("destroy {shown:?}"), body, AnyError));
        let body = request("GetInfo", one(vec![("key", key.into())]));
        cases.push(Case::msgpack(&format!("info of {shown:?}"), body, AnyError));
        let body = request("Query", one(vec![("destination", key.into())]));
        cases.push(Case::msgpack(&format!("query {shown:?}"), body, AnyError));
    }
    for key in [
        "*/1Min/OHLCV",
        "GOOD,EVIL/1Min/OHLCV",
        "*",
        "*/*/*",
        "GOOD/*",
        "NOBODY",
        "GOOD/5Min/OHLCV",
    ] {
        let body = request("Destroy", one(vec![("key", key.into())]));
        cases.push(Case::msgpack(&format!("destroy {key}"), body, AnyError));
    }
    let body = request("Create", create_params("evil/1Min/X", &["f4"], &["V"]));
    cases.push(Case::msgpack("create without categories", body, AnyError));
    cases
}

/// Queries that ask for nonsense.
fn queries() -> Vec<Case> {
    let query = |name: &str, value: Value| {
        request(
            "Query",
            one(vec![
                ("destination", "GOOD/1Min/OHLCV".into()),
                (name, value),
            ]),
        )
    };
    let mut cases = Vec::new();
    for limit in [
        Value::from(-1),
        i64::MIN.into(),
        2.5.into(),
        "2".into(),
        Value::Boolean(true),
        map(vec![]),
    ] {
        let body = query("limit_record_count", limit.clone());
        cases.push(Case::msgpack(&format!("limit {limit}"), body, AnyError));
    }
    for (name, value) in [
        ("epoch_start", Value::from("yesterday")),
        ("epoch_start", 1.5.into()),
        ("epoch_end", map(vec![])),
        ("epoch_start", u64::MAX.into()),
        ("columns", "Open".into()),
        ("columns", Value::Array(vec![1.into()])),
        ("functions", Value::Array(vec!["Nope(".into()])),
        ("functions", Value::Array(vec!["nope()".into()])),
        ("limit_from_start", "yes".into()),
        ("key_category", "Symbol".into()),
        ("key_category", "Symbol/Symbol/Symbol".into()),
        ("destination", 5.into()),
    ] {
        let body = query(name, value.clone());
        cases.push(Case::msgpack(&format!("{name} {value}"), body, AnyError));
    }
    for sql in [
        "",
        ";",
        "DROP TABLE x;",
        "SELECT * FROM `../../etc/passwd`;",
        &"(".repeat(100_000),
    ] {
        let body = request(
            "Query",
            one(vec![
                ("is_sqlstatement", true.into()),
                ("sql_statement", sql.into()),
            ]),
        );
        let shown: String = sql.chars().take(30).collect();
        cases.push(Case::msgpack(&format!("sql {shown:?}"), body, AnyError));
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "DataService.Write", "params": {"requests": [{
        "Data": {"ColumnTypes": ["i8"], "ColumnNames": ["Epoch"], "ColumnData": ["!!no base64!!"],
                 "Length": 1, "StartIndex": {"EVIL/1Min/X": 0}, "Lengths": {"EVIL/1Min/X": 1}}}]}});
    cases.push(Case::json(
        "data that is no base64",
        body.to_string().into_bytes(),
        AnyError,
    ));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "DataService.Query", "params": {"requests": [
        {"Destination": "GOOD/1Min/OHLCV", "LimitRecordCount": -5}]}});
    cases.push(Case::json(
        "negative limit in JSON",
        body.to_string().into_bytes(),
        AnyError,
    ));
    cases
}

/// More of something than one call may have.
fn too_much() -> Vec<Case> {
    let many = |n: usize, entry: Value| map(vec![("requests", Value::Array(vec![entry; n]))]);
    let query = map(vec![("destination", "GOOD/1Min/OHLCV".into())]);
    let info = map(vec![("key", "GOOD/1Min/OHLCV".into())]);
    let depth = |n: usize| (0..n).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
    let mut deep = vec![("destination", Value::from("GOOD/1Min/OHLCV"))];
    deep.push(("unknown", depth(100)));
    let buckets: Vec<(String, Value)> = (0..70_000)
        .map(|i| (format!("EVIL{i}/1Min/X"), Value::from(0)))
        .collect();
    let slices = || {
        map(buckets
            .iter()
            .map(|(k, v)| (k.as_str(), v.clone()))
            .collect())
    };
    let crowd = request(
        "Write",
        write_params("EVIL/1Min/X", |d| {
            set(set(d, "startindex", slices()), "lengths", slices())
        }),
    );
    vec![
        Case::msgpack(
            "2000 queries",
            request("Query", many(2000, query)),
            Naming("1024"),
        ),
        Case::msgpack(
            "2000 infos",
            request("GetInfo", many(2000, info)),
            Naming("1024"),
        ),
        Case::msgpack("70000 buckets", crowd, Naming("65536")),
        Case::msgpack("100 levels deep", request("Query", one(deep)), AnyError),
    ]
}
