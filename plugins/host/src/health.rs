//! Whether all that should run does.

use crate::host::Host;
use crate::status::{InstanceStatus, State};

/// What is wrong with the instances of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether every `required` instance runs, or has done its work.
    pub ready: bool,
    /// Instances that do not do what their entries ask for; empty if all is well.
    pub degraded: Vec<Ailment>,
}

/// An instance that does not do what its entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ailment {
    /// Instance id.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// Whether the server is not ready because of it.
    pub required: bool,
    /// Why.
    pub reason: String,
}

impl Host {
    /// Whether every instance does what its entry asks for.
    pub fn health(&self) -> Health {
        let degraded: Vec<_> = self.status().into_iter().filter_map(ailment).collect();
        Health {
            ready: !degraded
                .iter()
                .any(|ailment| ailment.required && !runs(ailment.state)),
            degraded,
        }
    }
}

/// Whether the instance does its work, or has done it.
fn runs(state: State) -> bool {
    matches!(
        state,
        State::Starting | State::Running | State::Draining | State::Backoff | State::Stopped
    )
}

fn ailment(status: InstanceStatus) -> Option<Ailment> {
    let is_ill = match status.state {
        State::Failed | State::Missing | State::Hung | State::Backoff | State::Paused => true,
        // An entry or operator that wants it so, wants it so.
        State::Disabled => status.required || !status.is_off,
        _ => status.health.is_some_and(|health| health != "ok"),
    };
    is_ill.then_some(Ailment {
        id: status.id,
        state: status.state,
        required: status.required,
        reason: match status.reason.is_empty() {
            true => status.health_text,
            false => status.reason,
        },
    })
}
