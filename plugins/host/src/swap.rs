//! `reload` of a trigger: between two windows its thread goes from one module to another.
//!
//! The objects of the new module are made, and its `migrate` has run, before anything of the old one
//! is given up: until the one commit that stores the migrated state, the old one can go on.

use std::sync::Arc;

use crossbeam_channel::Sender;
use plugin_sdk::{AnyTrigger, CloseReason, Delivery};

use crate::dispatch::Dispatcher;
use crate::registry::{Outcome, Plan, Ready};
use crate::run::End;

/// A plan that is to take the place of the present one.
pub(crate) struct Swap {
    pub(crate) plan: Plan,
    /// Why not, if not.
    pub(crate) reply: Sender<Result<(), String>>,
}

type Triggers = Vec<Option<Box<dyn AnyTrigger>>>;

impl Dispatcher {
    /// Goes on with another module, or with the old one and a reason.
    pub(crate) fn swap(&mut self, swap: &Swap) {
        let result = match &swap.plan.outcome {
            Outcome::Ready(ready) => self.swap_for(&swap.plan, ready),
            _ => Err(swap.plan.state().1),
        };
        if let Err(why) = &result {
            tracing::warn!(instance = &*self.id, "not reloaded: {why}");
        }
        // Whoever asked may have gone.
        let _ = swap.reply.send(result);
    }

    fn swap_for(&mut self, plan: &Plan, ready: &Ready) -> Result<(), String> {
        let module = std::mem::replace(&mut self.run.module, Arc::clone(&ready.module));
        let slot = std::mem::replace(&mut self.run.slot, plan.slot.clone());
        match self.make_successors(ready) {
            Err(why) => {
                (self.run.module, self.run.slot) = (module, slot);
                Err(why)
            }
            Ok(successors) => {
                self.close_triggers(CloseReason::Reload);
                self.triggers = successors;
                self.run.writes = ready.writes.clone();
                self.policy = ready.policy;
                self.filter.join = ready.policy.join;
                self.filter.accepts_gap = ready.policy.accepts_gap;
                Ok(())
            }
        }
    }

    /// The objects of the new module, with the state as it needs it, stored.
    fn make_successors(&mut self, ready: &Ready) -> Result<Triggers, String> {
        let is_volatile = ready.policy.delivery == Delivery::Volatile;
        if self.unstored_since.is_some() {
            self.store().map_err(End::into_text)?;
        }
        let migrated = match is_volatile {
            true => None,
            false => self.run.migration()?,
        };
        if !is_volatile {
            self.run.epoch = self.run.book.restart(self.run.origin);
        }
        let mut made = Triggers::new();
        for _ in 0..ready.policy.parallelism {
            match self.run.create_trigger(migrated.as_ref()) {
                Ok(trigger) => made.push(Some(trigger)),
                Err(why) => return Err(self.give_up(made, why)),
            }
        }
        if let Some(effects) = migrated
            && let Err(error) = self.run.store_migration(&effects, self.cursor)
        {
            return Err(self.give_up(made, error.to_string()));
        }
        Ok(made)
    }

    fn give_up(&self, made: Triggers, why: String) -> String {
        for trigger in made.into_iter().flatten() {
            self.run.close_trigger(trigger, CloseReason::Stop);
        }
        why
    }
}
