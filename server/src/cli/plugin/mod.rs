//! `mkts plugin`: modules in folders, what mkts.yml makes of them, and what a running server does
//! with them.
//!
//! Everything about a running server is a call of `/admin/v1/plugins`: `server.rs` makes it, `--json`
//! prints its answer as it came. Exit codes as everywhere: 0 done, 1 refused (no such instance, wrong
//! state, bad input) or nobody answers, 2 the server stopped taking writes after a disk error.

pub(super) mod control;
mod describe;
mod instance;
mod letters;
mod list;
mod logs;
mod new;
mod packages;
mod record;
mod sdk;
pub(super) mod server;
mod state;
pub(super) mod table;
mod templates;
mod test;
mod top;

use std::path::{Path, PathBuf};

use plugin_host::{Modules, Search};
use plugin_sdk::BuiltIn;

use super::Failure;
use crate::config::{self, Config};

/// `mkts plugin ...`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Shows the instances of a running server, or else of mkts.yml.
    List(list::Args),
    /// Shows what a module says of itself, of which nothing runs, or an instance that runs.
    Describe(describe::Args),
    /// Shows what the instances of a running server do, again and again.
    Top(top::Args),
    /// Shows the last log lines of an instance.
    Logs(logs::Args),
    /// Switches an instance on, also one that failed or was given up.
    Enable(control::Args),
    /// Switches an instance off, also over restarts of the server.
    Disable(control::Args),
    /// Lets an instance rest behind its current window, until resume or a restart of the server.
    Pause(control::Args),
    /// Lets a paused instance go on.
    Resume(control::Args),
    /// Takes the newest version of the module that fits; if it does not start the old one goes on.
    Reload(control::Args),
    /// Starts the same version anew: a new object, a new process.
    Restart(control::Args),
    /// Shows or moves an instance's place in the log.
    #[command(subcommand)]
    Cursor(control::Cursor),
    /// Forgets state, timers and place of an instance, which then starts like a new one.
    Reset(control::Reset),
    /// Removes what is stored of instances that no entry names any more.
    Gc(control::Gc),
    /// Shows or changes what an instance keeps.
    #[command(subcommand)]
    State(state::Command),
    /// Shows, fires again or drops events that an instance gave up.
    #[command(subcommand)]
    Dlq(letters::Command),
    /// Writes the next events of a trigger into a file, to try plugins with.
    Record(record::Args),
    /// Makes a new plugin that builds and passes its tests as it is.
    New(new::Args),
    /// Runs a plugin through crashes, panics and retries, without a server.
    Test(test::Args),
    /// Puts a package (.mkplug), a library or a program into the plugin folder.
    Install(packages::Install),
    /// Removes an installed module that nothing uses.
    Remove(packages::Remove),
}

pub(super) fn run(command: &Command, builtins: &[BuiltIn]) -> Result<(), Failure> {
    match command {
        Command::List(args) => list::run(args, builtins),
        Command::Describe(args) => describe::run(args, builtins),
        Command::Top(args) => top::run(args),
        Command::Logs(args) => logs::run(args),
        Command::Enable(args) => control::run("enable", args),
        Command::Disable(args) => control::run("disable", args),
        Command::Pause(args) => control::run("pause", args),
        Command::Resume(args) => control::run("resume", args),
        Command::Reload(args) => control::run("reload", args),
        Command::Restart(args) => control::run("restart", args),
        Command::Cursor(command) => control::cursor(command),
        Command::Reset(args) => control::reset(args),
        Command::Gc(args) => control::gc(args),
        Command::State(command) => state::run(command),
        Command::Dlq(command) => letters::run(command),
        Command::Record(args) => record::run(args),
        Command::New(args) => new::run(args),
        Command::Test(args) => test::run(args),
        Command::Install(args) => packages::install(args),
        Command::Remove(args) => packages::remove(args, builtins),
    }
}

/// `--config`.
#[derive(Debug, Clone, clap::Args)]
struct ConfigFile {
    /// The configuration; ./mkts.yml if there is one.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The configuration; `None` if none was named and there is none.
    fn load(&self) -> Result<Option<Config>, Failure> {
        let default = Path::new("./mkts.yml");
        let file = match &self.config {
            Some(file) => file,
            None if default.exists() => default,
            None => return Ok(None),
        };
        let (config, _) = config::load(file).map_err(|p| Failure::new(p.to_string()))?;
        Ok(Some(config))
    }

    /// The configuration, without which there is no answer.
    fn need(&self) -> Result<Config, Failure> {
        self.load()?.ok_or_else(|| {
            Failure::new("there is no ./mkts.yml; --config names another, --url asks a server")
        })
    }
}

/// Modules by a configuration, or by the environment alone.
fn modules(config: Option<&Config>, builtins: &[BuiltIn]) -> Modules {
    match config {
        Some(config) => config.plugins.modules(builtins, &config.root_directory),
        None => Modules::new(builtins, Search::default().with_environment()),
    }
}
