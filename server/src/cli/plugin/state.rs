//! `mkts plugin state ...`: what an instance keeps.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::Server;
use super::table;
use crate::cli::Failure;
use crate::cli::remote::Ask;
use crate::percent;

/// `mkts plugin state ...`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Shows one value.
    Get(Get),
    /// Lists keys and values in order.
    Scan(Scan),
    /// Changes or removes a value of an instance that does not run.
    Put(Put),
}

/// Which instance, and whose state.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Place {
    /// Instance id.
    id: String,
    /// The bucket key, of a plugin with state_scope: key.
    #[arg(short, long, default_value = "")]
    namespace: String,
    #[command(flatten)]
    server: Server,
}

/// A key.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Key {
    /// The key, as text.
    key: String,
    /// The key is in base64: it need not be text.
    #[arg(long)]
    base64_key: bool,
}

impl Key {
    fn path(&self, place: &Place, more: &str) -> Result<String, Failure> {
        let key = bytes(&self.key, self.base64_key)?;
        let namespace = percent::encode(place.namespace.as_bytes());
        let key = percent::encode(&key);
        Ok(format!("/state/{key}?namespace={namespace}{more}"))
    }
}

fn bytes(text: &str, is_base64: bool) -> Result<Vec<u8>, Failure> {
    match is_base64 {
        false => Ok(text.as_bytes().to_vec()),
        true => STANDARD
            .decode(text)
            .map_err(|error| Failure::new(format!("\"{text}\" is no base64: {error}"))),
    }
}

/// Arguments of `mkts plugin state get`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Get {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    key: Key,
    /// The bytes of the value and nothing else.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Arguments of `mkts plugin state scan`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Scan {
    #[command(flatten)]
    place: Place,
    /// Only keys that begin with this text.
    #[arg(default_value = "")]
    prefix: String,
    /// Most keys.
    #[arg(long, default_value_t = 100)]
    limit: u64,
    /// Lists the namespaces instead.
    #[arg(long)]
    namespaces: bool,
}

/// Arguments of `mkts plugin state put`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Put {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    value: Form,
}

/// The new value.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Form {
    /// This text.
    #[arg(long)]
    text: Option<String>,
    /// These bytes.
    #[arg(long)]
    base64: Option<String>,
    /// This JSON, as MessagePack.
    #[arg(long, value_name = "JSON")]
    msgpack: Option<String>,
    /// This sum.
    #[arg(long, allow_negative_numbers = true)]
    counter: Option<i64>,
    /// No value any more.
    #[arg(long)]
    delete: bool,
}

impl Form {
    fn json(&self) -> Result<Value, Failure> {
        Ok(if let Some(text) = &self.text {
            json!({ "text": text })
        } else if let Some(base64) = &self.base64 {
            json!({ "base64": base64 })
        } else if let Some(text) = &self.msgpack {
            let value: Value = serde_json::from_str(text)
                .map_err(|error| Failure::new(format!("--msgpack: this is no JSON: {error}")))?;
            json!({ "msgpack": value })
        } else if let Some(sum) = self.counter {
            json!({ "counter": sum })
        } else {
            Value::Null
        })
    }
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Get(args) => get(args),
        Command::Scan(args) => scan(args),
        Command::Put(args) => put(args),
    }
}

fn get(args: &Get) -> Result<(), Failure> {
    let more = if args.raw { "&raw=true" } else { "" };
    let path = args.key.path(&args.place, more)?;
    let server = &args.place.server;
    let answer = server.api()?.one(&args.place.id, &path, &Ask::Get)?;
    if !args.raw {
        server.show(&answer, |answer| shown(&answer["value"]) + "\n");
        return Ok(());
    }
    let value = &answer["value"];
    let out = match (&value["base64"], &value["counter"]) {
        (Value::String(text), _) => bytes(text, true)?,
        (_, Value::Number(sum)) => sum.to_string().into_bytes(),
        _ => return Err(Failure::new("the value has a secret of a config in it")),
    };
    std::io::stdout()
        .write_all(&out)
        .map_err(|error| Failure::new(format!("standard output: {error}")))
}

fn scan(args: &Scan) -> Result<(), Failure> {
    let server = &args.place.server;
    let mut api = server.api()?;
    if args.namespaces {
        let answer = api.one(&args.place.id, "/namespaces", &Ask::Get)?;
        server.show(&answer, |answer| {
            let names = answer["namespaces"].as_array().into_iter().flatten();
            names
                .map(|name| format!("{}\n", name.as_str().unwrap_or("")))
                .collect()
        });
        return Ok(());
    }
    let [namespace, prefix] =
        [&args.place.namespace, &args.prefix].map(|text| percent::encode(text.as_bytes()));
    let limit = args.limit;
    let path = format!("/state?namespace={namespace}&prefix={prefix}&limit={limit}");
    let answer = api.one(&args.place.id, &path, &Ask::Get)?;
    server.show(&answer, entries);
    Ok(())
}

fn entries(answer: &Value) -> String {
    let entries = answer["entries"].as_array().into_iter().flatten();
    let rows = entries.map(|entry| vec![shown(&entry["key"]), shown(&entry["value"])]);
    let mut text = table::text(&["KEY", "VALUE"], &rows.collect::<Vec<_>>());
    if answer["more"] == true {
        text.push_str("...\n");
    }
    text
}

fn put(args: &Put) -> Result<(), Failure> {
    let path = args.key.path(&args.place, "")?;
    let body = json!({ "value": args.value.json()? });
    let server = &args.place.server;
    let answer = server.api()?.one(&args.place.id, &path, &Ask::Put(&body))?;
    server.show(&answer, |answer| match &answer["value"] {
        Value::Null => format!("{} removed\n", shown(&answer["key"])),
        value => format!("{} = {}\n", shown(&answer["key"]), shown(value)),
    });
    Ok(())
}

/// A key or value as a person reads it: the text, the sum, what MessagePack says, or base64.
fn shown(form: &Value) -> String {
    if let Some(text) = form.as_str() {
        return text.to_owned();
    }
    let text = |name: &str| form[name].as_str();
    match (
        text("text"),
        &form["msgpack"],
        &form["counter"],
        text("base64"),
    ) {
        (Some(text), ..) => text.to_owned(),
        (_, _, sum @ Value::Number(_), _) => sum.to_string(),
        (.., Some(base64)) => format!("base64:{base64}"),
        (_, packed, ..) => packed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_well() {
        for (form, text) in [
            (json!("key"), "key"),
            (json!({"text": "a"}), "a"),
            (json!({"text": "5", "msgpack": 53}), "5"),
            (json!({"msgpack": {"n": 5}}), "{\"n\":5}"),
            (json!({"msgpack": null}), "null"),
            (json!({"counter": -3}), "-3"),
            (json!({"base64": "/w=="}), "base64:/w=="),
        ] {
            assert_eq!(shown(&form), text);
        }
    }
}
