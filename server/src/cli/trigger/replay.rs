//! `mkts trigger replay`: what a trigger would write for stored rows, beside what is stored.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::export::bound;
use crate::cli::plugin::{server::Server, table};
use crate::cli::remote::Ask;
use crate::cli::{Failure, words};

/// Seconds that a replay may take.
const PATIENCE: u64 = 24 * 3600;

/// Arguments of `mkts trigger replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Times are inclusive: 2020-01-31 (its midnight), 2020-01-31T15:04:05.25Z or seconds since 1970.\n\
A fresh object of the trigger, with empty state, is fired with the rows that are stored; nothing of\n\
the instance changes. Without --dry-run the rows that are missing or different are written, after\n\
they were shown: that asks on a terminal and needs --yes otherwise.")]
pub(in crate::cli) struct Args {
    /// Instance id, as `mkts plugin list` shows it.
    id: String,
    /// First time.
    #[arg(long)]
    from: String,
    /// Last time.
    #[arg(long)]
    to: String,
    /// Write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Show rows that differ, stored beside computed.
    #[arg(long)]
    diff: bool,
    /// How many of them.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    server: Server,
}

pub(in crate::cli) fn run(args: &Args) -> Result<(), Failure> {
    let (from, to) = (
        bound("--from", Some(&args.from), i64::MIN)?,
        bound("--to", Some(&args.to), i64::MAX)?,
    );
    if from > to {
        return Err(Failure::new("--from is behind --to"));
    }
    let mut api = args.server.api()?.patient(PATIENCE);
    let mut call = |write: bool| {
        let body = json!({
            "from_ns": from,
            "to_ns": to,
            "shown": if args.diff { args.limit } else { 0 },
            "write": write,
        });
        api.one(&args.id, ":replay", &Ask::Post(&body))
    };
    let found = call(false)?;
    let wrong = sum(&found, "missing") + sum(&found, "different");
    if args.dry_run || wrong == 0 {
        args.server.show(&found, |found| report(found, args.diff));
        return Ok(());
    }
    eprint!("{}", report(&found, args.diff));
    words::confirm(&format!("write {}", words::count(wrong, "row")), args.yes)?;
    let written = call(true)?;
    args.server.show(&written, |written| {
        let count = written["written"].as_u64().unwrap_or_default();
        format!("{} written\n", words::count(count, "row"))
    });
    Ok(())
}

fn sum(report: &Value, count: &str) -> u64 {
    let buckets = report["buckets"].as_array();
    let counts = buckets.into_iter().flatten().map(|b| b[count].as_u64());
    counts.map(Option::unwrap_or_default).sum()
}

fn report(found: &Value, with_rows: bool) -> String {
    let number = |name: &str| found[name].as_u64().unwrap_or_default();
    let mut out = format!(
        "{} fired, {} due\n",
        words::count(number("rows"), "row"),
        words::count(number("timers"), "timer")
    );
    let mut note = |count: u64, text: String| {
        if count > 0 {
            out += &text;
            out.push('\n');
        }
    };
    let failures = number("failures");
    let first = found["first_failure"].as_str().unwrap_or_default();
    note(failures, format!("{failures} failed, the first: {first}"));
    let deletes = number("deletes");
    note(deletes, format!("{deletes} deletes were not carried out"));
    let behind = number("behind_bytes");
    note(
        behind,
        format!(
            "the instance is {} of log behind: what these lead to is not stored yet",
            words::bytes(behind)
        ),
    );
    let buckets = found["buckets"].as_array().map_or(&[][..], Vec::as_slice);
    let counts = ["computed", "equal", "different", "missing", "extra"];
    let lines: Vec<Vec<String>> = buckets
        .iter()
        .map(|bucket| {
            let mut cells = vec![bucket["key"].as_str().unwrap_or_default().to_owned()];
            cells.extend(counts.iter().map(|count| bucket[*count].to_string()));
            cells
        })
        .collect();
    if lines.is_empty() {
        out += "it would write nothing\n";
        return out;
    }
    let heads = [
        "BUCKET",
        ">COMPUTED",
        ">EQUAL",
        ">DIFFERENT",
        ">MISSING",
        ">EXTRA",
    ];
    out += &table::text(&heads, &lines);
    if with_rows {
        let rows = found["differences"].as_array();
        rows.into_iter()
            .flatten()
            .for_each(|row| difference(&mut out, row));
    }
    out
}

/// One row: columns that are the same have one value.
fn difference(out: &mut String, row: &Value) {
    let time = words::time(row["time_ns"].as_i64().unwrap_or_default());
    let (key, found) = (row["key"].as_str(), row["found"].as_str());
    let (key, found) = (key.unwrap_or_default(), found.unwrap_or_default());
    // Writing to a text does not fail.
    let _ = writeln!(out, "{found} {key} {time}");
    for (name, both) in row["columns"].as_object().into_iter().flatten() {
        let (stored, computed) = (&both["stored"], &both["computed"]);
        let _ = if stored == computed {
            writeln!(out, "    {name}: {stored}")
        } else {
            let side = |value: &Value| match value {
                Value::Null => "-".to_owned(),
                value => value.to_string(),
            };
            writeln!(
                out,
                "    {name}: stored {}, computed {}",
                side(stored),
                side(computed)
            )
        };
    }
}
