//! Subscribers.

use std::time::Duration;

use bytes::Bytes;
use client::wire::msgpack::Writer;
use client::{Error, Subscription};
use plugin_host::Publisher;
use server::config::Limits;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::Door;

fn message(key: &str, filler: usize) -> Bytes {
    let mut writer = Writer::default();
    writer.map(2);
    writer.text("key");
    writer.text(key);
    writer.text("data");
    writer.bytes(&vec![7; filler]);
    writer.out.into()
}

fn publish(door: &Door, key: &str, filler: usize) {
    door.app.hub.publish("test", key, message(key, filler));
}

fn socket(door: &Door) -> tungstenite::WebSocket<std::net::TcpStream> {
    let (socket, _) =
        tungstenite::client(format!("ws://{}/ws", door.addr), door.connect()).unwrap();
    socket
}

fn subscribe(patterns: &[&str]) -> Bytes {
    let mut writer = Writer::default();
    writer.map(1);
    writer.text("streams");
    writer.array(patterns.len());
    patterns.iter().for_each(|p| writer.text(p));
    writer.out.into()
}

#[test]
fn a_message_reaches_each_subscriber_that_wants_it_once() {
    let door = Door::open();
    let addr = door.addr.to_string();
    let mut all = Subscription::open(&addr, &["*/*/*", "A/*/*"]).unwrap();
    let mut minutes = Subscription::open(&addr, &["{A,B}/1Min/OHLC?"]).unwrap();
    assert_eq!(door.app.hub.connections(), 2);
    for key in [
        "A/5Min/OHLCV",
        "A/1Min/OHLCV",
        "C/1Min/OHLCV",
        "B/1Min/OHLCV",
    ] {
        publish(&door, key, 3);
    }
    for key in [
        "A/5Min/OHLCV",
        "A/1Min/OHLCV",
        "C/1Min/OHLCV",
        "B/1Min/OHLCV",
    ] {
        assert_eq!(all.receive().unwrap().key, key);
    }
    for key in ["A/1Min/OHLCV", "B/1Min/OHLCV"] {
        assert_eq!(minutes.receive().unwrap().key, key);
    }
}

#[test]
fn a_bad_pattern_changes_nothing_and_the_echo_is_exact() {
    let door = Door::open();
    let refused = Subscription::open(door.addr.to_string(), &["A/1Min"]);
    assert!(matches!(refused, Err(Error::Rpc(text)) if text == "A/1Min is an invalid stream"));
    let mut socket = socket(&door);
    let echo = |socket: &mut tungstenite::WebSocket<_>, bytes: Bytes| {
        socket.send(Message::Binary(bytes)).unwrap();
        socket.read().unwrap().into_data()
    };
    let good = subscribe(&["A/1Min/X"]);
    assert_eq!(echo(&mut socket, good.clone()), good);
    for (bad, text) in [
        (subscribe(&["B/1Min/X", "bad"]), "bad is an invalid stream"),
        (Bytes::from_static(b"\xc1\xc1"), "cannot be read"),
    ] {
        let reply = echo(&mut socket, bad);
        assert!(String::from_utf8_lossy(&reply).contains(text));
    }
    let none = subscribe(&[]);
    assert_eq!(echo(&mut socket, none.clone()), none);
    publish(&door, "B/1Min/X", 1);
    publish(&door, "A/1Min/X", 1);
    assert_eq!(socket.read().unwrap().into_data(), message("A/1Min/X", 1));
}

#[test]
fn a_subscriber_that_never_reads_is_closed_and_others_get_everything() {
    let limits = Limits {
        stream_queue_messages: 64,
        stream_queue_bytes: 1 << 20,
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let addr = door.addr.to_string();
    let mut lazy = socket(&door);
    lazy.send(Message::Binary(subscribe(&["*/*/*"]))).unwrap();
    lazy.read().unwrap();
    let mut eager = Subscription::open(&addr, &["*/*/*"]).unwrap();
    eager.set_timeout(Some(Duration::from_secs(60))).unwrap();
    // Far more than sockets buffer, each of another key so that conflation does not help.
    for n in 0..2000 {
        publish(&door, &format!("S{n}/1Min/X"), 50_000);
        assert_eq!(eager.receive().unwrap().key, format!("S{n}/1Min/X"));
    }
    // What was on its way arrives, then the close.
    let mut received = 0;
    let code = loop {
        match lazy.read().unwrap() {
            Message::Binary(_) => received += 1,
            Message::Close(close) => break close.unwrap().code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, CloseCode::Again);
    assert!(received < 2000, "{received}");
}

#[test]
fn a_slow_subscriber_of_few_keys_gets_the_newest_of_each() {
    let limits = Limits {
        stream_queue_messages: 8,
        stream_queue_bytes: 1 << 20,
        ..Limits::default()
    };
    let door = Door::with(limits, &[]);
    let mut lazy = socket(&door);
    lazy.send(Message::Binary(subscribe(&["*/*/*"]))).unwrap();
    lazy.read().unwrap();
    for n in 0..3000 {
        publish(&door, "A/1Min/X", 20_000 + n);
    }
    publish(&door, "END/1Min/X", 1);
    let mut last = 0;
    let mut received = 0;
    loop {
        let data = lazy.read().unwrap().into_data();
        if data == message("END/1Min/X", 1) {
            break;
        }
        assert!(data.len() > last, "in order");
        last = data.len();
        received += 1;
    }
    assert_eq!(last, message("A/1Min/X", 22_999).len());
    assert!(received < 3000, "nothing was conflated");
}

#[test]
fn faults_of_the_protocol_are_closed_with_their_code() {
    let door = Door::open();
    for (size, code) in [(70_000, CloseCode::Size), (10, CloseCode::Normal)] {
        let mut socket = socket(&door);
        if code == CloseCode::Size {
            socket.send(Message::Binary(vec![0; size].into())).unwrap();
        } else {
            socket.close(None).unwrap();
        }
        let close = loop {
            match socket.read() {
                Ok(Message::Close(Some(close))) => break close.code,
                Ok(_) => {}
                Err(error) => panic!("{size}: {error}"),
            }
        };
        assert_eq!(close, code);
    }
}

#[test]
fn a_stop_tells_subscribers() {
    let mut door = Door::open();
    let mut socket = socket(&door);
    socket
        .send(Message::Binary(subscribe(&["A/1Min/X"])))
        .unwrap();
    socket.read().unwrap();
    door.close();
    match socket.read().unwrap() {
        Message::Close(Some(close)) => assert_eq!(close.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
}
