//! Brings state that an older version of a plugin stored to the present one.

use bytes::Bytes;
use engine::{Error, Lsn};
use plugin_sdk::{State, StateScope, StateValue};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{StateView, VERSION_KEY};
use crate::calls::{Effects, effect_bytes_max};
use crate::fire::panic_text;
use crate::run::Run;
use crate::start::no_rows;

impl Run {
    /// Runs the plugin's `migrate` if its state is older, before any fire; what that changed is one
    /// plugin commit, with the new version. State that is newer is refused: nothing can bring it
    /// back. The inner error is the instance's own fault, not the store's.
    pub(crate) fn bring_state_forward(&self, cursor: Lsn) -> Result<Result<(), String>, Error> {
        let description = self.module.description();
        let wanted = description.state_version;
        let (stored, is_empty) = {
            let table = self.table.read();
            (table.state_version(), table.has_no_values())
        };
        let mut effects = Effects::new();
        match stored.unwrap_or(1) {
            from if from == wanted => return Ok(Ok(())),
            _ if stored.is_none() && is_empty => {}
            from if from > wanted => {
                return Ok(Err(format!(
                    "its state has version {from}, this \"{}\" {} knows {wanted}: run the newer \
                     plugin, or give the entry a new \"name\" to start afresh",
                    description.name, description.version
                )));
            }
            from => {
                if let Err(why) = self.migrate(from, description.state_scope, &mut effects) {
                    return Ok(Err(format!("state of version {from} to {wanted}: {why}")));
                }
                tracing::info!(
                    instance = &*self.id,
                    "state of version {from} is now {wanted}"
                );
            }
        }
        effects.put_host(VERSION_KEY, StateValue::Counter(i64::from(wanted)));
        let changes = effects.changes().into();
        let commit = no_rows(self.origin);
        self.book
            .commit(&self.engine, commit, self.epoch, cursor, changes)?;
        Ok(Ok(()))
    }

    /// With `state_scope: key` once for every namespace there is.
    fn migrate(&self, from: u32, scope: StateScope, effects: &mut Effects) -> Result<(), String> {
        let namespaces = match scope {
            StateScope::Instance => vec![Bytes::new()],
            StateScope::Key => self.table.read().namespaces(),
        };
        for namespace in namespaces {
            let room = effect_bytes_max(&self.engine).saturating_sub(effects.bytes());
            let mut view = StateView::new(&self.table, None, namespace, room).without_count();
            catch_unwind(AssertUnwindSafe(|| {
                self.module.migrate(from, &mut State::new(&mut view))
            }))
            .map_err(|panic| format!("migrate panicked: {}", panic_text(&*panic)))?
            .map_err(|error| error.text)?;
            effects.state.append(view.take());
        }
        Ok(())
    }
}
