//! Statements that concern the session alone, and how a text is cut into statements.

use super::cursors::{Declared, Fetch, declared, fetched, folded};

/// What a statement is, before anybody plans it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A transaction begins. It means nothing here.
    Begin,
    /// It ends, with this tag.
    End(&'static str),
    /// A setting is changed.
    Set { name: String, value: String },
    /// A setting is asked for.
    Show(String),
    /// Nothing is done, with this tag.
    Nothing(&'static str),
    /// The rows of a statement as COPY gives them.
    Copy { query: String, binary: bool },
    /// Settings are as in the beginning again: one, or all.
    Reset {
        name: Option<String>,
        tag: &'static str,
    },
    /// A cursor is made.
    Declare(Declared),
    /// Rows of a cursor.
    Fetch(Fetch),
    /// A cursor ends, or all.
    Close(Option<String>),
    /// It is refused, with a code of SQLSTATE.
    Bad(&'static str, String),
    /// SQL.
    Sql,
}

/// Understands a statement by its first words.
pub(super) fn meaning(text: &str) -> Meaning {
    let words = words(text);
    let upper: Vec<String> = words.iter().take(4).map(|w| w.to_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    match upper[..] {
        ["BEGIN", ..] | ["START", "TRANSACTION", ..] => Meaning::Begin,
        ["COMMIT", ..] | ["END", ..] => Meaning::End("COMMIT"),
        ["ROLLBACK", ..] | ["ABORT", ..] => Meaning::End("ROLLBACK"),
        ["SAVEPOINT", ..] => Meaning::Nothing("SAVEPOINT"),
        ["RELEASE", ..] => Meaning::Nothing("RELEASE"),
        ["DISCARD", ..] => Meaning::Reset {
            name: None,
            tag: "DISCARD ALL",
        },
        ["DEALLOCATE", ..] => Meaning::Nothing("DEALLOCATE"),
        ["RESET", name, ..] => Meaning::Reset {
            name: (name != "ALL").then(|| name.to_lowercase()),
            tag: "RESET",
        },
        ["DECLARE", ..] => declare(text),
        ["FETCH" | "MOVE", ..] => match fetched(&words) {
            Ok(fetch) => Meaning::Fetch(fetch),
            Err(what) => Meaning::Bad("42601", what.to_owned()),
        },
        ["CLOSE", "ALL"] => Meaning::Close(None),
        ["CLOSE", _] => Meaning::Close(Some(folded(&words[1]))),
        ["UNLISTEN", ..] => Meaning::Nothing("UNLISTEN"),
        ["SET", "TRANSACTION", ..] | ["SET", "SESSION", "CHARACTERISTICS", ..] => {
            Meaning::Nothing("SET")
        }
        ["SET", ..] => set(&words[1..]),
        ["SHOW", "TRANSACTION", "ISOLATION", ..] => Meaning::Show("transaction_isolation".into()),
        ["SHOW", "TIME", "ZONE"] => Meaning::Show("timezone".into()),
        ["SHOW", _] => Meaning::Show(words[1].to_lowercase()),
        ["COPY", ..] => copy(text),
        _ => Meaning::Sql,
    }
}

/// `[SESSION|LOCAL] name {=|TO} value` or `TIME ZONE value`.
fn set(words: &[String]) -> Meaning {
    let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
    let words = match words {
        [first, rest @ ..] if is(first, "SESSION") || is(first, "LOCAL") => rest,
        words => words,
    };
    let (name, value) = match words {
        [time, zone, value @ ..] if is(time, "TIME") && is(zone, "ZONE") => {
            ("timezone".to_owned(), value)
        }
        [name, to, value @ ..] if to == "=" || is(to, "TO") => (name.to_lowercase(), value),
        _ => return Meaning::Sql,
    };
    let value = value.join(" ").trim_matches('\'').to_owned();
    Meaning::Set { name, value }
}

/// `DECLARE name CURSOR ... FOR query`.
fn declare(text: &str) -> Meaning {
    let tokens = tokens(text);
    let is_for = |(a, b): &&(usize, usize)| text[*a..*b].eq_ignore_ascii_case("FOR");
    let found = tokens.iter().find(is_for);
    let (head, query) = match found {
        Some((a, b)) => (&text[..*a], text[*b..].trim()),
        None => (text, ""),
    };
    match declared(&words(head), query) {
        Ok(declared) => Meaning::Declare(declared),
        Err(what) => Meaning::Bad("42601", what.to_owned()),
    }
}

/// `COPY (query) TO STDOUT ...` or `COPY table TO STDOUT ...`.
fn copy(text: &str) -> Meaning {
    let bad = |what: &str| Meaning::Bad("0A000", what.to_owned());
    let rest = text.trim_start().get(4..).unwrap_or("").trim_start();
    let (query, after) = match rest.strip_prefix('(') {
        Some(inside) => match closing(inside) {
            Some(end) => (inside[..end].to_owned(), &inside[end + 1..]),
            None => return bad("the parenthesis of COPY is not closed"),
        },
        None => {
            let tokens = tokens(rest);
            let table: Vec<&(usize, usize)> = tokens
                .iter()
                .take_while(|(a, b)| !rest[*a..*b].eq_ignore_ascii_case("TO"))
                .take_while(|(a, _)| !rest[*a..].starts_with('('))
                .collect();
            let (Some(first), Some(last)) = (table.first(), table.last()) else {
                return bad("COPY names no table and no query");
            };
            let name = &rest[first.0..last.1];
            let mut after = &rest[last.1..];
            let mut columns = "*".to_owned();
            if let Some(inside) = after.trim_start().strip_prefix('(')
                && let Some(end) = closing(inside)
            {
                inside[..end].clone_into(&mut columns);
                after = &inside[end + 1..];
            }
            (format!("SELECT {columns} FROM {name}"), after)
        }
    };
    let words = words(after);
    let upper: Vec<String> = words.iter().map(|word| word.to_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    let [first, target, options @ ..] = &upper[..] else {
        return bad("only COPY ... TO STDOUT is answered");
    };
    if *first != "TO" || *target != "STDOUT" {
        return bad("only COPY ... TO STDOUT is answered: the server is read-only here");
    }
    let options: Vec<&str> = options
        .iter()
        .map(|word| word.trim_matches(['"', '\'']))
        .filter(|word| !matches!(*word, "WITH" | "(" | ")" | "FORMAT" | ","))
        .collect();
    let binary = match options[..] {
        [] | ["TEXT"] => false,
        ["BINARY"] => true,
        _ => return bad("COPY gives FORMAT text and FORMAT binary, without other options"),
    };
    Meaning::Copy { query, binary }
}

/// Where the parenthesis closes that was opened in front.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (start, end) in tokens(text) {
        match &text[start..end] {
            "(" => depth += 1,
            ")" => {
                depth -= 1;
                if depth == 0 {
                    return Some(start);
                }
            }
            _ => {}
        }
    }
    None
}

/// The statements of a text, each with the characters in front of it.
pub(super) fn split(text: &str) -> Vec<(usize, &str)> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut add = |start: usize, end: usize| {
        let statement = &text[start..end];
        if !tokens(statement).is_empty() {
            statements.push((text[..start].chars().count(), statement));
        }
    };
    for (a, b) in tokens(text) {
        if &text[a..b] == ";" {
            add(start, a);
            start = b;
        }
    }
    add(start, text.len());
    statements
}

fn words(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let words = tokens.iter().map(|(a, b)| text[*a..*b].to_owned());
    words.filter(|word| word != ";").collect()
}

/// The places of words, quoted texts and marks; spaces and comments are left out.
pub(super) fn tokens(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let rest = &text[at..];
        match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'-' if rest.starts_with("--") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'/' if rest.starts_with("/*") => {
                at += rest.find("*/").map_or(rest.len(), |end| end + 2);
                continue;
            }
            quote @ (b'\'' | b'"' | b'`') => {
                let close = rest[1..].bytes().position(|byte| byte == quote);
                at += close.map_or(rest.len(), |close| close + 2);
            }
            b'$' if dollar_quoted(rest).is_some() => {
                at += dollar_quoted(rest).unwrap_or(1);
            }
            byte if is_word(byte) => {
                at += rest.bytes().take_while(|byte| is_word(*byte)).count();
            }
            _ => at += rest.chars().next().map_or(1, char::len_utf8),
        }
        tokens.push((start, at));
    }
    tokens
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || byte >= 0x80
}

/// The length of `$tag$ ... $tag$`.
fn dollar_quoted(text: &str) -> Option<usize> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[..end];
    let inside = &tag[1..tag.len() - 1];
    let is_tag = inside.is_empty()
        || inside.bytes().all(is_word) && !inside.starts_with(|c: char| c.is_ascii_digit());
    let close = text[end..].find(tag).filter(|_| is_tag)?;
    Some(end + close + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_cut_at_semicolons_that_are_none_of_a_text() {
        let text = "SELECT ';' -- a;b\n; /* ; */ SELECT \"a;b\", $x$;$x$;;";
        let found: Vec<&str> = split(text).into_iter().map(|(_, s)| s.trim()).collect();
        assert_eq!(
            found,
            ["SELECT ';' -- a;b", "/* ; */ SELECT \"a;b\", $x$;$x$"]
        );
        assert_eq!(split("\u{20ac}'x'; y")[1].0, 5);
        assert!(split(" ; ").is_empty());
        // What is not closed goes to the end.
        assert_eq!(split("SELECT 'a; b").len(), 1);
    }

    #[test]
    fn statements_of_the_session_are_known() {
        let set = |name: &str, value: &str| Meaning::Set {
            name: name.into(),
            value: value.into(),
        };
        for (text, wanted) in [
            ("begin", Meaning::Begin),
            (
                "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
                Meaning::Begin,
            ),
            ("commit", Meaning::End("COMMIT")),
            ("SET extra_float_digits = 3", set("extra_float_digits", "3")),
            (
                "SET SESSION TimeZone TO 'America/New_York'",
                set("timezone", "America/New_York"),
            ),
            ("set time zone 'UTC'", set("timezone", "UTC")),
            (
                "SHOW server_version",
                Meaning::Show("server_version".into()),
            ),
            ("SELECT 1", Meaning::Sql),
        ] {
            assert_eq!(meaning(text), wanted, "{text}");
        }
    }

    #[test]
    fn copy_is_a_query_and_a_format() {
        let copied = |query: &str, binary| Meaning::Copy {
            query: query.to_owned(),
            binary,
        };
        for (text, wanted) in [
            (
                "COPY (SELECT ')' FROM x) TO STDOUT",
                copied("SELECT ')' FROM x", false),
            ),
            (
                "COPY (SELECT (1)) TO STDOUT (FORMAT \"binary\")",
                copied("SELECT (1)", true),
            ),
            (
                "COPY \"A/1Min/X\" (a, b) TO STDOUT WITH (FORMAT binary)",
                copied("SELECT a, b FROM \"A/1Min/X\"", true),
            ),
            ("copy \"A\" to stdout", copied("SELECT * FROM \"A\"", false)),
        ] {
            assert_eq!(meaning(text), wanted, "{text}");
        }
        for bad in [
            "COPY x FROM STDIN",
            "COPY (SELECT 1 TO STDOUT",
            "COPY x TO '/etc/passwd'",
            "COPY x TO STDOUT (FORMAT csv, HEADER)",
            "COPY",
        ] {
            assert!(matches!(meaning(bad), Meaning::Bad("0A000", _)), "{bad}");
        }
    }
}
