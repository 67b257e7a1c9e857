//! Calls that steer instances. Each answers how the instance stands then.

use std::time::Duration;

use engine::Lsn;
use plugin_host::{Error, Host, Orphan, Place};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bytes;
use super::call::{Answer, Call, Nothing, Refusal};
use super::plugins::{known, summary};

pub(super) fn pause(call: &Call<'_>) -> Answer {
    verb(call, Host::pause)
}

pub(super) fn resume(call: &Call<'_>) -> Answer {
    verb(call, Host::resume)
}

pub(super) fn enable(call: &Call<'_>) -> Answer {
    verb(call, Host::enable)
}

pub(super) fn disable(call: &Call<'_>) -> Answer {
    verb(call, Host::disable)
}

pub(super) fn restart(call: &Call<'_>) -> Answer {
    verb(call, Host::restart)
}

pub(super) fn reset(call: &Call<'_>) -> Answer {
    verb(call, Host::reset)
}

/// Also says the version before.
pub(super) fn reload(call: &Call<'_>) -> Answer {
    let mut before = String::new();
    let mut answer = verb(call, |host, id| {
        before = host.reload(id)?.before;
        Ok(())
    })?;
    answer["old_version"] = before.into();
    Ok(answer)
}

/// Fires the stored rows.
pub(super) fn backfill(call: &Call<'_>) -> Answer {
    verb(call, Host::backfill)
}

/// Longest wait for rows to record.
const RECORD_SECONDS_MAX: u64 = 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    rows: u64,
    #[serde(default = "record_seconds")]
    seconds: u64,
}

fn record_seconds() -> u64 {
    60
}

/// The next events of a trigger, until they have `{"rows": n}` rows or `seconds` are over.
pub(super) fn record(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    let Record { rows, seconds } = call.body()?;
    if seconds > RECORD_SECONDS_MAX || rows == 0 {
        return Err(Refusal::bad(format!(
            "rows and seconds: use 1 row or more, and at most {RECORD_SECONDS_MAX} seconds"
        )));
    }
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    let time = Duration::from_secs(seconds);
    let recording = call.app.host.record(id, rows, time)?;
    Ok(json!({ "bytes": recording.len(), "recording": bytes::base64(&recording) }))
}

fn verb(call: &Call<'_>, run: impl FnOnce(&Host, &str) -> Result<(), Error>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    let _: Nothing = call.body()?;
    let host = &call.app.host;
    run(host, id)?;
    standing(host, id)
}

fn standing(host: &Host, id: &str) -> Answer {
    match host.instance_status(id) {
        Some(status) => Ok(summary(&status)),
        None => Err(Error::NoInstance { id: id.into() }.into()),
    }
}

/// Place in the log.
pub(super) fn cursor(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    Ok(place(id, &call.app.host.cursor(id)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetCursor {
    cursor: String,
}

/// Moves the place of a paused instance.
pub(super) fn set_cursor(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    let SetCursor { cursor } = call.body()?;
    let digits = cursor.bytes().all(|digit| digit.is_ascii_hexdigit());
    let lsn = u64::from_str_radix(&cursor, 16).ok().filter(|_| digits);
    let Some(lsn) = lsn else {
        return Err(Refusal::bad(format!(
            "cursor: \"{cursor}\" is no position in the log: use hexadecimal digits, like 1a2b"
        )));
    };
    let host = &call.app.host;
    host.set_cursor(id, Lsn(lsn))?;
    Ok(place(id, &host.cursor(id)?))
}

fn place(id: &str, place: &Place) -> Value {
    json!({
        "id": id,
        "cursor": place.cursor.to_string(),
        "visible": place.visible.to_string(),
        "checkpointed": place.checkpointed.map(|lsn| lsn.to_string()),
        "last_commit": place.last_commit.map(|lsn| lsn.to_string()),
        "epoch": place.epoch,
        "lag_bytes": place.visible.0.saturating_sub(place.cursor.0),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gc {
    #[serde(default)]
    dry_run: bool,
}

/// Forgets what is stored of instances that no entry names, or says which (`{"dry_run": true}`).
pub(super) fn gc(call: &Call<'_>) -> Answer {
    call.query()?.end()?;
    let Gc { dry_run } = call.body()?;
    let host = &call.app.host;
    let orphans = if dry_run { host.orphans() } else { host.gc()? };
    Ok(json!({
        "orphans": orphans.iter().map(orphan).collect::<Vec<_>>(),
        "dry_run": dry_run,
    }))
}

pub(super) fn orphan(orphan: &Orphan) -> Value {
    json!({
        "id": orphan.id,
        "cursor": orphan.cursor.to_string(),
        "last_commit": orphan.last_commit.to_string(),
        "state_bytes": orphan.state_bytes,
    })
}
