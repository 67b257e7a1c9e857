//! `POST /sql` and `POST /write`: formats, errors, limits, and what comes in through one door and goes
//! out through the other.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tests::http::{Client, Response};
use tests::server::Server;

/// Posts a body; `headers` are whole lines.
fn post(client: &mut Client, path: &str, headers: &[&str], body: &[u8]) -> Response {
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    client.raw(&bytes, false).unwrap()
}

fn sql(client: &mut Client, accept: &str, text: &str) -> Response {
    let accept = format!("Accept: {accept}");
    post(
        client,
        "/sql",
        &[&accept, "Content-Type: text/plain"],
        text.as_bytes(),
    )
}

fn as_json(reply: &Response) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|e| panic!("{e}: {}", reply.text()))
}

const CSV: &str = "Content-Type: text/csv";

/// A server with three bars of AAPL and two trades of IBM.
fn served(extra: &str) -> (Server, Client) {
    let server = Server::start(&[], extra);
    let mut client = server.client();
    let bars = "Epoch,Close,Volume\n\
        2024-01-31T09:30:00Z,1.5,100\n2024-01-31T09:31:00Z,2.5,200\n2024-01-31T09:32:00Z,nan,300\n";
    let reply = post(
        &mut client,
        "/write/AAPL/1Min/OHLCV",
        &[CSV],
        bars.as_bytes(),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        as_json(&reply),
        json!({ "rows": 3, "buckets": [{ "key": "AAPL/1Min/OHLCV", "rows": 3, "error": null }] })
    );
    let trades = "Epoch,Price\n2024-01-31T09:30:00.000000001Z,10\n2024-01-31T09:30:00.5Z,11\n";
    let reply = post(
        &mut client,
        "/write/IBM/1Sec/TRADE?kind=tick",
        &[CSV],
        trades.as_bytes(),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    (server, client)
}

#[test]
fn each_format_has_the_same_rows() {
    let (mut server, mut client) = served("");
    let text =
        "SELECT \"Epoch\", \"Close\", \"Volume\" FROM \"AAPL/1Min/OHLCV\" ORDER BY \"Epoch\"";
    let reply = sql(&mut client, "*/*", text);
    assert_eq!(
        (reply.status, reply.media_type()),
        (200, "application/json")
    );
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let answer = as_json(&reply);
    assert_eq!(
        answer["columns"][0],
        json!({ "name": "Epoch", "type": "timestamp" })
    );
    assert_eq!(answer["columns"][1]["type"], "float64");
    assert_eq!(answer["row_count"], 3);
    assert_eq!(answer["rows"][0], json!(["2024-01-31T09:30:00Z", 1.5, 100]));
    assert_eq!(
        answer["rows"][2],
        json!(["2024-01-31T09:32:00Z", null, 300])
    );
    let reply = sql(&mut client, "text/csv", text);
    assert_eq!(reply.media_type(), "text/csv");
    assert_eq!(
        reply.text(),
        "Epoch,Close,Volume\n2024-01-31T09:30:00Z,1.5,100\n\
         2024-01-31T09:31:00Z,2.5,200\n2024-01-31T09:32:00Z,NaN,300\n"
    );
    let reply = sql(&mut client, "application/x-ndjson", text);
    let lines: Vec<Value> = reply
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["Close"], 2.5);
    let times = "SELECT \"Epoch\" FROM \"IBM/1Sec/TRADE\" ORDER BY \"Epoch\"";
    assert_eq!(
        as_json(&sql(&mut client, "application/json", times))["rows"],
        json!([
            ["2024-01-31T09:30:00.000000001Z"],
            ["2024-01-31T09:30:00.500Z"]
        ])
    );
    // What Arrow gives can be written as it is.
    let stream = sql(&mut client, "application/vnd.apache.arrow.stream", text);
    assert_eq!(stream.media_type(), "application/vnd.apache.arrow.stream");
    let kind = "Content-Type: application/vnd.apache.arrow.stream";
    let reply = post(&mut client, "/write/COPY/1Min/OHLCV", &[kind], &stream.body);
    assert_eq!(as_json(&reply)["rows"], 3, "{}", reply.text());
    let copy = sql(&mut client, "text/csv", &text.replace("AAPL", "COPY"));
    assert_eq!(copy.text(), sql(&mut client, "text/csv", text).text());
    // No rows are a whole result, too.
    let none = format!("SELECT * FROM ({text}) AS t WHERE \"Volume\" > 1000");
    assert_eq!(
        sql(&mut client, "text/csv", &none).text(),
        "Epoch,Close,Volume\n"
    );
    assert_eq!(as_json(&sql(&mut client, "*/*", &none))["rows"], json!([]));
    assert!(server.alive());
}

#[test]
fn parameters_come_as_json() {
    let (_server, mut client) = served("");
    let json_body = "Content-Type: application/json; charset=utf-8";
    let mut ask = |body: Value| {
        post(
            &mut client,
            "/sql",
            &[json_body],
            body.to_string().as_bytes(),
        )
    };
    let text =
        "SELECT \"Volume\" FROM \"AAPL/1Min/OHLCV\" WHERE \"Epoch\" >= $1 AND \"Volume\" < $2";
    let reply = ask(json!({ "sql": text, "parameters": ["2024-01-31T09:31:00Z", 300] }));
    assert_eq!(as_json(&reply)["rows"], json!([[200]]), "{}", reply.text());
    for (body, wanted) in [
        (
            json!({ "sql": text, "parameters": [1] }),
            "2 parameters, 1 were given",
        ),
        (
            json!({ "sql": text, "parameters": ["x", 1] }),
            "parameter $1: x is no timestamp",
        ),
        (
            json!({ "sql": text, "parameters": [[], 1] }),
            "parameter $1: must be",
        ),
        (json!({ "query": text }), "unknown field"),
        (json!({ "sql": text, "zone": "Nowhere/Land" }), "zone: "),
    ] {
        let reply = ask(body);
        assert_eq!(reply.status, 400, "{}", reply.text());
        let message = as_json(&reply)["error"]["message"].to_string();
        assert!(message.contains(wanted), "{message}");
    }
}

/// Each is answered with an error that says what, and the next good statement works.
#[test]
fn bad_statements_are_refused_and_the_next_one_works() {
    let (mut server, mut client) = served("sql: {statement_bytes: 4KiB}\n");
    let long = format!("SELECT {}1", "1+".repeat(4000));
    for (text, status, kind) in [
        ("SELEC 1", 400, "syntax"),
        ("", 400, "syntax"),
        ("SELECT 1; SELECT 2", 400, "syntax"),
        ("SELECT * FROM \"NONE/1Min/OHLCV\"", 400, "unknown"),
        ("SELECT \"Price\" FROM \"AAPL/1Min/OHLCV\"", 400, "unknown"),
        (long.as_str(), 413, "limit"),
    ] {
        let reply = sql(&mut client, "*/*", text);
        let shown: String = text.chars().take(40).collect();
        assert_eq!(reply.status, status, "{shown}: {}", reply.text());
        let error = &as_json(&reply)["error"];
        assert_eq!(error["kind"], kind, "{shown}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let reply = sql(
        &mut client,
        "*/*",
        "SELECT 1,\n  nothing FROM \"AAPL/1Min/OHLCV\"",
    );
    let error = as_json(&reply)["error"].clone();
    assert_eq!(
        (&error["line"], &error["column"]),
        (&json!(2), &json!(3)),
        "{error}"
    );
    let broken = post(
        &mut client,
        "/sql",
        &["Content-Type: text/plain"],
        b"SELECT \xff",
    );
    assert_eq!(broken.status, 400);
    let image = post(
        &mut client,
        "/sql",
        &["Content-Type: image/png"],
        b"SELECT 1",
    );
    assert_eq!(image.status, 415);
    let picture = sql(&mut client, "image/png", "SELECT 1");
    assert_eq!(picture.status, 406);
    assert_eq!(client.send("GET", "/sql", None, b"").unwrap().status, 405);
    let foreign = post(
        &mut client,
        "/sql",
        &["Origin: http://evil.example"],
        b"SELECT 1",
    );
    assert_eq!(foreign.status, 403);
    let reply = sql(
        &mut client,
        "*/*",
        "SELECT count(*) AS n FROM \"AAPL/1Min/OHLCV\"",
    );
    assert_eq!(as_json(&reply)["rows"], json!([[3]]));
    assert!(server.alive());
}

#[test]
fn it_can_be_switched_off() {
    let server = Server::start(&[], "sql: {enabled: false}\n");
    let reply = sql(&mut server.client(), "*/*", "SELECT 1");
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("sql.enabled"), "{}", reply.text());
}

/// Many buckets in one body; what is wrong with one says nothing of the others.
#[test]
fn rows_name_their_buckets_themselves() {
    let (_server, mut client) = served("");
    let rows = "symbol,timeframe,attribute_group,Epoch,Close\n\
        A,1Min,X,2024-01-31T09:30:00Z,1\nB,1Min,X,2024-01-31T09:30:00Z,2\n\
        A,1Min,X,2024-01-31T09:31:00Z,3\nC,1Fort,X,2024-01-31T09:30:00Z,4\n";
    let reply = post(&mut client, "/write", &[CSV], rows.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = as_json(&reply);
    assert_eq!(answer["rows"], 3);
    assert_eq!(
        answer["buckets"][0],
        json!({ "key": "A/1Min/X", "rows": 2, "error": null })
    );
    assert_eq!(answer["buckets"][2]["rows"], 0);
    let error = answer["buckets"][2]["error"].as_str().unwrap();
    assert!(error.contains("1Fort"), "{error}");
    let both = "SELECT symbol, \"Close\" FROM \"*/1Min/X\" ORDER BY symbol, \"Epoch\"";
    let all = as_json(&sql(&mut client, "*/*", both));
    assert_eq!(all["rows"], json!([["A", 1], ["A", 3], ["B", 2]]), "{all}");
    // The same as Arrow, and back.
    let keyed = "SELECT * FROM \"*/1Min/X\"";
    let stream = sql(&mut client, "application/vnd.apache.arrow.stream", keyed);
    let kind = "Content-Type: application/vnd.apache.arrow.stream";
    let reply = post(&mut client, "/write?create=false", &[kind], &stream.body);
    assert_eq!(as_json(&reply)["rows"], 3, "{}", reply.text());
}

#[test]
fn bad_rows_are_refused_and_leave_nothing() {
    let (mut server, mut client) = served("");
    let arrow = "Content-Type: application/vnd.apache.arrow.stream";
    let huge = [0xff_u8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for (path, kind, body, status, wanted) in [
        (
            "/write/N/1Min/X",
            "Content-Type: text/plain",
            &b"x"[..],
            415,
            "text/csv",
        ),
        (
            "/write/N/1Min/X",
            arrow,
            b"not arrow",
            400,
            "no Arrow IPC stream",
        ),
        ("/write/N/1Min/X", arrow, &huge, 400, "no Arrow IPC stream"),
        ("/write/N/1Min/X", arrow, b"", 400, "no Arrow IPC stream"),
        ("/write/N/1Min", CSV, b"Epoch,A\n", 400, "N/1Min"),
        ("/write/../1Min/X", CSV, b"Epoch,A\n1,1\n", 400, ".."),
        (
            "/write/N/1Min/X?kind=row",
            CSV,
            b"Epoch,A\n",
            400,
            "kind=row",
        ),
        ("/write/N/1Min/X", CSV, b"Close\n1\n", 400, "the time"),
        (
            "/write/N/1Min/X",
            CSV,
            b"Epoch,A\n2024-01-31,1\nsoon,2\n",
            400,
            "line 3",
        ),
        (
            "/write/N/1Min/X?create=false",
            CSV,
            b"Epoch,A\n2024-01-31,1\n",
            400,
            "no bucket",
        ),
        (
            "/write",
            CSV,
            b"Epoch,A\n2024-01-31,1\n",
            400,
            "attribute_group",
        ),
        (
            "/write/AAPL/1Min/OHLCV",
            CSV,
            b"Epoch,Close\n2024-01-31,1\n",
            400,
            "Volume",
        ),
    ] {
        let reply = post(&mut client, path, &[kind], body);
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert!(reply.text().contains(wanted), "{path}: {}", reply.text());
    }
    assert_eq!(
        client
            .send("GET", "/write/N/1Min/X", None, b"")
            .unwrap()
            .status,
        405
    );
    let count = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'N/%'";
    assert_eq!(
        as_json(&sql(&mut client, "*/*", count))["rows"],
        json!([[0]])
    );
    assert!(server.alive());
}

/// A client that goes away in the middle of a large result ends it; others go on.
#[test]
fn a_large_result_is_streamed_and_ends_with_its_client() {
    let server = Server::start(&[], "");
    let mut client = server.client();
    let mut rows = String::from("Epoch,Price\n");
    for row in 0..100_000 {
        rows.push_str(&format!(
            "{}.{:09},{row}\n",
            1_700_000_000 + row / 100,
            row % 100
        ));
    }
    let reply = post(
        &mut client,
        "/write/BIG/1Sec/TRADE?kind=tick",
        &[CSV],
        rows.as_bytes(),
    );
    assert_eq!(as_json(&reply)["rows"], 100_000, "{}", reply.text());
    let text = "SELECT a.* FROM \"BIG/1Sec/TRADE\" a, (VALUES (1), (2), (3), (4), (5), (6), (7), \
                (8), (9), (10)) AS b";
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let request = format!(
        "POST /sql HTTP/1.1\r\nHost: x\r\nAccept: text/csv\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let mut first = [0; 4096];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    // The place of the statement is free again: with one place, the next would be refused.
    let cancelled = "mkts_sql_cancelled_total{door=\"http\"} 1";
    let seen = (0..2000).any(|_| {
        let metrics = client.send("GET", "/metrics", None, b"").unwrap().text();
        std::thread::yield_now();
        metrics.contains(cancelled)
    });
    assert!(seen, "the statement goes on without a client");
    let reply = sql(
        &mut client,
        "*/*",
        "SELECT count(*) FROM \"BIG/1Sec/TRADE\"",
    );
    assert_eq!(as_json(&reply)["rows"], json!([[100_000]]));
}
