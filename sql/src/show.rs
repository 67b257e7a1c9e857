//! SHOW, DESCRIBE and SET: small results that are made at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use engine::{BucketId, BucketInfo};
use model::{KeyPattern, RowKind, Zone};

use crate::plan::Planned;
use crate::session::Inner;
use crate::shared::SharedRef;
use crate::tables;
use crate::{Error, ErrorKind};

const HINT: &str = "there are SHOW BUCKETS [LIKE 'pattern'], SHOW SYMBOLS, SHOW COLUMNS FROM table, \
                    SHOW TRIGGERS, SHOW STATUS, SHOW TIME ZONE and SHOW TABLES";

/// Answers the statement if it is one of these.
pub(crate) fn plan(
    inner: &Inner,
    tokens: &[TokenWithSpan],
    shared: &SharedRef,
) -> Result<Option<Planned>, Error> {
    let words: Vec<String> = tokens.iter().take(4).map(word).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ready = match words[..] {
        ["SHOW", "BUCKETS", ..] => buckets(&tokens[2..], shared)?,
        ["SHOW", "SYMBOLS"] => symbols(shared)?,
        ["SHOW", "COLUMNS", "FROM" | "IN", ..] => describe(&tokens[3..], shared)?,
        ["DESCRIBE" | "DESC", "TABLE", _] => describe(&tokens[2..], shared)?,
        ["DESCRIBE" | "DESC", _] => describe(&tokens[1..], shared)?,
        ["SHOW", "TRIGGERS"] => triggers(inner, shared)?,
        ["SHOW", "STATUS"] => status(inner, shared)?,
        ["SHOW", "TIME", "ZONE"] | ["SHOW", "TIMEZONE"] => zone(shared)?,
        // DataFusion's.
        ["SHOW", "TABLES", ..] => return Ok(None),
        ["SHOW", ..] => {
            let what = words.get(1).copied().unwrap_or_default();
            let start = tokens.get(1).map_or(tokens[0].span.start, |t| t.span.start);
            let error = Error::unsupported(format!("SHOW {what} is not supported"));
            return Err(error.at(start.line, start.column).with_hint(HINT));
        }
        ["SET", ..] => set(&tokens[1..])?,
        _ => return Ok(None),
    };
    Ok(Some(ready))
}

fn word(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
        other => other.to_string(),
    }
}

/// The text of a name or a string.
fn text(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) => Some(word.value.clone()),
        Token::SingleQuotedString(text) => Some(text.clone()),
        _ => None,
    }
}

fn ready(columns: Vec<(&str, ArrayRef)>) -> Result<Planned, Error> {
    let fields = columns.iter().map(|(name, array)| {
        Field::new(
            *name,
            array.data_type().clone(),
            array.null_count() > 0 || array.is_nullable(),
        )
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays);
    let batch = batch.map_err(|error| Error::failed(error.to_string()))?;
    Ok(Planned::Ready {
        schema,
        batches: vec![batch],
        setting: None,
    })
}

fn strings<'a>(items: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(items))
}

fn readable(shared: &SharedRef) -> Vec<Arc<BucketInfo>> {
    let buckets = shared.engine.buckets();
    let access = &shared.caller.access;
    let readable = buckets.iter().filter(|info| access.may_read(&info.key));
    readable.cloned().collect()
}

fn buckets(rest: &[TokenWithSpan], shared: &SharedRef) -> Result<Planned, Error> {
    let mut infos = readable(shared);
    if !rest.is_empty() {
        let pattern = match rest {
            [like, pattern] if word(like) == "LIKE" => text(pattern),
            _ => None,
        };
        let Some(pattern) = pattern else {
            return Err(
                Error::new(ErrorKind::Syntax, "SHOW BUCKETS takes LIKE 'pattern'")
                    .with_hint("like SHOW BUCKETS LIKE '*/1Min/OHLCV'"),
            );
        };
        let pattern = KeyPattern::parse(&pattern).map_err(|e| Error::invalid(e.to_string()))?;
        infos.retain(|info| pattern.matches(&info.key));
    }
    let ids: Vec<BucketId> = infos.iter().map(|info| info.id).collect();
    let snapshot = shared.engine.snapshot(&ids);
    let infos = snapshot.buckets();
    let ranges: Vec<Option<(i64, i64)>> =
        (0..infos.len()).map(|at| snapshot.time_range(at)).collect();
    let times = |pick: fn((i64, i64)) -> i64| -> ArrayRef {
        let times = ranges.iter().map(|range| range.map(pick));
        Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC"))
    };
    let mut counts = Vec::with_capacity(infos.len());
    for at in 0..infos.len() {
        counts.push(snapshot.count(at, i64::MIN, i64::MAX)?);
    }
    let kinds = infos.iter().map(|info| match info.kind {
        RowKind::Bar => "bar",
        RowKind::Tick => "tick",
    });
    let columns: Vec<String> = infos
        .iter()
        .map(|info| {
            let columns = info.schema.columns().iter();
            let columns = columns.map(|def| format!("{} {}", def.name, def.ty.name()));
            columns.collect::<Vec<_>>().join(", ")
        })
        .collect();
    ready(vec![
        (
            "symbol",
            strings(infos.iter().map(|info| info.key.symbol())),
        ),
        (
            "timeframe",
            strings(infos.iter().map(|info| info.key.timeframe())),
        ),
        (
            "attribute_group",
            strings(infos.iter().map(|info| info.key.attribute_group())),
        ),
        ("kind", strings(kinds)),
        ("rows", Arc::new(UInt64Array::from(counts))),
        ("first", times(|range| range.0)),
        ("last", times(|range| range.1)),
        ("columns", strings(columns.iter().map(String::as_str))),
    ])
}

fn symbols(shared: &SharedRef) -> Result<Planned, Error> {
    let infos = readable(shared);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for info in &infos {
        *counts.entry(info.key.symbol()).or_default() += 1;
    }
    let numbers: Vec<u64> = counts.values().copied().collect();
    ready(vec![
        ("symbol", strings(counts.keys().copied())),
        ("buckets", Arc::new(UInt64Array::from(numbers))),
    ])
}

fn describe(rest: &[TokenWithSpan], shared: &SharedRef) -> Result<Planned, Error> {
    let [name] = rest else {
        return Err(Error::new(ErrorKind::Syntax, "one table is described")
            .with_hint("like DESCRIBE \"AAPL/1Min/OHLCV\""));
    };
    let table = text(name).unwrap_or_default();
    let table = tables::one(&table, shared)
        .map_err(|error| error.at(name.span.start.line, name.span.start.column))?;
    let fields = table.schema.fields();
    let types: Vec<String> = fields.iter().map(|f| type_name(f.data_type())).collect();
    let nullable: Vec<bool> = fields.iter().map(|field| field.is_nullable()).collect();
    ready(vec![
        (
            "column_name",
            strings(fields.iter().map(|f| f.name().as_str())),
        ),
        ("data_type", strings(types.iter().map(String::as_str))),
        ("is_nullable", Arc::new(BooleanArray::from(nullable))),
    ])
}

fn type_name(ty: &datafusion::arrow::datatypes::DataType) -> String {
    use datafusion::arrow::datatypes::DataType;
    match ty {
        DataType::Utf8View => DataType::Utf8.to_string(),
        other => other.to_string(),
    }
}

fn admin(shared: &SharedRef, what: &str) -> Result<(), Error> {
    match shared.caller.access.is_admin() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Denied,
            format!("{what} needs the right to administer"),
        )),
    }
}

fn triggers(inner: &Inner, shared: &SharedRef) -> Result<Planned, Error> {
    admin(shared, "SHOW TRIGGERS")?;
    let (names, rows) = inner.surroundings.triggers();
    let column = |at: usize| {
        let cells = rows
            .iter()
            .map(move |row| row.get(at).map_or("", String::as_str));
        strings(cells)
    };
    let columns = names.iter().enumerate();
    ready(
        columns
            .map(|(at, name)| (name.as_str(), column(at)))
            .collect(),
    )
}

fn status(inner: &Inner, shared: &SharedRef) -> Result<Planned, Error> {
    admin(shared, "SHOW STATUS")?;
    let rows = inner.surroundings.status();
    ready(vec![
        ("name", strings(rows.iter().map(|(name, _)| name.as_str()))),
        (
            "value",
            strings(rows.iter().map(|(_, value)| value.as_str())),
        ),
    ])
}

fn zone(shared: &SharedRef) -> Result<Planned, Error> {
    ready(vec![(
        "timezone",
        strings(std::iter::once(shared.zone.name())),
    )])
}

/// SET TIME ZONE 'x', SET TIMEZONE = 'x' (or TO). Whoever holds the session keeps it.
fn set(rest: &[TokenWithSpan]) -> Result<Planned, Error> {
    let words: Vec<String> = rest.iter().map(word).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = match words[..] {
        ["SESSION" | "LOCAL", ref rest @ ..] => rest.to_vec(),
        _ => words,
    };
    let names_zone = matches!(
        words[..],
        ["TIME", "ZONE", _] | ["TIMEZONE", "=" | "TO", _] | ["TIME_ZONE", "=" | "TO", _]
    );
    let value = rest.last().and_then(text).filter(|_| names_zone);
    let Some(value) = value else {
        return Err(Error::unsupported("SET is not supported for this")
            .with_hint("SET TIME ZONE 'America/New_York' sets the zone of times"));
    };
    let zone = Zone::parse(&value).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Planned::Ready {
        schema: Arc::new(Schema::empty()),
        batches: Vec::new(),
        setting: Some(("timezone".to_owned(), zone.name().to_owned())),
    })
}
