//! `adjust('split', 'dividend')`: all columns of a table, prices divided and volumes multiplied by
//! `adjust_factor`.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, ExactNumberInfo, Expr, Select, SetExpr,
};
use model::functions::{Adjust, FunctionCall, Quantity};
use model::{ColumnDef, ColumnType};

use super::ast::{binary, call, cast, column, item, text};
use super::factor::ADJUST_FACTOR;
use super::rewrite::{Call, Fault, Rewriter, Rewritten, key_columns, only_table, with_items};

pub(super) fn rewrite(
    rewriter: &Rewriter,
    select: &Select,
    function: &Call<'_>,
) -> Result<Rewritten, Fault> {
    function.no_alias()?;
    if select.projection.len() > 1 && !rewriter.marketstore {
        return Err(function.fault("adjust gives all columns and stands alone in its SELECT"));
    }
    let given = function.arguments()?;
    let parsed = FunctionCall::new("adjust", given.arguments);
    let parsed = parsed.map_err(|error| function.fault(&error.0))?;
    let FunctionCall::Adjust(which) = parsed else {
        return Err(function.fault("internal error: adjust is none"));
    };
    let Some(table) = only_table(select) else {
        return Err(
            function.fault("adjust reads one bucket or one pattern, not a join or a subquery")
        );
    };
    // An unknown table is named by whoever looks it up.
    let columns = rewriter.lookup.columns(table).unwrap_or_default();
    let is_pattern = !key_columns(table).is_empty();
    let symbol = match is_pattern {
        true => column("symbol"),
        false => text(table.split('/').next().unwrap_or_default()),
    };
    let mut items = Vec::new();
    if is_pattern {
        items.extend(["symbol", "timeframe", "attribute_group"].map(|key| item(column(key), key)));
    }
    items.push(item(column("Epoch"), "Epoch"));
    let factor = factor(symbol, which);
    items.extend(
        columns
            .iter()
            .map(|def| item(adjusted(def, &factor), &def.name)),
    );
    Ok(Rewritten {
        body: SetExpr::Select(Box::new(with_items(select, items))),
        order: Vec::new(),
    })
}

fn factor(symbol: Expr, which: Adjust) -> Expr {
    let mut args = vec![symbol, column("Epoch")];
    args.extend(which.splits.then(|| text("split")));
    args.extend(which.dividends.then(|| text("dividend")));
    call(ADJUST_FACTOR, args)
}

fn adjusted(def: &ColumnDef, factor: &Expr) -> Expr {
    let value = column(&def.name);
    let double = |value| cast(value, DataType::Double(ExactNumberInfo::None));
    match Quantity::of(&def.name, def.ty) {
        Quantity::Other => value,
        Quantity::Price => {
            let price = binary(double(value), BinaryOperator::Divide, factor.clone());
            typed(price, def.ty)
        }
        Quantity::Shares => {
            let shares = binary(double(value), BinaryOperator::Multiply, factor.clone());
            match def.ty {
                ColumnType::F32 | ColumnType::F64 => typed(shares, def.ty),
                ty => typed(call("round", vec![shares]), ty),
            }
        }
    }
}

/// Of the type of the column.
fn typed(value: Expr, ty: ColumnType) -> Expr {
    let name = match ty {
        ColumnType::F32 => "Float32",
        ColumnType::F64 | ColumnType::Str16 => return value,
        ColumnType::I8 => "Int8",
        ColumnType::I16 => "Int16",
        ColumnType::I32 => "Int32",
        ColumnType::I64 => "Int64",
        ColumnType::U8 => "UInt8",
        ColumnType::U16 => "UInt16",
        ColumnType::U32 => "UInt32",
        ColumnType::U64 => "UInt64",
    };
    call("arrow_cast", vec![value, text(name)])
}
