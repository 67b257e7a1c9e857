//! `DataService.Create`, in the three dialects that clients speak: names and types as lists with
//! `is_variable_length` or `row_type`, and the older text `Open,High/float32:Volume/int64`.

use client::wire::{CreateRequest, EPOCH, NANOSECONDS, Reply, parse_type_or_word};
use engine::Error;
use model::{BucketKey, ColumnDef, RowKind, Schema, Timeframe};

use super::{entries, timeframe_error};
use crate::auth::{Caller, Right};
use crate::http::App;

pub(super) fn run(app: &App, caller: &Caller, requests: &[CreateRequest]) -> Reply {
    entries(app, requests.iter().map(|r| one(app, caller, r)))
}

fn one(app: &App, caller: &Caller, request: &CreateRequest) -> Result<(), String> {
    let is_old_dialect = !request.data_shapes.is_empty();
    // Only the older dialect leaves the categories out.
    if !is_old_dialect && request.key.matches(':').count() != 1 {
        let shown: String = request
            .key
            .chars()
            .take(80)
            .filter(|c| !c.is_control())
            .collect();
        return Err(format!(
            "key \"{shown}\" is not in proper format, should be like: \
             TSLA/1Min/OHLCV:Symbol/TimeFrame/AttributeGroup"
        ));
    }
    let key = BucketKey::parse(&request.key).map_err(|e| e.to_string())?;
    caller
        .require(Right::Write, &key)
        .map_err(|e| e.to_string())?;
    if Timeframe::parse(key.timeframe()).is_err() {
        return Err(timeframe_error(key.timeframe()));
    }
    let kind = kind(request)?;
    let mut columns = match is_old_dialect {
        true => shapes(&request.data_shapes)?,
        false => pairs(&request.column_names, &request.column_types)?,
    };
    // Time is implicit.
    columns.retain(|c| c.name != EPOCH && !(kind == RowKind::Tick && c.name == NANOSECONDS));
    let schema = Schema::new(columns).map_err(|e| e.to_string())?;
    match app.engine.create_bucket(&key, kind, schema) {
        Ok(_) => Ok(()),
        Err(Error::Exists(_)) => Err(
            "creation of new catalog entry failed: Can not overwrite file: the bucket exists already"
                .into(),
        ),
        Err(error) => Err(format!("creation of new catalog entry failed: {error}")),
    }
}

fn kind(request: &CreateRequest) -> Result<RowKind, String> {
    match request.row_type.to_ascii_lowercase().as_str() {
        "variable" => Ok(RowKind::Tick),
        "" | "fixed" if request.is_variable_length => Ok(RowKind::Tick),
        "" | "fixed" => Ok(RowKind::Bar),
        _ => Err("row_type must be fixed or variable".into()),
    }
}

fn pairs(names: &[String], types: &[String]) -> Result<Vec<ColumnDef>, String> {
    if names.len() != types.len() {
        return Err(format!(
            "{} column_names and {} column_types",
            names.len(),
            types.len()
        ));
    }
    names
        .iter()
        .zip(types)
        .map(|(name, code)| column(name, code))
        .collect()
}

/// `Open,High/float32:Volume/int64`
pub(crate) fn shapes(text: &str) -> Result<Vec<ColumnDef>, String> {
    let mut columns = Vec::new();
    for part in text.split(':') {
        let (names, code) = part.split_once('/').ok_or_else(|| {
            "data_shapes must look like Open,Close/float32:Volume/int64".to_owned()
        })?;
        for name in names.split(',') {
            columns.push(column(name, code)?);
        }
        if columns.len() > model::COLUMNS_MAX + 2 {
            return Err(format!("more than {} columns", model::COLUMNS_MAX));
        }
    }
    Ok(columns)
}

fn column(name: &str, code: &str) -> Result<ColumnDef, String> {
    let ty = parse_type_or_word(code).ok_or_else(|| {
        let shown: String = code.chars().take(40).filter(|c| !c.is_control()).collect();
        format!("unexpected data type:{shown}")
    })?;
    Ok(ColumnDef::new(name, ty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_as_text_are_those_as_lists() {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let lists = pairs(
            &texts(&["Open", "High", "Volume"]),
            &texts(&["f4", "f4", "i8"]),
        );
        assert_eq!(shapes("Open,High/float32:Volume/int64"), lists);
        assert_eq!(shapes("Open,High/FLOAT32:Volume/i8"), lists);
        for bad in ["Open", "Open/float33", "/", "Open/float32:"] {
            assert!(shapes(bad).is_err(), "{bad}");
        }
    }
}
