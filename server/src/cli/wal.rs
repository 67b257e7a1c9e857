//! `mkts wal dump` and `mkts wal verify`: the log of a store that no server has open. Nothing is
//! changed, also where a start would recover.

use std::io::{BufWriter, Write};
use std::path::Path;

use engine::{Error, LogFrame, LogReport, Lsn};
use serde_json::json;

use super::root::{self, Root};
use super::start::DAMAGED;
use super::{Failure, words};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints the frames of the log.
    Dump(Dump),
    /// Reads the whole log and says whether it holds.
    Verify(Verify),
}

/// Arguments of `mkts wal dump`.
#[derive(Debug, clap::Args)]
pub(super) struct Dump {
    #[command(flatten)]
    root: Root,
    /// First position to print, hexadecimal as the LSNs are printed.
    #[arg(long, value_name = "LSN", default_value = "0", value_parser = lsn)]
    from: u64,
    /// Most frames to print.
    #[arg(long)]
    limit: Option<u64>,
    /// A line of JSON for each frame.
    #[arg(long)]
    json: bool,
}

/// Arguments of `mkts wal verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    root: Root,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn lsn(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| format!("\"{text}\" is no hexadecimal LSN"))
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Dump(args) => dump(args),
        Command::Verify(args) => verify(args),
    }
}

fn dump(args: &Dump) -> Result<(), Failure> {
    let (root, store) = args.root.open()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut left = args.limit.unwrap_or(u64::MAX);
    let report = store.log_frames(&mut |frame| {
        if frame.lsn < Lsn(args.from) || left == 0 {
            return Ok(());
        }
        left -= 1;
        let written = match args.json {
            true => writeln!(out, "{}", frame_json(&frame)),
            false => writeln!(out, "{}", line(&frame)),
        };
        written.map_err(Error::from)
    });
    let printed = out.flush();
    let report = report.map_err(|error| root::failure(&root, &error))?;
    printed.map_err(|error| Failure::new(format!("standard output: {error}")))?;
    told(&root, &report)
}

/// `1f40  2020-01-31T15:04:05Z  rows  client  AAPL/1Min/OHLCV 3 rows ...`
fn line(frame: &LogFrame) -> String {
    let mut line = format!(
        "{:>12}  {}  {:<8} {:<9} {:>8} B",
        frame.lsn.to_string(),
        words::time(frame.wall_ns),
        frame.kind,
        frame.origin_name,
        frame.payload_bytes
    );
    for entry in &frame.entries {
        let unknown = || format!("bucket {}", entry.bucket.0);
        line.push_str("  ");
        line.push_str(&entry.key.clone().unwrap_or_else(unknown));
        if entry.rows > 0 {
            line.push_str(&format!(" {}", words::count(entry.rows, "row")));
        } else {
            line.push_str(&format!(" {}", entry.detail));
        }
    }
    if let Some(problem) = &frame.problem {
        line.push_str(&format!("  {problem}"));
    }
    line
}

fn frame_json(frame: &LogFrame) -> serde_json::Value {
    let entries = frame.entries.iter().map(|entry| {
        json!({
            "bucket": entry.bucket.0,
            "key": entry.key,
            "rows": entry.rows,
            "detail": entry.detail,
        })
    });
    json!({
        "lsn": frame.lsn.to_string(),
        "end": frame.end.to_string(),
        "time": words::time(frame.wall_ns),
        "kind": frame.kind,
        "origin": frame.origin.0,
        "origin_name": frame.origin_name,
        "hops": frame.hops,
        "payload_bytes": frame.payload_bytes,
        "checkpointed": frame.checkpointed,
        "entries": entries.collect::<Vec<_>>(),
        "problem": frame.problem,
    })
}

fn verify(args: &Verify) -> Result<(), Failure> {
    let (root, store) = args.root.open()?;
    let mut problems = 0;
    let mut last = None;
    let report = store.log_frames(&mut |frame| {
        problems += u64::from(frame.problem.is_some());
        last = Some(frame.wall_ns);
        Ok(())
    });
    let report = report.map_err(|error| root::failure(&root, &error))?;
    if args.json {
        println!("{}", report_json(&report));
    } else {
        print(&root, &report, last);
    }
    if problems > 0 {
        let what = format!(
            "{} that this version does not read",
            words::count(problems, "frame")
        );
        return Err(Failure {
            code: DAMAGED,
            text: what,
        });
    }
    told(&root, &report)
}

fn print(root: &Path, report: &LogReport, last: Option<i64>) {
    let log = &report.log;
    println!(
        "{}: {} ({}) from {} to {} in {}",
        root.display(),
        words::count(log.frames, "frame"),
        words::bytes(log.bytes),
        log.start,
        log.end,
        words::count(log.files.len() as u64, "file"),
    );
    println!(
        "checkpoint at {}: a start replays {} with {}",
        report.checkpoint,
        words::count(report.replay_frames, "frame"),
        words::count(report.replay_rows, "row")
    );
    if let Some(last) = last {
        println!("last commit at {}", words::time(last));
    }
    if let Some(torn) = &log.torn {
        println!(
            "behind the end lie {} of {}: never acknowledged, the next start cuts it off",
            words::bytes(torn.to.0 - torn.from.0),
            torn.file
        );
    }
    if log.closed {
        println!("closed in good order: nothing lies behind the end");
    }
    if log.damage.is_empty() {
        println!("every frame holds");
    }
}

fn report_json(report: &LogReport) -> serde_json::Value {
    let log = &report.log;
    let damage = log.damage.iter().map(
        |gap| json!({ "file": gap.file, "from": gap.from.to_string(), "to": gap.to.to_string() }),
    );
    json!({
        "start": log.start.to_string(),
        "end": log.end.to_string(),
        "closed": log.closed,
        "checkpoint": report.checkpoint.to_string(),
        "frames": log.frames,
        "bytes": log.bytes,
        "replay_frames": report.replay_frames,
        "replay_rows": report.replay_rows,
        "torn_bytes": log.torn.as_ref().map_or(0, |torn| torn.to.0 - torn.from.0),
        "damage": damage.collect::<Vec<_>>(),
    })
}

/// Damage as the failure of the command.
fn told(root: &Path, report: &LogReport) -> Result<(), Failure> {
    let lines: Vec<String> = report
        .log
        .damage
        .iter()
        .map(|gap| {
            let below = gap.to <= report.checkpoint;
            let what = if below {
                "below the checkpoint, in data files"
            } else {
                "promised and lost"
            };
            let (from, to) = (gap.from, gap.to);
            format!(
                "{}: {}: {from}..{to} are no frames ({what})",
                root.display(),
                gap.file
            )
        })
        .collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(Failure {
            code: DAMAGED,
            text: lines.join("\n"),
        }),
    }
}
