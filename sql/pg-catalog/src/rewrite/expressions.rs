//! Operators, casts and calls of PostgreSQL to those that we have.

use sql::datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Expr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Value,
};
use sql::datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use sql::datafusion::sql::sqlparser::parser::Parser;

use super::expression;

/// Calls that are written without parentheses.
const WORDS: [&str; 6] = [
    "current_user",
    "session_user",
    "current_role",
    "current_schema",
    "current_catalog",
    "user",
];

/// Rewrites one expression, the expressions in it being done.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), String> {
    match expr {
        Expr::Collate { expr: inner, .. } => *expr = take(inner),
        Expr::BinaryOp {
            op: op @ BinaryOperator::PGCustomBinaryOperator(_),
            ..
        } => operator(op)?,
        Expr::Cast {
            expr: inner,
            data_type,
            ..
        } => {
            if let Some(done) = cast(inner, data_type)? {
                *expr = done;
            }
        }
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
            if let Some(elements) = text(right).and_then(elements) {
                **right = expression(&format!("ARRAY[{}]", elements.join(", ")))?;
            }
        }
        Expr::Function(function) => {
            strip(&mut function.name);
            if matches!(function.args, FunctionArguments::None) {
                // `user()` is no SQL; `"user"()` is.
                if let Some(name) = function.name.0.last().and_then(|part| part.as_ident()) {
                    let name = Ident::with_quote('"', name.value.to_lowercase());
                    function.name = ObjectName::from(vec![name]);
                }
                function.args = FunctionArguments::List(FunctionArgumentList {
                    duplicate_treatment: None,
                    args: Vec::new(),
                    clauses: Vec::new(),
                });
            }
        }
        Expr::Identifier(name)
            if name.quote_style.is_none() && WORDS.contains(&name.value.as_str()) =>
        {
            *expr = expression(&format!("\"{}\"()", name.value))?;
        }
        // Nothing has another origin than its table, which is known without it.
        Expr::CompoundIdentifier(parts) if parts.last().is_some_and(|p| p.value == "tableoid") => {
            *expr = expression("0")?;
        }
        // Tables are known without their schema.
        Expr::CompoundIdentifier(parts) if parts.len() > 2 && is_ours(&parts[0].value) => {
            parts.remove(0);
        }
        _ => {}
    }
    Ok(())
}

fn is_ours(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema")
}

/// Takes an expression out of its place.
pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

/// `pg_catalog.f` is `f`.
fn strip(name: &mut ObjectName) {
    let first = name.0.first().and_then(|part| part.as_ident());
    if name.0.len() > 1 && first.is_some_and(|ident| is_ours(&ident.value)) {
        name.0.remove(0);
    }
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn operator(op: &mut BinaryOperator) -> Result<(), String> {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else {
        return Ok(());
    };
    let symbol = parts.last().map_or("", String::as_str);
    *op = match symbol {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "||" => BinaryOperator::StringConcat,
        other => return Err(format!("there is no operator {other}")),
    };
    Ok(())
}

/// A cast to a type that we have, or what to put in its place.
fn cast(inner: &mut Box<Expr>, data_type: &mut DataType) -> Result<Option<Expr>, String> {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(of, _)) = data_type {
        // The elements first: `oid[]`.
        let mut value = Box::new(Expr::value(Value::Null));
        cast(&mut value, of)?;
        if let Some(elements) = text(inner).and_then(elements) {
            **inner = expression(&format!("ARRAY[{}]", elements.join(", ")))?;
        }
        return Ok(None);
    }
    let written = data_type.to_string().to_lowercase();
    let name = written
        .trim_start_matches("pg_catalog.")
        .trim_start_matches("information_schema.")
        .trim_matches('"');
    let to = match name {
        "regclass" | "regtype" | "regnamespace" | "regrole" | "regproc" => {
            return expression(&format!("{name}({inner})")).map(Some);
        }
        "regprocedure" => return expression(&format!("regproc({inner})")).map(Some),
        "oid" | "xid" | "cid" | "xid8" => "BIGINT",
        "name" | "char" | "bpchar" | "cstring" | "tid" | "inet" | "json" | "jsonb" | "unknown"
        | "character_data" | "sql_identifier" | "yes_or_no" => "TEXT",
        "cardinal_number" => "INTEGER",
        "int2vector" | "oidvector" => return Ok(Some(take(inner))),
        name if written.contains('.') => name,
        _ => return Ok(None),
    };
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(to);
    let parsed = parser.and_then(|mut parser| parser.parse_data_type());
    *data_type = parsed.map_err(|error| format!("{to}: {error}"))?;
    Ok(None)
}

/// A literal text.
fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The elements of `{a,"b c"}`, as literals.
fn elements(text: &str) -> Option<Vec<String>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut found = Vec::new();
    let (mut element, mut in_quotes, mut any) = (String::new(), false, false);
    let mut characters = inside.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => element.extend(characters.next()),
            '"' => {
                in_quotes = !in_quotes;
                any = true;
            }
            ',' if !in_quotes => found.push(std::mem::take(&mut element)),
            c => element.push(c),
        }
    }
    if any || !element.is_empty() || !found.is_empty() {
        found.push(element);
    }
    let literal = |element: String| format!("'{}'", element.trim().replace('\'', "''"));
    Some(found.into_iter().map(literal).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_an_array_are_taken_apart() {
        let of = |text| elements(text).map(|found| found.join(" "));
        assert_eq!(of("{a,b}").as_deref(), Some("'a' 'b'"));
        assert_eq!(of("{}").as_deref(), Some(""));
        assert_eq!(of("{\"a,b\",c'd}").as_deref(), Some("'a,b' 'c''d'"));
        assert_eq!(of("a"), None);
    }
}
