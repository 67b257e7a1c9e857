//! `mkts status`: one screen.

use std::path::Path;

use engine::Summary;
use serde_json::{Value, json};

use super::place::Place;
use super::root;
use super::start::{DAMAGED, POISONED};
use super::{Failure, remote, words};

/// Arguments of `mkts status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0 if all is well, 2 if the server stopped taking writes, 3 if --dir is open elsewhere, 4 if \
damage was set aside, 1 if nobody answers.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if let Some((directory, _)) = args.place.root()? {
        return offline(&directory, args.json);
    }
    let mut client = args.place.client()?;
    let status = remote::admin(&mut client, "status", None)?;
    match args.json {
        true => println!("{status}"),
        false => print!("{}", screen(&status)),
    }
    if let Some(why) = status["poisoned"].as_str() {
        return Err(Failure {
            code: POISONED,
            text: format!("the server stopped taking writes: {why}"),
        });
    }
    match status["damage"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        _ => Err(set_aside()),
    }
}

fn set_aside() -> Failure {
    Failure {
        code: DAMAGED,
        text: "damaged bytes were set aside in quarantine/".into(),
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

/// The status of a running server.
fn screen(status: &Value) -> String {
    let size = |name: &str| words::bytes(number(status, name));
    let mut lines = vec![format!(
        "mkts {}, up {}, {}",
        status["version"].as_str().unwrap_or("?"),
        duration(number(status, "uptime_seconds")),
        match status["poisoned"].as_str() {
            Some(_) => "POISONED: takes no writes",
            None => "takes writes",
        }
    )];
    let last = status["last_commit_ns"].as_i64();
    let unsynced = number(status, "unsynced_bytes");
    let durable = match (last, unsynced) {
        (None, _) => "nothing was written since the start".to_owned(),
        (Some(last), 0) => format!("everything up to {}", words::time(last)),
        (Some(last), behind) => format!(
            "up to {}, {} are on their way",
            words::time(last),
            words::bytes(behind)
        ),
    };
    lines.push(format!("durable      {durable}"));
    lines.push(format!(
        "data         {} in {} ({})",
        words::count(number(status, "buckets"), "bucket"),
        words::count(number(status, "segments"), "segment"),
        size("segment_bytes")
    ));
    lines.push(format!(
        "log          {} of {}, {} in memory of {}",
        size("wal_bytes"),
        size("wal_bytes_max"),
        size("tail_bytes"),
        size("tail_bytes_max")
    ));
    lines.push(format!(
        "since start  {}, {}, {} ({:.2} ms), {}, {}",
        words::count(number(status, "rows"), "row"),
        words::count(number(status, "commits"), "commit"),
        words::count(number(status, "wal_syncs"), "sync"),
        status["wal_sync_ms_mean"].as_f64().unwrap_or(0.0),
        words::count(number(status, "checkpoints"), "checkpoint"),
        words::count(number(status, "merges"), "merge"),
    ));
    if let Some(error) = status["merge_error"].as_str() {
        lines.push(format!("merge        failed: {error}"));
    }
    for trigger in status["triggers"].as_array().into_iter().flatten() {
        lines.push(trigger_line(trigger));
    }
    let rejected = status["rejected"].as_object();
    let rejected: Vec<String> = rejected
        .into_iter()
        .flatten()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if !rejected.is_empty() {
        lines.push(format!("refused      {}", rejected.join(", ")));
    }
    for what in status["damage"].as_array().into_iter().flatten() {
        lines.push(format!("damage       {}", what.as_str().unwrap_or("?")));
    }
    if let Some(why) = status["poisoned"].as_str() {
        lines.push(format!("poisoned     {why}"));
    }
    lines.join("\n") + "\n"
}

/// A line of a trigger, worker or source.
fn trigger_line(trigger: &Value) -> String {
    let text = |name: &str| trigger[name].as_str().unwrap_or("");
    let mut line = match text("kind") {
        kind @ ("bgworker" | "source") => format!(
            "{kind:<12} {}: {}, {} written{}",
            text("id"),
            text("state"),
            words::count(number(trigger, "rows"), "row"),
            progress(&trigger["progress"])
        ),
        _ => format!(
            "trigger      {}: {}, {} behind ({:.1} s), {}",
            text("id"),
            text("state"),
            words::bytes(number(trigger, "lag_bytes")),
            trigger["lag_seconds"].as_f64().unwrap_or(0.0),
            words::count(number(trigger, "fires"), "fire")
        ),
    };
    for (name, word) in [
        ("restarts", "restarts"),
        ("failures", "failed"),
        ("dead_letters", "given up"),
        ("dropped", "rows dropped"),
    ] {
        if number(trigger, name) > 0 {
            line.push_str(&format!(", {} {word}", number(trigger, name)));
        }
    }
    if !text("reason").is_empty() {
        line.push_str(&format!(": {}", text("reason")));
    }
    line
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The status of a store that nobody has open, from its files; nothing is changed.
fn offline(directory: &Path, as_json: bool) -> Result<(), Failure> {
    let (root, store) = root::open(directory.to_owned())?;
    let summary = store
        .summary()
        .map_err(|error| root::failure(&root, &error))?;
    match as_json {
        true => println!("{}", summary_json(&summary)),
        false => print_summary(&root, &summary),
    }
    match summary.log.log.damage.is_empty() && summary.quarantined.is_empty() {
        true => Ok(()),
        false => Err(Failure {
            code: DAMAGED,
            text: "the log is damaged, or damaged bytes were set aside: see `mkts check`".into(),
        }),
    }
}

fn print_summary(root: &Path, summary: &Summary) {
    let log = &summary.log;
    println!("{}, not open", root.display());
    match summary.last_commit_ns {
        Some(last) => println!("durable      everything up to {}", words::time(last)),
        None => println!("durable      everything; the log has no commit"),
    }
    println!(
        "data         {} in {} ({})",
        words::count(summary.buckets as u64, "bucket"),
        words::count(summary.segments as u64, "segment"),
        words::bytes(summary.segment_bytes)
    );
    println!(
        "log          {} in {}; a start replays {} with {}",
        words::bytes(summary.wal_bytes),
        words::count(log.log.files.len() as u64, "file"),
        words::count(log.replay_frames, "frame"),
        words::count(log.replay_rows, "row")
    );
    for gap in &log.log.damage {
        println!("damage       {}: {}..{}", gap.file, gap.from, gap.to);
    }
    for path in &summary.quarantined {
        println!("damage       {path}");
    }
}

fn summary_json(summary: &Summary) -> Value {
    let log = &summary.log;
    let damage = log.log.damage.iter();
    let damage = damage.map(|gap| format!("{}: {}..{}", gap.file, gap.from, gap.to));
    json!({
        "checkpoint": log.checkpoint.to_string(),
        "end": log.log.end.to_string(),
        "last_commit_ns": summary.last_commit_ns,
        "buckets": summary.buckets,
        "segments": summary.segments,
        "segment_bytes": summary.segment_bytes,
        "wal_bytes": summary.wal_bytes,
        "replay_frames": log.replay_frames,
        "replay_rows": log.replay_rows,
        "damage": damage.collect::<Vec<_>>(),
        "quarantined": summary.quarantined,
    })
}

/// How far a feed with an end is.
fn progress(progress: &Value) -> String {
    let share = progress["share"].as_f64();
    let text = progress["text"].as_str().filter(|text| !text.is_empty());
    match (share, text) {
        (Some(share), Some(text)) => format!(", {:.1} % ({text})", 100.0 * share),
        (Some(share), None) => format!(", {:.1} %", 100.0 * share),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_shows_what_is_wrong() {
        let status = json!({
            "version": "1",
            "uptime_seconds": 3700,
            "poisoned": "write failed",
            "damage": ["wal/1: 5..9"],
            "last_commit_ns": 0,
            "merge_error": "no space",
            "triggers": [{"id": "agg", "state": "failed", "reason": "why", "dead_letters": 3},
                {"id": "f", "kind": "source", "state": "backoff", "reason": "line lost", "rows": 5,
                    "restarts": 2, "progress": {"share": 0.25, "text": "1 of 4"}}],
            "rejected": {"body": 2},
        });
        let text = screen(&status);
        for part in [
            "up 1 h 1 min, POISONED",
            "everything up to 1970-01-01T00:00:00Z",
            "failed: no space",
            "agg: failed, 0 B behind (0.0 s), 0 fires, 3 given up: why",
            "source       f: backoff, 5 rows written, 25.0 % (1 of 4), 2 restarts: line lost",
            "refused      2 body",
            "damage       wal/1: 5..9",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
