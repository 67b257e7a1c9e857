//! Bad input of every kind gets a clear error, leaves nothing behind, and harms nobody.
//!
//! After each case: the server lives, the list of buckets is as before, nothing appeared outside
//! the data directory, and a good query answers exactly. The HTTP client gives up after a minute,
//! so a request that hangs fails the test.

mod build;
mod cases;
mod datasets;
mod raw;

use cases::{Case, Expect};
use rmpv::Value;
use std::path::Path;
use tests::http::{Client, Response};
use tests::server::Server;
use tests::wire::{self, Table, get, list, query, write};

const GOOD: &str = "GOOD/1Min/OHLCV";

/// The bars that must stay as they are.
fn good() -> Table {
    Table::default()
        .i8("Epoch", &[1583159400, 1583159460, 1583159520])
        .f4("Open", &[1.0, f32::NAN, 3.0])
        .i4("Volume", &[1, 2, i32::MAX])
}

/// What must not change.
#[derive(Debug, PartialEq)]
struct State {
    buckets: Vec<String>,
    outside: Vec<String>,
    odd_names: Vec<String>,
    good: Table,
}

impl State {
    fn of(server: &Server, client: &mut Client) -> Self {
        let mut good = query(client, GOOD).expect("a good query after bad input");
        let mut inside = names(&server.root());
        inside.retain(|name| {
            ["evil", "..", "passwd"]
                .iter()
                .any(|bad| name.contains(bad))
        });
        let mut outside = names(&server.outside());
        outside.retain(|name| !name.starts_with("data/"));
        Self {
            buckets: list(client).expect("the list after bad input"),
            outside,
            odd_names: inside,
            good: good.remove(GOOD).expect("the good bucket"),
        }
    }
}

/// Relative names of everything below a folder.
fn names(folder: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        // Files of the store come and go while we look.
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for path in entries.flatten().map(|e| e.path()) {
            found.push(
                path.strip_prefix(folder)
                    .expect("below")
                    .to_string_lossy()
                    .into_owned(),
            );
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn started() -> (Server, Client) {
    let server = Server::start(&[], "");
    let mut client = server.client();
    write(&mut client, &[(GOOD, &good())], false).expect("the good rows");
    (server, client)
}

#[test]
fn every_bad_request_gets_a_clear_error_and_leaves_nothing() {
    let (server, mut client) = started();
    let before = State::of(&server, &mut client);
    assert_eq!(before.buckets, [GOOD]);
    let cases = cases::all();
    assert!(cases.len() >= 150, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let reply = client.send("POST", "/rpc", Some(case.content_type), &case.body);
        let verdict = match &reply {
            Ok(reply) => judge(case, reply, &server.outside()),
            Err(e) => Err(format!("no reply: {e}")),
        };
        if let Err(e) = verdict {
            wrong.push(format!("{}: {e}", case.name));
        }
        let after = State::of(&server, &mut client);
        if after != before {
            wrong.push(format!("{}: left something behind: {after:?}", case.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn bad_requests_from_many_connections_at_once_do_not_disturb_good_ones() {
    let (server, mut client) = started();
    let before = State::of(&server, &mut client);
    let cases = cases::all();
    std::thread::scope(|scope| {
        for start in 0..8 {
            let (cases, mut client) = (&cases, server.client());
            scope.spawn(move || {
                // Each connection begins elsewhere in the list, so that different cases meet.
                for case in cases
                    .iter()
                    .cycle()
                    .skip(start * cases.len() / 8)
                    .take(cases.len())
                {
                    let reply = client.send("POST", "/rpc", Some(case.content_type), &case.body);
                    reply.unwrap_or_else(|e| panic!("{}: {e}", case.name));
                    let got = query(&mut client, GOOD).expect("a good query");
                    assert_eq!(bytes(&got[GOOD]), bytes(&good()), "{}", case.name);
                }
            });
        }
    });
    assert_eq!(State::of(&server, &mut client), before);
}

fn bytes(table: &Table) -> Vec<&[u8]> {
    table.columns.iter().map(|c| c.data.as_slice()).collect()
}

/// What a reply to bad input must be.
fn judge(case: &Case, reply: &Response, secret: &Path) -> Result<(), String> {
    if reply.status != 200 {
        return Err(format!("status {}: {}", reply.status, reply.text()));
    }
    let value = if case.content_type.starts_with("application/json") {
        let json: serde_json::Value =
            serde_json::from_slice(&reply.body).map_err(|e| format!("{e}: {}", reply.text()))?;
        from_json(&json)
    } else {
        wire::decode(&reply.body).map_err(|e| format!("{e}: {:?}", reply.text()))?
    };
    let error = get(&value, "error");
    let code = error.and_then(|e| get(e, "code")).and_then(Value::as_i64);
    let text = error
        .and_then(|e| get(e, "message"))
        .or_else(|| entry_error(&value));
    let text = text.and_then(Value::as_str).unwrap_or("").to_string();
    if text.is_empty() {
        return Err(format!("no error: {}", short(&value)));
    }
    for leak in [
        secret.to_string_lossy().as_ref(),
        "panicked",
        ".rs:",
        "RUST_BACKTRACE",
    ] {
        if text.contains(leak) {
            return Err(format!("the text tells {leak:?}: {text}"));
        }
    }
    if text.len() > 2000 {
        return Err(format!("an error text of {} bytes", text.len()));
    }
    match case.expect {
        Expect::AnyError => Ok(()),
        Expect::Code(wanted) if code == Some(wanted) => Ok(()),
        Expect::Code(wanted) => Err(format!("code {code:?}, expected {wanted}: {text}")),
        Expect::Naming(word) if text.to_lowercase().contains(&word.to_lowercase()) => Ok(()),
        Expect::Naming(word) => Err(format!("the text does not name {word:?}: {text}")),
    }
}

/// The text of a failed entry of `responses`.
fn entry_error(value: &Value) -> Option<&Value> {
    let result = get(value, "result")?;
    let list = get(result, "responses")
        .or_else(|| get(result, "Responses"))?
        .as_array()?;
    list.iter().find_map(|entry| {
        let entry = get(entry, "ServerResp").unwrap_or(entry);
        let text = get(entry, "error").or_else(|| get(entry, "Error"))?;
        text.as_str().is_some_and(|t| !t.is_empty()).then_some(text)
    })
}

fn from_json(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => (*b).into(),
        Json::Number(n) => n.as_i64().map_or(Value::Nil, Value::from),
        Json::String(s) => s.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(from_json).collect()),
        Json::Object(entries) => Value::Map(
            entries
                .iter()
                .map(|(k, v)| (k.as_str().into(), from_json(v)))
                .collect(),
        ),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

#[test]
fn the_judge_refuses_what_is_no_error() {
    let case = Case::msgpack("x", Vec::new(), Expect::AnyError);
    let reply = |value: Value| Response {
        status: 200,
        headers: Vec::new(),
        body: wire::encode(&value),
    };
    let ok = wire::map(vec![("result", wire::map(vec![("responses", Value::Nil)]))]);
    assert!(judge(&case, &reply(ok), Path::new("/x")).is_err());
    let error = |text: &str| {
        let error = wire::map(vec![("code", (-32000).into()), ("message", text.into())]);
        reply(wire::map(vec![("error", error)]))
    };
    assert!(judge(&case, &error("bad key"), Path::new("/x")).is_ok());
    assert!(judge(&case, &error(""), Path::new("/x")).is_err());
    assert!(judge(&case, &error("in /x/data"), Path::new("/x")).is_err());
    assert!(judge(&case, &error("panicked at a.rs:1"), Path::new("/x")).is_err());
    let other = Case::msgpack("x", Vec::new(), Expect::Code(-32700));
    assert!(judge(&other, &error("bad"), Path::new("/x")).is_err());
}
