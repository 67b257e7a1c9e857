//! Log lines of instances on their way into memory: whatever is logged with a field `instance`.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use plugin_host::{Logs, Secrets};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The lines of this process.
pub(crate) static LOGS: Logs = Logs::new();

/// What no line may show.
static HIDDEN: RwLock<Option<Secrets>> = RwLock::new(None);

/// Hides secrets in every line from now on, whoever writes it, with those that are hidden already: a
/// plugin whose entry is gone may have lines on their way.
pub(crate) fn hide(secrets: &Secrets) {
    let mut hidden = HIDDEN.write();
    hidden.get_or_insert_default().merge(secrets);
}

/// A line without secrets.
pub(crate) fn scrub(line: String) -> String {
    let hidden = HIDDEN.read();
    match hidden.as_ref().filter(|secrets| !secrets.is_empty()) {
        None => line,
        Some(secrets) => secrets.scrub(line),
    }
}

/// Keeps what is logged about instances.
pub(crate) struct Keeper;

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let fields = event.metadata().fields();
        if fields.field("instance").is_none() {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        let text = scrub(line.message + &line.fields);
        LOGS.push(&line.instance, now, level, &text);
    }
}

/// What an event says.
#[derive(Default)]
struct Line {
    instance: String,
    message: String,
    /// The other fields: ` name=value`.
    fields: String,
}

impl Line {
    fn add(&mut self, field: &Field, value: &dyn std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "instance" => write!(self.instance, "{value}"),
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, &format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn what_names_an_instance_is_kept_with_its_fields() {
        let subscriber = tracing_subscriber::registry().with(Keeper);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                instance = "kept",
                attempts = 5,
                place = "x.yml:3",
                "tried {}",
                2
            );
            tracing::warn!("of nobody");
        });
        let (lines, _) = LOGS.last("kept", 10, 0);
        let lines: Vec<_> = lines.iter().map(|l| (l.level, l.text.as_str())).collect();
        assert_eq!(lines, [("warn", "tried 2 attempts=5 place=x.yml:3")]);
    }

    /// One process has one set of secrets, so one test says all.
    #[test]
    fn no_line_shows_a_secret() {
        let config = serde_json::json!({"token": "s3cret"});
        assert_eq!(scrub("before s3cret".into()), "before s3cret");
        hide(&Secrets::of(&config, &["token".to_owned()]));
        assert_eq!(scrub("after s3cret".into()), "after ***");
        let subscriber = tracing_subscriber::registry().with(Keeper);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(instance = "hidden", key = "s3cret", "got s3cret");
        });
        let (lines, _) = LOGS.last("hidden", 1, 0);
        assert_eq!(lines[0].text, "got *** key=***");
    }
}
