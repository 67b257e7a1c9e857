//! `mkts reload`: a running server reads its configuration again.

use serde_json::{Value, json};

use super::Failure;
use super::plugin::server::Server;
use super::remote::Ask;

/// Arguments of `mkts reload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The server reads the file it was started with, whatever --config names here: that only says which \
server is asked. A file that does not hold changes nothing (exit code 1). SIGHUP does the same.")]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    /// Only show what would change.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let body = json!({ "dry_run": args.dry_run });
    let answer = args.server.api()?.call("reload", &Ask::Post(&body))?;
    args.server.show(&answer, text);
    let changes = answer["changes"].as_array().into_iter().flatten();
    match changes
        .filter(|change| change["outcome"] == "failed")
        .count()
    {
        0 => Ok(()),
        _ => Err(Failure::new("not everything could be changed")),
    }
}

fn text(answer: &Value) -> String {
    let word = |value: &Value, name: &str| value[name].as_str().unwrap_or("").to_owned();
    let mut lines: Vec<String> = Vec::new();
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        lines.push(warning.as_str().unwrap_or("").to_owned());
    }
    let dry_run = answer["dry_run"] == true;
    for change in answer["changes"].as_array().into_iter().flatten() {
        let outcome = match change["outcome"].as_str().unwrap_or("") {
            "applied" if dry_run => "would be applied".to_owned(),
            "applied" => "applied".to_owned(),
            "restart" => "needs a restart".to_owned(),
            _ => format!("failed: {}", word(change, "why")),
        };
        lines.push(format!(
            "{}: {} ({outcome})",
            word(change, "key"),
            word(change, "what")
        ));
    }
    if lines.is_empty() {
        lines.push("nothing has changed".to_owned());
    }
    if let Some(tokens) = answer["tokens"].as_u64() {
        lines.push(format!("{tokens} tokens are known"));
    }
    lines.join("\n") + "\n"
}
