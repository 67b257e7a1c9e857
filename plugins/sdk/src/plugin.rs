//! What every kind of plugin has.

use model::Zone;
use serde::de::DeserializeOwned;

use crate::error::PluginError;
use crate::manifest::Manifest;
use crate::state::State;

/// What a plugin is told when it is made.
pub struct Init<'a> {
    /// Instance id.
    pub instance: &'a str,
    /// Plus one at each start of the instance.
    pub epoch: u64,
    /// The `timezone` of the server: where days and weeks begin.
    pub zone: &'a Zone,
    /// State the instance has stored; reading is all that can be done with it here.
    pub state: State<'a>,
}

impl<'a> Init<'a> {
    /// Of an instance without state.
    pub fn new(instance: &'a str, epoch: u64, zone: &'a Zone) -> Self {
        Self {
            instance,
            epoch,
            zone,
            state: State::none(),
        }
    }
}

impl std::fmt::Debug for Init<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Init({:?}, epoch {})", self.instance, self.epoch)
    }
}

/// What every kind of plugin has.
pub trait Plugin: Sized + Send + 'static {
    /// Parsed `config:` of the entry; errors carry the path of the key.
    type Config: DeserializeOwned;
    /// What it says of itself.
    const MANIFEST: Manifest;

    /// Makes an instance.
    ///
    /// # Errors
    /// If the config cannot work; the instance is then `failed` with this text.
    fn new(config: Self::Config, init: &mut Init<'_>) -> Result<Self, PluginError>;

    /// Brings state of an older [`Manifest::state_version`] to the present one, before `new`.
    ///
    /// # Errors
    /// If it cannot; the instance is then `failed` and its state as before.
    fn migrate(_from: u32, _state: &mut State<'_>) -> Result<(), PluginError> {
        Ok(())
    }

    /// Last call. Threads of the plugin end here.
    fn close(&mut self, _why: CloseReason) {}
}

/// Why an object ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server stops, or the instance is switched off.
    Stop,
    /// It panicked; a new object takes its place.
    Panic,
    /// The effects of events it has seen were dropped, and they fire again: a window was larger than
    /// a commit, or the store refused it. A new object takes its place.
    Again,
    /// A new version or config takes its place.
    Reload,
}
