//! Subscribers of the real server: each gets its own, nobody waits for a dead one.

use rmpv::Value;
use std::time::Duration;
use tests::server::{STREAM, Server};
use tests::wire::{self, Table, get};
use tests::ws::Socket;

const LIMIT: Duration = Duration::from_secs(30);

fn subscribe(server: &Server, patterns: &[&str]) -> Socket {
    let mut socket = Socket::open(server.addr(), "/ws").expect("opens");
    let patterns = patterns.iter().map(|p| Value::from(*p)).collect();
    let message = wire::encode(&wire::map(vec![("streams", Value::Array(patterns))]));
    socket.send(true, &message).expect("sends");
    let echo = socket.receive(LIMIT).expect("open").expect("an echo");
    assert_eq!(echo.data, message, "the message is echoed");
    socket
}

fn bar(epoch: i64, open: f32) -> Table {
    Table::default().i8("Epoch", &[epoch]).f4("Open", &[open])
}

/// The key, epoch and price of the next push.
fn push(socket: &mut Socket) -> (String, i64, f32) {
    let frame = socket.receive(LIMIT).expect("open").expect("a push");
    assert!(frame.binary);
    let value = wire::decode(&frame.data).expect("decodes");
    let data = get(&value, "data").expect("data");
    let key = get(&value, "key").and_then(Value::as_str).expect("key");
    let open = match get(data, "Open") {
        Some(Value::F32(open)) => *open,
        other => panic!("f4 comes as a 4-byte float: {other:?}"),
    };
    (
        key.to_string(),
        get(data, "Epoch").and_then(Value::as_i64).expect("Epoch"),
        open,
    )
}

#[test]
fn every_subscriber_gets_its_own_in_order() {
    let server = Server::start(&[STREAM], "");
    let mut all = subscribe(&server, &["*/1Min/OHLCV"]);
    let mut one = subscribe(&server, &["B/*/*"]);
    let mut double = subscribe(&server, &["B/*/*", "*/1Min/*"]);
    let mut client = server.client();
    for i in 0..50 {
        for symbol in ["A", "B"] {
            let key = format!("{symbol}/1Min/OHLCV");
            wire::write(
                &mut client,
                &[(&key, &bar(1_583_159_400 + 60 * i, i as f32))],
                false,
            )
            .expect("written");
            // One message a write, so that writes of one bucket cannot be joined.
            let wanted = (key, 1_583_159_400 + 60 * i, i as f32);
            assert_eq!(push(&mut all), wanted);
            assert_eq!(
                push(&mut double),
                wanted,
                "once, although two patterns match"
            );
            if symbol == "B" {
                assert_eq!(push(&mut one), wanted);
            }
        }
    }
}

#[test]
fn subscribers_that_never_read_hurt_nobody() {
    let server = Server::start(&[STREAM], "");
    let dead: Vec<Socket> = (0..10).map(|_| subscribe(&server, &["*/*/*"])).collect();
    let mut live = subscribe(&server, &["LIVE/1Min/OHLCV"]);
    let mut client = server.client();
    // Many buckets in one request: far more pushes than a queue or a socket buffer holds.
    let names: Vec<String> = (0..500).map(|i| format!("S{i}/1Min/OHLCV")).collect();
    for round in 0..40 {
        let table = bar(1_583_159_400 + 60 * round, round as f32);
        let mut tables: Vec<(&str, &Table)> = names.iter().map(|n| (n.as_str(), &table)).collect();
        tables.push(("LIVE/1Min/OHLCV", &table));
        wire::write(&mut client, &tables, false).expect("written");
        let wanted = (
            "LIVE/1Min/OHLCV".to_string(),
            1_583_159_400 + 60 * round,
            round as f32,
        );
        assert_eq!(push(&mut live), wanted);
    }
    drop(dead);
    let table = bar(1_583_169_400, 7.0);
    wire::write(&mut client, &[("LIVE/1Min/OHLCV", &table)], false).expect("written");
    assert_eq!(push(&mut live).2, 7.0);
}
