//! `mkts plugin describe`: a module by its file, or an instance of a running server.

use std::fmt::Write;

use plugin_host::{Found, HostMode};
use plugin_sdk::BuiltIn;
use serde_json::{Value, json};

use super::server::{Api, target_of};
use super::{ConfigFile, instance, list, modules};
use crate::cli::Failure;
use crate::cli::remote::{Ask, Login};

/// Arguments of `mkts plugin describe`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A name as `module:` has it (`alerts`, `alerts@^1.4`), or a file; else, and with --url, the id
    /// of an instance.
    module: String,
    #[command(flatten)]
    config: ConfigFile,
    /// Asks this server about an instance.
    #[arg(short, long, conflicts_with_all = ["config", "host"])]
    url: Option<String>,
    #[command(flatten)]
    login: Login,
    /// Where it is to run, as `host:` has it: builtin, native, process.
    #[arg(long, value_parser = host)]
    host: Option<HostMode>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

fn host(text: &str) -> Result<HostMode, String> {
    let modes = [HostMode::Builtin, HostMode::Native, HostMode::Process];
    modes
        .into_iter()
        .find(|mode| mode.name() == text)
        .ok_or_else(|| "use builtin, native or process".into())
}

pub(super) fn run(args: &Args, builtins: &[BuiltIn]) -> Result<(), Failure> {
    if let Some(url) = &args.url {
        let shown = Api::of(args.login.target(url)?).one(&args.module, "", &Ask::Get)?;
        show_instance(args, &shown);
        return Ok(());
    }
    let config = args.config.load()?;
    let modules = modules(config.as_ref(), builtins);
    let not_found = match modules.find(&named(&args.module), args.host) {
        Ok(found) => {
            match args.json {
                true => println!("{}", as_json(&found)),
                false => print!("{}", as_text(&found)),
            }
            return Ok(());
        }
        Err(not_found) => not_found,
    };
    // No module: maybe an instance of the server that runs.
    let running = config
        .as_ref()
        .map(|config| list::running(config, &args.login));
    let running = running.and_then(Result::ok).flatten().unwrap_or_default();
    match (running.iter().any(|i| i["id"] == *args.module), &config) {
        (true, Some(config)) => {
            let shown =
                Api::of(target_of(config, &args.login)?).one(&args.module, "", &Ask::Get)?;
            show_instance(args, &shown);
            Ok(())
        }
        _ => Err(Failure::new(not_found.text())),
    }
}

fn show_instance(args: &Args, shown: &Value) {
    match args.json {
        true => println!("{shown}"),
        false => print!("{}", instance::text(shown)),
    }
}

/// A file of the working directory is meant as that file, as a shell completes it.
fn named(module: &str) -> String {
    let is_file = std::path::Path::new(module).exists();
    match is_file && !module.contains('/') && module.contains('.') {
        true => format!("./{module}"),
        false => module.to_owned(),
    }
}

fn as_json(found: &Found) -> Value {
    json!({
        "host": found.how.name(),
        "path": found.path,
        "sha256": found.sha256,
        "pinned": found.is_pinned,
        "version": found.version,
        "warnings": found.warnings,
        "manifest": found.description,
    })
}

fn as_text(found: &Found) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<13}{value}");
        }
    };
    if let Some(description) = &found.description {
        let [major, minor] = description.abi;
        line("name", &description.name);
        line("version", &description.version);
        line("about", &description.about);
        line("kind", description.kind.name());
        line("delivery", description.delivery.name());
        let gaps = if description.accepts_gap { "yes" } else { "no" };
        line("accepts gaps", gaps);
        line("scope", description.scope.name());
        let state = description.state_scope.name();
        let state_version = description.state_version;
        line("state", &format!("per {state}, version {state_version}"));
        let writes = description.writes.join(" ");
        line(
            "writes",
            if writes.is_empty() {
                "every bucket"
            } else {
                &writes
            },
        );
        line("secrets", &description.secrets.join(" "));
        line("metrics", &description.metrics.join(" "));
        if major > 0 {
            line("border", &format!("major {major}, minor {minor} or later"));
        }
    } else {
        line("version", &found.version);
        line("manifest", "none that can be read without running it");
    }
    line("runs", found.how.name());
    if let Some(path) = &found.path {
        line("path", &path.display().to_string());
        let pinned = if found.is_pinned {
            "by plugins.lock"
        } else {
            "no"
        };
        line("pinned", pinned);
    }
    line("sha256", found.sha256.as_deref().unwrap_or(""));
    for warning in &found.warnings {
        line("warning", warning);
    }
    out
}
