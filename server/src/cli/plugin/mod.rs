//! `mkts plugin`: modules in folders, and what mkts.yml makes of them.

mod describe;
mod list;
mod packages;

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
    /// Shows what a module says of itself; nothing of it runs.
    Describe(describe::Args),
    /// Puts a package (.mkplug), a library or a program into the plugin folder.
    Install(packages::Install),
    /// Removes an installed module that nothing uses.
    Remove(packages::Remove),
}

pub(super) fn run(command: &Command, builtins: &[BuiltIn]) -> Result<(), Failure> {
    match command {
        Command::List(args) => list::run(args, builtins),
        Command::Describe(args) => describe::run(args, builtins),
        Command::Install(args) => packages::install(args),
        Command::Remove(args) => packages::remove(args, builtins),
    }
}

/// `--config`.
#[derive(Debug, clap::Args)]
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
