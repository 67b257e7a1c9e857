//! Bad HTTP and bad WebSocket peers.

use super::{State, started};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::http::Client;
use tests::server::{STREAM, Server};
use tests::wire;
use tests::ws::Socket;

/// The default limit of a request body.
const BODY_LIMIT: usize = 64 << 20;

#[test]
fn bad_http_gets_its_status_and_leaves_nothing() {
    let (server, mut client) = started();
    let before = State::of(&server, &mut client);
    let long = "x".repeat(40 << 10);
    let many: String = (0..200).map(|i| format!("X-{i}: y\r\n")).collect();
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("GET", line("GET /rpc", "Content-Length: 0"), &[405]),
        ("DELETE", line("DELETE /rpc", "Content-Length: 0"), &[405]),
        ("unknown path", line("GET /no/such", ""), &[404]),
        (
            "leaving path",
            line("GET /../../etc/passwd", ""),
            &[400, 404],
        ),
        (
            "no content type",
            line("POST /rpc", "Content-Length: 0"),
            &[415],
        ),
        ("form", typed("application/x-www-form-urlencoded"), &[415]),
        ("text", typed("text/plain"), &[415]),
        ("msgpack without x-", typed("application/msgpack"), &[415]),
        (
            "huge header",
            line("GET /heartbeat", &format!("X-Long: {long}")),
            &[431],
        ),
        (
            "200 headers",
            line("GET /heartbeat", many.trim_end()),
            &[431],
        ),
        (
            "huge request line",
            line(&format!("GET /{long}"), ""),
            &[414, 431, 404],
        ),
        (
            "negative length",
            line("POST /rpc", "Content-Length: -1"),
            &[400],
        ),
        (
            "length of letters",
            line("POST /rpc", "Content-Length: abc"),
            &[400],
        ),
        (
            "two lengths",
            line("POST /rpc", "Content-Length: 1\r\nContent-Length: 2"),
            &[400],
        ),
        ("bad version", "GET / HTTP/9.9\r\n\r\n".into(), &[400, 505]),
        ("no request", "\0\0\0\0\r\n\r\n".into(), &[400]),
        ("plain GET on /ws", line("GET /ws", ""), &[400, 426]),
        (
            "declared body above the limit",
            format!(
                "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-msgpack\r\n\
                 Content-Length: {}\r\n\r\n",
                BODY_LIMIT + 1
            ),
            &[413],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, statuses) in &cases {
        // A fresh connection each: after such a request the old one may be closed.
        match server.client().raw(bytes.as_bytes(), false) {
            Ok(reply) if statuses.contains(&reply.status) => {}
            Ok(reply) => wrong.push(format!("{name}: status {}", reply.status)),
            Err(e) => wrong.push(format!("{name}: {e}")),
        }
        if State::of(&server, &mut client) != before {
            wrong.push(format!("{name}: left something behind"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_body_above_the_limit_is_refused_also_when_it_comes_in_chunks() {
    let (server, mut client) = started();
    let before = State::of(&server, &mut client);
    let mut stream = TcpStream::connect(server.addr()).expect("connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    let head = "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-msgpack\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the head");
    let chunk = [b"100000\r\n".as_slice(), &vec![0xc0; 1 << 20], b"\r\n"].concat();
    // The server may stop reading as soon as the limit is passed.
    for _ in 0..(BODY_LIMIT >> 20) + 8 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut reply = vec![0; 64];
    let read = stream.read(&mut reply).unwrap_or(0);
    let reply = String::from_utf8_lossy(&reply[..read]).into_owned();
    // Closed without a reply happens when our bytes were still on their way; never a 200.
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 413"),
        "{reply}"
    );
    assert_eq!(State::of(&server, &mut client), before);
}

#[test]
fn half_requests_do_not_disturb_others() {
    let (server, mut client) = started();
    let before = State::of(&server, &mut client);
    let halves: [&[u8]; 4] = [
        b"",
        b"POST /rp",
        b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-msgpack\r\n",
        b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-msgpack\r\nContent-Length: 99\r\n\r\n\x84",
    ];
    let mut open = Vec::new();
    for half in halves.iter().cycle().take(48) {
        let mut stream = TcpStream::connect(server.addr()).expect("connects");
        stream.write_all(half).expect("half a request");
        open.push(stream);
    }
    assert_eq!(State::of(&server, &mut client), before);
    drop(open);
    assert_eq!(State::of(&server, &mut client), before);
}

#[test]
fn bad_websocket_messages_get_an_error_and_the_connection_goes_on() {
    let server = Server::start(&[STREAM], "");
    let mut socket = Socket::open(server.addr(), "/ws").expect("opens");
    let pattern = |text: &str| {
        wire::encode(&wire::map(vec![(
            "streams",
            rmpv::Value::Array(vec![text.into()]),
        )]))
    };
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", vec![0xc1; 4]),
        (
            "streams as number",
            wire::encode(&wire::map(vec![("streams", 5.into())])),
        ),
        (
            "a list that lies",
            b"\x81\xa7streams\xdd\xff\xff\xff\xff".to_vec(),
        ),
        ("two parts", pattern("A/1Min")),
        ("four parts", pattern("A/1Min/X/Y")),
        ("empty", pattern("")),
        ("all", pattern("**")),
        (
            "endless pattern",
            pattern(&format!("{}/1Min/X", "*".repeat(1000))),
        ),
        ("nested deeply", vec![0x91; 10_000]),
    ];
    for (name, message) in bad {
        socket.send(true, &message).expect("sends");
        let frame = socket
            .receive(Duration::from_secs(20))
            .expect("open")
            .expect("an answer");
        let value = wire::decode(&frame.data).expect("decodes");
        let text = wire::get(&value, "error")
            .and_then(rmpv::Value::as_str)
            .unwrap_or("");
        assert!(!text.is_empty(), "{name}: {value}");
    }
    let good = pattern("OK/1Min/OHLCV");
    socket.send(true, &good).expect("sends");
    let echo = socket
        .receive(Duration::from_secs(20))
        .expect("open")
        .expect("an echo");
    assert_eq!(echo.data, good);
    let mut client = Client::new(server.addr());
    wire::write(&mut client, &[("OK/1Min/OHLCV", &super::good())], false).expect("good rows");
    let push = socket
        .receive(Duration::from_secs(20))
        .expect("open")
        .expect("a push");
    let push = wire::decode(&push.data).expect("decodes");
    assert_eq!(
        wire::get(&push, "key").and_then(rmpv::Value::as_str),
        Some("OK/1Min/OHLCV")
    );
}

fn line(request: &str, headers: &str) -> String {
    let headers = if headers.is_empty() {
        String::new()
    } else {
        format!("{headers}\r\n")
    };
    format!("{request} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

fn typed(kind: &str) -> String {
    line(
        "POST /rpc",
        &format!("Content-Type: {kind}\r\nContent-Length: 0"),
    )
}
