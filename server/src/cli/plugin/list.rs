//! `mkts plugin list`.

use std::fmt::Write;

use plugin_sdk::BuiltIn;
use serde_json::{Value, json};

use super::server::{Api, target_of};
use super::{ConfigFile, modules, table};
use crate::cli::Failure;
use crate::cli::remote::{Ask, Login};
use crate::config::Config;

/// Arguments of `mkts plugin list`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Asks this server; else that of the configuration, and the file itself if no server runs.
    #[arg(short, long, conflicts_with = "config")]
    url: Option<String>,
    #[command(flatten)]
    login: Login,
    /// Looks into mkts.yml even if a server runs.
    #[arg(long, conflicts_with = "url")]
    offline: bool,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, builtins: &[BuiltIn]) -> Result<(), Failure> {
    let answer = match &args.url {
        Some(url) => Api::of(args.login.target(url)?).all("", &Ask::Get)?,
        None => {
            let config = args.config.need()?;
            let online = match args.offline {
                true => None,
                false => Api::of(target_of(&config, &args.login)?).instances()?,
            };
            online.unwrap_or_else(|| json!({ "instances": offline(&config, builtins) }))
        }
    };
    let orphans = orphans(&answer);
    let instances = instances(answer)?;
    match args.json {
        true => println!("{}", Value::Array(instances)),
        false => print!("{}{orphans}", table(&instances)),
    }
    Ok(())
}

/// A line for each instance that is stored and no entry names.
fn orphans(answer: &Value) -> String {
    let orphans = answer["orphans"].as_array().into_iter().flatten();
    let line = |orphan: &Value| {
        let id = orphan["id"].as_str().unwrap_or("");
        format!("{id} is stored, and no entry names it: `mkts plugin gc` forgets it\n")
    };
    orphans.map(line).collect()
}

/// The instances of the server of a configuration; `None` if none runs.
pub(super) fn running(config: &Config, login: &Login) -> Result<Option<Vec<Value>>, Failure> {
    let answer = Api::of(target_of(config, login)?).instances()?;
    answer.map(instances).transpose()
}

fn instances(mut answer: Value) -> Result<Vec<Value>, Failure> {
    match answer["instances"].take() {
        Value::Array(list) => Ok(list),
        _ => Err(Failure::new(
            "the server lists no instances; is it of another version?",
        )),
    }
}

/// What mkts.yml would run, with the state that can be known without running it.
fn offline(config: &Config, builtins: &[BuiltIn]) -> Vec<Value> {
    let modules = modules(Some(config), builtins);
    let listed = plugin_host::list(&config.plugins.entries, &modules);
    let json = listed.iter().map(|entry| {
        json!({
            "id": entry.id,
            "module": entry.module,
            "version": entry.version,
            "host": entry.host,
            "path": entry.path,
            "place": entry.place,
            "state": entry.state.name(),
            "reason": entry.reason,
        })
    });
    json.collect()
}

/// One line for each instance, and its reason below if there is one.
fn table(instances: &[Value]) -> String {
    let columns = ["id", "state", "version", "host", "module", "place"];
    let heads = ["INSTANCE", "STATE", "VERSION", "HOST", "MODULE", "FROM"];
    let row = |instance: &Value| {
        let cells = columns.map(|column| instance[column].as_str().unwrap_or("").to_owned());
        cells.to_vec()
    };
    let rows: Vec<Vec<String>> = instances.iter().map(row).collect();
    let lines = table::lines(&heads, &rows);
    let mut out = String::new();
    let (head, lines) = lines.split_first().expect("the heads are a line");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{head}");
    for (line, instance) in lines.iter().zip(instances) {
        let _ = writeln!(out, "{line}");
        let reason = instance["reason"].as_str().unwrap_or("");
        if !reason.is_empty() {
            let _ = writeln!(out, "  {reason}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_below_its_instance() {
        let instances = [
            json!({"id": "a", "state": "running", "version": "1.0.0", "host": "builtin",
                   "module": "a.so", "place": "mkts.yml:3", "reason": ""}),
            json!({"id": "longer", "state": "missing", "module": "b", "place": "mkts.yml:9",
                   "reason": "no module \"b\""}),
        ];
        assert_eq!(
            table(&instances),
            "INSTANCE  STATE    VERSION  HOST     MODULE  FROM\n\
             a         running  1.0.0    builtin  a.so    mkts.yml:3\n\
             longer    missing  -        -        b       mkts.yml:9\n  no module \"b\"\n"
        );
    }
}
