//! `mkts backup` and `mkts restore`.

use std::path::{Path, PathBuf};

use engine::Directory;
use serde_json::json;

use super::place::{Opened, Place};
use super::{Failure, check_store, remote, root, start, words};

/// Arguments of `mkts backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The copy is a store of its own: every commit that was visible at one moment, and nothing else. On \
the same file system data files are hard links: they take no space and no time, and live as long as \
one of the two directories. Copy the backup elsewhere to be safe from a broken disk.")]
pub(super) struct Backup {
    /// Directory of the copy, empty or not there; on the server's machine.
    directory: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `mkts restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The backup is checked first, then copied (never linked), then the copy is checked. The backup stays \
as it is.")]
pub(super) struct Restore {
    /// The backup.
    backup: PathBuf,
    /// Directory of the new store, empty or not there.
    #[arg(long, value_name = "ROOT")]
    dir: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn backup(args: &Backup) -> Result<(), Failure> {
    let target = std::path::absolute(&args.directory)
        .map_err(|error| Failure::new(format!("{}: {error}", args.directory.display())))?;
    let (files, linked, copied) = match args.place.open(false)? {
        Opened::Server(client) => {
            let mut client = client.timeout(None);
            let directory = target.to_str().ok_or_else(|| {
                Failure::new("a directory whose name is not UTF-8 cannot be told to a server")
            })?;
            let body = json!({ "directory": directory });
            let done = remote::admin(&mut client, "backup", Some(&body))?;
            let number = |name: &str| done[name].as_u64().unwrap_or(0);
            (
                number("files"),
                number("linked_bytes"),
                number("copied_bytes"),
            )
        }
        Opened::Store(engine) => {
            let done = engine.backup(&target);
            let done = done.map_err(|error| start::engine_failure(&error))?;
            let closed = engine.close();
            closed.map_err(|error| start::engine_failure(&error))?;
            (done.files as u64, done.linked_bytes, done.copied_bytes)
        }
    };
    if args.json {
        println!(
            "{}",
            json!({
                "directory": target,
                "files": files,
                "linked_bytes": linked,
                "copied_bytes": copied,
            })
        );
        return Ok(());
    }
    println!(
        "{}: {}, {} linked, {} copied",
        target.display(),
        words::count(files, "file"),
        words::bytes(linked),
        words::bytes(copied)
    );
    Ok(())
}

pub(super) fn restore(args: &Restore) -> Result<(), Failure> {
    let (source_root, source) = root::open(args.backup.clone())?;
    must_be_empty(&args.dir)?;
    let report = check_store::check(&source_root, &source)?;
    if report.is_damaged() {
        let what = "the backup is damaged, nothing was copied; `mkts check --dir` on it says more";
        return Err(Failure {
            code: start::DAMAGED,
            text: format!("{}: {what}", source_root.display()),
        });
    }
    let target = Directory::open(&args.dir).map_err(|error| root::failure(&args.dir, &error))?;
    let bar = root::progress_bar();
    bar.set_length(report.bytes);
    let copied = source.restore_to(&target, &mut |file, bytes| {
        bar.inc(bytes);
        bar.set_message(file.to_owned());
    });
    bar.finish_and_clear();
    let copied = copied.map_err(|error| root::failure(&args.dir, &error))?;
    let checked = check_store::check(&args.dir, &target)?;
    if checked.is_damaged() {
        return Err(Failure {
            code: start::DAMAGED,
            text: format!(
                "{}: the copy is damaged: look at the disk",
                args.dir.display()
            ),
        });
    }
    let rows = checked.rows + checked.log.as_ref().map_or(0, |log| log.replay_rows);
    if args.json {
        let (files, bytes) = (copied.files, copied.bytes);
        println!(
            "{}",
            json!({ "files": files, "bytes": bytes, "rows": rows })
        );
        return Ok(());
    }
    println!(
        "{}: {} ({}) restored and checked: {}, {}",
        args.dir.display(),
        words::count(copied.files as u64, "file"),
        words::bytes(copied.bytes),
        words::count(checked.buckets as u64, "bucket"),
        words::count(rows, "row"),
    );
    Ok(())
}

fn must_be_empty(dir: &Path) -> Result<(), Failure> {
    let fault = |what: String| Failure::new(format!("{}: {what}", dir.display()));
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fault(error.to_string())),
        Ok(mut entries) => match entries.any(|entry| !is_lost_found(&entry)) {
            false => Ok(()),
            true => Err(fault("the directory is not empty".into())),
        },
    }
}

/// A file system of its own has this from the beginning.
fn is_lost_found(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry
        .as_ref()
        .is_ok_and(|entry| entry.file_name() == "lost+found")
}
