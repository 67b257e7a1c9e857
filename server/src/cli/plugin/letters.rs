//! `mkts plugin dlq ...`: events that an instance gave up.

use serde_json::{Value, json};

use super::server::Server;
use super::table;
use crate::cli::remote::Ask;
use crate::cli::{Failure, words};

/// `mkts plugin dlq ...`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Lists the events that an instance gave up, oldest first.
    List(List),
    /// Shows one with its rows.
    Show(Show),
    /// Fires them once more; one that fires is gone, one that fails stays.
    Replay(Chosen),
    /// Gives them up for good.
    Drop(Drop),
}

/// Arguments of `mkts plugin dlq list`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct List {
    /// Instance id.
    id: String,
    /// Most events.
    #[arg(long, default_value_t = 100)]
    limit: u64,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `mkts plugin dlq show`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Show {
    /// Instance id.
    id: String,
    /// The event, as `dlq list` names it.
    letter: String,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `mkts plugin dlq replay`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Chosen {
    /// Instance id.
    id: String,
    /// The event, as `dlq list` names it.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    letter: Option<String>,
    /// All events.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `mkts plugin dlq drop`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Drop {
    #[command(flatten)]
    chosen: Chosen,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => {
            let rest = format!("/dlq?limit={}", args.limit);
            let answer = args.server.api()?.one(&args.id, &rest, &Ask::Get)?;
            args.server.show(&answer, list);
            Ok(())
        }
        Command::Show(args) => {
            let rest = letter(&args.letter);
            let answer = args.server.api()?.one(&args.id, &rest, &Ask::Get)?;
            args.server.show(&answer, show);
            Ok(())
        }
        Command::Replay(args) => order(args, "replay", |answer| {
            let count = answer["replayed"].as_u64().unwrap_or(0);
            format!("{} handed to the instance\n", words::count(count, "event"))
        }),
        Command::Drop(args) => {
            let what = match &args.chosen.letter {
                Some(letter) => format!("event {letter}"),
                None => "every event".to_owned(),
            };
            let id = &args.chosen.id;
            words::confirm(&format!("{what} that {id} gave up goes for good"), args.yes)?;
            order(&args.chosen, "drop", |answer| {
                let count = answer["dropped"].as_u64().unwrap_or(0);
                format!("{} dropped\n", words::count(count, "event"))
            })
        }
    }
}

fn letter(id: &str) -> String {
    format!("/dlq/{}", crate::percent::encode(id.as_bytes()))
}

fn order(args: &Chosen, verb: &str, text: fn(&Value) -> String) -> Result<(), Failure> {
    let rest = match &args.letter {
        Some(id) => format!("{}:{verb}", letter(id)),
        None => format!("/dlq:{verb}"),
    };
    let answer = args
        .server
        .api()?
        .one(&args.id, &rest, &Ask::Post(&json!({})))?;
    args.server.show(&answer, text);
    Ok(())
}

fn list(answer: &Value) -> String {
    let letters = answer["letters"].as_array();
    let letters: Vec<&Value> = letters.into_iter().flatten().collect();
    let rows = letters.iter().map(|letter| {
        let text = |name: &str| letter[name].as_str().unwrap_or("").to_owned();
        vec![
            text("id"),
            text("event"),
            text("key"),
            letter["rows"].to_string(),
            words::time(letter["time_ns"].as_i64().unwrap_or(0)),
            letter["attempts"].to_string(),
            text("message"),
        ]
    });
    let heads = [
        "EVENT",
        "KIND",
        "BUCKET",
        ">ROWS",
        "GIVEN UP",
        ">ATTEMPTS",
        "WHY",
    ];
    let mut text = table::text(&heads, &rows.collect::<Vec<_>>());
    let count = answer["count"].as_u64().unwrap_or(0);
    let left = count.saturating_sub(letters.len() as u64);
    if left > 0 {
        text.push_str(&format!("... and {left} more\n"));
    }
    text
}

fn show(letter: &Value) -> String {
    let text = |name: &str| letter[name].as_str().unwrap_or("-");
    let time = |name: &str| letter[name].as_i64().map_or("-".to_owned(), words::time);
    let mut out = format!(
        "event      {} of {} at {}..{}\ngiven up   {} after {}\nwhy        {}\nrows       {}, {} to {}\n",
        text("event"),
        text("key"),
        text("first_lsn"),
        text("last_lsn"),
        time("time_ns"),
        words::count(letter["attempts"].as_u64().unwrap_or(0), "attempt"),
        text("message"),
        letter["rows"],
        time("from_ns"),
        time("to_ns"),
    );
    if letter["data"].is_object() {
        out.push_str(&rows(&letter["data"]));
    }
    out
}

/// Rows as a table.
fn rows(data: &Value) -> String {
    let columns = data["columns"].as_object();
    let columns: Vec<(&String, &Value)> = columns.into_iter().flatten().collect();
    let mut heads = vec!["TIME".to_owned()];
    heads.extend(columns.iter().map(|(name, _)| format!(">{name}")));
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let times = data["times_ns"].as_array().into_iter().flatten();
    let rows = times.enumerate().map(|(at, time)| {
        let mut row = vec![words::time(time.as_i64().unwrap_or(0))];
        row.extend(columns.iter().map(|(_, column)| {
            let value = &column["values"][at];
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        }));
        row
    });
    table::text(&heads, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_shown_with_its_rows() {
        let letter = json!({
            "id": "1a.0", "event": "write", "key": "A/1Min/OHLCV", "rows": 2, "from_ns": 0,
            "to_ns": 60_000_000_000_i64, "first_lsn": "10", "last_lsn": "1a", "time_ns": 0,
            "attempts": 5, "message": "no", "data": {"kind": "bar", "times_ns": [0, 60_000_000_000_i64],
                "columns": {"Open": {"type": "FLOAT64", "values": [1.5, "NaN"]}}},
        });
        let text = show(&letter);
        assert!(
            text.contains("given up   1970-01-01T00:00:00Z after 5 attempts\n"),
            "{text}"
        );
        assert!(text.ends_with(
            "TIME                  Open\n1970-01-01T00:00:00Z   1.5\n1970-01-01T00:01:00Z   NaN\n"
        ), "{text}");
        let text = list(&json!({"count": 3, "letters": [letter]}));
        assert!(
            text.contains("1a.0   write  A/1Min/OHLCV     2  "),
            "{text}"
        );
        assert!(text.ends_with("... and 2 more\n"), "{text}");
    }
}
