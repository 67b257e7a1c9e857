//! Clauses the parser does not know, as tokens that it does.
//!
//! | written | parsed |
//! |---|---|
//! | `ASOF [LEFT] JOIN b ON c` | `GLOBAL [LEFT] JOIN b ON c` |
//! | `MATCH_CONDITION (c) [ON d]` | `ON __asof_match(c) [AND d]` |
//! | `USING (a, t)` of an ASOF join | `ON __asof_using(a, t)` |
//! | `TOLERANCE x` | `[ON or AND] __asof_tolerance(x)` |
//! | `[WHERE c] LATEST BY a, b` | `WHERE [(c) AND] __latest_by(a, b)` |
//! | `[WHERE c] LATEST ON t PARTITION BY a` | `WHERE [(c) AND] __latest_on(t, a)` |
//! | `LATEST BY a WHERE c` | `WHERE __latest_by(a) AND (c)` |
//! | `GROUP BY t [HAVING c] FILL (prev)` | `GROUP BY t HAVING [(c) AND] __fill(prev)` |
//! | `SELECT ohlcv('5Min') FROM x FILL (prev)` | `SELECT ohlcv('5Min') FROM x HAVING __fill(prev)` |

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use super::marker;

/// What is wrong with a clause, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClauseError {
    pub(crate) message: String,
    pub(crate) span: Span,
}

/// Rewrites the clauses in the tokens of a statement.
pub(crate) fn rewrite_tokens(
    tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, ClauseError> {
    let has_clause = tokens.iter().any(|token| match word(token) {
        Some(word) => CLAUSES
            .iter()
            .any(|clause| word.value.eq_ignore_ascii_case(clause)),
        None => false,
    });
    if !has_clause {
        return Ok(tokens);
    }
    let mut rewriter = Rewriter {
        input: tokens,
        at: 0,
        output: Vec::new(),
        levels: vec![Level::default()],
    };
    rewriter.run()?;
    Ok(rewriter.output)
}

/// Words that begin what is rewritten. GLOBAL is refused: it is our marker.
const CLAUSES: [&str; 4] = ["ASOF", "LATEST", "FILL", "GLOBAL"];

/// Functions of buckets of time, which a FILL may follow without GROUP BY.
const CANDLES: [&str; 3] = ["OHLCV", "CANDLECANDLER", "TICKCANDLER"];

/// One SELECT: what was seen of it. Positions are in the output.
#[derive(Default)]
struct Level {
    from: bool,
    /// Behind WHERE.
    condition: Option<usize>,
    grouped: bool,
    /// Has a function of candles, which groups by itself.
    candles: bool,
    /// Behind HAVING.
    having: Option<usize>,
    filled: bool,
    /// In an ASOF join: whether its condition has begun.
    asof: Option<bool>,
    /// A parenthesis of ours is open until the next clause.
    open: bool,
    latest: bool,
}

struct Rewriter {
    input: Vec<TokenWithSpan>,
    at: usize,
    output: Vec<TokenWithSpan>,
    /// A level for each open parenthesis.
    levels: Vec<Level>,
}

fn word(token: &TokenWithSpan) -> Option<&Word> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word),
        _ => None,
    }
}

impl Rewriter {
    fn run(&mut self) -> Result<(), ClauseError> {
        while self.at < self.input.len() {
            let token = &self.input[self.at];
            match &token.token {
                Token::LParen => self.levels.push(Level::default()),
                Token::RParen => {
                    self.close();
                    if self.levels.len() > 1 {
                        self.levels.pop();
                    }
                }
                Token::SemiColon | Token::EOF => {
                    self.close();
                    *self.level() = Level::default();
                }
                Token::Word(word) if word.quote_style.is_none() => {
                    let (keyword, text) = (word.keyword, word.value.to_ascii_uppercase());
                    if self.clause(keyword, &text)? {
                        continue;
                    }
                }
                _ => {}
            }
            self.copy();
        }
        self.close();
        Ok(())
    }

    /// Handles a word; whether it was used up.
    fn clause(&mut self, keyword: Keyword, text: &str) -> Result<bool, ClauseError> {
        match keyword {
            Keyword::SELECT | Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                self.close();
                *self.level() = Level::default();
            }
            Keyword::FROM => self.level().from = true,
            Keyword::WHERE => {
                self.level().asof = None;
                return self.filter();
            }
            Keyword::GROUP => {
                self.end_of_condition();
                self.level().grouped = true;
            }
            Keyword::HAVING => {
                if self.level().filled {
                    return Err(self.error("FILL comes after HAVING"));
                }
                self.copy();
                let at = self.output.len();
                self.level().having = Some(at);
                return Ok(true);
            }
            Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::FETCH
            | Keyword::QUALIFY
            | Keyword::WINDOW => self.end_of_condition(),
            Keyword::GLOBAL if self.next_is_join(1) => {
                return Err(self.error("GLOBAL joins are not supported; leave GLOBAL out"));
            }
            Keyword::ASOF if self.next_is_join(1) => return self.asof(),
            Keyword::JOIN => self.level().asof = None,
            Keyword::MATCH_CONDITION if self.level().asof == Some(false) => {
                return self.match_condition();
            }
            Keyword::USING if self.level().asof.is_some() => return self.using(),
            Keyword::ON if self.level().asof.is_some() => {
                let begun = self.level().asof.replace(true) == Some(true);
                if begun {
                    self.put_word("AND");
                    self.at += 1;
                    return Ok(true);
                }
            }
            _ if text == "TOLERANCE" && self.level().asof.is_some() => return self.tolerance(),
            _ if text == "LATEST" && self.level().from => return self.latest(),
            _ if text == "FILL" => return self.fill(),
            _ if CANDLES.contains(&text) && !self.level().from => {
                let opens = self.peek(1).map(|token| &token.token) == Some(&Token::LParen);
                self.level().candles |= opens;
            }
            _ => {}
        }
        Ok(false)
    }

    /// ASOF [LEFT [OUTER] | INNER] JOIN.
    fn asof(&mut self) -> Result<bool, ClauseError> {
        if !self.level().from {
            return Ok(false);
        }
        self.put_word("GLOBAL");
        self.at += 1;
        self.skip_space();
        while !self.is_word(0, "JOIN") {
            if self.is_word(0, "RIGHT") || self.is_word(0, "FULL") {
                return Err(self.error("an ASOF join is LEFT or INNER; swap the tables instead"));
            }
            if self.is_word(0, "OUTER") {
                self.at += 1;
            } else {
                self.copy();
            }
            self.skip_space();
        }
        self.copy();
        self.level().asof = Some(false);
        Ok(true)
    }

    fn match_condition(&mut self) -> Result<bool, ClauseError> {
        self.put_word("ON");
        self.put_word(marker::MATCH);
        self.at += 1;
        self.copy_parenthesized()?;
        self.level().asof = Some(true);
        Ok(true)
    }

    fn using(&mut self) -> Result<bool, ClauseError> {
        let begun = self.level().asof.replace(true) == Some(true);
        self.put_word(if begun { "AND" } else { "ON" });
        self.put_word(marker::USING);
        self.at += 1;
        self.copy_parenthesized()?;
        Ok(true)
    }

    /// TOLERANCE of INTERVAL '5 seconds', '5s' or 5s.
    fn tolerance(&mut self) -> Result<bool, ClauseError> {
        let begun = self.level().asof.replace(true) == Some(true);
        self.put_word(if begun { "AND" } else { "ON" });
        self.put_word(marker::TOLERANCE);
        self.at += 1;
        self.put(Token::LParen);
        self.skip_space();
        let given = self.input.get(self.at).map(|token| token.token.clone());
        match given {
            Some(Token::Word(word)) if word.keyword == Keyword::INTERVAL => {
                self.copy();
                self.skip_space();
                self.copy();
                self.skip_space();
                if self
                    .peek(0)
                    .and_then(word_of)
                    .is_some_and(|word| is_unit(&word.value))
                {
                    self.copy();
                }
            }
            Some(Token::Number(number, _)) => {
                let unit = self
                    .input
                    .get(self.at + 1)
                    .and_then(word)
                    .map(|word| word.value.clone());
                self.put(Token::SingleQuotedString(format!(
                    "{number}{}",
                    unit.as_deref().unwrap_or("")
                )));
                self.at += 1 + usize::from(unit.is_some());
            }
            Some(Token::Word(word)) if word.value.starts_with(|c: char| c.is_ascii_digit()) => {
                self.put(Token::SingleQuotedString(word.value));
                self.at += 1;
            }
            Some(Token::SingleQuotedString(_)) => self.copy(),
            _ => {
                return Err(self.error(
                    "TOLERANCE takes a length of time, such as INTERVAL '5 seconds' or 5s",
                ));
            }
        }
        self.put(Token::RParen);
        Ok(true)
    }

    /// LATEST BY columns, or LATEST ON time PARTITION BY columns.
    fn latest(&mut self) -> Result<bool, ClauseError> {
        let begun = self.at;
        let by = self.is_word(1, "BY");
        let on = self.is_word(1, "ON");
        let mut columns = Vec::new();
        if on {
            self.skip_words(2);
            let time = self.column();
            // Else LATEST is the alias of a table, and this its join.
            if time.is_empty() || !(self.is_word(0, "PARTITION") && self.is_word(1, "BY")) {
                self.at = begun;
                return Ok(false);
            }
            columns.extend(time);
            columns.push(TokenWithSpan::new(Token::Comma, self.input[begun].span));
        } else if !by {
            return Ok(false);
        }
        self.skip_words(2);
        loop {
            let column = self.column();
            if column.is_empty() {
                return Err(self.error("LATEST BY takes columns, such as LATEST BY symbol"));
            }
            columns.extend(column);
            if self.peek(0).is_none_or(|token| token.token != Token::Comma) {
                break;
            }
            self.skip_space();
            columns.push(self.input[self.at].clone());
            self.at += 1;
        }
        if self.level().latest || self.level().grouped {
            self.at = begun;
            return Err(self.error("LATEST comes once, after FROM or WHERE"));
        }
        let after = std::mem::replace(&mut self.at, begun);
        self.mark(Level::condition, "WHERE");
        self.put_word(if on {
            marker::LATEST_ON
        } else {
            marker::LATEST
        });
        self.put(Token::LParen);
        self.output.extend(columns);
        self.put(Token::RParen);
        self.at = after;
        self.level().latest = true;
        self.level().asof = None;
        Ok(true)
    }

    /// WHERE, which may come after LATEST.
    fn filter(&mut self) -> Result<bool, ClauseError> {
        if self.level().latest {
            self.put_word("AND");
            self.put(Token::LParen);
            self.at += 1;
            self.level().open = true;
        } else {
            self.copy();
            let at = self.output.len();
            self.level().condition = Some(at);
        }
        Ok(true)
    }

    /// FILL ( ... ) after GROUP BY.
    fn fill(&mut self) -> Result<bool, ClauseError> {
        let ends_term = self
            .output
            .iter()
            .rev()
            .find(|token| !is_space(token))
            .is_some_and(|token| match &token.token {
                Token::Word(word) => word.quote_style.is_some() || word.keyword != Keyword::BY,
                Token::RParen | Token::Number(..) | Token::SingleQuotedString(_) => true,
                _ => false,
            });
        let opens = self
            .peek(1)
            .is_some_and(|token| token.token == Token::LParen);
        let fills = self.peek(2).and_then(word).is_some_and(|word| {
            let fills = ["none", "null", "prev", "linear"];
            fills
                .iter()
                .any(|fill| word.value.eq_ignore_ascii_case(fill))
        });
        let level = self.level();
        let grouped = level.grouped || level.candles && level.from;
        if level.from && !grouped && ends_term && opens && fills {
            return Err(self.error(
                "FILL needs GROUP BY with a time bucket, such as GROUP BY time_bucket('5Min', Epoch)",
            ));
        }
        if !(grouped && ends_term && opens) {
            return Ok(false);
        }
        self.end_of_condition();
        self.mark(Level::having, "HAVING");
        self.put_word(marker::FILL);
        self.at += 1;
        self.copy_parenthesized()?;
        self.level().filled = true;
        Ok(true)
    }

    /// Makes what stands behind `place`, if anything does, the first part of an AND.
    fn mark(&mut self, place: impl Fn(&mut Level) -> Option<usize>, clause: &str) {
        match place(self.level()) {
            Some(at) => {
                let open = TokenWithSpan::new(Token::LParen, self.span());
                self.output.insert(at, open);
                self.put(Token::RParen);
                self.put_word("AND");
            }
            None => self.put_word(clause),
        }
    }

    fn end_of_condition(&mut self) {
        self.close();
        self.level().asof = None;
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.level().open) {
            self.put(Token::RParen);
        }
    }

    fn level(&mut self) -> &mut Level {
        self.levels
            .last_mut()
            .expect("the statement itself is a level")
    }

    /// A column: names with dots. Empty if there is none.
    fn column(&mut self) -> Vec<TokenWithSpan> {
        let mut found = Vec::new();
        self.skip_space();
        while let Some(token) = self.input.get(self.at) {
            match (&token.token, found.len() % 2) {
                (Token::Word(_), 0) | (Token::Period, 1) => found.push(token.clone()),
                _ => break,
            }
            self.at += 1;
        }
        found
    }

    /// Copies a parenthesis and what is in it, with the clauses of queries inside.
    fn copy_parenthesized(&mut self) -> Result<(), ClauseError> {
        self.skip_space();
        if self
            .input
            .get(self.at)
            .is_none_or(|token| token.token != Token::LParen)
        {
            return Err(self.error("a parenthesis is missing here"));
        }
        let mut depth = 0;
        while let Some(token) = self.input.get(self.at) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                Token::EOF => break,
                _ => {}
            }
            self.copy();
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.error("a parenthesis is not closed"))
    }

    fn copy(&mut self) {
        if let Some(token) = self.input.get(self.at) {
            self.output.push(token.clone());
            self.at += 1;
        }
    }

    fn span(&self) -> Span {
        let token = self.input.get(self.at).or(self.input.last());
        token.map_or_else(Span::empty, |token| token.span)
    }

    fn put(&mut self, token: Token) {
        let span = self.span();
        self.output.push(TokenWithSpan::new(token, span));
    }

    fn put_word(&mut self, word: &str) {
        self.put(Token::make_word(word, None));
    }

    fn skip_space(&mut self) {
        while self.input.get(self.at).is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// Passes so many tokens, and the space before each.
    fn skip_words(&mut self, count: usize) {
        for _ in 0..count {
            self.skip_space();
            self.at += 1;
        }
    }

    /// The token that comes so many after this one, space not counted.
    fn peek(&self, count: usize) -> Option<&TokenWithSpan> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        rest.iter().filter(|token| !is_space(token)).nth(count)
    }

    fn is_word(&self, count: usize, text: &str) -> bool {
        let word = self.peek(count).and_then(word_of);
        word.is_some_and(|word| word.value.eq_ignore_ascii_case(text))
    }

    /// Whether a join's words follow.
    fn next_is_join(&self, mut count: usize) -> bool {
        while ["LEFT", "RIGHT", "FULL", "INNER", "OUTER"]
            .iter()
            .any(|kind| self.is_word(count, kind))
        {
            count += 1;
        }
        self.is_word(count, "JOIN")
    }

    fn error(&self, message: &str) -> ClauseError {
        ClauseError {
            message: message.to_owned(),
            span: self.span(),
        }
    }
}

impl Level {
    fn condition(&mut self) -> Option<usize> {
        self.condition
    }

    fn having(&mut self) -> Option<usize> {
        self.having
    }
}

fn word_of(token: &TokenWithSpan) -> Option<&Word> {
    word(token)
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

fn is_unit(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let units = [
        "nanosecond",
        "microsecond",
        "millisecond",
        "second",
        "minute",
        "hour",
        "day",
        "week",
    ];
    units.contains(&word.strip_suffix('s').unwrap_or(&word))
}
