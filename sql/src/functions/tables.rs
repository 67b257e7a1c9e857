//! `FROM gap('AAPL/1Min/OHLCV', '5Min')`: functions of several columns as tables. Each becomes a
//! subquery with the function in its select list, which is rewritten like any other.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, SelectItem, SetExpr, Spanned, TableAlias, TableFactor, Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::ast;
use super::rewrite::{Fault, is_wide};

/// Puts a subquery in the place of such a function.
pub(super) fn rewrite(factor: &mut TableFactor) -> Result<(), Fault> {
    let TableFactor::Table {
        name,
        args: Some(args),
        alias,
        ..
    } = factor
    else {
        return Ok(());
    };
    let [ObjectNamePart::Identifier(function)] = &name.0[..] else {
        return Ok(());
    };
    if !is_wide(&function.value.to_ascii_lowercase()) {
        return Ok(());
    }
    let mut given = std::mem::take(&mut args.args).into_iter();
    let Some(table) = given.next().and_then(table) else {
        let name = function.value.to_ascii_lowercase();
        return Err(Fault {
            message: format!(
                "{name} as a table takes the bucket or the pattern first: FROM {name}('AAPL/1Min/OHLCV', ...)"
            ),
            span: function.span,
        });
    };
    let mut query = ast::query("SELECT 1 FROM x").map_err(|message| Fault {
        message,
        span: function.span,
    })?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        let item = called(function, given.collect());
        select.projection = vec![SelectItem::UnnamedExpr(item)];
        if let Some(from) = select.from.first_mut()
            && let TableFactor::Table { name, .. } = &mut from.relation
        {
            *name = ObjectName::from(vec![table]);
        }
    }
    let alias = alias.take().or_else(|| {
        Some(TableAlias {
            explicit: true,
            name: function.clone(),
            columns: Vec::new(),
            at: None,
        })
    });
    *factor = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias,
        sample: None,
    };
    Ok(())
}

fn called(function: &Ident, args: Vec<FunctionArg>) -> Expr {
    let mut call = ast::call(&function.value, Vec::new());
    if let Expr::Function(Function {
        name,
        args: FunctionArguments::List(list),
        ..
    }) = &mut call
    {
        *name = ObjectName::from(vec![function.clone()]);
        list.args = args;
    }
    call
}

/// The name of a bucket or a pattern, as a text or as tables are written.
fn table(arg: FunctionArg) -> Option<Ident> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
        return None;
    };
    let span = expr.span();
    match expr {
        Expr::Value(value) => match value.value {
            Value::SingleQuotedString(text) => Some(named(&text, span)),
            _ => None,
        },
        Expr::Identifier(name) => Some(named(&name.value, span)),
        Expr::CompoundIdentifier(parts) => {
            let parts: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
            Some(named(&parts.join("/"), span))
        }
        _ => None,
    }
}

fn named(text: &str, span: Span) -> Ident {
    let mut name = ast::name(text);
    name.span = span;
    name
}
