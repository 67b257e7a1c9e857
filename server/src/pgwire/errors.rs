//! Errors as PostgreSQL's clients know them: code, position for the caret, hint.

use pgwire::error::{ErrorInfo, PgWireError};
use sql::{Error, ErrorKind};

/// An error of a statement; `text` is the statement, which stands `before` characters into what
/// the client sent.
pub(super) fn of_statement(error: &Error, text: &str, before: usize) -> PgWireError {
    let mut info = info(code(error), &error.message);
    info.hint = error.hint.clone();
    if let Some(position) = error.position {
        let place = characters_before(text, position.line, position.column);
        info.position = Some((before + place + 1).to_string());
    }
    PgWireError::UserError(Box::new(info))
}

/// An error that we make ourselves.
pub(super) fn user(code: &str, message: impl AsRef<str>) -> PgWireError {
    PgWireError::UserError(Box::new(info(code, message.as_ref())))
}

/// An error that ends the connection.
pub(super) fn fatal(code: &str, message: impl AsRef<str>) -> PgWireError {
    ending(user(code, message))
}

/// The same error, which ends the connection.
pub(super) fn ending(error: PgWireError) -> PgWireError {
    match error {
        PgWireError::UserError(mut info) => {
            info.severity = "FATAL".to_owned();
            info.severity_nonlocalized = Some("FATAL".to_owned());
            PgWireError::UserError(info)
        }
        other => other,
    }
}

fn info(code: &str, message: &str) -> ErrorInfo {
    let mut info = ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.to_owned());
    info.severity_nonlocalized = Some("ERROR".to_owned());
    info
}

fn code(error: &Error) -> &'static str {
    match error.kind {
        ErrorKind::Syntax => "42601",
        ErrorKind::Unknown if error.message.contains("column") => "42703",
        ErrorKind::Unknown if error.message.contains("function") => "42883",
        ErrorKind::Unknown => "42P01",
        ErrorKind::Invalid => "42804",
        ErrorKind::Denied => "42501",
        ErrorKind::Limit => "54000",
        ErrorKind::Busy => "53300",
        ErrorKind::Unsupported => "0A000",
        ErrorKind::Cancelled => "57014",
        ErrorKind::Failed => "XX000",
    }
}

/// Characters in front of a line and column, both from 1.
fn characters_before(text: &str, line: u64, column: u64) -> usize {
    let skipped = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let lines = text.split('\n').take(skipped);
    let before: usize = lines.map(|line| line.chars().count() + 1).sum();
    before + usize::try_from(column.saturating_sub(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_at_the_character() {
        assert_eq!(characters_before("SELECT x", 1, 8), 7);
        assert_eq!(characters_before("SELECT\n  \u{20ac}, x", 2, 6), 12);
        let mut error = Error::new(ErrorKind::Unknown, "no column \"x\"");
        error.position = Some(sql::Position { line: 1, column: 8 });
        let PgWireError::UserError(info) = of_statement(&error, "SELECT x", 10) else {
            panic!("of another kind");
        };
        assert_eq!(info.position.as_deref(), Some("18"));
        assert_eq!(info.code, "42703");
    }
}
