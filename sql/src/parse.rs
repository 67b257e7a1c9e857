//! Text to one statement's tree.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Spanned, Statement, visit_relations_mut};
use datafusion::sql::sqlparser::dialect::{Dialect as Parsing, PostgreSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::dialect::{Names, is_blank, join_names};
use crate::limits::{COLUMNS_MAX, DEPTH_MAX, ITEMS_MAX, NESTING_MAX};
use crate::{Dialect, Error, ErrorKind};

/// The tokens of a statement, without spaces, comments and the semicolon at its end.
pub(crate) fn tokens(text: &str, dialect: Dialect) -> Result<Vec<TokenWithSpan>, Error> {
    let tokens = Tokenizer::new(parsing(dialect), text).tokenize_with_location();
    let mut tokens = tokens.map_err(|e| Error::from(ParserError::from(e)))?;
    if dialect != Dialect::Postgres {
        // Names are joined before spaces go: `a :: b` is not `a::b`.
        tokens = join_names(tokens, dialect == Dialect::MarketStore);
    } else {
        tokens.iter_mut().for_each(lower);
    }
    tokens.retain(|token| !is_blank(&token.token));
    while tokens.last().is_some_and(|t| t.token == Token::SemiColon) {
        tokens.pop();
    }
    if tokens.is_empty() {
        return Err(Error::new(ErrorKind::Syntax, "there is no statement"));
    }
    if let Some(second) = tokens.iter().find(|t| t.token == Token::SemiColon) {
        let start = second.span.start;
        let error = Error::new(ErrorKind::Syntax, "more than one statement");
        return Err(error
            .at(start.line, start.column)
            .with_hint("send them one by one"));
    }
    check_depth(&tokens)?;
    check_lists(&tokens)?;
    Ok(tokens)
}

/// Names without quotes are in small letters there.
fn lower(token: &mut TokenWithSpan) {
    if let Token::Word(word) = &mut token.token
        && word.quote_style.is_none()
    {
        word.value.make_ascii_lowercase();
    }
}

fn parsing(dialect: Dialect) -> &'static dyn Parsing {
    match dialect {
        Dialect::Standard | Dialect::MarketStore => &Names,
        Dialect::Postgres => &PostgreSqlDialect {},
    }
}

/// Refuses what would make too deep a tree, before anything recurses over it.
fn check_depth(tokens: &[TokenWithSpan]) -> Result<(), Error> {
    /// What is known of an open parenthesis.
    #[derive(Default)]
    struct Level {
        /// Operators since the last comma.
        operators: usize,
        /// The deepest parenthesis since then.
        inner: usize,
        /// The deepest item before.
        before: usize,
    }
    impl Level {
        fn depth(&self) -> usize {
            self.before.max(self.operators + self.inner)
        }
    }
    let mut levels = vec![Level::default()];
    for token in tokens {
        let open = levels.len();
        let Some(level) = levels.last_mut() else {
            break;
        };
        match &token.token {
            Token::LParen | Token::LBracket => {
                level.operators += 1;
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket if open > 1 => {
                let depth = levels.pop().map_or(0, |level| level.depth());
                if let Some(level) = levels.last_mut() {
                    level.inner = level.inner.max(depth);
                }
            }
            Token::Comma => {
                *level = Level {
                    before: level.depth(),
                    ..Level::default()
                };
            }
            Token::Word(word) if word.keyword == Keyword::NoKeyword => {}
            Token::Number(..) | Token::SingleQuotedString(_) => {}
            // Operators and the words that work like them.
            _ => level.operators += 1,
        }
        if levels.last().is_some_and(|level| level.depth() > DEPTH_MAX) {
            let start = token.span.start;
            return Err(Error::limit(format!(
                "the statement chains or nests more than {DEPTH_MAX} operators"
            ))
            .at(start.line, start.column)
            .with_hint("use IN for long lists of OR"));
        }
    }
    Ok(())
}

/// Refuses lists that would be planned for long: a deadline frees the caller, not the thread.
fn check_lists(tokens: &[TokenWithSpan]) -> Result<(), Error> {
    // For each open parenthesis, whether its commas are between columns.
    let mut columns = vec![false];
    let (mut listed, mut items) = (0, 0);
    for token in tokens {
        let in_columns = columns.last().copied().unwrap_or_default();
        match &token.token {
            Token::LParen | Token::LBracket => columns.push(false),
            Token::RParen | Token::RBracket if columns.len() > 1 => drop(columns.pop()),
            Token::Word(word)
                if matches!(
                    word.keyword,
                    Keyword::SELECT | Keyword::GROUP | Keyword::ORDER
                ) =>
            {
                if let Some(columns) = columns.last_mut() {
                    *columns = true;
                }
            }
            Token::Comma if in_columns => listed += 1,
            Token::Comma => items += 1,
            _ => {}
        }
        let (what, limit, hint) = if listed >= COLUMNS_MAX {
            (
                "columns are listed",
                COLUMNS_MAX,
                "select * gives all columns of a table",
            )
        } else if items >= ITEMS_MAX {
            (
                "items are in lists",
                ITEMS_MAX,
                "send several statements, or write the items into a bucket and join it",
            )
        } else {
            continue;
        };
        let start = token.span.start;
        return Err(
            Error::limit(format!("more than {limit} {what} in the statement"))
                .at(start.line, start.column)
                .with_hint(hint),
        );
    }
    Ok(())
}

/// The tree of a statement. `a.b.c` for a table is the bucket `a/b/c`.
pub(crate) fn statement(tokens: Vec<TokenWithSpan>, dialect: Dialect) -> Result<Statement, Error> {
    let end = tokens.last().map(|token| token.span.end);
    let parser = Parser::new(parsing(dialect)).with_recursion_limit(NESTING_MAX);
    let mut parser = parser.with_tokens_with_locations(tokens);
    let at_end = |error: Error| match end {
        // The parser knows no place for what is missing at the end.
        Some(end) if error.message.ends_with("EOF") => error.at(end.line, end.column),
        _ => error,
    };
    let parsed = parser.parse_statement();
    let mut statement = parsed.map_err(|error| at_end(Error::from(error)))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let message = format!("the statement should end before \"{}\"", next.token);
        let start = next.span.start;
        return Err(Error::new(ErrorKind::Syntax, message).at(start.line, start.column));
    }
    let _ = visit_relations_mut(&mut statement, |name| {
        join_parts(name);
        ControlFlow::<()>::Continue(())
    });
    Ok(statement)
}

/// Catalog and schemas that are no parts of buckets.
pub(crate) const CATALOG: &str = "mkts";
pub(crate) const SCHEMA: &str = "public";

fn join_parts(name: &mut ObjectName) {
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    let Some([a, b, c]) = parts.as_deref() else {
        return;
    };
    let is_schema = |part: &Ident| {
        let is = |name| part.value.eq_ignore_ascii_case(name);
        is(SCHEMA) || is("information_schema") || is("pg_catalog")
    };
    if a.value.eq_ignore_ascii_case(CATALOG) || is_schema(b) {
        return;
    }
    let text = format!("{}/{}/{}", a.value, b.value, c.value);
    let mut joined = Ident::with_quote('"', text);
    joined.span = name.span();
    *name = ObjectName::from(vec![joined]);
}
