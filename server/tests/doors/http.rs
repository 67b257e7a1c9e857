//! HTTP itself: paths, limits, clocks.

use std::io::Write;
use std::time::Duration;

use client::Query;
use model::RowKind;
use server::config::Limits;

use crate::{Door, bars, key, read_reply};

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:1\r\n{headers}\r\n").into_bytes()
}

fn post(length: usize, headers: &str) -> String {
    format!(
        "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-msgpack\r\n{headers}\
         Content-Length: {length}\r\n\r\n"
    )
}

#[test]
fn supervisors_and_prometheus_get_their_answers() {
    let door = Door::open();
    let mut client = door.client();
    client
        .write(&[(key("A/1Min/X"), bars(5))], RowKind::Bar)
        .unwrap();
    client.query(&Query::of("A/1Min/X")).unwrap();
    let (code, text) = client.get("/heartbeat").unwrap();
    assert_eq!(code, 200);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["status"], "queryable");
    for field in ["version", "git_hash", "uptime"] {
        assert!(json[field].is_string(), "{text}");
    }
    let (code, text) = client.get("/metrics").unwrap();
    assert_eq!(code, 200);
    for line in [
        "mkts_rows_total 5",
        "mkts_buckets 1",
        "mkts_poisoned 0",
        "alpaca_marketstore_rpc_successful_request_duration_seconds_count{method=\"DataService.Query\"}",
        "alpaca_marketstore_ws_connections 0",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert_eq!(
        client.get("/pprof/heap").unwrap(),
        (404, "404 page not found\n".into())
    );
    assert!(!client.version().unwrap().is_empty());
}

#[test]
fn foreign_pages_are_refused() {
    let door = Door::with(Limits::default(), &["https://charts.example"]);
    let call = |origin: &str| door.raw(post(0, &format!("Origin: {origin}\r\n")).as_bytes());
    assert!(call("https://evil.example").starts_with("HTTP/1.1 403"));
    assert!(call("https://charts.example").starts_with("HTTP/1.1 200"));
    let socket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let ws = |origin: &str| door.raw(&get("/ws", &format!("{socket}Origin: {origin}\r\n")));
    assert!(ws("https://evil.example").starts_with("HTTP/1.1 403"));
}

#[test]
fn bodies_are_limited_in_size_and_time() {
    let limits = Limits {
        request_body: 1000,
        body_idle_time: Duration::from_millis(50),
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    // Refused by its length alone, before a byte of it.
    assert!(
        door.raw(post(1001, "").as_bytes())
            .starts_with("HTTP/1.1 413")
    );
    let mut chunked = post(0, "")
        .replace("Content-Length: 0", "Transfer-Encoding: chunked")
        .into_bytes();
    chunked.extend_from_slice(b"3e9\r\n");
    chunked.extend_from_slice(&[0; 1001]);
    assert!(door.raw(&chunked).starts_with("HTTP/1.1 413"));
    assert!(
        door.raw(post(10, "").as_bytes())
            .starts_with("HTTP/1.1 408")
    );
    assert!(door.raw(post(0, "").as_bytes()).starts_with("HTTP/1.1 200"));
}

#[test]
fn bodies_together_are_limited_until_others_end() {
    let limits = Limits {
        request_body: 1000,
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let part = post(1000, "") + &"x".repeat(999);
    let whole = || door.raw((post(900, "") + &"x".repeat(900)).as_bytes());
    // None of these is whole, so none of them ends. The server reads them in its own time, and a
    // request that comes between may take the place of one.
    let mut open = Vec::new();
    let full = loop {
        let mut stream = door.connect();
        stream.write_all(part.as_bytes()).unwrap();
        open.push(stream);
        let reply = whole();
        if !reply.starts_with("HTTP/1.1 200") {
            break reply;
        }
    };
    assert!(full.starts_with("HTTP/1.1 503"), "{full}");
    assert!(full.contains("limits.request_body"), "{full}");
    // Without a body nothing is needed.
    assert!(door.raw(&get("/heartbeat", "")).starts_with("HTTP/1.1 200"));
    drop(open);
    while !whole().starts_with("HTTP/1.1 200") {
        std::thread::yield_now();
    }
}

#[test]
fn a_head_that_does_not_come_ends_the_connection_and_a_resting_one_stays() {
    let limits = Limits {
        header_time: Duration::from_millis(50),
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let mut resting = door.connect();
    resting.write_all(&get("/heartbeat", "")).unwrap();
    assert!(read_reply(&mut resting).starts_with("HTTP/1.1 200"));
    // Ends with the connection, a tick of the clock later.
    assert_eq!(door.raw(b"GET /heartbeat HTTP/1.1\r\nHo"), "");
    resting.write_all(&get("/heartbeat", "")).unwrap();
    assert!(read_reply(&mut resting).starts_with("HTTP/1.1 200"));
}

#[test]
fn one_peer_has_few_heads_under_way() {
    let limits = Limits {
        // Nothing but their number ends them.
        header_time: Duration::from_secs(600),
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let mut half: Vec<_> = (0..80).map(|_| door.connect()).collect();
    for stream in &mut half {
        stream.write_all(b"GET /heartbeat HTTP/1.1\r\nHo").unwrap();
    }
    let ended = |stream: &mut std::net::TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(std::io::Read::read(stream, &mut [0]), Ok(0))
    };
    // 16 of them end, seen a tick later; the others may still become requests.
    let mut open = half;
    while open.len() > 64 {
        open.retain_mut(|stream| !ended(stream));
        std::thread::yield_now();
    }
    assert!(door.raw(&get("/heartbeat", "")).starts_with("HTTP/1.1 200"));
    let mut kept = open.pop().unwrap();
    kept.set_nonblocking(false).unwrap();
    kept.write_all(b"st: x\r\n\r\n").unwrap();
    assert!(read_reply(&mut kept).starts_with("HTTP/1.1 200"));
}

#[test]
fn connections_over_the_limit_are_refused_until_others_end() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let mut open = [door.connect(), door.connect()];
    for stream in &mut open {
        stream.write_all(&get("/heartbeat", "")).unwrap();
        assert!(read_reply(stream).starts_with("HTTP/1.1 200"));
    }
    assert!(read_reply(&mut door.connect()).starts_with("HTTP/1.1 503"));
    drop(open);
    // Their ends are seen in the server's own time.
    while !door.raw(&get("/heartbeat", "")).starts_with("HTTP/1.1 200") {
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_answers_what_is_under_way_and_closes_the_rest() {
    let mut door = Door::open();
    let mut resting = door.connect();
    resting.write_all(&get("/heartbeat", "")).unwrap();
    assert!(read_reply(&mut resting).starts_with("HTTP/1.1 200"));
    assert!(door.app.is_queryable());
    door.close();
    assert!(!door.app.is_queryable());
    assert_eq!(read_reply(&mut resting), "");
}
