//! The directory of a store that no server has open, for commands that read its files.

use std::path::PathBuf;

use engine::Directory;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, start};
use crate::config;

/// `--dir` and `--config`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Root {
    /// Directory of the store, which no server may have open.
    #[arg(long, value_name = "ROOT")]
    dir: Option<PathBuf>,
    /// Configuration that names it.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "./mkts.yml",
        conflicts_with = "dir"
    )]
    config: PathBuf,
}

impl Root {
    /// The directory, which must be there.
    pub(super) fn open(&self) -> Result<(PathBuf, Directory), Failure> {
        let root = match &self.dir {
            Some(dir) => dir.clone(),
            None => {
                let read = config::load(&self.config);
                let (config, _) = read.map_err(|p| Failure::new(p.to_string()))?;
                config.root_directory
            }
        };
        open(root)
    }
}

/// A directory that must be there.
pub(super) fn open(root: PathBuf) -> Result<(PathBuf, Directory), Failure> {
    if !root.is_dir() {
        let what = format!("{}: there is no such directory", root.display());
        return Err(Failure::new(what));
    }
    let directory = Directory::open(&root).map_err(|error| failure(&root, &error))?;
    Ok((root, directory))
}

/// The failure of reading a store.
pub(super) fn failure(root: &std::path::Path, error: &engine::Error) -> Failure {
    let failure = start::engine_failure(error);
    let hint = match error {
        engine::Error::Locked(_) => "; stop the server first",
        engine::Error::Corrupt { what, .. } if !what.contains("newer") => {
            "; `mkts check` lists all damage"
        }
        _ => "",
    };
    Failure {
        code: failure.code,
        text: format!("{}: {}{hint}", root.display(), failure.text),
    }
}

/// A bar over bytes, on a terminal only.
pub(super) fn progress_bar() -> ProgressBar {
    use std::io::IsTerminal;
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}",
    );
    let bar = ProgressBar::no_length();
    bar.set_style(style.expect("the template is a constant"));
    bar
}
