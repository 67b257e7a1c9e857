//! `mkts plugin list`.

use std::fmt::Write;

use client::Client;
use plugin_sdk::BuiltIn;
use serde_json::{Value, json};

use super::{ConfigFile, modules};
use crate::cli::load::address;
use crate::cli::{Failure, remote};
use crate::config::Config;

/// Arguments of `mkts plugin list`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Asks this server; else that of the configuration, and the file itself if no server runs.
    #[arg(short, long, conflicts_with = "config")]
    url: Option<String>,
    /// Looks into mkts.yml even if a server runs.
    #[arg(long, conflicts_with = "url")]
    offline: bool,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, builtins: &[BuiltIn]) -> Result<(), Failure> {
    let instances = match &args.url {
        Some(url) => asked(&mut Client::new(address(url)?))?,
        None => {
            let config = args.config.need()?;
            let online = if args.offline {
                None
            } else {
                running(&config)?
            };
            online.unwrap_or_else(|| offline(&config, builtins))
        }
    };
    match args.json {
        true => println!("{}", Value::Array(instances)),
        false => print!("{}", table(&instances)),
    }
    Ok(())
}

/// The instances of the server of a configuration; `None` if none runs.
pub(super) fn running(config: &Config) -> Result<Option<Vec<Value>>, Failure> {
    let host = match config.listen_host.as_str() {
        // An address to listen on is none to call.
        "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "[::1]",
        host => host,
    };
    let mut client = Client::new(format!("{host}:{}", config.listen_port));
    match client.get("/admin/v1/status") {
        Err(client::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Ok(None)
        }
        _ => asked(&mut client).map(Some),
    }
}

fn asked(client: &mut Client) -> Result<Vec<Value>, Failure> {
    let status = remote::admin(client, "status", None)?;
    match &status["triggers"] {
        Value::Array(list) => Ok(list.clone()),
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
    let text = |instance: &Value, column: &str| {
        let text = instance[column].as_str().unwrap_or("");
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    let rows: Vec<Vec<String>> = std::iter::once(heads.map(str::to_owned).to_vec())
        .chain(
            instances
                .iter()
                .map(|i| columns.map(|c| text(i, c)).to_vec()),
        )
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|c| width(c).unwrap_or(0)).collect();
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
        let reason = at
            .checked_sub(1)
            .and_then(|at| instances[at]["reason"].as_str());
        if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
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
