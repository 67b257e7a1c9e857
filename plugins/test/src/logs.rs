//! Log lines of instances, kept for assertions and for messages of failed tests.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Once;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Lines kept of one instance.
const LINES_MAX: usize = 10_000;

/// A line of the log that names the instance: of the plugin, or of the host about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its text.
    pub text: String,
}

static LINES: Mutex<Option<HashMap<String, Vec<LogLine>>>> = Mutex::new(None);

/// Keeps lines from now on. A program with a subscriber of its own keeps that one, and none here.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Another subscriber is there already: its program wants the lines for itself.
        let _ = tracing::subscriber::set_global_default(Keeper);
    });
}

/// The lines of an instance so far.
pub(crate) fn of(instance: &str) -> Vec<LogLine> {
    let lines = LINES.lock();
    let found = lines.as_ref().and_then(|all| all.get(instance));
    found.cloned().unwrap_or_default()
}

struct Keeper;

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("plugin")
    }
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Some(instance) = line.instance else {
            return;
        };
        let mut lines = LINES.lock();
        let of = lines.get_or_insert_default().entry(instance).or_default();
        if of.len() < LINES_MAX {
            let level = *event.metadata().level();
            let text = line.text;
            of.push(LogLine { level, text });
        }
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Line {
    instance: Option<String>,
    text: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "instance" {
            self.instance = Some(value.to_owned());
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            "instance" => self.instance = Some(format!("{value:?}").trim_matches('"').to_owned()),
            _ => {}
        }
    }
}
