//! Metrics of an instance. Handles are looked up once: a fire touches atomics only.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::Mutex;
use plugin_sdk::Description;

use crate::status::InstanceStatus;

/// A counter of a plugin's own, under a name of its manifest.
pub(crate) fn own_counter(instance: &str, plugin: &str, metric: &str) -> Counter {
    let name = format!("mkts_plugin_{plugin}_{metric}").replace('-', "_");
    counter!(name, "instance" => instance.to_owned())
}

/// What a plugin counts itself. Counters are whole numbers: what is not one yet is carried.
struct Own {
    metric: String,
    counter: Counter,
    carry: Mutex<f64>,
}

/// Handles of `mkts_plugin_*` with the label `instance`.
pub(crate) struct Meter {
    pub(crate) fires_ok: Counter,
    pub(crate) fires_error: Counter,
    pub(crate) fires_panic: Counter,
    pub(crate) fire_seconds: Histogram,
    pub(crate) dispatch_delay_seconds: Histogram,
    pub(crate) lag_bytes: Gauge,
    pub(crate) lag_seconds: Gauge,
    pub(crate) window_rows: Histogram,
    pub(crate) rows_in: Counter,
    pub(crate) rows_out: Counter,
    pub(crate) retries: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) dropped_rows: Counter,
    pub(crate) gaps: Counter,
    pub(crate) ranges_skipped: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) restarts: Counter,
    own: Vec<Own>,
}

impl Meter {
    pub(crate) fn new(instance: &str, plugin: &Description) -> Self {
        // Counted where a process is driven; of any other instance they stay at zero.
        for name in [
            "mkts_plugin_fenced_total",
            "mkts_plugin_unsupported_total",
            "mkts_plugin_log_lines_dropped_total",
        ] {
            counter!(name, "instance" => instance.to_owned()).increment(0);
        }
        let fires = |result: &'static str| {
            let instance = instance.to_owned();
            counter!("mkts_plugin_fires_total", "instance" => instance, "result" => result)
        };
        let rows = |dir: &'static str| {
            let instance = instance.to_owned();
            counter!("mkts_plugin_rows_total", "instance" => instance, "dir" => dir)
        };
        let id = || instance.to_owned();
        Self {
            fires_ok: fires("ok"),
            fires_error: fires("error"),
            fires_panic: fires("panic"),
            fire_seconds: histogram!("mkts_plugin_fire_seconds", "instance" => id()),
            dispatch_delay_seconds: histogram!(
                "mkts_plugin_dispatch_delay_seconds", "instance" => id()
            ),
            lag_bytes: gauge!("mkts_plugin_lag_bytes", "instance" => id()),
            lag_seconds: gauge!("mkts_plugin_lag_seconds", "instance" => id()),
            window_rows: histogram!("mkts_plugin_window_rows", "instance" => id()),
            rows_in: rows("in"),
            rows_out: rows("out"),
            retries: counter!("mkts_plugin_retries_total", "instance" => id()),
            dead_letters: counter!("mkts_plugin_dead_letters_total", "instance" => id()),
            dropped_rows: counter!("mkts_plugin_dropped_rows_total", "instance" => id()),
            gaps: counter!("mkts_plugin_gaps_total", "instance" => id()),
            ranges_skipped: counter!(
                "mkts_plugin_deleted_ranges_skipped_total", "instance" => id()
            ),
            timeouts: counter!("mkts_plugin_timeouts_total", "instance" => id()),
            restarts: counter!("mkts_plugin_restarts_total", "instance" => id()),
            own: plugin
                .metrics
                .iter()
                .map(|metric| Own {
                    metric: metric.clone(),
                    counter: own_counter(instance, &plugin.name, metric),
                    carry: Mutex::new(0.0),
                })
                .collect(),
        }
    }

    /// The plugin has counted. Only what its manifest names: it must not flood the registry.
    pub(crate) fn count(&self, metric: &str, by: f64) {
        let own = self.own.iter().find(|own| own.metric == metric);
        let Some(own) = own.filter(|_| by > 0.0) else {
            return;
        };
        let mut carry = own.carry.lock();
        *carry += by;
        let whole = carry.floor();
        *carry -= whole;
        own.counter.increment(whole as u64);
    }
}

/// Sets the gauges that age by themselves, also of instances that do not run.
pub(crate) fn refresh(status: &InstanceStatus) {
    let id = || status.id.clone();
    let running = f64::from(u8::from(status.state.is_live()));
    gauge!("mkts_plugin_state", "instance" => id()).set(running);
    gauge!("mkts_plugin_lag_bytes", "instance" => id()).set(status.lag_bytes as f64);
    gauge!("mkts_plugin_lag_seconds", "instance" => id()).set(status.lag_seconds);
    gauge!("mkts_plugin_wal_held_bytes", "instance" => id()).set(status.wal_held_bytes as f64);
    gauge!("mkts_plugin_state_bytes", "instance" => id()).set(status.state_bytes as f64);
}
