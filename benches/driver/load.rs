//! Files of columns into batches.

use std::path::Path;

use bytes::Bytes;
use model::{Column, ColumnBatch, ColumnDef, ColumnType, Schema};

use crate::Result;
use crate::request::Table;

/// The rows of each bucket, in the order of its keys.
pub(crate) fn batches(table: &Table) -> Result<Vec<ColumnBatch>> {
    let whole = whole(table)?;
    let buckets = table.keys.names().len();
    let share = table.rows / buckets;
    if share * buckets != table.rows {
        return Err(format!(
            "{} rows are not equal shares of {buckets} buckets",
            table.rows
        )
        .into());
    }
    let batches = (0..buckets).map(|at| whole.slice(at * share..(at + 1) * share));
    Ok(batches.collect())
}

/// All rows of the file.
pub(crate) fn whole(table: &Table) -> Result<ColumnBatch> {
    let types = table.columns.iter().map(|(_, ty)| match ty.as_str() {
        "f64" => Ok(ColumnType::F64),
        "i32" => Ok(ColumnType::I32),
        other => Err(format!("no column type {other:?}: f64 or i32")),
    });
    let types = types.collect::<std::result::Result<Vec<_>, _>>()?;
    let file = read(&table.file)?;
    let width = 8 + types.iter().map(|ty| ty.size()).sum::<usize>();
    if file.len() != width * table.rows {
        let (path, found, rows) = (table.file.display(), file.len(), table.rows);
        return Err(
            format!("{path} has {found} bytes, not {width} for each of {rows} rows").into(),
        );
    }
    let mut at = 0;
    let mut next = |ty: ColumnType| {
        let begin = at;
        at += ty.size() * table.rows;
        Column::new(ty, file.slice(begin..at))
    };
    let times = next(ColumnType::I64)?;
    let columns = types.iter().map(|ty| next(*ty));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    let defs = table.columns.iter().zip(types);
    let defs = defs.map(|((name, _), ty)| ColumnDef::new(name.clone(), ty));
    let schema = Schema::new(defs.collect())?;
    Ok(ColumnBatch::new(schema, times, columns)?)
}

fn read(path: &Path) -> Result<Bytes> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes.into())
}
