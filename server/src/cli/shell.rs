//! `mkts completions` and `mkts man`: what shells and manuals know of the command line.

use std::io::Write;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Failure};

/// Arguments of `mkts completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
bash: mkts completions bash > /etc/bash_completion.d/mkts\n\
zsh:  mkts completions zsh > \"${fpath[1]}/_mkts\"\n\
fish: mkts completions fish > ~/.config/fish/completions/mkts.fish")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Arguments of `mkts man`.
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// Writes the page of every command into this directory: mkts.1, mkts-load.1, ...
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn completions(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mkts", &mut script);
    print(&script)
}

pub(super) fn manual(args: &Manual) -> Result<(), Failure> {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let rendered = Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::new(error.to_string()))?;
        return print(&page);
    };
    let fail = |error: std::io::Error| Failure::new(format!("{}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(fail)?;
    let pages = count(&command);
    clap_mangen::generate_to(command, dir).map_err(fail)?;
    println!("{}: {pages} pages", dir.display());
    Ok(())
}

/// The command and those below it that are shown.
fn count(command: &Command) -> usize {
    let below = command.get_subcommands().filter(|c| !c.is_hide_set());
    1 + below.map(count).sum::<usize>()
}
