//! `mkts check`: is every byte of a store what was written, and what can be kept if not.

use std::path::Path;

use engine::{CheckReport, Directory, Finding, Level, Loss};
use serde_json::json;

use super::root::{self, Root};
use super::start::DAMAGED;
use super::{Failure, words};

/// Arguments of `mkts check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads every file of a store that no server has open, and changes nothing. Exit code 0 if all is \
well, 4 if something is damaged, 3 if the store is open, 1 if it cannot be read at all.\n\
--repair says what would be kept and what given up, and does it only with --yes. Nothing is \
deleted: damaged files go to the directory's quarantine/.")]
pub(super) struct Args {
    #[command(flatten)]
    root: Root,
    /// Say what a repair would do, and do it with --yes.
    #[arg(long)]
    repair: bool,
    /// Repair.
    #[arg(long, requires = "repair")]
    yes: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (root, store) = args.root.open()?;
    let report = check(&root, &store)?;
    show(&root, &report, args.json);
    if !report.is_damaged() {
        return Ok(());
    }
    if !args.repair {
        return Err(damaged(
            "damaged; `mkts check --repair` says what can be kept",
        ));
    }
    if !args.json {
        print_plan(&report);
    }
    if !args.yes {
        return Err(damaged("nothing was changed; --repair --yes does it"));
    }
    repair(&root, &store, &report, args.json)
}

/// Reads everything, with a bar.
pub(super) fn check(root: &Path, store: &Directory) -> Result<CheckReport, Failure> {
    let bar = root::progress_bar();
    let report = store.check(&mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(progress.file.to_owned());
    });
    bar.finish_and_clear();
    report.map_err(|error| root::failure(root, &error))
}

/// Prints a report.
pub(super) fn show(root: &Path, report: &CheckReport, json: bool) {
    match json {
        true => println!("{}", as_json(report)),
        false => print(root, report),
    }
}

fn damaged(what: &str) -> Failure {
    Failure {
        code: DAMAGED,
        text: what.to_owned(),
    }
}

fn print(root: &Path, report: &CheckReport) {
    for finding in &report.findings {
        println!("{finding}");
    }
    let replay = report.log.as_ref().map_or(0, |log| log.replay_rows);
    let damage = report.findings.iter().filter(|f| f.level == Level::Damage);
    println!(
        "{}: {}, {}, {} in {}, {} in the log, {} read: {}",
        root.display(),
        words::count(report.buckets as u64, "bucket"),
        words::count(report.rows, "row"),
        words::count(report.pages, "page"),
        words::count(report.segments as u64, "segment"),
        words::count(replay, "row"),
        words::bytes(report.bytes),
        match damage.count() as u64 {
            0 => "no damage".to_owned(),
            1 => "1 place is damaged".to_owned(),
            many => format!("{many} places are damaged"),
        }
    );
}

fn print_plan(report: &CheckReport) {
    println!("\nA repair would do this:");
    for step in report.plan() {
        println!("  {step}");
    }
    for what in &report.beyond_repair {
        println!("  cannot be repaired: {what}");
    }
    match report.losses.is_empty() {
        true => println!("It would give up no row."),
        false => println!("It would give up:"),
    }
    for loss in &report.losses {
        println!("  {}", loss_line(loss));
    }
}

fn loss_line(loss: &Loss) -> String {
    let mut line = loss.file.clone();
    if let Some(bucket) = &loss.bucket {
        line.push_str(&format!(", bucket {bucket}"));
    }
    if let Some(rows) = loss.rows {
        line.push_str(&format!(": {}", words::count(rows, "row")));
    }
    if let Some((from, to)) = loss.times {
        line.push_str(&format!(
            " from {} to {}",
            words::time(from),
            words::time(to)
        ));
    }
    if !loss.what.is_empty() {
        line.push_str(&format!(": {}", loss.what));
    }
    line
}

fn repair(
    root: &Path,
    store: &Directory,
    report: &CheckReport,
    quiet: bool,
) -> Result<(), Failure> {
    let done = store
        .repair(report)
        .map_err(|error| root::failure(root, &error))?;
    let left = store
        .check(&mut |_| {})
        .map_err(|error| root::failure(root, &error))?;
    if !quiet {
        let more = if done.and_more {
            " and more that nobody can count"
        } else {
            ""
        };
        println!(
            "\nRepaired: {}, {}{more} given up; the damaged bytes are in {}",
            words::count(done.done.len() as u64, "step"),
            words::count(done.rows, "row"),
            done.quarantined.join(", ")
        );
    }
    match left.is_damaged() {
        false => Ok(()),
        true => Err(damaged("some damage is left; check again")),
    }
}

fn as_json(report: &CheckReport) -> serde_json::Value {
    let log = report.log.as_ref();
    json!({
        "damaged": report.is_damaged(),
        "checkpoint": report.checkpoint.to_string(),
        "buckets": report.buckets,
        "segments": report.segments,
        "pages": report.pages,
        "rows": report.rows,
        "log_frames": log.map(|log| log.log.frames),
        "log_rows": log.map(|log| log.replay_rows),
        "bytes": report.bytes,
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "repair": report.plan(),
        "beyond_repair": report.beyond_repair,
        "losses": report.losses.iter().map(loss_json).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    json!({
        "level": finding.level.word(),
        "file": finding.file,
        "offset": finding.offset,
        "bucket": finding.bucket,
        "what": finding.what,
        "means": finding.means,
    })
}

fn loss_json(loss: &Loss) -> serde_json::Value {
    json!({
        "file": loss.file,
        "bucket": loss.bucket,
        "rows": loss.rows,
        "from_ns": loss.times.map(|times| times.0),
        "to_ns": loss.times.map(|times| times.1),
        "what": loss.what,
    })
}
