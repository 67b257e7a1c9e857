//! The editor of a session on a terminal: history, completion, statements of several lines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::KeyPattern;
use reedline::{
    ColumnarMenu, Completer, CompletionResult, Emacs, FileBackedHistory, KeyCode, KeyModifiers,
    MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent,
    ReedlineMenu, Signal, Span, Suggestion, ValidationResult, Validator, default_emacs_keybindings,
};

use super::lines::{self, Input};
use super::session::{Flow, Session};
use crate::cli::place::{Opened, Place};
use crate::cli::{Failure, ls};

/// Lines that the history keeps.
const HISTORY_LINES: usize = 10_000;

/// How long the list of buckets is believed.
const NAMES_AGE: Duration = Duration::from_secs(5);

/// Most suggestions shown at once.
const SUGGESTED_MAX: usize = 500;

const MENU: &str = "completion";

/// Reads lines from the terminal until its end.
pub(super) fn converse(session: &mut Session, place: &Place) -> Result<(), Failure> {
    let names = match &session.opened {
        Opened::Store(engine) => Opened::Store(engine.clone()),
        Opened::Server(_) => Opened::Server(place.client()?),
    };
    let mut editor = editor(Names::new(names));
    if let Some(file) = history_file() {
        match FileBackedHistory::with_file(HISTORY_LINES, file.clone()) {
            Ok(history) => editor = editor.with_history(Box::new(history)),
            Err(error) => eprintln!("{}: no history is kept: {error}", file.display()),
        }
    }
    loop {
        let signal = editor.read_line(&Arrow);
        match signal.map_err(|error| Failure::new(format!("the terminal: {error}")))? {
            Signal::Success(text) if run(session, &text) == Flow::Quit => return Ok(()),
            Signal::CtrlC => eprintln!("Interrupt, Press Ctrl+D to exit"),
            Signal::CtrlD => {
                eprintln!("exit");
                return Ok(());
            }
            _ => {}
        }
    }
}

fn run(session: &mut Session, text: &str) -> Flow {
    if lines::is_command(text) {
        return session.run(&Input::Command(text.trim().to_owned()));
    }
    for statement in lines::statements(text) {
        session.run(&Input::Statement(statement));
    }
    Flow::Done
}

fn history_file() -> Option<PathBuf> {
    match std::env::var_os("MKTS_HISTORY") {
        Some(file) if file.is_empty() => None,
        Some(file) => Some(PathBuf::from(file)),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".mkts_history")),
    }
}

fn editor(names: Names) -> Reedline {
    let mut keys = default_emacs_keybindings();
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(vec![
            ReedlineEvent::Menu(MENU.to_owned()),
            ReedlineEvent::MenuNext,
        ]),
    );
    let menu = ColumnarMenu::default().with_name(MENU);
    Reedline::create()
        .with_completer(Box::new(names))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_partial_completions(true)
        .with_quick_completions(true)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(Whole))
}

/// Statements of several lines.
struct Whole;

impl Validator for Whole {
    fn validate(&self, text: &str) -> ValidationResult {
        match lines::is_complete(text) {
            true => ValidationResult::Complete,
            false => ValidationResult::Incomplete,
        }
    }
}

/// MarketStore's prompt: a red arrow.
struct Arrow;

impl Prompt for Arrow {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("\u{1b}[31m\u{bb}\u{1b}[0m ")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("  ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}

const COMMANDS: [&str; 16] = [
    "\\show",
    "\\trim",
    "\\gaps",
    "\\load",
    "\\create",
    "\\destroy",
    "\\getinfo",
    "\\ls",
    "\\stream",
    "\\feed",
    "\\o",
    "\\timing",
    "\\help",
    "\\quit",
    "\\stop",
    "exit",
];

const SQL_WORDS: [&str; 40] = [
    "SELECT",
    "FROM",
    "WHERE",
    "AND",
    "OR",
    "NOT",
    "BETWEEN",
    "IN",
    "LIKE",
    "IS",
    "NULL",
    "GROUP",
    "BY",
    "ORDER",
    "ASC",
    "DESC",
    "LIMIT",
    "OFFSET",
    "INSERT",
    "INTO",
    "DELETE",
    "EXPLAIN",
    "SHOW",
    "BUCKETS",
    "SYMBOLS",
    "COLUMNS",
    "TRIGGERS",
    "STATUS",
    "DESCRIBE",
    "JOIN",
    "ASOF",
    "ON",
    "AS",
    "UNION",
    "DISTINCT",
    "HAVING",
    "COUNT",
    "CANDLECANDLER",
    "TICKCANDLER",
    "TIME_BUCKET",
];

/// What may be written, asked from the place when it is needed.
struct Names {
    place: Opened,
    buckets: Vec<String>,
    read: Option<Instant>,
    columns: HashMap<String, Vec<String>>,
}

impl Names {
    fn new(place: Opened) -> Self {
        Self {
            place,
            buckets: Vec::new(),
            read: None,
            columns: HashMap::new(),
        }
    }

    /// The list may be old; a server that does not answer has none.
    fn buckets(&mut self) -> &[String] {
        let is_old = self.read.is_none_or(|read| read.elapsed() > NAMES_AGE);
        if is_old && let Ok(keys) = ls::keys(&mut self.place) {
            self.buckets = keys.iter().map(ToString::to_string).collect();
            self.buckets.sort();
            self.columns.clear();
        }
        self.read = Some(Instant::now());
        &self.buckets
    }

    fn columns(&mut self, key: &str) -> Vec<String> {
        if let Some(found) = self.columns.get(key) {
            return found.clone();
        }
        let names = match KeyPattern::parse(key) {
            Ok(pattern) => self.place.buckets(&pattern, &[]).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let names: Vec<String> = names
            .first()
            .map(|bucket| {
                let columns = bucket.columns.columns().iter();
                columns.map(|column| column.name.clone()).collect()
            })
            .unwrap_or_default();
        self.columns.insert(key.to_owned(), names.clone());
        names
    }

    fn suggestions(&mut self, line: &str, pos: usize) -> (usize, Vec<String>) {
        let before = line.get(..pos).unwrap_or(line);
        if lines::is_command(before) || before.trim_start().starts_with('\\') {
            let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
            let word = &before[start..];
            let found = match start {
                0 => begin_with(COMMANDS.iter().copied(), word, false),
                _ => begin_with(self.buckets().iter().map(String::as_str), word, true),
            };
            return (start, found);
        }
        // Inside of quotes stands the name of a bucket.
        let quotes = before.matches(['"', '`']).count();
        if quotes % 2 == 1
            && let Some(open) = before.rfind(['"', '`'])
        {
            let start = open + 1;
            let word = before[start..].to_owned();
            let names = self.buckets().iter().map(String::as_str);
            return (start, begin_with(names, &word, true));
        }
        let start = before
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
        let word = &before[start..];
        let mut columns: Vec<String> = vec!["Epoch".into()];
        let buckets = self.buckets().to_vec();
        for key in buckets
            .iter()
            .filter(|key| line.contains(key.as_str()))
            .take(4)
        {
            columns.extend(self.columns(key));
        }
        let mut found = begin_with(columns.iter().map(String::as_str), word, false);
        if !word.is_empty() {
            found.extend(begin_with(SQL_WORDS.iter().copied(), word, false));
        }
        found.dedup();
        (start, found)
    }
}

/// The names that begin with a word, in any case unless they are keys.
fn begin_with<'a>(names: impl Iterator<Item = &'a str>, word: &str, exact: bool) -> Vec<String> {
    let fits = |name: &&str| match exact {
        true => name.starts_with(word),
        false => name
            .get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word)),
    };
    names
        .filter(fits)
        .take(SUGGESTED_MAX)
        .map(str::to_owned)
        .collect()
}

impl Completer for Names {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let (start, found) = self.suggestions(line, pos);
        let suggestion = |value: String| Suggestion {
            value,
            span: Span::new(start, pos),
            append_whitespace: false,
            ..Suggestion::default()
        };
        let found: Vec<Suggestion> = found.into_iter().map(suggestion).collect();
        CompletionResult::fresh(found)
    }
}

#[cfg(test)]
mod tests {
    use engine::{Engine, NoHook, Options};
    use model::{BucketKey, ColumnDef, ColumnType, RowKind, Schema};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn commands_buckets_columns_and_words_are_completed() {
        let temp = tempfile::tempdir().unwrap();
        let opened = Engine::open(temp.path(), Options::default(), Arc::new(NoHook));
        let (engine, _) = opened.unwrap();
        let columns = vec![ColumnDef::new("Open", ColumnType::F32)];
        for name in ["AAPL/1Min/OHLCV", "AMD/1D/OHLCV", "MSFT/1Min/OHLCV"] {
            let schema = Schema::new(columns.clone()).unwrap();
            let key = BucketKey::parse(name).unwrap();
            engine.create_bucket(&key, RowKind::Bar, schema).unwrap();
        }
        let mut names = Names::new(Opened::Store(engine));
        let mut of = |line: &str| names.suggestions(line, line.len());
        assert_eq!(of("\\sh"), (0, vec!["\\show".to_owned()]));
        assert_eq!(of("\\show AM"), (6, vec!["AMD/1D/OHLCV".to_owned()]));
        let line = "SELECT Op";
        assert_eq!(of(line).1, Vec::<String>::new());
        assert_eq!(of("SELECT * FROM \"A").1.len(), 2);
        assert_eq!(of("SELECT * FROM `MSFT/1Min/OHLCV` WHERE op").1, ["Open"]);
        assert_eq!(of("sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(of("SELECT Ep").1, ["Epoch"]);
    }
}
