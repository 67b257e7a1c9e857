//! How children stand, for `status`, `/health` and `/metrics`.

use std::collections::HashMap;

use parking_lot::Mutex;
use plugin_proto::v1;
use plugin_sdk::{Description, Health, Standing, StandingState};

use crate::meter::own_counter;

/// Of the instances of one module.
#[derive(Debug, Default)]
pub(super) struct Standings(Mutex<HashMap<String, Known>>);

#[derive(Debug, Clone)]
struct Known {
    standing: Standing,
    /// What was counted and is not a whole number yet.
    carry: HashMap<String, f64>,
}

impl Standings {
    pub(super) fn of(&self, instance: &str) -> Option<Standing> {
        let known = self.0.lock();
        known.get(instance).map(|known| known.standing.clone())
    }

    pub(super) fn set(&self, instance: &str, state: StandingState, reason: &str, pid: i32) {
        self.change(instance, |known| {
            known.standing.state = state;
            reason.clone_into(&mut known.standing.reason);
            known.standing.pid = pid;
        });
    }

    /// The port its next process may listen on.
    pub(super) fn give_port(&self, instance: &str, port: u16) {
        self.change(instance, |known| known.standing.metrics_port = Some(port));
    }

    pub(super) fn restarted(&self, instance: &str) {
        let labels = [("instance", instance.to_owned())];
        metrics::counter!("mkts_plugin_restarts_total", &labels).increment(1);
        self.change(instance, |known| known.standing.restarts += 1);
    }

    fn change(&self, instance: &str, change: impl FnOnce(&mut Known)) {
        let mut all = self.0.lock();
        let known = all.entry(instance.to_owned()).or_insert_with(|| Known {
            standing: Standing::new(),
            carry: HashMap::new(),
        });
        change(known);
    }

    /// Merges what a child has counted and says of its health.
    pub(super) fn heartbeat(
        &self,
        instance: &str,
        description: &Description,
        beat: &v1::Heartbeat,
    ) {
        self.change(instance, |known| {
            known.standing.health = match beat.health {
                0 => Health::Ok,
                1 => Health::Degraded,
                _ => Health::Failing,
            };
            known.standing.health_text.clone_from(&beat.health_text);
            for metric in &beat.metrics {
                // Only what the manifest names: a child must not flood the registry.
                if description.metrics.contains(&metric.name) && metric.delta > 0.0 {
                    count(known, instance, &description.name, metric);
                }
            }
        });
    }
}

fn count(known: &mut Known, instance: &str, plugin: &str, metric: &v1::heartbeat::Metric) {
    let carry = known.carry.entry(metric.name.clone()).or_default();
    *carry += metric.delta;
    let whole = carry.floor();
    *carry -= whole;
    own_counter(instance, plugin, &metric.name).increment(whole as u64);
}
