//! `mkts plugin enable`, `disable`, `pause`, `resume`, `reload`, `restart`, `reset`, `gc`, `cursor`.

use serde_json::{Value, json};

use super::server::Server;
use super::table;
use crate::cli::remote::Ask;
use crate::cli::{Failure, words};

/// Of a verb for one instance.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Instance id, as `mkts plugin list` shows it.
    id: String,
    #[command(flatten)]
    server: Server,
}

/// `POST plugins/{id}:{verb}`, and how the instance stands then.
pub(in crate::cli) fn run(verb: &str, args: &Args) -> Result<(), Failure> {
    let mut api = args.server.api()?;
    let answer = api.one(&args.id, &format!(":{verb}"), &Ask::Post(&json!({})))?;
    args.server.show(&answer, standing);
    Ok(())
}

/// `ID: paused (reason)`.
fn standing(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or("");
    let mut line = format!("{}: {}", text("id"), text("state"));
    if let Some(old) = answer["old_version"].as_str() {
        line.push_str(&format!(", version {} (was {old})", text("version")));
    }
    if !text("reason").is_empty() {
        line.push_str(&format!(" ({})", text("reason")));
    }
    line + "\n"
}

/// Arguments of `mkts plugin reset`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reset {
    #[command(flatten)]
    args: Args,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn reset(args: &Reset) -> Result<(), Failure> {
    let id = &args.args.id;
    let question = format!("state, timers and place of {id} are forgotten; it starts afresh");
    words::confirm(&question, args.yes)?;
    run("reset", &args.args)
}

/// Arguments of `mkts plugin gc`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Gc {
    #[command(flatten)]
    server: Server,
    /// Show what would go.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn gc(args: &Gc) -> Result<(), Failure> {
    let mut api = args.server.api()?;
    if !args.dry_run {
        let question = "what is stored of instances that no entry names goes for good";
        words::confirm(question, args.yes)?;
    }
    let answer = api.all(":gc", &Ask::Post(&json!({ "dry_run": args.dry_run })))?;
    let done = if args.dry_run { "would go" } else { "gone" };
    args.server.show(&answer, |answer| orphans(answer, done));
    Ok(())
}

fn orphans(answer: &Value, done: &str) -> String {
    let Some(orphans) = answer["orphans"].as_array().filter(|list| !list.is_empty()) else {
        return "nothing is stored of instances that no entry names\n".into();
    };
    let rows = orphans.iter().map(|orphan| {
        let text = |name: &str| orphan[name].as_str().unwrap_or("").to_owned();
        let bytes = words::bytes(orphan["state_bytes"].as_u64().unwrap_or(0));
        vec![text("id"), text("cursor"), bytes, done.to_owned()]
    });
    table::text(
        &["INSTANCE", ">CURSOR", ">STATE", "IT"],
        &rows.collect::<Vec<_>>(),
    )
}

/// `mkts plugin cursor ...`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Cursor {
    /// Shows an instance's place in the log.
    Show(Args),
    /// Moves the place of a paused instance.
    Set(Set),
}

/// Arguments of `mkts plugin cursor set`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Set {
    /// Instance id.
    id: String,
    /// Position in the log as `cursor show` and `mkts wal dump` show it: hexadecimal.
    lsn: String,
    #[command(flatten)]
    server: Server,
}

pub(super) fn cursor(command: &Cursor) -> Result<(), Failure> {
    let (server, answer) = match command {
        Cursor::Show(args) => {
            let answer = args.server.api()?.one(&args.id, "/cursor", &Ask::Get)?;
            (&args.server, answer)
        }
        Cursor::Set(args) => {
            let to = json!({ "cursor": args.lsn });
            let answer = args
                .server
                .api()?
                .one(&args.id, "/cursor", &Ask::Put(&to))?;
            (&args.server, answer)
        }
    };
    server.show(&answer, place);
    Ok(())
}

fn place(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or("-");
    let behind = words::bytes(answer["lag_bytes"].as_u64().unwrap_or(0));
    format!(
        "cursor        {}, {behind} behind\nvisible       {}\ncheckpointed  {}\nlast commit   {}\n\
         epoch         {}\n",
        text("cursor"),
        text("visible"),
        text("checkpointed"),
        text("last_commit"),
        answer["epoch"],
    )
}
