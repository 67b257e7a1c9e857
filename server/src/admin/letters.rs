//! Calls about dead letters.

use model::{Column, ColumnBatch, RowKind, Scalar};
use plugin_host::{DeadLetter, LetterId};
use serde_json::{Map, Value, json};

use super::bytes::float;
use super::call::{Answer, Call, Nothing, Refusal};
use super::plugins::known;

/// Events that were given up, oldest first (`limit=`).
pub(super) fn list(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    let mut query = call.query()?;
    let limit = query.number("limit", 1000)?;
    query.end()?;
    let all = call.app.host.dead_letters(id)?;
    let shown = all
        .iter()
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(json!({
        "count": all.len(),
        "letters": shown.map(summary).collect::<Vec<_>>(),
    }))
}

/// One of them with its rows.
pub(super) fn show(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    let letter = letter(call)?;
    let all = call.app.host.dead_letters(id)?;
    let Some(found) = all.iter().find(|one| one.id == letter) else {
        return Err(no_letter(id, letter));
    };
    let mut shown = summary(found);
    let rows = call.app.host.dead_letter_rows(id, letter)?;
    shown["data"] = rows.map_or(Value::Null, |(kind, rows)| batch(kind, &rows));
    Ok(shown)
}

/// Fires one once more, or all.
pub(super) fn replay(call: &Call<'_>) -> Answer {
    let (id, letters) = chosen(call)?;
    let count = call.app.host.replay_dead_letters(id, letters.as_deref())?;
    tracing::info!(instance = id, count, "dead letters fire once more");
    Ok(json!({ "replayed": count }))
}

/// Gives one up for good, or all.
pub(super) fn discard(call: &Call<'_>) -> Answer {
    let (id, letters) = chosen(call)?;
    let count = call.app.host.drop_dead_letters(id, letters.as_deref())?;
    tracing::info!(instance = id, count, "dead letters dropped");
    Ok(json!({ "dropped": count }))
}

/// The letter that the path names, or all.
fn chosen<'a>(call: &'a Call<'_>) -> Result<(&'a str, Option<Vec<LetterId>>), Refusal> {
    let id = known(call)?;
    call.query()?.end()?;
    let _: Nothing = call.body()?;
    if !call.has_part(1) {
        return Ok((id, None));
    }
    let letter = letter(call)?;
    let all = call.app.host.dead_letters(id)?;
    match all.iter().any(|one| one.id == letter) {
        true => Ok((id, Some(vec![letter]))),
        false => Err(no_letter(id, letter)),
    }
}

fn letter(call: &Call<'_>) -> Result<LetterId, Refusal> {
    call.text(1)?.parse().map_err(Refusal::bad)
}

fn no_letter(id: &str, letter: LetterId) -> Refusal {
    Refusal::unknown(format!("instance \"{id}\" has no dead letter {letter}"))
}

fn summary(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id.to_string(),
        "event": letter.event,
        "key": letter.key.as_ref().map(model::BucketKey::as_str),
        "rows": letter.rows,
        "from_ns": letter.times.map(|(from, _)| from),
        "to_ns": letter.times.map(|(_, to)| to),
        "first_lsn": engine::Lsn(letter.first_lsn).to_string(),
        "last_lsn": engine::Lsn(letter.last_lsn).to_string(),
        "time_ns": letter.time,
        "attempts": letter.attempts,
        "code": letter.code,
        "message": letter.message,
    })
}

/// Rows as columns.
pub(super) fn batch(kind: RowKind, rows: &ColumnBatch) -> Value {
    let mut columns = Map::new();
    for (def, column) in rows.schema().columns().iter().zip(rows.columns()) {
        let shown = json!({ "type": def.ty.name(), "values": values(column) });
        columns.insert(def.name.clone(), shown);
    }
    json!({
        "kind": match kind {
            RowKind::Bar => "bar",
            RowKind::Tick => "tick",
        },
        "times_ns": rows.times(),
        "columns": columns,
    })
}

fn values(column: &Column) -> Vec<Value> {
    let scalars = (0..column.len()).map(|row| column.scalar(row));
    scalars.map(|scalar| scalar_json(&scalar)).collect()
}

pub(super) fn scalar_json(scalar: &Scalar) -> Value {
    match scalar {
        // The shortest number that reads back as this one, not all digits of the wider type.
        Scalar::F32(value) => float(value.to_string().parse().unwrap_or(f64::from(*value))),
        Scalar::F64(value) => float(*value),
        Scalar::I8(value) => (*value).into(),
        Scalar::I16(value) => (*value).into(),
        Scalar::I32(value) => (*value).into(),
        Scalar::I64(value) => (*value).into(),
        Scalar::U8(value) => (*value).into(),
        Scalar::U16(value) => (*value).into(),
        Scalar::U32(value) => (*value).into(),
        Scalar::U64(value) => (*value).into(),
        Scalar::Str16(points) => {
            let points = points.iter().take_while(|point| **point != 0);
            let text: String = points.filter_map(|point| char::from_u32(*point)).collect();
            text.into()
        }
    }
}
