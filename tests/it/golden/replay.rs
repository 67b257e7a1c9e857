//! Plays a recorded scenario against a real server.

use crate::golden::canon::{self, unhex};
use crate::golden::now;
use crate::golden::rulings::{Expect, Tables, ruling};
use rmpv::Value;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::http::{Client, Response};
use tests::server::{ONDISKAGG, STREAM, Server};
use tests::wire::{self, get};
use tests::ws::{Frame, Socket};

/// How long asynchronous work may take before it counts as not done.
const SETTLE: Duration = Duration::from_secs(10);
/// How long a silent connection is listened to.
const SILENCE: Duration = Duration::from_millis(300);

/// A file of the recording.
pub(crate) fn recorded(path: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden/v4.1.23")
        .join(path);
    let text = std::fs::read_to_string(&path).expect("the recording is there");
    serde_json::from_str(&text).expect("the recording is JSON")
}

/// Plays all steps and fails with the list of those that disagree.
pub(crate) fn play(name: &str) {
    let scenario = recorded(&format!("scenarios/{name}.json"));
    let triggers = scenario["triggers"].as_array().expect("triggers").iter();
    let triggers: Vec<&str> = triggers
        .map(|t| match t.as_str() {
            Some("ondiskagg") => ONDISKAGG,
            Some("stream") => STREAM,
            other => panic!("unknown trigger {other:?}"),
        })
        .collect();
    let extra = scenario["config_extra"].as_str().expect("config_extra");
    let server = Server::start(&triggers, extra);
    let client = server.client();
    let mut player = Player {
        name,
        server,
        client,
        sockets: BTreeMap::new(),
        settle: None,
        wrong: Vec::new(),
    };
    for step in scenario["steps"].as_array().expect("steps") {
        player.step(step);
    }
    assert!(player.server.alive(), "the server died");
    let wrong = &player.wrong;
    assert!(
        wrong.is_empty(),
        "{name}: {} steps disagree\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

struct Player<'a> {
    name: &'a str,
    server: Server,
    client: Client,
    sockets: BTreeMap<String, Socket>,
    /// After a wait: until when reads are repeated until they agree.
    settle: Option<Instant>,
    wrong: Vec<String>,
}

impl Player<'_> {
    fn step(&mut self, step: &Json) {
        let result = match step["op"].as_str().expect("op") {
            "http" => self.http(step),
            "wait" => {
                self.settle = Some(Instant::now() + SETTLE);
                Ok(())
            }
            "restart" => self.restart(step),
            "ws_open" => self.ws_open(step),
            "ws_send" => self.ws_send(step),
            "ws_recv" => self.ws_recv(step),
            "ws_close" => self.ws_close(step),
            other => Err(format!("unknown op {other}")),
        };
        if let Err(e) = result {
            let what = step["what"].as_str().unwrap_or("");
            self.wrong
                .push(format!("step {} ({what}): {e}", step["step"]));
        }
    }

    fn http(&mut self, step: &Json) -> Result<(), String> {
        let method = step["request"]["method"].as_str().unwrap_or("");
        if method.ends_with(".Write") {
            self.settle = None;
        }
        loop {
            let reply = self.exchange(step).map_err(|e| format!("no reply: {e}"))?;
            let result = self.compare(step, &reply);
            match (&result, self.settle) {
                (Err(_), Some(until)) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return result,
            }
        }
    }

    fn exchange(&mut self, step: &Json) -> std::io::Result<Response> {
        let text = |key: &str| step[key].as_str();
        let body = unhex(text("request_hex").unwrap_or(""));
        let (method, path) = (
            text("method").unwrap_or("POST"),
            text("path").unwrap_or("/rpc"),
        );
        self.client.send(method, path, text("content_type"), &body)
    }

    fn compare(&self, step: &Json, reply: &Response) -> Result<(), String> {
        let root = self.server.root();
        let outside = root.parent().expect("a box").to_string_lossy().into_owned();
        if reply.text().contains(&outside) {
            return Err(format!("the reply names a server path: {}", reply.text()));
        }
        check(self.name, step, reply)
    }

    fn restart(&mut self, step: &Json) -> Result<(), String> {
        match step["signal"].as_str() {
            Some("TERM") => {
                let status = self.server.terminate();
                if !status.success() {
                    return Err(format!("a graceful stop ended with {status}"));
                }
            }
            Some("KILL") => self.server.kill(),
            other => return Err(format!("unknown signal {other:?}")),
        }
        self.server.restart();
        self.client = self.server.client();
        Ok(())
    }

    fn ws_open(&mut self, step: &Json) -> Result<(), String> {
        let socket = Socket::open(self.server.addr(), step["path"].as_str().expect("path"))?;
        self.sockets.insert(step["conn"].to_string(), socket);
        Ok(())
    }

    fn socket(&mut self, step: &Json) -> Result<&mut Socket, String> {
        self.sockets
            .get_mut(&step["conn"].to_string())
            .ok_or("no such connection".into())
    }

    fn ws_send(&mut self, step: &Json) -> Result<(), String> {
        let data = unhex(step["request_hex"].as_str().expect("request_hex"));
        self.socket(step)?.send(step["opcode"] == "binary", &data)
    }

    fn ws_recv(&mut self, step: &Json) -> Result<(), String> {
        let mut expected: Vec<Json> = step["frames"]
            .as_array()
            .expect("frames")
            .iter()
            .map(recorded_frame)
            .collect();
        let ruled = ruling(self.name, step["step"].as_u64().expect("step"));
        if let Some((.., Expect::ErrorFrame, _)) = ruled {
            expected = vec![json!({"binary": true, "body": {"error": "<some text>"}})];
        }
        let socket = self.socket(step)?;
        for expected in &expected {
            match socket.receive(SETTLE)? {
                Some(frame) => same(expected, &frame_view(&frame))?,
                None => return Err(format!("nothing came, expected {expected}")),
            }
        }
        // Silence is proved here for a moment and again by whatever is received next.
        let silence = if expected.is_empty() {
            SILENCE
        } else {
            Duration::from_millis(1)
        };
        match socket.receive(silence)? {
            None => Ok(()),
            Some(frame) => Err(format!("one frame too many: {}", frame_view(&frame))),
        }
    }

    fn ws_close(&mut self, step: &Json) -> Result<(), String> {
        let mut socket = self
            .sockets
            .remove(&step["conn"].to_string())
            .ok_or("no such connection")?;
        if let Some(frame) = socket.receive(SILENCE)? {
            return Err(format!("an unexpected frame: {}", frame_view(&frame)));
        }
        socket.close()
    }
}

fn recorded_frame(frame: &Json) -> Json {
    let data = unhex(frame["hex"].as_str().expect("hex"));
    frame_view(&Frame {
        binary: frame["opcode"] == "binary",
        data,
    })
}

fn frame_view(frame: &Frame) -> Json {
    json!({"binary": frame.binary, "body": canon::body("application/x-msgpack", &frame.data)})
}

/// The recorded reply of a step, as if it had been received.
pub(crate) fn recorded_reply(step: &Json) -> Response {
    let headers = step["response_headers"].as_object().expect("headers");
    let header = |(k, v): (&String, &Json)| (k.clone(), v.as_str().unwrap_or("").to_string());
    Response {
        status: step["status"].as_u64().unwrap_or(0) as u16,
        headers: headers.iter().map(header).collect(),
        body: unhex(step["response_hex"].as_str().unwrap_or("")),
    }
}

/// Compares the canonical view of a reply with what the recording and the rulings ask for.
pub(crate) fn check(scenario: &str, step: &Json, reply: &Response) -> Result<(), String> {
    let got = &canon::reply(reply);
    let recorded = canon::reply(&recorded_reply(step));
    let number = step["step"].as_u64().expect("step");
    let id = &step["request"]["id"];
    match ruling(scenario, number).map_or(Expect::Recorded, |r| r.3) {
        Expect::Recorded => same(&recorded, got),
        Expect::ThisYear => {
            let mut wanted = recorded;
            let year = wanted.pointer_mut("/body/result/responses/0/LatestYear");
            *year.ok_or("the recording has no LatestYear")? = json!(this_year());
            same(&wanted, got)
        }
        Expect::Now => same(&now::wanted(&recorded_reply(step), reply)?, got),
        Expect::Tables(tables) => {
            let categories = ":Symbol/Timeframe/AttributeGroup";
            let view = tables_view(&tables(), categories, &recorded);
            same(&envelope(step, "result", view), got)
        }
        Expect::Sql(tables) => {
            let view = tables_view(&tables(), "", &recorded);
            same(&envelope(step, "result", view), got)
        }
        Expect::Text(word) => {
            same(&json!(200), &got["status"])?;
            same(id, &got["body"]["id"])?;
            let texts = texts(reply)?;
            let has = texts.iter().any(|text| text.contains(word));
            require(has, format!("{word:?} is not in {texts:?}"))
        }
        Expect::List(keys) => {
            let mut keys: Vec<&str> = keys.to_vec();
            keys.sort_unstable();
            same(&envelope(step, "result", json!({ "Results": keys })), got)
        }
        Expect::NilList => {
            same(
                &json!({"jsonrpc": "2.0", "result": {"Results": []}, "id": null}),
                &got["body"],
            )?;
            same(&json!(200), &got["status"])
        }
        Expect::NilError(code) => {
            error_object(got, &[code])?;
            same(&Json::Null, &got["body"]["id"])
        }
        Expect::Error(codes) => {
            error_object(got, codes)?;
            same(id, &got["body"]["id"])
        }
        Expect::ErrorNaming(word) => {
            error_object(got, &[-32000])?;
            same(id, &got["body"]["id"])?;
            let text = error_text(reply);
            require(text.contains(word), format!("{word} is not in {text:?}"))
        }
        Expect::AnyError => {
            same(id, &got["body"]["id"])?;
            let entry = &got["body"]["result"]["responses"][0]["error"];
            match entry.as_str() {
                Some(text) if !text.is_empty() => Ok(()),
                _ => error_object(got, &[-32000, -32600]),
            }
        }
        Expect::EntryWithout { has, lacks } => {
            let text = error_text(reply);
            require(text.contains(has), format!("{has:?} is not in {text:?}"))?;
            require(!text.contains(lacks), format!("{lacks:?} is in {text:?}"))
        }
        Expect::Heartbeat => {
            same(&json!(200), &got["status"])?;
            let body: Json = serde_json::from_slice(&reply.body).map_err(|e| e.to_string())?;
            same(&json!("queryable"), &body["status"])
        }
        Expect::ErrorFrame => Err("not an HTTP step".into()),
    }
}

fn envelope(step: &Json, part: &str, value: Json) -> Json {
    json!({
        "status": 200,
        "type": "application/x-msgpack",
        "version header": true,
        "body": {"jsonrpc": "2.0", part: value, "id": step["request"]["id"]},
    })
}

/// Every text of the columns of texts of the first result.
fn texts(reply: &Response) -> Result<Vec<String>, String> {
    let value = wire::decode(&reply.body)?;
    let responses = get(&value, "result").and_then(|result| get(result, "responses"));
    let first = responses
        .and_then(Value::as_array)
        .and_then(|all| all.first());
    let set = first.and_then(|response| get(response, "result"));
    let tables = wire::tables(set.ok_or(format!("no result in {value}"))?)?;
    let mut texts = Vec::new();
    for column in tables.values().flat_map(|table| &table.columns) {
        let width = wire::width(&column.code).filter(|_| column.code.starts_with('U'));
        for text in width
            .map_or(&[][..], |_| &column.data)
            .chunks(width.unwrap_or(1))
        {
            let letters = text
                .chunks_exact(4)
                .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
            let letters = letters.take_while(|c| *c != 0);
            texts.push(letters.map(|c| char::from_u32(c).unwrap_or('?')).collect());
        }
    }
    Ok(texts)
}

/// In the zone that the server said.
fn tables_view(tables: &Tables, categories: &str, recorded: &Json) -> Json {
    let view: Map<String, Json> = tables
        .iter()
        .map(|(key, t)| (format!("{key}{categories}"), canon::table(t)))
        .collect();
    let zone = recorded.pointer("/body/result/timezone");
    let zone = zone.and_then(Json::as_str).unwrap_or("UTC");
    json!({"responses": [{"result": {"tables": view}}], "timezone": zone})
}

/// The text of the error object, or of the first entry of `responses`.
fn error_text(reply: &Response) -> String {
    let Ok(value) = wire::decode(&reply.body) else {
        return String::new();
    };
    let entry = |result: &Value| {
        let entry = get(result, "responses")?.as_array()?.first()?.clone();
        let entry = get(&entry, "ServerResp").unwrap_or(&entry).clone();
        get(&entry, "error").cloned()
    };
    let text = match get(&value, "error") {
        Some(error) => get(error, "message").cloned(),
        None => get(&value, "result").and_then(entry),
    };
    text.as_ref()
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_string()
}

fn error_object(got: &Json, codes: &[i64]) -> Result<(), String> {
    same(&json!(200), &got["status"])?;
    let error = &got["body"]["error"];
    let code = error["code"]
        .as_i64()
        .ok_or(format!("no error object in {got}"))?;
    require(
        codes.contains(&code),
        format!("error code {code}, expected {codes:?}"),
    )?;
    require(
        error["message"].as_str().is_some_and(|m| !m.is_empty()),
        "no message".into(),
    )?;
    require(
        got["body"].get("result").is_none(),
        "a result beside the error".into(),
    )
}

pub(crate) fn require(condition: bool, otherwise: String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise) }
}

fn same(expected: &Json, got: &Json) -> Result<(), String> {
    if expected == got {
        return Ok(());
    }
    Err(format!(
        "\n  expected {}\n  got      {}",
        cut(expected),
        cut(got)
    ))
}

fn cut(value: &Json) -> String {
    value.to_string().chars().take(1500).collect()
}

/// The year of today, UTC.
pub(crate) fn this_year() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let days = now.expect("the clock is past 1970").as_secs() as i64 / 86_400;
    // Days since 0000-03-01 in years of 365.2425 days; good for any day but the turn of February.
    let (z, era) = (days + 719_468, (days + 719_468) / 146_097);
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let march_based = yoe + era * 400;
    if doy >= 306 {
        march_based + 1
    } else {
        march_based
    }
}
