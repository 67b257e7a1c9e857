//! Names of columns as PostgreSQL gives them. There two may have one name, here not: what comes again
//! gets a mark, which [`visible`] takes off.

use std::collections::BTreeSet;

use sql::datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem};

/// Stands before the number of a name that comes again.
const MARK: char = '\u{1}';

/// A name as clients see it.
pub fn visible(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// Gives every column of a select a name of its own.
pub(super) fn name(select: &mut Select) {
    let mut taken = BTreeSet::new();
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let label = label(expr);
                let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let is_new = taken.insert(expr.to_string());
                if is_column && is_new {
                    taken.insert(label);
                    continue;
                }
                let expr = super::expressions::take(expr);
                let alias = quoted(&free(label, &mut taken));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = free(alias.value.clone(), &mut taken);
                if name != alias.value {
                    *alias = quoted(&name);
                }
            }
            _ => {}
        }
    }
}

/// The name, marked if it is taken.
fn free(name: String, taken: &mut BTreeSet<String>) -> String {
    if taken.insert(name.clone()) {
        return name;
    }
    let marked = (1..).map(|number| format!("{name}{MARK}{number}"));
    let mut marked = marked.filter(|name| !taken.contains(name));
    let free = marked.next().unwrap_or(name);
    taken.insert(free.clone());
    free
}

pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// The name of a column without one.
pub(super) fn label(expr: &Expr) -> String {
    let name = match expr {
        Expr::Identifier(name) => name.value.as_str(),
        Expr::CompoundIdentifier(parts) => parts.last().map_or("?column?", |p| p.value.as_str()),
        Expr::Function(function) => {
            let last = function.name.0.last().and_then(|part| part.as_ident());
            return last.map_or_else(|| "?column?".to_owned(), |name| name.value.to_lowercase());
        }
        Expr::Cast {
            expr, data_type, ..
        } => {
            let inner = label(expr);
            return match inner.as_str() {
                "?column?" => data_type.to_string().to_lowercase(),
                _ => inner,
            };
        }
        Expr::Nested(inner) => return label(inner),
        Expr::Case { .. } => "case",
        Expr::Array(_) => "array",
        Expr::Exists { .. } => "exists",
        Expr::Extract { .. } => "extract",
        Expr::Trim { .. } => "btrim",
        Expr::Substring { .. } => "substring",
        Expr::Subquery(query) => {
            if let Some(select) = query.body.as_select() {
                return match select.projection.first() {
                    Some(SelectItem::ExprWithAlias { alias, .. }) => alias.value.clone(),
                    Some(SelectItem::UnnamedExpr(expr)) => label(expr),
                    _ => "?column?".to_owned(),
                };
            }
            "?column?"
        }
        _ => "?column?",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_again_look_the_same() {
        let mut taken = BTreeSet::new();
        assert_eq!(free("a".into(), &mut taken), "a");
        let second = free("a".into(), &mut taken);
        let third = free("a".into(), &mut taken);
        assert!(second != "a" && third != second);
        assert_eq!((visible(&second), visible(&third)), ("a", "a"));
    }
}
