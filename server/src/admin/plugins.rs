//! Calls that show instances.

use engine::Lsn;
use plugin_host::{
    Described, Entry, InstanceStatus, Join, Match, OnError, OnOverflow, Restart, Schedule, Start,
};
use serde_json::{Value, json};

use super::call::{Answer, Call, Refusal};
use super::control::orphan;
use crate::logs::LOGS;

/// Log lines in one answer, unless another number is asked for.
const LINES: u64 = 100;

/// Every instance, in the order of the entries, and what is stored of others.
pub(super) fn list(call: &Call<'_>) -> Answer {
    call.query()?.end()?;
    let host = &call.app.host;
    Ok(json!({
        "instances": host.status().iter().map(summary).collect::<Vec<_>>(),
        "orphans": host.orphans().iter().map(orphan).collect::<Vec<_>>(),
    }))
}

/// One instance with its config, limits and manifest.
pub(super) fn describe(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    call.query()?.end()?;
    match call.app.host.describe(id) {
        Some(described) => Ok(whole(&described)),
        None => Err(Refusal::unknown(format!(
            "instance \"{id}\" has no entry any more; what is stored of it can be read with its \
             state and dlq, and removed with plugins:gc"
        ))),
    }
}

/// Its last log lines (`lines=`), or those behind a number (`after=`).
pub(super) fn logs(call: &Call<'_>) -> Answer {
    let id = known(call)?;
    let mut query = call.query()?;
    let lines = query.number("lines", LINES)?;
    let after = query.number("after", 0)?;
    query.end()?;
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    let (found, missed) = LOGS.last(id, lines, after);
    let shown = found.iter().map(|line| {
        json!({
            "seq": line.seq,
            "time_ns": line.time,
            "level": line.level,
            "text": line.text,
        })
    });
    Ok(json!({
        "lines": shown.collect::<Vec<_>>(),
        "last": found.last().map_or(after, |line| line.seq),
        "missed": missed,
    }))
}

/// The instance that the path names: one with an entry, or one that something is stored of.
pub(super) fn known<'a>(call: &'a Call<'_>) -> Result<&'a str, Refusal> {
    let id = call.text(0)?;
    let host = &call.app.host;
    if host.knows(id) {
        return Ok(id);
    }
    let all = host.status();
    let ids = all.iter().map(|instance| instance.id.as_str());
    let hint = match plugin_host::nearest(id, ids) {
        Some(near) => format!("; did you mean {near}?"),
        None => "; `mkts plugin list` names all".into(),
    };
    Err(Refusal::unknown(format!(
        "there is no instance \"{id}\"{hint}"
    )))
}

/// Everything that is known of an instance while it runs.
pub(crate) fn summary(instance: &InstanceStatus) -> Value {
    json!({
        "id": instance.id,
        "kind": instance.kind,
        "module": instance.module,
        "version": instance.version,
        "host": instance.host,
        "path": instance.path,
        "is_off": instance.is_off,
        "quarantined": instance.quarantined,
        "warnings": instance.warnings,
        "place": instance.place,
        "required": instance.required,
        "delivery": instance.delivery,
        "state": instance.state.to_string(),
        "reason": instance.reason,
        "quarantined": instance.quarantined,
        "since_ns": instance.since,
        "cursor": Lsn(instance.cursor).to_string(),
        "lag_bytes": instance.lag_bytes,
        "lag_seconds": instance.lag_seconds,
        "wal_held_bytes": instance.wal_held_bytes,
        "state_bytes": instance.state_bytes,
        "fires": instance.fires,
        "failures": instance.failures,
        "panics": instance.panics,
        "retries": instance.retries,
        "dead_letters": instance.dead_letters,
        "dropped": instance.dropped,
        "gaps": instance.gaps,
        "timers": instance.timers,
        "rows": instance.rows,
        "restarts": instance.restarts,
        "pid": instance.pid,
        "metrics_port": instance.metrics_port,
        "health": instance.health,
        "health_text": instance.health_text,
        "progress": instance.progress.as_ref().map(|progress| json!({
            "share": progress.share,
            "text": progress.text,
        })),
    })
}

fn whole(described: &Described) -> Value {
    let mut shown = summary(&described.status);
    let entry = &described.entry;
    shown["on"] = json!(entry.on);
    shown["config"] = described.config.clone();
    shown["params"] = entry.params.clone().into();
    let env = entry.env.iter().map(|(name, _)| name.as_str());
    shown["env"] = env.collect();
    shown["limits"] = limits(entry);
    shown["manifest"] = json!(described.manifest);
    shown
}

/// What an entry asks for, with every default filled in.
fn limits(entry: &Entry) -> Value {
    json!({
        "match": match entry.match_mode {
            Match::Glob => "glob",
            Match::MarketStore => "marketstore",
        },
        "start": match entry.start {
            Start::Latest => "latest".to_owned(),
            Start::Earliest => "earliest".to_owned(),
            Start::Time(ns) => format!("{ns} ns"),
        },
        "schedule": entry.schedule.as_ref().map(|schedule| match schedule {
            Schedule::Every(pause) => format!("every {pause:?}"),
            Schedule::Cron(_) => "cron".to_owned(),
        }),
        "parallelism": entry.parallelism,
        "max_attempts": entry.max_attempts,
        "on_error": entry.on_error.map(|how| match how {
            OnError::DeadLetter => "dead_letter",
            OnError::Skip => "skip",
            OnError::Disable => "disable",
        }),
        "on_overflow": entry.on_overflow.map(|how| match how {
            OnOverflow::Coalesce => "coalesce",
            OnOverflow::Disable => "disable",
            OnOverflow::Drop => "drop",
            OnOverflow::Hold => "hold",
        }),
        "timeout_seconds": entry.timeout.as_secs_f64(),
        "window": {
            "rows": entry.window.rows,
            "bytes": entry.window.bytes,
            "wait_seconds": entry.window.wait.as_secs_f64(),
            "join": entry.window.join.map(|join| match join {
                Join::Key => "key",
                Join::Commit => "commit",
            }),
        },
        "wal_hold": {
            "bytes": entry.wal_hold,
            "seconds": entry.wal_hold_time.as_secs_f64(),
        },
        "restart": match entry.restart {
            Restart::Always => "always",
            Restart::OnFailure => "on-failure",
            Restart::Never => "never",
        },
        "fire_on_own": entry.fire_on_own,
        "required": entry.required,
        "enabled": entry.enabled,
        "memory": entry.limits.memory,
        "nofile": entry.limits.nofile,
    })
}
