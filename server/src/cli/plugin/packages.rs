//! `mkts plugin install` and `mkts plugin remove`.

use std::path::{Path, PathBuf};

use plugin_sdk::BuiltIn;
use serde_json::Value;

use super::{ConfigFile, list, modules};
use crate::cli::Failure;
use crate::cli::remote::Login;
use crate::config::Config;

/// Arguments of `mkts plugin install`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Install {
    /// A package (.mkplug), a library (.so) or a program with a manifest.
    file: PathBuf,
    /// The SHA-256 that the file must have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// The folder; else the first of `plugin_dir`.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Arguments of `mkts plugin remove`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Remove {
    /// A name, with its version if there are several: `alerts@=1.4.0`.
    module: String,
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    login: Login,
    /// The folder; else the first of `plugin_dir`.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn install(args: &Install) -> Result<(), Failure> {
    let config = args.config.load()?;
    let dir = folder(args.dir.as_deref(), config.as_ref())?;
    let done =
        plugin_host::install(&args.file, args.sha256.as_deref(), &dir).map_err(Failure::new)?;
    let (name, version, path) = (done.name, done.version, done.path.display());
    match done.was_there {
        true => println!("{name} {version} was there already, byte for byte: {path}"),
        false => println!("installed {name} {version}: {path}"),
    }
    Ok(())
}

pub(super) fn remove(args: &Remove, builtins: &[BuiltIn]) -> Result<(), Failure> {
    let config = args.config.load()?;
    let dir = folder(args.dir.as_deref(), config.as_ref())?;
    let path = plugin_host::installed(&args.module, &dir).map_err(Failure::new)?;
    if let Some(config) = &config {
        refuse_if_named(config, builtins, &path)?;
        refuse_if_running(config, &args.login, &path)?;
    }
    let removed = plugin_host::remove(&args.module, &dir).map_err(Failure::new)?;
    println!("removed {}", removed.path.display());
    Ok(())
}

fn folder(dir: Option<&Path>, config: Option<&Config>) -> Result<PathBuf, Failure> {
    let first = config.and_then(|config| config.plugins.dirs.first());
    dir.map(Path::to_path_buf)
        .or_else(|| first.cloned())
        .ok_or_else(|| {
            Failure::new("no plugin folder is known; set plugin_dir in mkts.yml, or use --dir")
        })
}

/// An entry that would take it at the next start, switched on or not.
fn refuse_if_named(config: &Config, builtins: &[BuiltIn], path: &Path) -> Result<(), Failure> {
    let modules = modules(Some(config), builtins);
    let listed = plugin_host::list(&config.plugins.entries, &modules);
    let user = listed.iter().find(|entry| {
        let named = entry.path.as_deref();
        named.is_some_and(|named| same_file(named, path))
    });
    match user {
        Some(entry) => Err(Failure::new(format!(
            "{} is in use: {} ({}) runs it; change the entry first",
            path.display(),
            entry.id,
            entry.place
        ))),
        None => Ok(()),
    }
}

/// A server may run what mkts.yml no longer says.
fn refuse_if_running(config: &Config, login: &Login, path: &Path) -> Result<(), Failure> {
    let Some(instances) = list::running(config, login)? else {
        return Ok(());
    };
    let runs = |instance: &&Value| {
        let file = instance["path"].as_str();
        file.is_some_and(|file| same_file(Path::new(file), path))
    };
    match instances.iter().find(runs) {
        Some(instance) => Err(Failure::new(format!(
            "{} is in use: {} of the running server is made of it; restart the server without it first",
            path.display(),
            instance["id"].as_str().unwrap_or("an instance")
        ))),
        None => Ok(()),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
