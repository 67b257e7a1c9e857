//! What a session remembers, and who does what.

use std::fs::File;
use std::io::Stdout;
use std::path::Path;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use model::BucketKey;

use super::lines::Input;
use super::{commands, gaps, help, live};
use crate::cli::Failure;
use crate::cli::interrupts::Interrupts;
use crate::cli::output::{CsvWriter, Look, TableWriter};
use crate::cli::place::Opened;
use crate::cli::statements::{Part, Statements};

/// What becomes of a session after an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Done,
    Failed,
    Quit,
}

/// An open session.
pub(super) struct Session {
    pub(super) opened: Opened,
    pub(super) interrupts: Interrupts,
    statements: Statements,
    timing: bool,
    /// `\o`: rows go there as CSV.
    out: Option<File>,
}

impl Session {
    pub(super) fn new(opened: Opened, interrupts: Interrupts) -> Self {
        Self {
            opened,
            interrupts,
            statements: Statements::default(),
            timing: false,
            out: None,
        }
    }

    pub(super) fn close(self) -> Result<(), Failure> {
        #[cfg_attr(not(feature = "sql"), allow(clippy::drop_non_drop))]
        drop(self.statements);
        self.opened.close()
    }

    /// Runs a command or a statement and says what went wrong.
    pub(super) fn run(&mut self, input: &Input) -> Flow {
        self.interrupts.begin();
        let done = match input {
            Input::Command(line) => self.command(line),
            Input::Statement(text) => self.statement(text).map(|()| Flow::Done),
        };
        let ended = self.interrupts.end();
        match done {
            Ok(flow) => flow,
            Err(_) if ended => {
                eprintln!("Interrupt, Press Ctrl+D to exit");
                Flow::Failed
            }
            Err(failure) => {
                eprintln!("{}", failure.text);
                Flow::Failed
            }
        }
    }

    fn command(&mut self, line: &str) -> Result<Flow, Failure> {
        let words = words(line)?;
        let Some((name, args)) = words.split_first() else {
            return Ok(Flow::Done);
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match name.trim_start_matches('\\').to_ascii_lowercase().as_str() {
            "q" | "quit" | "stop" | "exit" => return Ok(Flow::Quit),
            "help" | "h" | "?" => print!("{}", help::text(args.first().copied())?),
            "show" => self.timed(|session| commands::show(session, &args))?,
            "trim" => commands::trim(self, &args)?,
            "gaps" => self.timed(|session| gaps::run(session, &args))?,
            "load" => commands::load(self, &args)?,
            "create" => commands::create(self, &args)?,
            "destroy" => commands::destroy(self, &args)?,
            "getinfo" => commands::getinfo(self, &args)?,
            "ls" => commands::list(self, &args)?,
            "stream" => live::stream(self, &args)?,
            "feed" => live::feeds(self)?,
            "timing" => {
                self.timing = !self.timing;
                let state = if self.timing { "on" } else { "off" };
                eprintln!("Timing is {state}");
            }
            "o" => self.redirect(args.first().copied())?,
            other => {
                return Err(Failure::new(format!(
                    "there is no command \\{other}; \\help lists those there are"
                )));
            }
        }
        Ok(Flow::Done)
    }

    fn statement(&mut self, text: &str) -> Result<(), Failure> {
        self.timed(|session| {
            let mut statements = std::mem::take(&mut session.statements);
            let mut printer = None;
            let interrupts = session.interrupts.clone();
            let done = statements.run(&session.opened, text, &interrupts, &mut |part| {
                match (part, &mut printer) {
                    (Part::Schema(schema), _) => {
                        printer = Some(Printer::new(session.out.as_ref(), schema)?);
                    }
                    (Part::Rows(batch), Some(printer)) => printer.add(&batch)?,
                    (Part::Rows(_), None) => {}
                }
                Ok(())
            });
            session.statements = statements;
            done?;
            printer.map_or(Ok(()), Printer::end)
        })
    }

    /// Runs and says how long it took, if that is wanted.
    fn timed(&mut self, run: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let began = Instant::now();
        run(self)?;
        if self.timing {
            let millis = began.elapsed().as_secs_f64() * 1e3;
            println!("Elapsed query time: {millis:.3} ms");
        }
        Ok(())
    }

    /// Where rows are printed.
    pub(super) fn printer(&self, schema: &SchemaRef) -> Result<Printer, Failure> {
        Printer::new(self.out.as_ref(), schema)
    }

    /// Sends rows into a file from now on, or to the terminal again. A file that is there is
    /// emptied: rows of two sessions in one file are a riddle.
    // The user's file, not the store's: `disk` does not know the place.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn redirect(&mut self, file: Option<&str>) -> Result<(), Failure> {
        self.out = match file {
            None => None,
            Some(name) => {
                let file = File::create(Path::new(name));
                Some(file.map_err(|error| Failure::new(format!("{name}: {error}")))?)
            }
        };
        Ok(())
    }

    /// Fails if Ctrl-C was pressed.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        match self.interrupts.pressed() {
            true => Err(Failure::new("ended by Ctrl-C")),
            false => Ok(()),
        }
    }
}

/// Rows on their way to the terminal or into the file of `\o`.
pub(super) enum Printer {
    Table(TableWriter<Stdout>),
    Csv(Box<CsvWriter<File>>),
}

impl Printer {
    fn new(out: Option<&File>, schema: &SchemaRef) -> Result<Self, Failure> {
        Ok(match out {
            None => Self::Table(TableWriter::new(std::io::stdout(), schema)),
            Some(file) => {
                let file = file
                    .try_clone()
                    .map_err(|error| Failure::new(error.to_string()))?;
                let writer = CsvWriter::new(file, schema, Look::MarketStore, false);
                Self::Csv(Box::new(writer.map_err(Failure::new)?))
            }
        })
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let added = match self {
            Self::Table(table) => table.add(batch),
            Self::Csv(lines) => lines.add(batch),
        };
        added.map_err(Failure::new)
    }

    pub(super) fn end(self) -> Result<(), Failure> {
        match self {
            Self::Table(table) => table.end().map(|_| ()).map_err(Failure::new),
            Self::Csv(_) => Ok(()),
        }
    }
}

/// The words of a line; quotes hold one together.
fn words(line: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(first) = chars.next() {
        if first.is_whitespace() {
            continue;
        }
        let mut word = String::new();
        if matches!(first, '"' | '\'') {
            let closed = loop {
                match chars.next() {
                    Some(c) if c == first => break true,
                    Some(c) => word.push(c),
                    None => break false,
                }
            };
            if !closed {
                return Err(Failure::new(format!("a {first} has no second one")));
            }
        } else {
            word.push(first);
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
    }
    Ok(words)
}

/// A key, or why it is none.
pub(super) fn key(text: &str) -> Result<BucketKey, Failure> {
    BucketKey::parse(text).map_err(|error| Failure::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_held_together_by_quotes() {
        let of = |line: &str| words(line).map_err(|failure| failure.text);
        assert_eq!(
            of("\\show  A/1Min/X \"20200102 093000\" ").unwrap(),
            ["\\show", "A/1Min/X", "20200102 093000"]
        );
        assert!(of("\\load 'x").is_err());
    }
}
