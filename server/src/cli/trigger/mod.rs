//! `mkts trigger`: stored rows through a trigger of a running server.

mod replay;

use super::Failure;
use super::plugin::control;

/// `mkts trigger ...`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Fires the rows that are stored, from the first on; the instance goes on with new ones after.
    Backfill(control::Args),
    /// Shows what it would write for stored rows beside what is stored, and writes what is wrong.
    Replay(replay::Args),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Backfill(args) => control::run("backfill", args),
        Command::Replay(args) => replay::run(args),
    }
}
