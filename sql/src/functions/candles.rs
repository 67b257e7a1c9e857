//! `candlecandler`, `tickcandler` and `ohlcv` as GROUP BY of windows.
//!
//! Plain items beside the function are what the rows are grouped by besides, aggregates are of the rows
//! of each candle; the buckets of a pattern are never mixed into one candle.

use std::ops::ControlFlow;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Select, SelectItem, SetExpr, Value, visit_expressions,
};
use model::functions::{FunctionCall, Step};
use model::{ColumnDef, functions};

use super::ast::{binary, call, cast, column, item, number, text};
use super::rewrite::{
    Arguments, Call, Fault, Rewriter, Rewritten, called, key_columns, only_table, with_items,
};

/// Columns of the result, and what they are.
type Outputs = Vec<(String, Expr)>;

pub(super) fn rewrite(
    rewriter: &Rewriter,
    select: &Select,
    function: &Call<'_>,
) -> Result<Rewritten, Fault> {
    let (step, mut outputs) = match function.name.as_str() {
        "ohlcv" => ohlcv(rewriter, select, function)?,
        _ => candler(function)?,
    };
    match function.alias {
        Some(alias) if rewriter.marketstore => rename(&mut outputs, &alias.value),
        _ => function.no_alias()?,
    }
    let length = length(function).unwrap_or_else(|| text(&step.to_string()));
    let window = call("time_bucket", vec![length, column("Epoch")]);
    let mut items = Vec::new();
    let mut group = vec![window.clone()];
    let mut order = Vec::new();
    let keys = only_table(select).map(key_columns).unwrap_or_default();
    let is_asked_for = |key: &str| {
        let named =
            |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(e) if called(e) == key);
        !rewriter.marketstore && select.projection.iter().any(named)
    };
    for key in keys.into_iter().filter(|key| !is_asked_for(key)) {
        items.push(item(column(key), key));
        group.push(column(key));
        order.push(items.len());
    }
    for (at, other) in select.projection.iter().enumerate() {
        if at == function.item {
            items.push(item(window.clone(), "Epoch"));
            order.push(items.len());
            items.extend(outputs.iter().map(|(name, expr)| item(expr.clone(), name)));
            continue;
        }
        // MarketStore leaves plain columns out if there is a function.
        if rewriter.marketstore {
            continue;
        }
        let expr = match other {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
            _ => return Err(function.fault(&format!("{} cannot stand beside *", function.name))),
        };
        items.push(other.clone());
        if has_aggregate(expr) {
            continue;
        }
        if !matches!(expr, Expr::Value(_)) {
            group.push(expr.clone());
        }
        let before_the_candle = at < function.item;
        if before_the_candle {
            order.push(items.len());
        }
    }
    let mut select = with_items(select, items);
    if let GroupByExpr::Expressions(by, _) = &mut select.group_by {
        let more = group
            .into_iter()
            .filter(|expr| !by.contains(expr))
            .collect::<Vec<_>>();
        by.extend(more);
    }
    Ok(Rewritten {
        body: SetExpr::Select(Box::new(select)),
        order,
    })
}

/// Whether an item needs all rows of a group.
fn has_aggregate(expr: &Expr) -> bool {
    let known = all_default_aggregate_functions();
    let known: Vec<_> = known.into_iter().chain(super::aggregates()).collect();
    let is_one = |name: &str| {
        let names = known
            .iter()
            .map(|function| (function.name(), function.aliases()));
        names.into_iter().any(|(own, aliases)| {
            own.eq_ignore_ascii_case(name) || aliases.iter().any(|a| a.eq_ignore_ascii_case(name))
        })
    };
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Function(function) if is_one(&function.name.to_string()) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The length if it is a parameter, which has its value only when the statement runs.
fn length(function: &Call<'_>) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.function.args else {
        return None;
    };
    match list.args.first() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => {
            is_parameter(expr).then(|| expr.clone())
        }
        _ => None,
    }
}

fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// The arguments; for a parameter in the place of the length stands one that is right.
fn arguments(function: &Call<'_>) -> Result<Arguments, Fault> {
    let mut copy = function.function.clone();
    if length(function).is_some()
        && let FunctionArguments::List(list) = &mut copy.args
        && let Some(first) = list.args.first_mut()
    {
        *first = FunctionArg::Unnamed(FunctionArgExpr::Expr(text("1Min")));
    }
    let call = Call {
        name: function.name.clone(),
        function: &copy,
        ..*function
    };
    call.arguments()
}

/// Length and columns of `candlecandler` and `tickcandler`.
fn candler(function: &Call<'_>) -> Result<(Step, Outputs), Fault> {
    let given = arguments(function)?;
    let parsed = FunctionCall::new(&function.name, given.arguments.clone());
    let parsed = parsed.map_err(|error| {
        // Columns are numbers in the grammar; the caller knows their names.
        let names: Vec<String> = given.columns.iter().map(called).collect();
        function.fault(&with_names(&error.0, &names))
    })?;
    let FunctionCall::Candler(candler) = parsed else {
        return Err(function.fault("internal error: a candler is none"));
    };
    let price = |columns: &[String]| mean(columns.iter().map(|name| given.column(name)).collect());
    let [open, high, low, close] = [0, 1, 2, 3].map(|at| price(&candler.prices[at]));
    let mut outputs = prices(open, high, low, close);
    for (columns, how, suffix) in [
        (&candler.sums, "sum", "SUM"),
        (&candler.means, "avg", "AVG"),
    ] {
        for name in columns {
            let expr = given.column(name);
            let name = format!("{}_{suffix}", called(&expr));
            outputs.push((name, call(how, vec![double(expr)])));
        }
    }
    Ok((candler.step, outputs))
}

fn prices(open: Expr, high: Expr, low: Expr, close: Expr) -> Outputs {
    let by_time = |how: &str, value: Expr| call(how, vec![value, column("Epoch")]);
    vec![
        ("Open".to_owned(), by_time("first", open)),
        ("High".to_owned(), call("high", vec![high])),
        ("Low".to_owned(), call("low", vec![low])),
        ("Close".to_owned(), by_time("last", close)),
    ]
}

fn double(expr: Expr) -> Expr {
    cast(expr, DataType::Double(ExactNumberInfo::None))
}

/// Row by row; one column is itself.
fn mean(columns: Vec<Expr>) -> Expr {
    let count = columns.len() as i64;
    let mut columns = columns.into_iter();
    let first = columns.next().unwrap_or_else(|| number(0));
    if count < 2 {
        return first;
    }
    let sum = columns.fold(double(first), |sum, next| {
        binary(sum, BinaryOperator::Plus, double(next))
    });
    binary(sum, BinaryOperator::Divide, number(count))
}

/// `have [0 1]` in the words of the caller: `have [Open High]`.
fn with_names(message: &str, names: &[String]) -> String {
    let Some((head, rest)) = message.split_once("have [") else {
        return message.to_owned();
    };
    let (list, tail) = rest.split_once(']').unwrap_or((rest, ""));
    let word = |word: &str| {
        let (parameter, column) = word.rsplit_once("::").map_or(("", word), |(p, c)| (p, c));
        let at = column.parse::<usize>().ok();
        let column = at
            .and_then(|at| names.get(at))
            .map_or(column, String::as_str);
        match parameter {
            "" => column.to_owned(),
            parameter => format!("{parameter}::{column}"),
        }
    };
    let list: Vec<String> = list.split_whitespace().map(word).collect();
    format!("{head}have [{}]{tail}", list.join(" "))
}

/// `ohlcv('5Min')` by the names of the columns, or `ohlcv('5Min', price, size)`, or all five.
fn ohlcv(
    rewriter: &Rewriter,
    select: &Select,
    function: &Call<'_>,
) -> Result<(Step, Outputs), Fault> {
    let given = arguments(function)?;
    let wrong = || {
        function.fault(
            "ohlcv takes a length, and may take the columns: ohlcv('5Min'), ohlcv('5Min', Price, Size) \
             or ohlcv('5Min', Open, High, Low, Close, Volume)",
        )
    };
    let (literals, named) =
        given
            .arguments
            .iter()
            .fold((Vec::new(), false), |(mut all, named), a| {
                match a {
                    functions::Argument::Literal(literal) => all.push(literal.clone()),
                    functions::Argument::Column { parameter, .. } => {
                        return (all, named || parameter.is_some());
                    }
                }
                (all, named)
            });
    let [length] = &literals[..] else {
        return Err(wrong());
    };
    let step = Step::parse(length).map_err(|error| function.fault(&format!("ohlcv: {error}")))?;
    if named {
        return Err(wrong());
    }
    let columns = match given.columns.len() {
        0 => by_name(rewriter, select, function)?,
        _ => given.columns.clone(),
    };
    let sum = |volume: &Expr| ("Volume".to_owned(), call("sum", vec![volume.clone()]));
    let outputs = match &columns[..] {
        [price] | [price, _] => {
            let mut outputs = prices(price.clone(), price.clone(), price.clone(), price.clone());
            outputs.extend(columns.get(1).map(sum));
            outputs
        }
        [open, high, low, close] | [open, high, low, close, _] => {
            let mut outputs = prices(open.clone(), high.clone(), low.clone(), close.clone());
            outputs.extend(columns.get(4).map(sum));
            outputs
        }
        _ => return Err(wrong()),
    };
    Ok((step, outputs))
}

/// The columns of bars or of trades.
fn by_name(rewriter: &Rewriter, select: &Select, function: &Call<'_>) -> Result<Vec<Expr>, Fault> {
    let bars = ["Open", "High", "Low", "Close"];
    let Some(there) = only_table(select).and_then(|table| rewriter.lookup.columns(table)) else {
        return Ok(bars
            .iter()
            .chain(&["Volume"])
            .map(|name| column(name))
            .collect());
    };
    let has = |name: &str| there.iter().any(|def: &ColumnDef| def.name == name);
    let quantity = |names: &[&str]| names.iter().find(|name| has(name)).map(|name| column(name));
    if bars.iter().all(|name| has(name)) {
        let mut columns: Vec<Expr> = bars.iter().map(|name| column(name)).collect();
        columns.extend(quantity(&["Volume"]));
        return Ok(columns);
    }
    if has("Price") {
        let mut columns = vec![column("Price")];
        columns.extend(quantity(&["Size", "Volume"]));
        return Ok(columns);
    }
    let names: Vec<&str> = there.iter().map(|def| def.name.as_str()).collect();
    Err(function.fault(&format!(
        "ohlcv finds neither Open, High, Low, Close nor Price among {}: name the columns, like \
         ohlcv('5Min', Bid)",
        names.join(", ")
    )))
}

/// As MarketStore does: every column but the time has the alias.
fn rename(outputs: &mut Outputs, alias: &str) {
    for (at, (name, _)) in outputs.iter_mut().enumerate() {
        *name = match at {
            0 => alias.to_owned(),
            at => format!("{alias}{}", at - 1),
        };
    }
}
