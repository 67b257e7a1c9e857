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
    /// Runs the plugin's `migrate` if its state is older, before any fire, and stores what that
    /// changed. The inner error is the instance's own fault, not the store's.
    pub(crate) fn bring_state_forward(&self, cursor: Lsn) -> Result<Result<(), String>, Error> {
        match self.migration() {
            Ok(None) => Ok(Ok(())),
            Ok(Some(effects)) => self.store_migration(&effects, cursor).map(Ok),
            Err(why) => Ok(Err(why)),
        }
    }

    /// One plugin commit.
    pub(crate) fn store_migration(&self, effects: &Effects, cursor: Lsn) -> Result<(), Error> {
        let changes = effects.changes().into();
        let commit = no_rows(self.origin);
        self.book
            .commit(&self.engine, commit, self.epoch, cursor, changes)
            .map(drop)
    }

    /// What brings the state to the plugin's version, and the version; `None` if it has that. State
    /// that is newer is refused: nothing can bring it back.
    pub(crate) fn migration(&self) -> Result<Option<Effects>, String> {
        let description = self.module.description();
        let wanted = description.state_version;
        let (stored, is_empty) = {
            let table = self.table.read();
            (table.state_version(), table.has_no_values())
        };
        let mut effects = Effects::new();
        match stored.unwrap_or(1) {
            from if from == wanted => return Ok(None),
            _ if stored.is_none() && is_empty => {}
            from if from > wanted => {
                return Err(format!(
                    "its state has version {from}, this \"{}\" {} knows {wanted}: run the newer \
                     plugin, or `mkts plugin reset` it to start afresh",
                    description.name, description.version
                ));
            }
            from => {
                self.migrate(from, description.state_scope, &mut effects)
                    .map_err(|why| format!("state of version {from} to {wanted}: {why}"))?;
                tracing::info!(
                    instance = &*self.id,
                    "state of version {from} is brought to {wanted}"
                );
            }
        }
        effects.put_host(VERSION_KEY, StateValue::Counter(i64::from(wanted)));
        Ok(Some(effects))
    }

    /// With `state_scope: key` once for every namespace there is.
    fn migrate(&self, from: u32, scope: StateScope, effects: &mut Effects) -> Result<(), String> {
        let _inside = self.inside(0);
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
