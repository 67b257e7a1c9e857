//! An instance as an operator asks for it: status, what its entry says, what its module says.

use plugin_sdk::Description;
use serde_json::Value;

use crate::entry::Entry;
use crate::host::Host;
use crate::registry::Outcome;
use crate::secrets::hidden;
use crate::status::InstanceStatus;

/// All there is to show of an instance that an entry names.
#[derive(Debug, Clone)]
pub struct Described {
    /// As it runs.
    pub status: InstanceStatus,
    /// What its module says of itself; `None` if there is no module that says so.
    pub manifest: Option<Description>,
    /// Its config without secrets. Without a manifest nobody knows which keys are secret, so then
    /// every value is hidden.
    pub config: Value,
    /// Its entry with the defaults filled in; without config, values of `env`, and secrets.
    pub entry: Entry,
}

impl Host {
    /// One instance; `None` if no entry has this id.
    pub fn describe(&self, id: &str) -> Option<Described> {
        let status = self.instance_status(id)?;
        let plan = self.inner.instance(id).ok()?.plan();
        let mut entry = plan.entry.clone();
        let config = match plan.manifest {
            Some(_) => plan.secrets.show(&entry.config),
            None => hidden(&entry.config),
        };
        entry.config = Value::Null;
        entry.params = plan.secrets.scrub(entry.params);
        for (_, value) in &mut entry.env {
            value.clear();
        }
        if let Outcome::Ready(ready) = &plan.outcome {
            let policy = &ready.policy;
            entry.delivery = Some(policy.delivery);
            entry.max_attempts = Some(policy.max_attempts);
            entry.on_error = Some(policy.on_error);
            entry.window.join = Some(policy.join);
            entry.parallelism = policy.parallelism;
        }
        Some(Described {
            status,
            manifest: plan.manifest.clone(),
            config,
            entry,
        })
    }

    /// Whether an entry has this id, or something is stored of an instance that had it.
    pub fn knows(&self, id: &str) -> bool {
        let inner = &self.inner;
        let is_stored = || inner.book.lines.lock().iter().any(|l| l.record.id == id);
        inner.instance(id).is_ok() || is_stored()
    }
}
