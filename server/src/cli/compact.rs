//! `mkts compact`: as few segments as allowed, without dead rows.

use serde_json::json;

use super::place::{Opened, Place};
use super::{Failure, remote, start, words};

/// Arguments of `mkts compact`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Merges run by themselves; this rewrites everything now, as after a large delete. A server goes on \
answering meanwhile. It needs free space for about the size of the store.")]
pub(super) struct Args {
    /// Only the merges that are due.
    #[arg(long)]
    due: bool,
    #[command(flatten)]
    place: Place,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (written, segments, bytes) = match args.place.open(false)? {
        Opened::Server(client) => {
            let mut client = client.timeout(None);
            let done = remote::admin(&mut client, "merge", Some(&json!({ "full": !args.due })))?;
            let number = |name: &str| done[name].as_u64().unwrap_or(0);
            (
                number("written"),
                number("segments"),
                number("segment_bytes"),
            )
        }
        Opened::Store(engine) => {
            let done = if args.due {
                engine.merge()
            } else {
                engine.compact()
            };
            let written = done.map_err(|error| start::engine_failure(&error))?;
            let status = engine.status();
            let closed = engine.close();
            closed.map_err(|error| start::engine_failure(&error))?;
            (written as u64, status.segments as u64, status.segment_bytes)
        }
    };
    if args.json {
        let done = json!({ "written": written, "segments": segments, "segment_bytes": bytes });
        println!("{done}");
        return Ok(());
    }
    println!(
        "{} written; the store has {} with {}",
        words::count(written, "segment"),
        words::count(segments, "segment"),
        words::bytes(bytes)
    );
    Ok(())
}
