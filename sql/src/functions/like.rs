//! LIKE with an escape sign of the statement's choice. DataFusion knows the backslash alone, so other
//! signs are put in its place within the pattern.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, visit_expressions_mut};

use super::ast;

/// Stands for a doubled escape sign while single ones are replaced; no pattern of a person has it.
const DOUBLED: &str = "\u{1}";

/// Puts patterns with the backslash in the place of those with another sign.
pub(super) fn rewrite(statement: &mut Statement) {
    let ControlFlow::Continue(()) = visit_expressions_mut(statement, |expr| {
        if let Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        } = expr
            && let Some(Value::SingleQuotedString(sign)) = escape_char.as_ref().map(|v| &v.value)
            && sign != "\\"
            && sign.chars().count() <= 1
        {
            let plain = std::mem::replace(pattern.as_mut(), ast::number(0));
            **pattern = with_backslash(plain, sign);
            *escape_char = None;
        }
        ControlFlow::<std::convert::Infallible>::Continue(())
    });
}

/// The pattern whose escape sign is `sign`, or that has none.
fn with_backslash(pattern: Expr, sign: &str) -> Expr {
    let replace = |whole, from: &str, to: &str| {
        ast::call("replace", vec![whole, ast::text(from), ast::text(to)])
    };
    let literal = replace(pattern, "\\", "\\\\");
    if sign.is_empty() {
        return literal;
    }
    let doubled = replace(literal, &sign.repeat(2), DOUBLED);
    replace(replace(doubled, sign, "\\"), DOUBLED, sign)
}
