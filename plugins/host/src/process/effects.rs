//! The effects of a child's fire, made through the context of the call.

use model::BucketKey;
use plugin_proto::v1::effect::Effect as Kind;
use plugin_proto::{Received, v1};
use plugin_sdk::{HostCalls, PluginError, StateCalls};

/// Why effects did not happen.
#[derive(Debug)]
pub(super) enum Fault {
    /// The host refused one: the fire fails.
    Refused(PluginError),
    /// They make no sense: the child is broken.
    Garbage(String),
}

impl From<PluginError> for Fault {
    fn from(error: PluginError) -> Self {
        Self::Refused(error)
    }
}

/// Makes the effects of a fire, in order.
pub(super) fn apply(
    effects: Vec<v1::Effect>,
    received: &Received,
    host: &mut dyn HostCalls,
) -> Result<(), Fault> {
    for effect in effects {
        // Of a newer SDK: the fire fails, the child is no worse than before.
        let kind = effect.effect.ok_or_else(|| {
            PluginError::unsupported("an effect of a newer SDK, which this server does not know")
        })?;
        match kind {
            Kind::Write(write) => {
                let key = key(&write.key)?;
                let (kind, rows) = received
                    .rows(write.schema_id, &write.rows)
                    .map_err(|error| Fault::Garbage(format!("rows of {key}: {error}")))?;
                host.write(&key, kind, rows)?;
            }
            Kind::DeleteRange(range) => {
                host.delete(&key(&range.key)?, range.from_ns, range.to_ns)?
            }
            Kind::TimerSet(set) => host.set_timer(&set.key, set.due_ns, &set.payload)?,
            Kind::TimerCancel(cancel) => host.cancel_timer(&cancel.key),
            Kind::Publish(publish) => host.publish(&publish.stream, publish.payload),
            state => {
                let store = host.state();
                let store = store.ok_or_else(|| PluginError::unsupported("the state store"))?;
                apply_state(state, store)?;
            }
        }
    }
    Ok(())
}

/// Makes a change of the state.
pub(super) fn apply_state(effect: Kind, state: &mut dyn StateCalls) -> Result<(), Fault> {
    match effect {
        Kind::Put(put) => state.put(&put.key, &put.value)?,
        Kind::Delete(delete) => state.delete(&delete.key)?,
        Kind::Count(count) => drop(state.incr(&count.key, count.by)?),
        _ => {
            return Err(Fault::Garbage(
                "an effect that is no change of state".into(),
            ));
        }
    }
    Ok(())
}

/// A bucket's key as the child wrote it.
pub(super) fn key(text: &str) -> Result<BucketKey, Fault> {
    BucketKey::parse(text).map_err(|error| Fault::Garbage(format!("key {text:?}: {error}")))
}
