//! `mkts connect`: a session with a server or a directory, on a terminal or from a script.

mod commands;
mod complete;
mod gaps;
mod help;
pub(super) mod lines;
mod live;
mod session;

use std::io::{BufRead, IsTerminal};

use super::interrupts::Interrupts;
use super::place::{Opened, Place};
use super::{Failure, remote};
use session::{Flow, Session};

/// Arguments of `mkts connect`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("config", |arg| arg.short(None)))]
#[command(after_help = "\
Commands begin with \\ (\\help lists them), everything else is SQL, ended by ; or an empty line.\n\
Standard input may be a script: all lines are run, also after one that failed. Exit code 0 if all \
was well, 1 if a line of a script failed or nothing answers, 3 if another process holds the \
directory.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Understood and without a meaning: stores know how their data is packed.
    #[arg(short = 'c', long = "disable_variable_compression")]
    disable_variable_compression: bool,
    /// Ends a script at the first line that fails.
    #[arg(long)]
    stop_on_error: bool,
}

/// Opens the place and runs the session.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.disable_variable_compression {
        eprintln!("--disable_variable_compression has no meaning any more: it is left out");
    }
    let mut opened = args.place.open(false)?;
    match &mut opened {
        Opened::Server(client) => {
            client.version().map_err(|error| remote::failure(&error))?;
            let target = client.target();
            let scheme = if target.is_tls() { "https" } else { "http" };
            let addr = target.addr();
            eprintln!("Connected to remote instance at: {scheme}://{addr}");
        }
        Opened::Store(_) => {
            let root = args.place.root()?.map(|(root, _)| root).unwrap_or_default();
            eprintln!("Connected to local instance at path: {}", root.display());
        }
    }
    eprintln!("Type `\\help` to see command options");
    let interrupts = Interrupts::default();
    let listening = interrupts.listen();
    listening.map_err(|error| Failure::new(format!("Ctrl-C cannot be heard: {error}")))?;
    let mut session = Session::new(opened, interrupts);
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let failed = match is_terminal {
        true => {
            complete::converse(&mut session, &args.place)?;
            0
        }
        false => script(&mut session, args.stop_on_error)?,
    };
    session.close()?;
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new("1 line failed")),
        many => Err(Failure::new(format!("{many} lines failed"))),
    }
}

/// Runs the lines of standard input; how many failed.
fn script(session: &mut Session, stop_on_error: bool) -> Result<u64, Failure> {
    let mut gatherer = lines::Gatherer::default();
    let mut failed = 0;
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    loop {
        line.clear();
        let read = input.read_line(&mut line);
        let read = read.map_err(|error| Failure::new(format!("standard input: {error}")))?;
        let told = match read {
            0 => gatherer.end().into_iter().collect(),
            _ => gatherer.push(line.trim_end_matches(['\n', '\r'])),
        };
        for input in &told {
            match session.run(input) {
                Flow::Done => {}
                Flow::Failed => failed += 1,
                Flow::Quit => return Ok(failed),
            }
            if failed > 0 && stop_on_error {
                return Ok(failed);
            }
        }
        if read == 0 {
            return Ok(failed);
        }
    }
}
