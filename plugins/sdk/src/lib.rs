//! What a plugin author compiles against.
//!
//! A trigger is a type with a config, a [`Manifest`] and one method, [`Trigger::fire`], called after
//! rows are durable and readable:
//!
//! ```
//! use plugin_sdk::{Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger};
//!
//! struct Spikes { limit: f64 }
//!
//! #[derive(serde::Deserialize)]
//! struct Config { limit: f64 }
//!
//! impl Plugin for Spikes {
//!     type Config = Config;
//!     const MANIFEST: Manifest = Manifest::new("spikes", "1.0.0");
//!     fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
//!         Ok(Self { limit: config.limit })
//!     }
//! }
//!
//! impl Trigger for Spikes {
//!     fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
//!         let Event::Write(batch) = event else { return Ok(()) };
//!         let high = batch.rows.column("High").and_then(|c| c.values::<f64>());
//!         for price in high.unwrap_or(&[]).iter().filter(|p| **p > self.limit) {
//!             ctx.publish(batch.key.as_str(), price.to_le_bytes().to_vec().into());
//!         }
//!         Ok(())
//!     }
//! }
//!
//! // Makes the crate a module that can be loaded, too. The name is that of the crate if left out.
//! plugin_sdk::export_plugin!(Spikes: trigger as "spikes");
//! ```
//!
//! Everything a fire does through its [`FireCtx`] is held back until it returns `Ok`; an error or a
//! panic drops it (I19).
#![deny(unsafe_code)]

mod bgworker;
mod builtin;
mod ctx;
mod error;
pub mod export;
mod feed;
mod manifest;
mod marketstore;
mod module;
mod plugin;
mod pull;
mod push;
#[cfg(feature = "process")]
pub mod serve;
mod source;
mod state;
mod trigger;

pub use bgworker::{BgWorker, WorkerCalls, WorkerCtx};
pub use builtin::{BuiltIn, parse};
pub use ctx::{FireCtx, FireInfo, Health, HostCalls, Level, Query, QueryLimit};
pub use error::{Code, ConfigError, FireError, PluginError};
pub use feed::{BatchOptions, Piece};
pub use manifest::{Delivery, Description, Kind, Manifest, Scope, StateScope};
pub use marketstore::YearOfRows;
/// Rows, keys, schemas, times.
pub use model;
pub use module::{AnySource, AnyTrigger, AnyWorker, Cancel, Module, Standing, StandingState};
pub use plugin::{CloseReason, Init, Plugin};
/// The C border, for what `export_plugin!` makes.
pub use plugin_abi as abi;
pub use pull::{PullSource, Pulled};
pub use push::{PushSender, PushSource, WhenFull};
pub use source::{More, Progress, Source, SourceCalls, SourceOut};
pub use state::{State, StateCalls, StateValue};
pub use trigger::{Batch, Event, SharedTrigger, Trigger};
