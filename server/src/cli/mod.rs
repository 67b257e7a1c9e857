//! The command line. One command, one file.
//!
//! Exit codes: 0 done; 1 wrong usage, wrong configuration or any other failure; 2 the store stopped
//! taking writes after a disk error; 3 another process holds the directory (`mkts load`: some lines
//! were rejected); 4 the store is damaged and a person has to decide.

mod alter;
mod backup;
mod check;
mod check_store;
mod compact;
mod connect;
mod delete;
mod demo;
mod destroy;
mod estimate;
mod export;
mod import;
mod init;
mod interrupts;
mod key_path;
pub(crate) mod load;
mod log;
mod ls;
mod output;
mod place;
mod plugin;
mod plugin_child;
mod query;
mod reload;
mod remote;
mod root;
mod shell;
mod source;
mod sql;
mod start;
mod statements;
mod status;
mod token;
mod tool;
mod trigger;
mod wal;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use plugin_sdk::BuiltIn;

/// The example configuration: the file `mkts init` writes.
pub const EXAMPLE: &str = include_str!("../../../mkts.yml");

/// Commit of the build, if the build was told.
pub const GIT_HASH: Option<&str> = option_env!("MKTS_GIT_HASH");

/// Key of a bucket in the metadata of an exported file.
const KEY_METADATA: &str = "mkts.key";

/// `bar` or `tick` in the metadata of an exported file.
const KIND_METADATA: &str = "mkts.kind";

/// A failure of a command: what to print and how to exit.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self {
            code: 1,
            text: text.into(),
        }
    }
}

#[derive(Debug, Parser)]
#[command(name = "mkts", about = "A time-series store for market data.", version = version())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes an example mkts.yml into the working directory.
    Init(init::Args),
    /// Starts the server.
    #[command(alias = "s")]
    Start(start::Args),
    /// Checks a configuration without starting anything.
    CheckConfig(check::Args),
    /// Loads a CSV file into a bucket of a running server.
    Load(load::Args),
    /// Writes the rows of a file or of standard input into a bucket.
    Write(import::one::Args),
    /// Reads files into buckets.
    Import(import::Args),
    /// Writes rows into CSV, Parquet or Arrow files.
    Export(export::Args),
    /// Shows how a store or a running server does, on one screen.
    Status(status::Args),
    /// Verifies every byte of a store that no server has open, and repairs it.
    Check(check_store::Args),
    /// Looks into the log of a store that no server has open.
    #[command(subcommand)]
    Wal(wal::Command),
    /// Deletes rows of a range of time.
    Delete(delete::Args),
    /// Adds, widens, renames or drops columns of a bucket.
    Alter(alter::Args),
    /// Opens a session with a server or a directory: SQL and commands.
    Connect(connect::Args),
    /// Prints rows of buckets.
    Query(query::Args),
    /// Runs SQL and prints its result.
    Sql(sql::Args),
    /// Lists buckets.
    Ls(ls::Args),
    /// Drops whole buckets.
    Destroy(destroy::Args),
    /// Rewrites the data files without dead rows.
    Compact(compact::Args),
    /// Makes a consistent copy of a store, also of a running server's.
    Backup(backup::Backup),
    /// Makes a store from a backup.
    Restore(backup::Restore),
    /// Lets a running server read its configuration again.
    Reload(reload::Args),
    /// Makes, lists and revokes the tokens of `auth`.
    #[command(subcommand)]
    Token(token::Command),
    /// Shows, steers, installs and removes plugins.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Puts stored rows through a trigger.
    #[command(subcommand)]
    Trigger(trigger::Command),
    /// Runs a native plugin in a process of its own; started by servers.
    #[command(hide = true)]
    PluginHost {
        /// The library.
        file: PathBuf,
    },
    /// MarketStore's tools: looks into its logs and files, and into ours.
    #[command(subcommand)]
    Tool(tool::Command),
    /// Estimates the space that data will take.
    Estimate(estimate::Args),
    /// Prints the completions of a shell.
    Completions(shell::Completions),
    /// Prints the manual page, or writes those of all commands.
    Man(shell::Manual),
    /// Shows real bars being written, aggregated and streamed, in a directory that is removed after.
    Demo(demo::Args),
}

fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        match GIT_HASH {
            Some(hash) => format!("{version} ({hash})"),
            None => version.into(),
        }
    });
    &TEXT
}

/// A reader who has seen enough (`mkts plugin list | head -1`) ends the command without a noise:
/// printing to it panics.
fn leave_with_the_reader() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        tell(info);
    }));
}

/// Runs the command that the process was started with.
pub fn main(builtins: Vec<BuiltIn>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do if even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    leave_with_the_reader();
    let done = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Start(args) => start::run(&args, builtins),
        Command::CheckConfig(args) => check::run(&args, &builtins),
        Command::Load(args) => load::run(&args),
        Command::Write(args) => import::one::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Plugin(command) => plugin::run(&command, &builtins),
        Command::Trigger(command) => trigger::run(&command),
        Command::PluginHost { file } => return plugin_child::run(&file),
        Command::Demo(args) => demo::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Check(args) => check_store::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Token(command) => token::run(&command),
        Command::Wal(command) => wal::run(&command),
        Command::Delete(args) => delete::run(&args),
        Command::Alter(args) => alter::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Sql(args) => sql::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Destroy(args) => destroy::run(&args),
        Command::Tool(command) => tool::run(&command),
        Command::Estimate(args) => estimate::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::manual(&args),
        Command::Compact(args) => compact::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.text.lines() {
                eprintln!("mkts: {line}");
            }
            ExitCode::from(failure.code)
        }
    }
}
