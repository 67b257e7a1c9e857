//! What a trigger would write for stored rows, beside what is stored.

use plugin_host::{BucketDiff, ReplayOptions, ReplayReport, RowDiff};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Refusal};
use super::letters::scalar_json;
use super::plugins::known;

/// Rows that differ and are told, unless the call says otherwise.
const SHOWN: usize = 20;

/// Most of them: an answer is one piece.
const SHOWN_MAX: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    from_ns: i64,
    to_ns: i64,
    #[serde(default = "shown")]
    shown: usize,
    /// Rows are written only if this is said.
    #[serde(default)]
    write: bool,
}

fn shown() -> usize {
    SHOWN
}

/// Answers when all rows have been fired and compared.
pub(super) fn run(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    let wanted: Wanted = call.body()?;
    if wanted.from_ns > wanted.to_ns {
        return Err(Refusal::bad("from_ns is behind to_ns"));
    }
    if wanted.shown > SHOWN_MAX {
        return Err(Refusal::bad(format!("shown: at most {SHOWN_MAX} rows")));
    }
    let options = ReplayOptions {
        from: wanted.from_ns,
        to: wanted.to_ns,
        shown: wanted.shown,
        write: wanted.write,
    };
    let report = call.app.host.replay(id, &options)?;
    tracing::info!(
        instance = id,
        rows = report.rows,
        written = report.written,
        "replayed"
    );
    Ok(answer(&report))
}

fn answer(report: &ReplayReport) -> Value {
    json!({
        "equal": report.is_equal(),
        "rows": report.rows,
        "events": report.events,
        "timers": report.timers,
        "timers_pending": report.timers_pending,
        "failures": report.failures,
        "first_failure": report.first_failure,
        "messages": report.messages,
        "deletes": report.deletes,
        "behind_bytes": report.behind_bytes,
        "written": report.written,
        "buckets": report.buckets.iter().map(bucket).collect::<Vec<_>>(),
        "differences": report.shown.iter().map(row).collect::<Vec<_>>(),
    })
}

fn bucket(bucket: &BucketDiff) -> Value {
    json!({
        "key": bucket.key.as_str(),
        "computed": bucket.computed,
        "equal": bucket.equal,
        "different": bucket.different,
        "missing": bucket.missing,
        "extra": bucket.extra,
    })
}

fn row(row: &RowDiff) -> Value {
    let mut columns = Map::new();
    for column in &row.columns {
        let value = |value: &Option<_>| value.as_ref().map_or(Value::Null, scalar_json);
        let both = json!({ "stored": value(&column.stored), "computed": value(&column.computed) });
        columns.insert(column.name.clone(), both);
    }
    json!({
        "key": row.key.as_str(),
        "time_ns": row.time,
        "found": row.found.name(),
        "columns": columns,
    })
}
