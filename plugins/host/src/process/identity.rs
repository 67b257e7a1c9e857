//! One child per instance: who may start one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Instances that have a child, with the hash of what was started.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<String, u32>>);

/// It is there already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "EXISTS: instance \"{id}\" has a process already (spec {present:08x}, asked for {asked:08x})"
)]
pub(super) struct Exists {
    id: String,
    present: u32,
    asked: u32,
}

/// Holds an id until dropped.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    id: String,
}

impl Registry {
    /// Takes an id that nobody has.
    pub(super) fn register(self: &Arc<Self>, id: &str, spec: u32) -> Result<Registration, Exists> {
        self.ensure(id, spec)?.ok_or_else(|| Exists {
            id: id.to_owned(),
            present: spec,
            asked: spec,
        })
    }

    /// Takes an id; `None` if it is taken for the same already.
    pub(super) fn ensure(
        self: &Arc<Self>,
        id: &str,
        spec: u32,
    ) -> Result<Option<Registration>, Exists> {
        let mut taken = self.0.lock();
        match taken.get(id) {
            None => {
                taken.insert(id.to_owned(), spec);
                Ok(Some(Registration {
                    registry: Arc::clone(self),
                    id: id.to_owned(),
                }))
            }
            Some(present) if *present == spec => Ok(None),
            Some(present) => Err(Exists {
                id: id.to_owned(),
                present: *present,
                asked: spec,
            }),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_registered_once_and_ensured_as_often_as_one_likes() {
        let registry = Arc::new(Registry::default());
        let held = registry.register("alerts", 1).unwrap();
        assert!(registry.ensure("alerts", 1).unwrap().is_none());
        assert_eq!(
            registry.register("alerts", 1).unwrap_err().to_string(),
            "EXISTS: instance \"alerts\" has a process already (spec 00000001, asked for 00000001)"
        );
        assert_eq!(
            registry.ensure("alerts", 2).unwrap_err().to_string(),
            "EXISTS: instance \"alerts\" has a process already (spec 00000001, asked for 00000002)"
        );
        drop(held);
        assert!(registry.ensure("alerts", 2).unwrap().is_some());
    }
}
