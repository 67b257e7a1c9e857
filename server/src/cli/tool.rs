//! `mkts tool`: MarketStore's tools, for its files and for ours. Nothing is ever changed.

mod integrity;
mod wal;

use super::Failure;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints what a log would replay.
    #[command(alias = "waldebugger")]
    Wal(wal::Args),
    /// Evaluates checksums of data files.
    #[command(aliases = ["ic", "integritycheck"])]
    Integrity(integrity::Args),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Wal(args) => wal::run(args),
        Command::Integrity(args) => integrity::run(args),
    }
}
