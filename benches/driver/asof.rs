//! As-of join by one walk over two ascending columns of times.

use model::{Column, ColumnBatch, ColumnDef, ColumnType, Schema};

use crate::Result;

/// Each trade with the values of the last quote not after it; NaN before the first quote.
pub(crate) fn join(
    trades: &ColumnBatch,
    quotes: &ColumnBatch,
    wanted: &[&str],
) -> Result<ColumnBatch> {
    let matches = matches(trades.times(), quotes.times());
    let mut defs = trades.schema().columns().to_vec();
    let mut columns = trades.columns().to_vec();
    for name in wanted {
        let quote = quotes.column(name).and_then(Column::values::<f64>);
        let quote = quote.ok_or_else(|| format!("the quotes have no column {name} of f64"))?;
        let values = matches.iter().map(|row| match row.checked_sub(1) {
            Some(row) => quote[row as usize],
            None => f64::NAN,
        });
        columns.push(Column::from_values(values.collect::<Vec<f64>>()));
        defs.push(ColumnDef::new(*name, ColumnType::F64));
    }
    let times = trades.time_column().clone();
    Ok(ColumnBatch::new(Schema::new(defs)?, times, columns)?)
}

/// For each trade, how many quotes are not after it.
fn matches(trades: &[i64], quotes: &[i64]) -> Vec<u32> {
    let mut seen = 0;
    let count = |time: &i64| {
        seen += quotes[seen..]
            .iter()
            .take_while(|quote| *quote <= time)
            .count();
        seen as u32
    };
    trades.iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_meets_the_last_quote_not_after_it() {
        assert_eq!(matches(&[1, 5, 5, 9], &[2, 5, 5, 8, 12]), [0, 3, 3, 4]);
        assert_eq!(matches(&[], &[1]), [0_u32; 0]);
        assert_eq!(matches(&[3], &[]), [0]);
    }
}
