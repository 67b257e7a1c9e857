//! What can go wrong with a statement, and where in its text.

use std::fmt;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is no SQL.
    Syntax,
    /// A table, column or function is not there.
    Unknown,
    /// The meaning is wrong: types that do not fit, a column that is not grouped.
    Invalid,
    /// The caller may not.
    Denied,
    /// Over a limit, which the message names.
    Limit,
    /// Too much is running; later it may work.
    Busy,
    /// Good SQL that is not supported.
    Unsupported,
    /// Ended from outside.
    Cancelled,
    /// It went wrong while it ran.
    Failed,
}

impl ErrorKind {
    /// As in replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A place in the text, both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// Why a statement did not run, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What can be done about it.
    pub kind: ErrorKind,
    /// One line.
    pub message: String,
    /// Where, if it is about a place in the text.
    pub position: Option<Position>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Error {
    /// An error without a place.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            position: None,
            hint: None,
        }
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// About a place, if none is known yet. Line 0 is no place.
    pub(crate) fn at(mut self, line: u64, column: u64) -> Self {
        if self.position.is_none() && line > 0 {
            self.position = Some(Position { line, column });
        }
        self
    }

    /// The same inside of DataFusion; [`Error::from`] takes it out again.
    pub(crate) fn wrap(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    /// Message, the line of the statement with a caret below the place, hint.
    pub fn pretty(&self, text: &str) -> String {
        let mut out = self.message.clone();
        if let Some(Position { line, column }) = self.position {
            let shown = usize::try_from(line).ok().and_then(|line| {
                let line = line.checked_sub(1)?;
                text.lines().nth(line)
            });
            let (shown, column) = window(shown.unwrap_or_default(), column);
            let label = format!("line {line}: ");
            let before = label.len() + column.saturating_sub(1);
            out.push_str(&format!("\n{label}{shown}\n{:before$}^", ""));
        }
        if let Some(hint) = &self.hint {
            out.push_str("\nhint: ");
            out.push_str(hint);
        }
        out
    }
}

/// Characters shown of a long line.
const LINE_CHARS: usize = 160;

/// Stands for what is left out of a line.
const LEFT_OUT: &str = "...";

/// A line, of a long one the part around a column, and the column in what is shown.
fn window(line: &str, column: u64) -> (String, usize) {
    // A tab is as wide as one space, for the caret below.
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let chars: Vec<char> = line.chars().map(plain).collect();
    let at = usize::try_from(column).unwrap_or(usize::MAX);
    let at = at.clamp(1, chars.len() + 1) - 1;
    let last_start = chars.len().saturating_sub(LINE_CHARS);
    let start = at.saturating_sub(LINE_CHARS / 2).min(last_start);
    let end = chars.len().min(start + LINE_CHARS);
    let mut shown = String::with_capacity(LINE_CHARS);
    if start > 0 {
        shown.push_str(LEFT_OUT);
    }
    let column = shown.len() + at - start + 1;
    shown.extend(&chars[start..end]);
    if end < chars.len() {
        shown.push_str(LEFT_OUT);
    }
    (shown, column)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, " at {line}:{column}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        let kind = match &error {
            engine::Error::NotFound(_) => ErrorKind::Unknown,
            engine::Error::Limit { .. } => ErrorKind::Limit,
            engine::Error::Invalid(_) | engine::Error::SchemaMismatch { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ParserError> for Error {
    fn from(error: ParserError) -> Self {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => {
                return Self::limit("the statement is nested too deeply")
                    .with_hint("split it with WITH, or use IN for long lists of OR");
            }
        };
        let (message, position) = cut_position(&text);
        Self {
            position,
            ..Self::new(ErrorKind::Syntax, message)
        }
    }
}

/// The parser ends its texts with the place.
fn cut_position(text: &str) -> (String, Option<Position>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return (text.to_owned(), None);
    };
    let Some((line, column)) = place.split_once(", Column: ") else {
        return (text.to_owned(), None);
    };
    match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) => (message.to_owned(), Some(Position { line, column })),
        _ => (text.to_owned(), None),
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::from_ref(&error)
    }
}

fn of_root(error: &DataFusionError) -> Error {
    if let Some(own) = own(error) {
        return own;
    }
    match error.find_root() {
        DataFusionError::SQL(parser, _) => Error::from((**parser).clone()),
        DataFusionError::SchemaError(schema, _) => of_schema(schema),
        DataFusionError::ResourcesExhausted(text) => memory(text),
        DataFusionError::NotImplemented(text) => Error::unsupported(one_line(text)),
        DataFusionError::Plan(text) => of_plan(text),
        DataFusionError::Execution(text) => Error::failed(one_line(text)),
        DataFusionError::Internal(text) => {
            Error::failed(format!("internal error: {}", first(text)))
        }
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => Error::from_ref(first),
            None => Error::failed("it failed"),
        },
        other => Error::failed(one_line(&other.strip_backtrace())),
    }
}

impl Error {
    fn from_ref(error: &DataFusionError) -> Self {
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        match span {
            Some(span) => of_root(error).at(span.start.line, span.start.column),
            None => of_root(error),
        }
    }
}

/// An error of ours on its way through DataFusion.
fn own(error: &DataFusionError) -> Option<Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(own.clone());
        }
        next = error.source();
    }
    None
}

fn memory(text: &str) -> Error {
    let used = one_line(text);
    if used.contains("disk manager is disabled") || used.contains("DiskManager is disabled") {
        return Error::limit("the statement needs more memory than is left (sql.memory)")
            .with_hint("narrow the time range, or ask for fewer columns");
    }
    Error::limit(format!(
        "the statement needs more memory than is left (sql.memory): {used}"
    ))
    .with_hint("narrow the time range, or ask for fewer columns")
}

/// What DataFusion puts around the words of a function of ours about its arguments.
const COERCION: [&str; 2] = [
    "coercion failed with: Error during planning: ",
    " No function matches the given name",
];

fn of_plan(text: &str) -> Error {
    let text = one_line(text);
    if let Some((_, message)) = text.split_once(COERCION[0]) {
        let message = message.split(COERCION[1]).next().unwrap_or(message);
        return Error::invalid(message.trim_end_matches('.'));
    }
    match text.starts_with("Invalid function") || text.starts_with("table function") {
        true => Error::new(ErrorKind::Unknown, text),
        false => Error::invalid(text),
    }
}

fn of_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            let shown = match &field.relation {
                Some(table) => format!("{}.{}", table.table(), field.name),
                None => field.name.clone(),
            };
            let error = Error::new(ErrorKind::Unknown, format!("no column \"{shown}\""));
            match hint_for_column(&field.name, &names) {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => Error::invalid(format!(
            "column \"{}\" is in more than one table",
            field.name
        ))
        .with_hint("put the table's alias in front: a.Close"),
        other => Error::invalid(one_line(&other.to_string())),
    }
}

/// Columns listed in a hint.
const COLUMNS_SHOWN: usize = 12;

fn hint_for_column(wanted: &str, names: &[&str]) -> Option<String> {
    let other_case = names.iter().find(|n| n.eq_ignore_ascii_case(wanted));
    if let Some(name) = other_case {
        return Some(format!("names are case-sensitive: write \"{name}\""));
    }
    if let Some(name) = nearest(wanted, names.iter().copied()) {
        return Some(format!("did you mean \"{name}\"?"));
    }
    if names.is_empty() {
        return None;
    }
    let mut shown: Vec<&str> = names.to_vec();
    shown.dedup();
    let more = match shown.len() > COLUMNS_SHOWN {
        true => ", ...",
        false => "",
    };
    shown.truncate(COLUMNS_SHOWN);
    Some(format!("there are {}{more}", shown.join(", ")))
}

/// The name that differs least, if it differs little.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    let distances = names.map(|name| (distance(&lower, &name.to_lowercase(), allowed), name));
    let nearest = distances.filter(|(d, _)| *d <= allowed).min();
    nearest.map(|(_, name)| name)
}

/// Levenshtein's distance, or more than `most`.
fn distance(a: &str, b: &str, most: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > most {
        return most + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed above the caret, and the character that the caret points at.
    fn pointed(text: &str, column: u64) -> (String, Option<char>) {
        let error = Error::invalid("no").at(1, column);
        let pretty = error.pretty(text);
        let lines: Vec<&str> = pretty.lines().collect();
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        (lines[1].to_owned(), lines[1].chars().nth(caret))
    }

    #[test]
    fn a_caret_points_at_its_column_in_lines_of_any_length() {
        let line = |length: usize| {
            "abcdefghij"
                .chars()
                .cycle()
                .take(length)
                .collect::<String>()
        };
        for length in [1, 10, 159, 160, 161, 200, 1000] {
            let text = line(length);
            for column in 1..=length {
                let (shown, found) = pointed(&text, column as u64);
                assert_eq!(found, text.chars().nth(column - 1), "{length}, {column}");
                assert!(shown.len() <= "line 1: ".len() + LINE_CHARS + 2 * LEFT_OUT.len());
                let whole = shown == format!("line 1: {text}");
                assert_eq!(whole, length <= LINE_CHARS, "{shown}");
            }
        }
        let text = format!("SELECT {} FROM t", "x".repeat(200));
        let (shown, _) = pointed(&text, 180);
        assert!(
            shown.starts_with("line 1: ...xxx") && shown.ends_with("x FROM t"),
            "{shown}"
        );
        // Behind the end, as where something is missing.
        let (shown, found) = pointed("SELECT", 99);
        assert_eq!((shown.as_str(), found), ("line 1: SELECT", None));
    }
}
