//! INSERT INTO: the rows of a query, or VALUES, into one bucket that exists.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options, concat_batches};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use engine::{BucketInfo, Commit, Origin, Rows as WriteRows};
use futures::StreamExt;
use model::{BucketKey, Column, ColumnBatch, NANOS_PER_SECOND, Zone};

use super::may_write;
use crate::pauses::Ended;
use crate::session::{Inner, stream};
use crate::shared::SharedRef;
use crate::table::{EPOCH, data_type};
use crate::tables::unknown;
use crate::times::{of_integer, parse_time};
use crate::{Dialect, Error};

type Parts = (Arc<BucketInfo>, Box<ast::Query>, Option<Vec<String>>);

/// Target, source, and the names of the source's columns if they count by place.
pub(super) fn parts(statement: ast::Insert, shared: &SharedRef) -> Result<Parts, Error> {
    let plain = statement.on.is_none()
        && statement.returning.is_none()
        && statement.partitioned.is_none()
        && statement.assignments.is_empty()
        && !statement.overwrite
        && !statement.replace_into;
    let (ast::TableObject::TableName(name), Some(mut source), true) =
        (&statement.table, statement.source, plain)
    else {
        return Err(Error::unsupported(
            "INSERT takes a table and SELECT or VALUES",
        ));
    };
    let name = name.0.last().and_then(|part| part.as_ident());
    let name = name.map(|ident| ident.value.clone()).unwrap_or_default();
    let key = BucketKey::parse(&name).ok();
    // Before the look: who may not write to a bucket does not learn whether it is there.
    if let Some(key) = &key {
        may_write(shared, key)?;
    }
    let target = key.and_then(|key| shared.engine.bucket(&key));
    let target = target.ok_or_else(|| match crate::tables::is_pattern(&name) {
        true => Error::unsupported("INSERT takes one bucket, not a pattern"),
        false => unknown(&name, shared),
    })?;
    let listed: Vec<String> = statement
        .columns
        .iter()
        .filter_map(|name| name.0.last()?.as_ident())
        .map(|ident| ident.value.clone())
        .collect();
    let values = matches!(source.body.as_ref(), ast::SetExpr::Values(_));
    let by_place = values || shared.dialect() == Dialect::Standard;
    let names = match listed.is_empty() {
        false if by_place => Some(listed),
        // In MarketStore's dialect the list only says which columns are meant: they go by name.
        false => None,
        true if values => {
            let columns = target.schema.columns().iter().map(|def| def.name.clone());
            Some(std::iter::once(EPOCH.to_owned()).chain(columns).collect())
        }
        true => None,
    };
    if let (ast::SetExpr::Values(rows), Some(names)) = (source.body.as_mut(), &names)
        && let Some(at) = names.iter().position(|name| name == EPOCH)
    {
        for row in &mut rows.rows {
            if let Some(value) = row.content.get_mut(at) {
                number_of_time(value, &shared.zone)?;
            }
        }
    }
    Ok((target, source, names))
}

/// Texts of times become numbers, so that texts and numbers may stand in one column.
fn number_of_time(value: &mut ast::Expr, zone: &Zone) -> Result<(), Error> {
    let ast::Expr::Value(literal) = value else {
        return Ok(());
    };
    if let ast::Value::SingleQuotedString(text) = &literal.value {
        let start = literal.span.start;
        let time = parse_time(text, zone).map_err(|e| e.at(start.line, start.column))?;
        // Small numbers count seconds.
        let number = match time.rem_euclid(NANOS_PER_SECOND) {
            0 => time / NANOS_PER_SECOND,
            _ => time,
        };
        literal.value = ast::Value::Number(number.to_string(), false);
    }
    Ok(())
}

/// For `Epoch` and each column of the target its place in the source.
pub(super) fn mapping(
    target: &BucketInfo,
    source: &Schema,
    names: Option<&[String]>,
) -> Result<Vec<usize>, Error> {
    if let Some(names) = names {
        if names.len() != source.fields().len() {
            return Err(Error::invalid(format!(
                "INSERT names {} columns, the source has {}",
                names.len(),
                source.fields().len()
            )));
        }
        let known = |name: &&String| *name == EPOCH || target.schema.position(name).is_some();
        if let Some(name) = names.iter().find(|name| !known(name)) {
            return Err(Error::new(
                crate::ErrorKind::Unknown,
                format!("{} has no column \"{name}\"", target.key),
            ));
        }
    }
    let place = |name: &str| match names {
        Some(names) => names.iter().position(|n| n == name),
        None => source
            .fields()
            .iter()
            .position(|field| field.name() == name),
    };
    let wanted = target.schema.columns().iter().map(|def| def.name.as_str());
    let wanted: Vec<&str> = std::iter::once(EPOCH).chain(wanted).collect();
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|name| place(name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Error::invalid(format!(
            "Unable to find these columns: [{}] needed for INSERT into target table {}",
            missing.join(" "),
            target.key
        )));
    }
    Ok(wanted.into_iter().filter_map(place).collect())
}

/// Reads the source to its end, then writes.
pub(super) async fn run(
    state: &SessionState,
    plan: LogicalPlan,
    target: &Arc<BucketInfo>,
    names: Option<&[String]>,
    inner: &Inner,
    shared: &SharedRef,
    ended: &Ended,
) -> Result<u64, Error> {
    let places = mapping(target, plan.schema().as_arrow(), names)?;
    let mut source = stream(state, plan, 0, Vec::new(), ended).await?;
    let consumer = MemoryConsumer::new("INSERT");
    let reserved = consumer.register(&inner.environment.memory_pool);
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut bytes = 0;
    let limit = inner.engine.options().frame_bytes_max;
    while let Some(batch) = source.next().await {
        let batch = batch?
            .project(&places)
            .map_err(|e| Error::failed(e.to_string()))?;
        let more: usize = batch.columns().iter().map(slice_bytes).sum();
        bytes += more;
        if bytes > limit {
            return Err(Error::limit(format!(
                "INSERT writes more than {limit} bytes, which is what one commit may have \
                 (frame_bytes_max)"
            ))
            .with_hint("narrow the time range and insert in several statements"));
        }
        reserved.try_grow(more)?;
        batches.push(batch);
    }
    let Some(first) = batches.first() else {
        return Ok(0);
    };
    let whole = concat_batches(&first.schema(), &batches);
    let whole = whole.map_err(|error| Error::failed(error.to_string()))?;
    let rows = whole.num_rows() as u64;
    if rows == 0 {
        return Ok(0);
    }
    let commit = Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: vec![WriteRows {
            key: target.key.clone(),
            batch: columns(&whole, target, &shared.zone)?,
            create: None,
        }],
        section: None,
    };
    let engine = inner.engine.clone();
    let write = move || {
        engine
            .write(commit)
            .and_then(|ticket| ticket.wait().map(drop))
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|_| crate::rows::given_up())??;
    Ok(rows)
}

fn slice_bytes(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_default()
}

/// Arrow's columns as those of the target; `Epoch` is the first.
fn columns(batch: &RecordBatch, target: &BucketInfo, zone: &Zone) -> Result<ColumnBatch, Error> {
    let times = times(batch.column(0), zone)?;
    let mut columns = Vec::with_capacity(target.schema.len());
    for (def, array) in target.schema.columns().iter().zip(&batch.columns()[1..]) {
        let wrong = |what: String| {
            let message = format!("column \"{}\" of {}: {what}", def.name, target.key);
            Error::invalid(message)
        };
        // Numbers that do not fit are errors, unlike in a write of typed columns.
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let array = cast_with_options(array, &data_type(def.ty), &strict);
        let array = array.map_err(|error| wrong(error.to_string()))?;
        let column = arrow_batch::column(array.as_ref(), arrow_batch::ValueRules::default());
        columns.push(column.map_err(|bad| match array.is_null(bad.row) {
            true => wrong(format!("row {} has NULL, and only floats can", bad.row + 1)),
            false => wrong(format!("row {}: {}", bad.row + 1, bad.what)),
        })?);
    }
    ColumnBatch::new(target.schema.clone(), times, columns)
        .map_err(|error| Error::failed(error.to_string()))
}

fn times(array: &ArrayRef, zone: &Zone) -> Result<Column, Error> {
    let wrong =
        |row: usize, what: &str| Error::invalid(format!("Epoch of row {}: {what}", row + 1));
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = cast(array, &DataType::Utf8).map_err(|e| Error::failed(e.to_string()))?;
            let texts = texts.as_string::<i32>().iter().enumerate();
            let times = texts.map(|(row, text)| {
                let text = text.ok_or_else(|| wrong(row, "it is NULL"))?;
                parse_time(text, zone)
            });
            Ok(Column::from_values(times.collect::<Result<Vec<i64>, _>>()?))
        }
        DataType::Int64 => {
            let numbers = array.as_primitive::<Int64Type>().iter().enumerate();
            let times =
                numbers.map(|(row, n)| of_integer(n.ok_or_else(|| wrong(row, "it is NULL"))?));
            Ok(Column::from_values(times.collect::<Result<Vec<i64>, _>>()?))
        }
        _ => {
            let rules = arrow_batch::TimeRules {
                unit: None,
                zone: zone.clone(),
            };
            arrow_batch::times(array.as_ref(), &rules).map_err(|bad| wrong(bad.row, &bad.what))
        }
    }
}
