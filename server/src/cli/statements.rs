//! SQL at a place: over `/sql` of a server, or in this process over a directory.

#[cfg(feature = "sql")]
mod local;

use std::io::BufReader;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::SchemaRef;
use client::Client;
use serde_json::Value;

use super::interrupts::Interrupts;
use super::place::Opened;
use super::{Failure, remote};

#[cfg(feature = "sql")]
use local::Local;

/// The media type of results on their way.
const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// A part of a result.
pub(super) enum Part<'a> {
    /// First of all.
    Schema(&'a SchemaRef),
    /// Rows.
    Rows(RecordBatch),
}

/// Runs statements. Made when the first is run: planning SQL has a price.
#[derive(Default)]
pub(super) struct Statements {
    #[cfg(feature = "sql")]
    local: Option<Local>,
}

impl Statements {
    /// Runs a statement and hands out its result.
    pub(super) fn run(
        &mut self,
        opened: &Opened,
        text: &str,
        interrupts: &Interrupts,
        each: &mut dyn FnMut(Part<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match opened {
            Opened::Server(client) => on_server(client, text, interrupts, each),
            #[cfg(feature = "sql")]
            Opened::Store(engine) => {
                let local = match self.local.take() {
                    Some(local) => local,
                    None => Local::new(engine)?,
                };
                self.local.insert(local).run(text, interrupts, each)
            }
            #[cfg(not(feature = "sql"))]
            Opened::Store(_) => Err(Failure::new(
                "this mkts was built without SQL (feature sql); a server that has it is asked with \
                 --url",
            )),
        }
    }
}

fn on_server(
    client: &Client,
    text: &str,
    interrupts: &Interrupts,
    each: &mut dyn FnMut(Part<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let answer = client.sql(text, ARROW_STREAM, &mut |stop| {
        interrupts.stop_with(move || stop.stop());
    });
    let answer = answer.map_err(|error| match error {
        client::Error::Status(status, body) => refused(status, &body, text),
        other => remote::failure(&other),
    })?;
    let broken = |error: arrow_schema::ArrowError| match error {
        arrow_schema::ArrowError::IoError(what, _) => Failure::new(what),
        other => Failure::new(format!("the result cannot be read: {other}")),
    };
    let reader = StreamReader::try_new(BufReader::with_capacity(1 << 16, answer), None);
    let reader = reader.map_err(broken)?;
    each(Part::Schema(&reader.schema()))?;
    for batch in reader {
        each(Part::Rows(batch.map_err(broken)?))?;
    }
    Ok(())
}

/// What a server says about a statement, with a caret at the place it is about.
fn refused(status: u16, body: &str, text: &str) -> Failure {
    let value: Option<Value> = serde_json::from_str(body).ok();
    if status == 404 && value.is_none() {
        return Failure::new("this server has no SQL: it is switched off, or the server is older");
    }
    let Some(error) = value.as_ref().and_then(|value| value.get("error")) else {
        return Failure::new(format!("the server answered {status}: {body}"));
    };
    let Some(message) = error["message"].as_str().or_else(|| error.as_str()) else {
        return Failure::new(format!("the server answered {status}: {body}"));
    };
    let place = error["line"].as_u64().zip(error["column"].as_u64());
    Failure::new(pretty(message, place, error["hint"].as_str(), text))
}

/// The message, the line it is about with a caret below, and the hint.
fn pretty(message: &str, place: Option<(u64, u64)>, hint: Option<&str>, text: &str) -> String {
    let mut out = message.to_owned();
    let line = place.and_then(|(line, column)| {
        let line = usize::try_from(line).ok()?.checked_sub(1)?;
        Some((text.lines().nth(line)?, usize::try_from(column).ok()?))
    });
    if let Some((line, column)) = line {
        let before = line.chars().take(column.saturating_sub(1));
        // A tab is as wide below as above.
        let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
        out.push_str(&format!("\n  {line}\n  {indent}^"));
    }
    if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
        out.push_str(&format!("\nhint: {hint}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_point_at_the_place() {
        let body = r#"{"error":{"kind":"unknown","message":"no column Opn","line":2,"column":4,
            "hint":"did you mean Open?"}}"#;
        let failure = refused(400, body, "SELECT\n\t  Opn\nFROM x");
        assert_eq!(
            failure.text,
            "no column Opn\n  \t  Opn\n  \t  ^\nhint: did you mean Open?"
        );
        let plain = refused(500, "oh", "SELECT 1");
        assert_eq!(plain.text, "the server answered 500: oh");
        let older = refused(404, "404 page not found", "SELECT 1");
        assert!(older.text.contains("has no SQL"), "{}", older.text);
    }
}
