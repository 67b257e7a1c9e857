//! A store in a process of its own, to be killed: lives the random script of a seed in a
//! directory and says what was acknowledged.
//!
//! `storelife DIR SEED FROM TO` runs the steps `FROM..TO`. Lines: `open`, then for each step
//! `try N` and `ack N`, `full N HASH` (refused for want of space; of what is there then), `no N` (by
//! the rules) or `err N text`; `end`.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use engine::{Engine, Error, NoHook};
use tests::oracle::{State, life, script};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_default();
    let mut number = || arguments.next().and_then(|text| text.parse().ok());
    let (Some(seed), Some(from), Some(to)) = (number(), number(), number()) else {
        eprintln!("usage: storelife DIR SEED FROM TO");
        return ExitCode::from(1);
    };
    match run(Path::new(&dir), seed, from as usize, to as usize) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("end {error}"));
            ExitCode::from(2)
        }
    }
}

/// Through a pipe that nobody may read any more.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn run(dir: &Path, seed: u64, from: usize, to: usize) -> Result<(), Error> {
    let open = || {
        let opened = Engine::open(dir, life::busy_options(), Arc::new(NoHook))?;
        Ok(opened.0)
    };
    let mut engine = Some(open()?);
    say("open");
    for (index, step) in script::random(seed, to).iter().enumerate().skip(from) {
        say(&format!("try {index}"));
        match life::step_with(&open, &mut engine, step) {
            Ok(()) => say(&format!("ack {index}")),
            Err(Error::DiskFull(_)) => {
                let found = engine.as_ref().and_then(|engine| State::read(engine).ok());
                let hash = found.map_or(String::new(), |state| state.hash().to_string());
                say(&format!("full {index} {hash}"));
            }
            Err(Error::NotFound(_) | Error::SchemaMismatch { .. } | Error::Invalid(_)) => {
                say(&format!("no {index}"));
            }
            Err(error @ Error::Poisoned(_)) => return Err(error),
            Err(error) => say(&format!("err {index} {error}")),
        }
    }
    let closed = engine.map_or(Ok(()), |engine| engine.close());
    say("end");
    closed
}
