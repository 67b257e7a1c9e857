//! `gap('5Min')`: the rows behind which rows are missing.

use datafusion::sql::sqlparser::ast::{Select, SetExpr, TableFactor};
use model::functions::{FunctionCall, Gap};

use super::ast;
use super::rewrite::{Call, Fault, Rewriter, Rewritten, key_columns, only_table};

pub(super) fn rewrite(
    rewriter: &Rewriter,
    select: &Select,
    function: &Call<'_>,
) -> Result<Rewritten, Fault> {
    function.no_alias()?;
    if select.projection.len() > 1 && !rewriter.marketstore {
        return Err(function.fault("gap stands alone in its SELECT"));
    }
    let given = function.arguments()?;
    let parsed = FunctionCall::new("gap", given.arguments);
    let parsed = parsed.map_err(|error| function.fault(&error.0))?;
    let FunctionCall::Gap(gap) = parsed else {
        return Err(function.fault("internal error: gap is none"));
    };
    let keys = only_table(select).map(key_columns).unwrap_or_default();
    let keys = keys.join(", ");
    let template = template(gap, &keys, rewriter.marketstore);
    let query = ast::query(&template).map_err(|error| function.fault(&error))?;
    let mut body = *query.body;
    let mut place = Some(select);
    splice(&mut body, &mut place);
    let order = 1..=keys.split(", ").filter(|key| !key.is_empty()).count() + 1;
    Ok(Rewritten {
        body,
        order: order.collect(),
    })
}

/// The SQL, with a table `x` where that of the statement belongs.
fn template(gap: Gap, keys: &str, marketstore: bool) -> String {
    let (listed, by) = match keys {
        "" => (String::new(), String::new()),
        keys => (format!("{keys}, "), format!("PARTITION BY {keys} ")),
    };
    let end = match marketstore {
        true => "CAST(\"End\" AS BIGINT) / 1000000000",
        false => "\"End\"",
    };
    let inner = format!(
        "SELECT {listed}\"Epoch\", lead(\"Epoch\") OVER ({by}ORDER BY \"Epoch\") AS \"End\" FROM x"
    );
    let length = "CAST(\"End\" AS BIGINT) - CAST(\"Epoch\" AS BIGINT)";
    let (from, condition) = match gap {
        Gap::Longer(nanos) => (inner, format!("{length} > {nanos}")),
        Gap::Unusual(z) => {
            let all = match keys {
                "" => String::new(),
                keys => format!("PARTITION BY {keys}"),
            };
            let length = format!("CAST({length} AS DOUBLE)");
            (
                format!(
                    "SELECT {listed}\"Epoch\", \"End\", {length} AS \"#\", avg({length}) OVER ({all}) \
                     AS \"mean\", stddev_pop({length}) OVER ({all}) AS \"deviation\" FROM ({inner})"
                ),
                format!("\"#\" > \"mean\" + {z:?} * \"deviation\""),
            )
        }
    };
    format!(
        "SELECT {listed}\"Epoch\", {end} AS \"End\", ({length}) / 1000000000 AS \"Length\" \
         FROM ({from}) WHERE {condition}"
    )
}

/// Puts tables and conditions of the statement into the innermost select.
fn splice(body: &mut SetExpr, statement: &mut Option<&Select>) {
    let SetExpr::Select(select) = body else {
        return;
    };
    let Some(from) = select.from.first_mut() else {
        return;
    };
    if let TableFactor::Derived { subquery, .. } = &mut from.relation {
        splice(&mut subquery.body, statement);
    } else if let Some(statement) = statement.take() {
        select.from.clone_from(&statement.from);
        select.selection.clone_from(&statement.selection);
    }
}
