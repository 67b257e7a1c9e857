//! Lines of a session to commands and statements.
//!
//! A statement ends at `;`. Scripts for MarketStore have one statement a line and no `;`, so a
//! statement also ends at an empty line, at a command, at the end, and where the next line begins
//! another statement - unless brackets or quotes are open, or the text so far asks for more.

/// What a session is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Input {
    /// `\show ...`, `help`, `exit`.
    Command(String),
    /// SQL.
    Statement(String),
}

/// What is open behind a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Open {
    /// Inside of quotes or a comment.
    quoted: bool,
    /// Inside of brackets.
    depth: u32,
}

/// Cuts a text at each `;` that is one; the rest, and what is open behind it.
fn cut(text: &str) -> (Vec<String>, String, Open) {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut depth = 0_u32;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ';' => {
                parts.push(std::mem::take(&mut part));
                depth = 0;
                continue;
            }
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '\'' | '"' | '`' => {
                part.push(c);
                let closed = take_until(&mut chars, &mut part, |ch, _| ch == c);
                if !closed {
                    return (
                        parts,
                        part,
                        Open {
                            quoted: true,
                            depth,
                        },
                    );
                }
                continue;
            }
            '-' if chars.peek() == Some(&'-') => {
                part.push(c);
                // The end of the text ends such a comment, too.
                take_until(&mut chars, &mut part, |ch, _| ch == '\n');
                continue;
            }
            '/' if chars.peek() == Some(&'*') => {
                part.push(c);
                let closed = take_until(&mut chars, &mut part, |ch, before| {
                    ch == '/' && before == '*'
                });
                if !closed {
                    return (
                        parts,
                        part,
                        Open {
                            quoted: true,
                            depth,
                        },
                    );
                }
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    let open = Open {
        quoted: false,
        depth,
    };
    (parts, part, open)
}

/// Moves characters up to and with the one that ends; whether it was there.
fn take_until(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    part: &mut String,
    ends: impl Fn(char, char) -> bool,
) -> bool {
    let mut before = ' ';
    for c in chars.by_ref() {
        part.push(c);
        if ends(c, before) {
            return true;
        }
        before = c;
    }
    false
}

/// Whether there is anything to run.
fn is_blank(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        rest = match rest {
            "" => return true,
            _ if rest.starts_with("--") => rest.split_once('\n').map_or("", |(_, next)| next),
            _ if rest.starts_with("/*") => rest.split_once("*/").map_or("", |(_, next)| next),
            _ => return false,
        };
        rest = rest.trim_start();
    }
}

/// The statements of a text.
pub(in crate::cli) fn statements(text: &str) -> Vec<String> {
    let (mut parts, rest, _) = cut(text);
    parts.push(rest);
    let parts = parts.into_iter().filter(|part| !is_blank(part));
    parts.map(|part| part.trim().to_owned()).collect()
}

/// Whether a line is a command and not SQL.
pub(super) fn is_command(line: &str) -> bool {
    let line = line.trim();
    let first = line.split_whitespace().next().unwrap_or("");
    line.starts_with('\\')
        || matches!(line, "exit" | "quit")
        || (first == "help" && !line.ends_with(';'))
}

/// Whether the editor may take the text as it is.
pub(super) fn is_complete(text: &str) -> bool {
    if is_command(text) || text.trim().is_empty() {
        return true;
    }
    let (_, rest, open) = cut(text);
    let ended = is_blank(&rest) && !open.quoted;
    // An empty line ends it, too.
    ended || (!open.quoted && text.ends_with('\n'))
}

/// Words that a statement begins with.
const BEGINNINGS: [&str; 13] = [
    "select", "insert", "explain", "show", "describe", "desc", "delete", "set", "with", "create",
    "drop", "values", "update",
];

/// Words behind which a statement goes on.
const GOING_ON: [&str; 18] = [
    "union",
    "all",
    "except",
    "intersect",
    "as",
    "select",
    "from",
    "where",
    "and",
    "or",
    "by",
    "on",
    "join",
    "into",
    "explain",
    "analyze",
    "values",
    "not",
];

/// Puts lines of a script together.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    text: String,
}

impl Gatherer {
    /// Takes a line; what is complete with it.
    pub(super) fn push(&mut self, line: &str) -> Vec<Input> {
        let mut out = Vec::new();
        let (_, _, open) = cut(&self.text);
        let is_free = !open.quoted && open.depth == 0;
        let trimmed = line.trim();
        if !open.quoted && (trimmed.is_empty() || is_command(trimmed)) {
            out.extend(self.end());
            if !trimmed.is_empty() {
                out.push(Input::Command(trimmed.to_owned()));
            }
            return out;
        }
        if is_free && begins(trimmed) && may_end(&self.text) {
            out.extend(self.end());
        }
        self.text.push_str(line);
        self.text.push('\n');
        let (parts, rest, open) = cut(&self.text);
        out.extend(parts.iter().filter_map(|part| statement(part)));
        self.text = match is_blank(&rest) && !open.quoted {
            true => String::new(),
            false => rest,
        };
        out
    }

    /// What is left at the end.
    pub(super) fn end(&mut self) -> Option<Input> {
        statement(&std::mem::take(&mut self.text))
    }
}

fn statement(text: &str) -> Option<Input> {
    (!is_blank(text)).then(|| Input::Statement(text.trim().to_owned()))
}

fn begins(line: &str) -> bool {
    let word = line.split(|c: char| !c.is_ascii_alphabetic()).next();
    let word = word.unwrap_or("").to_ascii_lowercase();
    BEGINNINGS.contains(&word.as_str())
}

/// Whether a text can be a whole statement.
fn may_end(text: &str) -> bool {
    let lower = outside_brackets(text).trim().to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let (Some(first), Some(last)) = (words.first(), words.last()) else {
        return false;
    };
    let has = |word: &str| words.iter().skip(1).any(|w| *w == word);
    let is_begun = match *first {
        "insert" => has("select") || has("values") || has("with"),
        "with" | "explain" => has("select") || has("insert") || has("delete"),
        _ => true,
    };
    let goes_on = last.ends_with([',', '(', '=', '<', '>', '+', '*', '/']) && *last != "*";
    is_begun && !goes_on && !GOING_ON.contains(last)
}

/// A text without what stands in brackets: the SELECT of a WITH is none of its own.
fn outside_brackets(text: &str) -> String {
    let mut depth = 0_u32;
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str) -> Vec<String> {
        let mut gatherer = Gatherer::default();
        let mut out: Vec<Input> = script.lines().flat_map(|l| gatherer.push(l)).collect();
        out.extend(gatherer.end());
        let text = |input| match input {
            Input::Command(text) => format!("c:{text}"),
            Input::Statement(text) => format!("s:{}", text.replace('\n', " ")),
        };
        out.into_iter().map(text).collect()
    }

    #[test]
    fn old_scripts_have_a_statement_a_line() {
        let script = "\\create A/1Min/X Open/float32 fixed\n\
            SELECT * FROM `A/1Min/X`\n\
            select count(*) from `A/1Min/X`\n\
            \\show A/1Min/X 2020-01-01\n\
            INSERT INTO `B/1Min/X` SELECT * FROM `A/1Min/X`\n\
            exit\n";
        assert_eq!(
            told(script),
            [
                "c:\\create A/1Min/X Open/float32 fixed",
                "s:SELECT * FROM `A/1Min/X`",
                "s:select count(*) from `A/1Min/X`",
                "c:\\show A/1Min/X 2020-01-01",
                "s:INSERT INTO `B/1Min/X` SELECT * FROM `A/1Min/X`",
                "c:exit",
            ]
        );
    }

    #[test]
    fn new_scripts_have_as_many_lines_as_they_like() {
        for (script, wanted) in [
            ("SELECT a,\n b\nFROM x;", vec!["s:SELECT a,  b FROM x"]),
            ("INSERT INTO x\nSELECT 1", vec!["s:INSERT INTO x SELECT 1"]),
            (
                "EXPLAIN\nSELECT 1\n\nSELECT 2",
                vec!["s:EXPLAIN SELECT 1", "s:SELECT 2"],
            ),
            (
                "WITH a AS (\nSELECT 1\n)\nSELECT 2",
                vec!["s:WITH a AS ( SELECT 1 ) SELECT 2"],
            ),
            (
                "WITH a AS (SELECT 1)\nSELECT 2;",
                vec!["s:WITH a AS (SELECT 1) SELECT 2"],
            ),
            (
                "SELECT 1; SELECT 2;\nSELECT 3",
                vec!["s:SELECT 1", "s:SELECT 2", "s:SELECT 3"],
            ),
            (
                "SELECT ';' -- ; no\n, 'a''b;'",
                vec!["s:SELECT ';' -- ; no , 'a''b;'"],
            ),
            (
                "SELECT 1\nUNION\nSELECT 2",
                vec!["s:SELECT 1 UNION SELECT 2"],
            ),
            ("SELECT 'a\n\\show\n'", vec!["s:SELECT 'a \\show '"]),
            ("-- nothing\n/* \n; */\n", vec![]),
        ] {
            assert_eq!(told(script), wanted, "{script}");
        }
    }

    #[test]
    fn the_editor_waits_for_the_end() {
        for text in [
            "\\show x",
            "exit",
            "help show",
            "SELECT 1;",
            "SELECT 1\n",
            "",
            "SELECT ';';",
        ] {
            assert!(is_complete(text), "{text}");
        }
        for text in [
            "SELECT 1",
            "SELECT ';",
            "SELECT '\n",
            "SELECT 1; SELECT 2",
            "/* ;",
        ] {
            assert!(!is_complete(text), "{text}");
        }
        assert_eq!(
            statements("SELECT 1;\n;-- x\nSELECT 2 ; "),
            ["SELECT 1", "-- x\nSELECT 2"]
        );
    }
}
