//! Small trees of SQL. What is made here has no place in the statement's text; what is taken from
//! the statement keeps its place, so that errors still point at it.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, OrderBy,
    OrderByExpr, OrderByKind, OrderByOptions, SelectItem, TableFactor, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

/// A name as it is written, whatever characters it has.
pub(super) fn name(text: &str) -> Ident {
    Ident::with_quote('"', text)
}

pub(super) fn column(text: &str) -> Expr {
    Expr::Identifier(name(text))
}

pub(super) fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).into())
}

pub(super) fn number(number: i64) -> Expr {
    Expr::Value(Value::Number(number.to_string(), false).into())
}

pub(super) fn call(function: &str, args: Vec<Expr>) -> Expr {
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(function))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

pub(super) fn count_all() -> Expr {
    let mut count = call("count", Vec::new());
    if let Expr::Function(Function {
        args: FunctionArguments::List(list),
        ..
    }) = &mut count
    {
        list.args
            .push(FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
    }
    count
}

pub(super) fn cast(expr: Expr, ty: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: ty,
        array: false,
        format: None,
    }
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(left))),
        op,
        right: Box::new(Expr::Nested(Box::new(right))),
    }
}

pub(super) fn item(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr,
        alias: name(alias),
    }
}

/// Ascending order. Numbers are columns of the result, from 1.
pub(super) fn order_by(terms: impl Iterator<Item = Expr>) -> OrderBy {
    let one = |expr: Expr| OrderByExpr {
        expr,
        options: OrderByOptions::default(),
        with_fill: None,
    };
    OrderBy {
        kind: OrderByKind::Expressions(terms.map(one).collect()),
        interpolate: None,
    }
}

/// A query from a text of ours.
pub(super) fn query(text: &str) -> Result<datafusion::sql::sqlparser::ast::Query, String> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    let query = parser.and_then(|mut parser| parser.parse_query());
    query
        .map(|query| *query)
        .map_err(|error| format!("internal error: {error}"))
}

/// The name of a table, if it is one and nothing else.
pub(super) fn table_name(factor: &TableFactor) -> Option<&str> {
    match factor {
        TableFactor::Table {
            name, args: None, ..
        } => name.0.last()?.as_ident().map(|ident| ident.value.as_str()),
        _ => None,
    }
}

/// The place of a function's name.
pub(super) fn place(function: &Function) -> Span {
    let part = function.name.0.last().and_then(ObjectNamePart::as_ident);
    part.map_or_else(Span::empty, |ident| ident.span)
}
