//! What an operator sees: `/heartbeat`, `/health` and `/metrics`.

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use hyper::StatusCode;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};

use crate::admin;
use crate::http::App;

/// What `Marketstore-Version` says: the commit of the build, or the version if it is not known.
pub fn git_hash() -> &'static str {
    option_env!("MKTS_GIT_HASH").unwrap_or(env!("CARGO_PKG_VERSION"))
}

/// Answers whether the server is ready, as JSON with a newline.
pub(crate) fn heartbeat(app: &App) -> (StatusCode, String) {
    let (code, word) = match app.is_queryable() {
        true => (StatusCode::OK, "queryable"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not queryable"),
    };
    let json = json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "git_hash": git_hash(),
        "uptime": duration(app.uptime().as_millis()),
    });
    (code, format!("{json}\n"))
}

/// Answers whether every required plugin runs: 200, or 503 with what is wrong. Whatever else is
/// wrong with plugins only degrades. Everybody may ask whether; what is wrong is for those who are
/// known, and no reason shows more than its log line.
pub(crate) fn health(app: &App, is_known: bool) -> (StatusCode, String) {
    let health = app.host.health();
    let poisoned = app.engine.status().poisoned.is_some();
    let is_ready = health.ready && app.is_queryable() && !poisoned;
    let code = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let degraded = health.degraded.iter().map(|ailment| {
        json!({
            "instance": ailment.id,
            "state": ailment.state.to_string(),
            "required": ailment.required,
            "reason": ailment.reason,
        })
    });
    if !is_known {
        return (code, format!("{}\n", json!({ "ready": is_ready })));
    }
    let json = json!({
        "ready": is_ready,
        "queryable": app.is_queryable(),
        "takes_writes": !poisoned,
        "degraded": degraded.collect::<Vec<_>>(),
    });
    (code, format!("{json}\n"))
}

/// `1h2m3.4s`, as Go writes it.
fn duration(millis: u128) -> String {
    let (seconds, tenths) = (millis / 1000, millis % 1000 / 100);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}.{tenths}s"),
        (0, minutes) => format!("{minutes}m{seconds}.{tenths}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}.{tenths}s"),
    }
}

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts counting; once in a process, whoever comes first. What looks its counters up earlier (a
/// plugin instance) counts nothing.
pub fn start_recorder() {
    RECORDER.get_or_init(|| {
        let buckets = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &buckets)
            .and_then(|builder| {
                let fires = Matcher::Full("mkts_plugin_fire_seconds".into());
                builder.set_buckets_for_metric(fires, &FIRE_SECONDS)
            })
            .and_then(|builder| {
                let windows = Matcher::Full("mkts_plugin_window_rows".into());
                builder.set_buckets_for_metric(windows, &WINDOW_ROWS)
            });
        let handle = builder.and_then(PrometheusBuilder::install_recorder);
        let handle = handle
            .inspect_err(|error| tracing::warn!("metrics are not counted: {error}"))
            .ok()?;
        begin_at_zero();
        let upkeep = handle.clone();
        every(UPKEEP_EVERY, move || {
            upkeep.run_upkeep();
            true
        });
        Some(handle)
    });
}

/// Counters are there from the first look on, so that their first move is one.
fn begin_at_zero() {
    for name in [
        "mkts_panics_total",
        "mkts_retention_rows_total",
        "mkts_stream_closed_total",
        "mkts_stream_conflated_total",
    ] {
        metrics::counter!(name).increment(0);
    }
    for door in ["http", "flight", "postgres"] {
        metrics::counter!("mkts_sql_rows_total", "door" => door).increment(0);
        metrics::counter!("mkts_sql_cancelled_total", "door" => door).increment(0);
        for kind in ["syntax", "unknown", "limit", "failed"] {
            metrics::counter!("mkts_sql_errors_total", "door" => door, "kind" => kind).increment(0);
        }
    }
    for reason in [
        "admin",
        "auth",
        "body",
        "connections",
        "denied",
        "method",
        "origin",
        "parse",
        "request",
        "tls",
    ] {
        metrics::counter!("mkts_rejected_total", "reason" => reason).increment(0);
    }
}

/// A fire of a built-in trigger takes less than a microsecond, one that asks the network a second.
const FIRE_SECONDS: [f64; 22] = [
    1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3,
    5e-3, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 10.0,
];

/// Up to the default of `window.rows`.
const WINDOW_ROWS: [f64; 9] = [
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0,
];

/// Until then a histogram keeps every value: nobody may ask for `/metrics` for days.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Does something on a thread of its own, again and again, until it answers false.
fn every(pause: Duration, mut work: impl FnMut() -> bool + Send + 'static) {
    let run = move || {
        while work() {
            std::thread::sleep(pause);
        }
    };
    let thread = std::thread::Builder::new().name("mkts-metrics".into());
    if let Err(error) = thread.spawn(run) {
        tracing::warn!("durations are kept until /metrics is asked for: {error}");
    }
}

/// Everything that is counted, and the store's and the plugins' own numbers, as Prometheus text.
pub(crate) fn metrics(app: &App) -> String {
    // Sets the gauges of every instance, also of those that do not run.
    app.host.status();
    let mut out = match RECORDER.get() {
        Some(Some(handle)) => {
            handle.run_upkeep();
            handle.render()
        }
        _ => String::new(),
    };
    let status = app.engine.status();
    let gauges = [
        (
            "alpaca_marketstore_total_disk_usage_bytes",
            status.segment_bytes + status.wal_bytes,
        ),
        (
            "alpaca_marketstore_ws_connections",
            app.hub.connections() as u64,
        ),
        ("mkts_uptime_seconds", app.uptime().as_secs()),
        ("mkts_buckets", status.buckets as u64),
        ("mkts_segments", status.segments as u64),
        ("mkts_segment_bytes", status.segment_bytes),
        ("mkts_wal_bytes", status.wal_bytes),
        ("mkts_tail_bytes", status.tail_bytes),
        ("mkts_poisoned", u64::from(status.poisoned.is_some())),
        ("mkts_recovery_quarantined", status.quarantined.len() as u64),
    ];
    for (name, value) in gauges {
        sample(&mut out, name, "gauge", value);
    }
    let counters = [
        ("mkts_commits_total", status.commits),
        ("mkts_rows_total", status.rows),
        ("mkts_checkpoints_total", status.checkpoints),
        ("mkts_merges_total", status.merges),
    ];
    for (name, value) in counters {
        sample(&mut out, name, "counter", value);
    }
    let seconds = status.wal_sync_time.as_secs_f64();
    let syncs = status.wal_syncs;
    let name = "mkts_wal_sync_seconds";
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "# TYPE {name} summary\n{name}_sum {seconds}\n{name}_count {syncs}\n"
    );
    out
}

/// Everything that `mkts status` shows.
pub(crate) fn json(app: &App) -> Value {
    let status = app.engine.status();
    let marks = status.marks;
    let syncs = status.wal_syncs;
    let mean = status.wal_sync_time.as_secs_f64() * 1e3 / syncs.max(1) as f64;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_hash": git_hash(),
        "uptime_seconds": app.uptime().as_secs(),
        "queryable": app.is_queryable(),
        "poisoned": status.poisoned,
        "damage": status.quarantined,
        "marks": {
            "checkpoint": marks.checkpoint.to_string(),
            "visible": marks.visible.to_string(),
            "durable": marks.durable.to_string(),
            "appended": marks.appended.to_string(),
        },
        "last_commit_ns": status.last_commit_ns,
        "unsynced_bytes": marks.appended.0 - marks.durable.0,
        "buckets": status.buckets,
        "segments": status.segments,
        "segment_bytes": status.segment_bytes,
        "wal_bytes": status.wal_bytes,
        "wal_bytes_max": app.engine.options().wal_bytes_max,
        "tail_bytes": status.tail_bytes,
        "tail_bytes_max": app.engine.options().tail_bytes_max,
        "commits": status.commits,
        "rows": status.rows,
        "wal_syncs": syncs,
        "wal_sync_ms_mean": mean,
        "checkpoints": status.checkpoints,
        "merges": status.merges,
        "merge_error": status.merge_error,
        "triggers": app.host.status().iter().map(admin::summary).collect::<Vec<_>>(),
        "streams": app.hub.connections(),
        "rejected": rejected(),
    })
}

/// Requests refused since the start, by the reason that `/metrics` gives.
fn rejected() -> Value {
    let rendered = match RECORDER.get() {
        Some(Some(handle)) => handle.render(),
        _ => String::new(),
    };
    let samples = rendered.lines().filter_map(|line| {
        let rest = line.strip_prefix("mkts_rejected_total{reason=\"")?;
        let (reason, count) = rest.split_once("\"} ")?;
        let count = count.parse::<u64>().ok().filter(|count| *count > 0)?;
        Some((reason.to_owned(), Value::from(count)))
    });
    Value::Object(samples.collect())
}

fn sample(out: &mut String, name: &str, kind: &str, value: u64) {
    // Writing to a String cannot fail.
    let _ = write!(out, "# TYPE {name} {kind}\n{name} {value}\n");
}

#[cfg(test)]
mod tests {
    #[test]
    fn work_is_done_again_until_it_says_no() {
        let (done, times) = std::sync::mpsc::channel();
        let mut left = 3;
        super::every(super::Duration::ZERO, move || {
            left -= 1;
            done.send(left).unwrap();
            left > 0
        });
        // Ends, because the thread does.
        assert_eq!(times.into_iter().collect::<Vec<_>>(), [2, 1, 0]);
    }

    #[test]
    fn durations_read_like_those_of_the_reference() {
        assert_eq!(super::duration(200), "0.2s");
        assert_eq!(super::duration(60_200), "1m0.2s");
        assert_eq!(super::duration(3_725_999), "1h2m5.9s");
    }
}
