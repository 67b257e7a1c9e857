//! `\stream` and `\feed`: what comes in.

use client::wire::msgpack::Reader;
use client::{Message, Subscription};
use serde_json::Value;

use super::session::Session;
use crate::cli::output::go_time;
use crate::cli::place::Opened;
use crate::cli::{Failure, remote};

pub(super) fn stream(session: &mut Session, args: &[&str]) -> Result<(), Failure> {
    let (pattern, count) = match args {
        [pattern] => (*pattern, None),
        [pattern, count] => {
            let count = count.parse::<u64>();
            let count = count.map_err(|_| Failure::new("\\stream pattern [count]"))?;
            (*pattern, Some(count))
        }
        _ => return Err(Failure::new("\\stream pattern [count]")),
    };
    let Opened::Server(client) = &session.opened else {
        return Err(Failure::new(
            "a directory has no stream: connect to a server with --url",
        ));
    };
    let subscription = Subscription::of(client, &[pattern]);
    let mut subscription = subscription.map_err(|error| remote::failure(&error))?;
    let stop = subscription.stop();
    let stop = stop.map_err(|error| remote::failure(&error))?;
    session.interrupts.stop_with(move || stop.stop());
    eprintln!("Listening to {pattern}, Ctrl-C ends");
    let mut left = count;
    while left != Some(0) {
        match subscription.receive() {
            Ok(message) => println!("{}", line(&message)),
            // Asked for.
            Err(_) if session.go_on().is_err() => return Ok(()),
            Err(error) => return Err(remote::failure(&error)),
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// `AAPL/1Min/OHLCV  2020-01-02 00:00:00 +0000 UTC  Open 10  Close 11`
fn line(message: &Message) -> String {
    let value = rmpv::decode::read_value(&mut &message.data[..]);
    let columns = match &value {
        Ok(rmpv::Value::Map(columns)) => columns.as_slice(),
        _ => return format!("{}  {} bytes", message.key, message.data.len()),
    };
    let number = |name: &str| {
        let found = columns.iter().find(|(k, _)| k.as_str() == Some(name));
        found.and_then(|(_, value)| value.as_i64())
    };
    let mut text = format!("{}  ", message.key);
    if let Some(epoch) = number("Epoch") {
        let below = number("Nanoseconds").unwrap_or(0);
        let time = epoch.saturating_mul(model::NANOS_PER_SECOND);
        go_time(time.saturating_add(below), &mut text);
    }
    for (name, value) in columns {
        match name.as_str() {
            None | Some("Epoch" | "Nanoseconds") => {}
            Some(name) => text.push_str(&format!("  {name} {}", shown(value))),
        }
    }
    text
}

/// A value; those of a message with several rows are in brackets.
fn shown(value: &rmpv::Value) -> String {
    match value {
        rmpv::Value::String(text) => text.as_str().unwrap_or_default().to_owned(),
        rmpv::Value::F32(number) => number.to_string(),
        rmpv::Value::F64(number) => number.to_string(),
        rmpv::Value::Binary(bytes) => match Reader::new(&bytes.clone().into()).text() {
            Ok(text) => text.to_owned(),
            Err(_) => format!("{} bytes", bytes.len()),
        },
        other => other.to_string(),
    }
}

/// MarketStore's help lists `\feed`, which it never had. Here rows are brought by sources and
/// workers of the server; this shows them.
pub(super) fn feeds(session: &mut Session) -> Result<(), Failure> {
    let Opened::Server(client) = &mut session.opened else {
        return Err(Failure::new(
            "a directory has no feeds: they run in a server, see bgworkers in its mkts.yml",
        ));
    };
    let answer = remote::admin(client, "plugins", None)?;
    let instances = match (&answer, &answer["instances"]) {
        (Value::Array(list), _) | (_, Value::Array(list)) => list.as_slice(),
        _ => &[],
    };
    let text = |instance: &Value, name: &str| instance[name].as_str().unwrap_or("").to_owned();
    let mut any = false;
    for instance in instances {
        let kind = text(instance, "kind");
        if kind == "trigger" {
            continue;
        }
        any = true;
        let rows = instance["rows_out"].as_u64().or(instance["rows"].as_u64());
        let rows = rows.map_or(String::new(), |rows| format!(", {rows} rows written"));
        let reason = match text(instance, "reason") {
            reason if reason.is_empty() => reason,
            reason => format!(": {reason}"),
        };
        let (id, state) = (text(instance, "id"), text(instance, "state"));
        println!("{id}: {kind}, {state}{rows}{reason}");
    }
    if !any {
        println!("No feeds run. A feed is an entry of bgworkers in the server's mkts.yml");
    }
    Ok(())
}
