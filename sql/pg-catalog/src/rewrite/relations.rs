//! Names in FROM to tables of the catalog, and functions in FROM to queries.

use std::collections::BTreeSet;

use sql::datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableAlias, TableFactor,
};

use super::relation;
use crate::DATABASE;
use crate::definitions::ALL;
use crate::tables::SCHEMA;

/// Resolves one relation; `hidden` are names of WITH.
pub(super) fn resolve(factor: &mut TableFactor, hidden: &BTreeSet<String>) -> Result<(), String> {
    let replaced = match factor {
        TableFactor::Table {
            name,
            args: None,
            alias,
            ..
        } => {
            named(name, alias, hidden);
            None
        }
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } => Some(called(&last(name), &args.args, alias.as_ref())?),
        TableFactor::Function {
            name, args, alias, ..
        } => Some(called(&last(name), args, alias.as_ref())?),
        TableFactor::UNNEST {
            array_exprs, alias, ..
        } => {
            let args: Vec<FunctionArg> = array_exprs
                .iter()
                .map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr.clone())))
                .collect();
            Some(called("unnest", &args, alias.as_ref())?)
        }
        _ => None,
    };
    if let Some(replaced) = replaced {
        *factor = replaced;
    }
    Ok(())
}

/// The table of the catalog that a name stands for, under its name there.
pub(super) fn of_catalog(name: &ObjectName) -> Option<&'static str> {
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    let [schema, table] = parts.as_deref()? else {
        return None;
    };
    let table = (schema.value == SCHEMA).then_some(table.value.as_str())?;
    ALL.get_key_value(table).map(|(name, _)| *name)
}

fn last(name: &ObjectName) -> String {
    let last = name.0.last().and_then(|part| part.as_ident());
    last.map(|ident| ident.value.clone()).unwrap_or_default()
}

fn named(name: &mut ObjectName, alias: &mut Option<TableAlias>, hidden: &BTreeSet<String>) {
    let parts: Option<Vec<String>> = name
        .0
        .iter()
        .map(|part| part.as_ident().map(|ident| ident.value.clone()))
        .collect();
    let Some(parts) = parts else {
        return;
    };
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let parts = match parts[..] {
        [DATABASE, schema, table] => vec![schema, table],
        _ => parts,
    };
    let table = match parts[..] {
        [table] if !hidden.contains(table) && ALL.contains_key(table) => table.to_owned(),
        [SCHEMA, table] => table.to_owned(),
        ["information_schema", table] => {
            // The name of its columns' table is without the schema.
            alias.get_or_insert_with(|| self::alias(table));
            format!("information_schema.{table}")
        }
        _ => return,
    };
    let table = Ident::with_quote('"', table);
    *name = ObjectName::from(vec![Ident::new(SCHEMA), table]);
}

fn alias(name: &str) -> TableAlias {
    TableAlias {
        explicit: true,
        name: Ident::with_quote('"', name),
        columns: Vec::new(),
        at: None,
    }
}

/// A function as a table: one column, a row or many.
fn called(
    name: &str,
    args: &[FunctionArg],
    alias: Option<&TableAlias>,
) -> Result<TableFactor, String> {
    let table = alias.map_or(name, |alias| alias.name.value.as_str());
    let column = alias.and_then(|alias| alias.columns.first());
    let column = column.map_or(table, |column| column.name.value.as_str());
    let (table, column) = (
        Ident::with_quote('"', table),
        Ident::with_quote('"', column),
    );
    if matches!(name, "pg_get_keywords" | "pg_show_all_settings") {
        let listed = match name {
            "pg_show_all_settings" => "pg_settings",
            name => name,
        };
        return relation(&format!("{SCHEMA}.{listed} AS {table}"));
    }
    let texts: Vec<String> = args.iter().map(ToString::to_string).collect();
    let all = texts.join(", ");
    let first = texts.first().map_or("", String::as_str);
    if matches!(name, "unnest" | "generate_subscripts" | "_pg_expandarray") && of_column(args) {
        // Arrays in tables of the catalog are about things that a bucket never has.
        return relation(&format!("(SELECT NULL AS {column} WHERE false) AS {table}"));
    }
    let rows = match name {
        "unnest" => format!("unnest({first})"),
        "generate_series" => format!("unnest(generate_series({all}))"),
        "generate_subscripts" => {
            format!("unnest(generate_series(1, CAST(cardinality({first}) AS BIGINT)))")
        }
        name => format!("{name}({all})"),
    };
    relation(&format!("(SELECT {rows} AS {column}) AS {table}"))
}

/// Whether an argument is a column, maybe with a cast around it.
fn of_column(args: &[FunctionArg]) -> bool {
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(given))) = args.first() else {
        return false;
    };
    let mut expr = given;
    loop {
        match expr {
            Expr::Cast { expr: inner, .. } | Expr::Nested(inner) => expr = inner,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => return true,
            _ => return false,
        }
    }
}
