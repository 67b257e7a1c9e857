//! `mkts plugin logs`.

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::server::{Api, Server};
use crate::cli::remote::Ask;
use crate::cli::{Failure, words};

/// How often `--follow` asks for more.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `mkts plugin logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The server keeps the last 1000 lines of an instance, 256 KiB of them; a \
restart forgets them. With --json every line is one of JSON."
)]
pub(in crate::cli) struct Args {
    /// Instance id.
    id: String,
    /// Most lines.
    #[arg(short, long, default_value_t = 100)]
    lines: u64,
    /// Goes on with lines as they come.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut api = args.server.api()?;
    let mut after = print(args, &mut api, args.lines, 0)?;
    if !args.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(PAUSE);
        after = print(args, &mut api, u64::MAX, after)?;
    }
}

/// Prints what is new; the number of the newest line.
fn print(args: &Args, api: &mut Api, lines: u64, after: u64) -> Result<u64, Failure> {
    let rest = format!("/logs?lines={lines}&after={after}");
    let answer = api.one(&args.id, &rest, &Ask::Get)?;
    let mut text = String::new();
    let missed = answer["missed"].as_u64().unwrap_or(0);
    if after > 0 && missed > 0 {
        text.push_str(&format!("... {} not shown\n", words::count(missed, "line")));
    }
    for line in answer["lines"].as_array().into_iter().flatten() {
        text.push_str(&match args.server.json {
            true => format!("{line}\n"),
            false => shown(line),
        });
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("standard output: {error}")))?;
    Ok(answer["last"].as_u64().unwrap_or(after))
}

fn shown(line: &Value) -> String {
    format!(
        "{} {:<5} {}\n",
        words::time(line["time_ns"].as_i64().unwrap_or(0)),
        line["level"].as_str().unwrap_or("").to_uppercase(),
        line["text"].as_str().unwrap_or("")
    )
}
