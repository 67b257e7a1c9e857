//! What counts as a name. Beyond generic SQL: names that begin with digits (`1Min`), and, in
//! MarketStore's dialect, colons in names (`Sum::Volume`).

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};

/// The dialect of the tokenizer and the parser.
#[derive(Debug)]
pub(crate) struct Names;

/// Rules of the parser that are taken over as they are.
macro_rules! allowed {
    ($($rule:ident),* $(,)?) => {
        $(fn $rule(&self) -> bool {
            true
        })*
    };
}

impl Dialect for Names {
    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"' || c == '`'
    }

    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_' || c == '@'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_' || c == '@'
    }

    allowed!(
        supports_numeric_prefix,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_window_clause_named_window_reference,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        support_map_literal_syntax,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        supports_select_wildcard_exclude,
        supports_select_wildcard_replace,
        supports_select_wildcard_rename,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_projection_trailing_commas,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_named_fn_args_with_assignment_operator,
        supports_named_fn_args_with_rarrow_operator,
        supports_struct_literal,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_unicode_string_literal,
        supports_array_typedef_with_brackets,
        supports_dollar_placeholder,
        supports_boolean_literals,
        supports_order_by_all,
        supports_in_empty_list,
    );
}

/// Functions whose arguments bind columns to parameters: `candlecandler('5Min', Open::o, ...)`.
const BINDING: [&str; 4] = ["candlecandler", "tickcandler", "gap", "adjust"];

/// Those that do so in MarketStore's dialect only.
const BINDING_THERE: [&str; 4] = ["count", "min", "max", "avg"];

/// Makes one name of `param::column` within the arguments of functions that bind columns, and of
/// `a:b` anywhere in MarketStore's dialect.
pub(crate) fn join_names(tokens: Vec<TokenWithSpan>, marketstore: bool) -> Vec<TokenWithSpan> {
    let mut joined: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // For each open parenthesis, whether it holds arguments that bind.
    let mut open: Vec<bool> = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token.token {
            Token::LParen => open.push(joined.last().is_some_and(|t| binds(&t.token, marketstore))),
            Token::RParen => drop(open.pop()),
            Token::DoubleColon | Token::Colon => {
                let binds = open.last() == Some(&true);
                let may = match token.token {
                    Token::DoubleColon => binds,
                    _ => binds || marketstore,
                };
                if may && let Some(name) = joined_name(joined.last(), &token, tokens.peek()) {
                    tokens.next();
                    joined.pop();
                    joined.push(name);
                    continue;
                }
            }
            _ => {}
        }
        joined.push(token);
    }
    joined
}

fn binds(token: &Token, marketstore: bool) -> bool {
    let Token::Word(word) = token else {
        return false;
    };
    let is = |name: &&str| word.value.eq_ignore_ascii_case(name);
    BINDING.iter().any(is) || marketstore && BINDING_THERE.iter().any(is)
}

fn joined_name(
    left: Option<&TokenWithSpan>,
    colon: &TokenWithSpan,
    right: Option<&TokenWithSpan>,
) -> Option<TokenWithSpan> {
    let (Token::Word(a), Token::Word(b)) = (&left?.token, &right?.token) else {
        return None;
    };
    let value = format!("{}{}{}", a.value, colon.token, b.value);
    let word = Word {
        value,
        // As if quoted: it is no keyword and keeps its case.
        quote_style: Some('`'),
        keyword: datafusion::sql::sqlparser::keywords::Keyword::NoKeyword,
    };
    Some(TokenWithSpan {
        token: Token::Word(word),
        span: left?.span.union(&right?.span),
    })
}

/// Whether a token says nothing.
pub(crate) fn is_blank(token: &Token) -> bool {
    match token {
        Token::Whitespace(space) => matches!(
            space,
            Whitespace::Space
                | Whitespace::Newline
                | Whitespace::Tab
                | Whitespace::SingleLineComment { .. }
                | Whitespace::MultiLineComment(_)
        ),
        _ => false,
    }
}
