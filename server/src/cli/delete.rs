//! `mkts delete`: rows of a range of time.

use engine::DeleteRange;
use model::BucketKey;
use serde_json::json;

use super::export::bound;
use super::place::{Opened, Place};
use super::{Failure, remote, start, words};

/// Arguments of `mkts delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Times are inclusive: 2020-01-31 (its midnight), 2020-01-31T15:04:05.25Z or seconds since 1970.\n\
Deleting asks on a terminal and needs --yes otherwise; it is one commit, and final.")]
pub(super) struct Args {
    /// Bucket: symbol/timeframe/attribute group.
    key: String,
    /// First time; else from the oldest row on.
    #[arg(long, required_unless_present = "to")]
    from: Option<String>,
    /// Last time; else up to the newest row.
    #[arg(long)]
    to: Option<String>,
    /// Only count the rows.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = BucketKey::parse(&args.key).map_err(|error| Failure::new(error.to_string()))?;
    let range = DeleteRange {
        key,
        from: bound("--from", args.from.as_deref(), i64::MIN)?,
        to: bound("--to", args.to.as_deref(), i64::MAX)?,
    };
    if range.from > range.to {
        return Err(Failure::new("--from is behind --to"));
    }
    let mut opened = args.place.open(false)?;
    let rows = delete(&mut opened, &range, true)?;
    let what = format!(
        "{} of {} from {} to {}",
        words::count(rows, "row"),
        range.key,
        words::time(range.from),
        words::time(range.to)
    );
    let deleted = if args.dry_run {
        0
    } else {
        words::confirm(&format!("delete {what}"), args.yes)?;
        delete(&mut opened, &range, false)?
    };
    if let Opened::Store(engine) = &opened {
        engine
            .close()
            .map_err(|error| start::engine_failure(&error))?;
    }
    if args.json {
        let key = range.key.as_str();
        println!(
            "{}",
            json!({ "key": key, "rows": rows, "deleted": deleted })
        );
    } else if args.dry_run {
        println!("{what} would be deleted");
    } else {
        println!("{} deleted", words::count(deleted, "row"));
    }
    Ok(())
}

fn delete(opened: &mut Opened, range: &DeleteRange, dry_run: bool) -> Result<u64, Failure> {
    match opened {
        Opened::Store(engine) => {
            let done = match dry_run {
                true => engine.count_rows(range),
                false => engine
                    .delete(std::slice::from_ref(range))
                    .map(|deleted| deleted.rows.iter().sum()),
            };
            done.map_err(|error| start::engine_failure(&error))
        }
        Opened::Server(client) => client
            .delete(&range.key, range.from, range.to, dry_run)
            .map_err(|error| remote::failure(&error)),
    }
}
