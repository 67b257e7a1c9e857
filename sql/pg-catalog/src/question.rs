//! Whether a statement asks the catalog.

/// Functions about the session and the server.
const FUNCTIONS: [&str; 22] = [
    "version",
    "current_setting",
    "set_config",
    "current_database",
    "current_schema",
    "current_schemas",
    "format_type",
    "quote_ident",
    "quote_literal",
    "obj_description",
    "col_description",
    "shobj_description",
    "to_regclass",
    "to_regtype",
    "txid_current",
    "inet_server_addr",
    "inet_server_port",
    "has_table_privilege",
    "has_schema_privilege",
    "has_database_privilege",
    "parse_ident",
    "array_lower",
];

/// Words that are calls without parentheses.
const WORDS: [&str; 8] = [
    "current_user",
    "session_user",
    "current_role",
    "current_schema",
    "current_catalog",
    "regclass",
    "regtype",
    "user",
];

/// Whether a statement asks the catalog, by the words outside of texts and quotes. `words` are its
/// tokens.
pub fn is_question<'a>(words: impl Iterator<Item = &'a str>) -> bool {
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        // Names in the store are quoted or have their slashes.
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let lower = word.to_ascii_lowercase();
        let mut parts = lower.split('.');
        if parts.any(|part| part.starts_with("pg_") || part == "information_schema") {
            return true;
        }
        let called = words.peek() == Some(&"(");
        if called && FUNCTIONS.contains(&lower.as_str()) || WORDS.contains(&lower.as_str()) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_question;

    #[test]
    fn only_words_outside_of_texts_are_questions() {
        let asked = |text: &str| is_question(text.split(' '));
        for text in [
            "SELECT 1 FROM pg_class",
            "SELECT pg_catalog.version ( )",
            "SELECT * FROM information_schema.tables",
            "SELECT Version ( )",
            "select current_user",
        ] {
            assert!(asked(text), "{text}");
        }
        for text in [
            "SELECT 'pg_class'",
            "SELECT \"pg_class\" FROM t",
            "SELECT version FROM t",
            "SELECT Close FROM \"AAPL/1Min/OHLCV\"",
        ] {
            assert!(!asked(text), "{text}");
        }
    }
}
