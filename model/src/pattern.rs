//! On-patterns: which bucket keys a trigger, a table or a rule means. Always anchored: a pattern
//! speaks of the whole key.
//!
//! | written | matches |
//! |---|---|
//! | `*` | exactly one whole element |
//! | `gdax_*`, `?` | inside an element: one or more characters, one character |
//! | `**` | any number of elements: `AAPL/**` |
//! | `{A,B}` and `A,B` | alternatives: `AAPL,MSFT/1Min/OHLCV` |
//! | `[0-9]`, `[!0-9]` | one character of a set |
//! | a fourth part (`2020.bin`, `*.bin`, `*`) | accepted and ignored, with a warning |
//!
//! Matching takes time linear in pattern and key: no pattern can be made slow.

mod overlap;

use std::fmt;

use crate::key::BucketKey;

/// Longest pattern in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;

/// Most alternatives that the braces of one element may stand for.
const ALTERNATIVES_MAX: usize = 256;

/// A checked pattern over bucket keys.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPattern {
    text: String,
    parts: Vec<Part>,
    warning: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of elements.
    Any,
    /// One element that fits one of these.
    One(Vec<Vec<Token>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
    /// One or more characters.
    Run,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern \"{pattern}\": {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

impl KeyPattern {
    /// The pattern that every key matches.
    pub fn any() -> Self {
        Self {
            text: "**".into(),
            parts: vec![Part::Any],
            warning: None,
        }
    }

    /// Parses a pattern.
    ///
    /// # Errors
    /// If it is too long, a bracket or brace is not closed, or no key of three parts can match it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let error = |why: String| PatternError {
            pattern: text.chars().take(80).collect(),
            why,
        };
        if text.len() > PATTERN_BYTES_MAX {
            return Err(error(format!(
                "{} bytes, the limit is {PATTERN_BYTES_MAX}",
                text.len()
            )));
        }
        let mut elements: Vec<&str> = split_outside_groups(text, '/');
        let warning =
            (elements.len() == 4 && !elements.contains(&"**") && is_year_file(elements[3]))
                .then(|| format!("the fourth part of \"{text}\" (year file) is ignored"));
        if warning.is_some() {
            elements.pop();
        }
        let parts = elements
            .iter()
            .map(|element| parse_part(element).map_err(&error))
            .collect::<Result<Vec<_>, _>>()?;
        let single = parts.iter().filter(|p| **p != Part::Any).count();
        if single > 3 || (single < 3 && single == parts.len()) {
            return Err(error(format!(
                "it has {} parts but a bucket key has three, write SYMBOL/TIMEFRAME/GROUP (for example \"*/1Min/OHLCV\")",
                parts.len()
            )));
        }
        Ok(Self {
            text: text.into(),
            parts,
            warning,
        })
    }

    /// What is odd about the pattern, to be shown once.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole key fits.
    pub fn matches(&self, key: &BucketKey) -> bool {
        match_parts(
            &self.parts,
            &[key.symbol(), key.timeframe(), key.attribute_group()],
        )
    }
}

/// A key has three elements, so this recursion is at most four deep for each `**`.
fn match_parts(parts: &[Part], elements: &[&str]) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return elements.is_empty();
    };
    match part {
        // Neighbouring `**` mean the same as one.
        Part::Any if rest.first() == Some(&Part::Any) => match_parts(rest, elements),
        Part::Any => (0..=elements.len()).any(|skip| match_parts(rest, &elements[skip..])),
        Part::One(alternatives) => elements.split_first().is_some_and(|(element, others)| {
            alternatives
                .iter()
                .any(|tokens| match_element(tokens, element))
                && match_parts(rest, others)
        }),
    }
}

/// Greedy with one point to return to, which is enough when runs are the only repetition.
fn match_element(tokens: &[Token], element: &str) -> bool {
    let chars: Vec<char> = element.chars().collect();
    let (mut t, mut c) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match tokens.get(t) {
            None if c == chars.len() => return true,
            Some(Token::Run) if c < chars.len() => {
                (t, c) = (t + 1, c + 1);
                retry = Some((t, c));
                continue;
            }
            Some(token) if c < chars.len() && token.fits(chars[c]) => {
                (t, c) = (t + 1, c + 1);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((at, from)) if from < chars.len() => {
                (t, c) = (at, from + 1);
                retry = Some((at, from + 1));
            }
            _ => return false,
        }
    }
}

impl Token {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::AnyChar | Self::Run => true,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn parse_part(element: &str) -> Result<Part, String> {
    if element == "**" {
        return Ok(Part::Any);
    }
    let mut alternatives = Vec::new();
    for choice in split_outside_groups(element, ',') {
        for text in expand_braces(choice)? {
            alternatives.push(parse_tokens(&text)?);
        }
        if alternatives.len() > ALTERNATIVES_MAX {
            return Err(format!("over {ALTERNATIVES_MAX} alternatives in one part"));
        }
    }
    Ok(Part::One(alternatives))
}

/// `a{b,c}d` becomes `abd`, `acd`.
fn expand_braces(text: &str) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or("a { is not closed")? + open;
        let inside = &rest[open + 1..close];
        if inside.contains('{') {
            return Err("braces cannot be nested".into());
        }
        let mut longer = Vec::new();
        for choice in inside.split(',') {
            longer.extend(done.iter().map(|d| format!("{d}{}{choice}", &rest[..open])));
            if longer.len() > ALTERNATIVES_MAX {
                return Err(format!("over {ALTERNATIVES_MAX} alternatives in one part"));
            }
        }
        done = longer;
        rest = &rest[close + 1..];
    }
    if rest.contains('}') {
        return Err("a } has no {".into());
    }
    done.iter_mut().for_each(|d| d.push_str(rest));
    Ok(done)
}

fn parse_tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.is_empty() {
        return Err("a part is empty".into());
    }
    if text.contains("**") {
        return Err("** must be a whole part".into());
    }
    let mut tokens = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Run,
            '?' => Token::AnyChar,
            '[' => parse_set(&mut chars)?,
            ']' => return Err("a ] has no [".into()),
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn parse_set(chars: &mut std::str::Chars<'_>) -> Result<Token, String> {
    let inside: Vec<char> = chars.by_ref().take_while(|c| *c != ']').collect();
    // take_while has eaten the bracket, if there was one.
    let (negated, body) = match inside.split_first() {
        Some(('!', body)) => (true, body),
        _ => (false, &inside[..]),
    };
    let mut ranges = Vec::new();
    let mut rest = body;
    loop {
        rest = match rest {
            [] => break,
            [low, '-', high, after @ ..] if low <= high => {
                ranges.push((*low, *high));
                after
            }
            [_, '-', _, ..] => return Err("a range in [] runs backwards".into()),
            [one, after @ ..] => {
                ranges.push((*one, *one));
                after
            }
        };
    }
    if ranges.is_empty() {
        return Err("a [] is empty".into());
    }
    Ok(Token::Set { negated, ranges })
}

/// Splits at `separator` where no brace or bracket is open.
fn split_outside_groups(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn is_year_file(part: &str) -> bool {
    part == "*"
        || part.strip_suffix(".bin").is_some_and(|stem| {
            stem == "*" || (!stem.is_empty() && stem.bytes().all(|b| b.is_ascii_digit()))
        })
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPattern({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        KeyPattern::parse(pattern)
            .unwrap()
            .matches(&BucketKey::parse(key).unwrap())
    }

    #[test]
    fn patterns_are_anchored() {
        assert!(matches("*/1Min/OHLCV", "AAPL/1Min/OHLCV"));
        assert!(!matches("*/1Min/OHLCV", "AAPL/1Min/OHLCVX"));
        assert!(!matches("*/1Min/OHLCV", "AAPL/11Min/OHLCV"));
        assert!(!matches("AAPL/1Min/OHLCV", "XAAPL/1Min/OHLCV"));
        assert!(!matches("BRK.B/1Min/OHLCV", "BRK-B/1Min/OHLCV"));
    }

    #[test]
    fn each_form_matches() {
        for (pattern, key, fits) in [
            ("**", "A/1Min/X", true),
            ("AAPL/**", "AAPL/1Min/X", true),
            ("AAPL/**", "MSFT/1Min/X", false),
            ("**/OHLCV", "A/1Min/OHLCV", true),
            ("**/1Min/**", "A/1Min/OHLCV", true),
            ("**/**/**", "A/1Min/OHLCV", true),
            ("gdax_*/*/*", "gdax_BTC/1Min/X", true),
            ("gdax_*/*/*", "gdax_/1Min/X", false),
            ("*a*b/*/*", "xaxaybb/1D/X", true),
            ("*a*b/*/*", "ab/1D/X", false),
            ("A?/*/*", "AB/1Min/X", true),
            ("A?/*/*", "A/1Min/X", false),
            ("AAPL,MSFT/1Min/OHLCV", "MSFT/1Min/OHLCV", true),
            ("{AAPL,MSFT}/**", "MSFT/1Min/OHLCV", true),
            ("X{A,B}{1,2}/*/*", "XB2/1D/Y", true),
            ("*/[0-9]Min/*", "A/5Min/X", true),
            ("*/[!0-9]Min/*", "A/5Min/X", false),
            ("*/[135]Min/*", "A/4Min/X", false),
            ("*/1Min/OHLCV/2020.bin", "A/1Min/OHLCV", true),
        ] {
            assert_eq!(matches(pattern, key), fits, "{pattern} {key}");
        }
        assert!(
            KeyPattern::parse("*/1Min/OHLCV/*.bin")
                .unwrap()
                .warning()
                .is_some()
        );
        assert!(KeyPattern::any().matches(&BucketKey::parse("A/1D/X").unwrap()));
    }

    #[test]
    fn patterns_that_match_nothing_are_refused() {
        for bad in [
            "",
            "1Min",
            "*/1Min",
            "a/b/c/d",
            "a//b",
            "{a/b/c",
            "a}/b/c",
            "[/b/c",
            "[]/b/c",
            "a**/b/c",
            "{{a}}/b/c",
            "a/b/c/d/**",
        ] {
            assert!(KeyPattern::parse(bad).is_err(), "{bad}");
        }
        assert!(KeyPattern::parse(&"x".repeat(600)).is_err());
        assert!(KeyPattern::parse(&format!("{}/b/c", "{a,b}".repeat(20))).is_err());
    }

    #[test]
    fn long_runs_stay_linear() {
        let pattern = format!("{}/*/*", "*a".repeat(100));
        let key = format!("{}/1D/X", "a".repeat(254));
        assert!(matches(&pattern, &key));
        assert!(!matches(&pattern, &format!("{}b/1D/X", "a".repeat(250))));
    }
}
