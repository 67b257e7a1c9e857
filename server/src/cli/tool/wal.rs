//! `mkts tool wal`: a replay that writes nothing, of a MarketStore log or of ours.

use std::path::{Path, PathBuf};

use engine::Lsn;
use engine::marketstore::{LogMessage, inspect_log};
use serde_json::json;

use crate::cli::start::DAMAGED;
use crate::cli::{Failure, root, start, words};

/// Arguments of `mkts tool wal`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is a log of MarketStore (WALFile.*.walfile), or a file of ROOT/wal, or ROOT itself, which \
no server may have open. Exit code 0 if it holds, 4 if something in it is damaged.")]
pub(in crate::cli) struct Args {
    /// The log.
    #[arg(short, long)]
    file: PathBuf,
    /// A line of JSON for each transaction.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match root_of(&args.file) {
        Some(root) => ours(&root, args),
        None => marketstore(args),
    }
}

/// The store that a file of a log belongs to.
fn root_of(file: &Path) -> Option<PathBuf> {
    if file.is_dir() {
        return Some(file.to_owned());
    }
    let file = file.canonicalize().ok()?;
    let parent = file.parent()?;
    let is_log = parent.file_name()? == "wal" && file.extension()? == "wal";
    let root = parent.parent()?;
    (is_log && root.join("MANIFEST").is_file()).then(|| root.to_owned())
}

/// The lines that MarketStore's tool logs.
fn say(json: bool, text: &str) {
    if !json {
        println!("{text}");
    }
}

fn begin(json: bool) {
    say(json, "Beginning WAL Replay");
    say(
        json,
        "Debugging mode enabled - no writes will be performed...",
    );
}

fn marketstore(args: &Args) -> Result<(), Failure> {
    begin(args.json);
    let mut entered = false;
    let faults = inspect_log(&args.file, &mut |at, message| {
        match &message {
            LogMessage::Group { id, bytes, writes } => {
                if !entered {
                    say(args.json, "Entering replay of TGData");
                    entered = true;
                }
                group(args.json, at, *id, *bytes, writes.as_deref());
            }
            LogMessage::Cut => say(args.json, "Partial Read"),
            LogMessage::Damaged(what) => say(args.json, &format!("{at}: {what}")),
            LogMessage::Status(2) => say(args.json, "The log was replayed already"),
            _ => {}
        }
        Ok(())
    });
    let faults = faults.map_err(|error| {
        let failure = start::engine_failure(&error);
        let text = format!("{}: {}", args.file.display(), failure.text);
        Failure { text, ..failure }
    })?;
    finish(args);
    damage(faults.iter().map(ToString::to_string).collect())
}

fn group(
    json: bool,
    at: u64,
    id: i64,
    bytes: u64,
    writes: Option<&[engine::marketstore::LogWrites]>,
) {
    if json {
        let one = |w: &engine::marketstore::LogWrites| {
            json!({"file": w.file, "kind": if w.is_variable { "tick" } else { "bar" },
                "interval": w.interval, "bytes": w.bytes})
        };
        let writes = writes.map(|list| list.iter().map(one).collect::<Vec<_>>());
        println!(
            "{}",
            json!({"at": at, "id": id, "bytes": bytes, "writes": writes})
        );
        return;
    }
    println!("Replay for TGID: {id}, data length is: {bytes} bytes");
    for write in writes.unwrap_or_default() {
        println!(
            "  {} interval {}, {}",
            write.file,
            write.interval,
            words::count(write.bytes as u64, "byte")
        );
    }
    if writes.is_none() {
        println!("  its data is not that of MarketStore 2, 3 or 4");
    }
}

fn finish(args: &Args) {
    let file = args.file.display();
    say(args.json, &format!("Replay of WAL file {file} finished"));
    say(args.json, "Finished replay of TGData");
}

fn ours(root: &Path, args: &Args) -> Result<(), Failure> {
    let (root, store) = root::open(root.to_owned())?;
    let range = range(args);
    begin(args.json);
    say(args.json, "Entering replay of TGData");
    let mut problems = Vec::new();
    let report = store.log_frames(&mut |frame| {
        if frame.lsn < range.0 || frame.lsn >= range.1 {
            return Ok(());
        }
        problems.extend(frame.problem.clone());
        let bytes = frame.payload_bytes;
        if args.json {
            let entry =
                |e: &engine::LogEntry| json!({"key": e.key, "rows": e.rows, "detail": e.detail});
            let entries: Vec<_> = frame.entries.iter().map(entry).collect();
            let line = json!({"id": frame.lsn.to_string(), "time": words::time(frame.wall_ns),
                "kind": frame.kind, "origin": frame.origin_name, "bytes": bytes,
                "replayed": !frame.checkpointed, "writes": entries});
            println!("{line}");
            return Ok(());
        }
        let stored = if frame.checkpointed {
            ", in data files already"
        } else {
            ""
        };
        println!(
            "Replay for TGID: {}, data length is: {bytes} bytes{stored}",
            frame.lsn
        );
        for entry in &frame.entries {
            let key = entry.key.as_deref().unwrap_or("a dropped bucket");
            match entry.rows {
                0 => println!("  {key} {}", entry.detail),
                rows => println!("  {key} {}", words::count(rows, "row")),
            }
        }
        Ok(())
    });
    let report = report.map_err(|error| root::failure(&root, &error))?;
    if report.log.torn.is_some() {
        say(args.json, "Partial Read");
    }
    finish(args);
    let gaps = report.log.damage.iter();
    let gaps = gaps.filter(|gap| gap.to > range.0 && gap.from < range.1);
    let gaps = gaps.map(|gap| format!("{}: {}..{} are no frames", gap.file, gap.from, gap.to));
    damage(gaps.chain(problems).collect())
}

/// The frames of the file that is asked for: its name is the first of them.
fn range(args: &Args) -> (Lsn, Lsn) {
    let whole = (Lsn(0), Lsn(u64::MAX));
    if args.file.is_dir() {
        return whole;
    }
    let lsn = |path: &Path| {
        let stem = path.file_stem()?.to_str()?;
        u64::from_str_radix(stem, 16).ok().map(Lsn)
    };
    let Some(from) = lsn(&args.file) else {
        return whole;
    };
    let directory = args.file.parent().unwrap_or(Path::new("."));
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let after = files.filter_map(|entry| lsn(&entry.path()));
    let to = after.filter(|lsn| *lsn > from).min();
    (from, to.unwrap_or(Lsn(u64::MAX)))
}

fn damage(lines: Vec<String>) -> Result<(), Failure> {
    match lines.is_empty() {
        true => Ok(()),
        false => Err(Failure {
            code: DAMAGED,
            text: lines.join("\n"),
        }),
    }
}
