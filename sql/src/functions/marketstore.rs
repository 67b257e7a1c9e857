//! `count`, `min`, `max` and `avg` in MarketStore's shape: each is a column `Epoch` of now and a
//! column by its name; what comes twice gets a number, `Epoch0`.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{DataType, ExactNumberInfo, Expr, Select, SetExpr};
use model::functions::FunctionCall;
use model::{NANOS_PER_SECOND, functions};

use super::ast::{call, cast, count_all, item, number, text};
use super::rewrite::{Call, Fault, Rewriter, Rewritten, with_items};

pub(super) fn is_aggregate(name: &str) -> bool {
    matches!(name, "count" | "min" | "max" | "avg")
}

pub(super) fn aggregates(
    rewriter: &Rewriter,
    select: &Select,
    calls: &[Call<'_>],
) -> Result<Rewritten, Fault> {
    let mut names = Names::default();
    let mut items = Vec::new();
    // A literal of whole seconds, in the type of times.
    let now = rewriter.now - rewriter.now.rem_euclid(NANOS_PER_SECOND);
    let now = call("time_bucket", vec![text("1Sec"), number(now)]);
    for function in calls {
        let given = function.arguments()?;
        let parsed = FunctionCall::new(&function.name, given.arguments.clone());
        let parsed = parsed.map_err(|error| function.fault(&error.0))?;
        let FunctionCall::Aggregate(aggregate) = parsed else {
            return Err(function.fault("internal error: an aggregate is none"));
        };
        let column = given.column(&aggregate.column);
        let column = match &column {
            Expr::Identifier(name) if name.value == "*" => super::ast::column("Epoch"),
            _ => column,
        };
        let value = match aggregate.how {
            functions::Reduce::Count if is_all(&given.columns) => count_all(),
            functions::Reduce::Avg => call(
                "avg",
                vec![cast(column, DataType::Double(ExactNumberInfo::None))],
            ),
            _ => call(&function.name, vec![column]),
        };
        let name = function
            .alias
            .map_or(aggregate.how.output(), |alias| alias.value.as_str());
        items.push(item(now.clone(), &names.next("Epoch")));
        items.push(item(value, &names.next(name)));
    }
    Ok(Rewritten {
        body: SetExpr::Select(Box::new(with_items(select, items))),
        order: Vec::new(),
    })
}

fn is_all(columns: &[Expr]) -> bool {
    matches!(columns, [Expr::Identifier(name)] if name.value == "*")
}

/// Names that were given out.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn next(&mut self, name: &str) -> String {
        let used = self.0.entry(name.to_owned()).or_default();
        *used += 1;
        match *used {
            1 => name.to_owned(),
            used => format!("{name}{}", used - 2),
        }
    }
}
