//! Serves a plugin to the server that started this program.
//!
//! A program around a plugin is one line:
//!
//! ```no_run
//! # use plugin_sdk::{Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger};
//! # struct Spikes;
//! # impl Plugin for Spikes {
//! #     type Config = ();
//! #     const MANIFEST: Manifest = Manifest::new("spikes", "1.0.0");
//! #     fn new(_config: (), _init: &mut Init<'_>) -> Result<Self, PluginError> { Ok(Self) }
//! # }
//! # impl Trigger for Spikes {
//! #     fn fire(&mut self, _: &mut FireCtx<'_>, _: &Event<'_>) -> Result<(), FireError> { Ok(()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     plugin_sdk::serve::trigger::<Spikes>()
//! }
//! ```
//!
//! One thread, the caller's, runs the plugin and moves messages; when the plugin computes for long,
//! another moves them meanwhile, so that it still shows that it lives. stdin is a lifeline: at its end the
//! server is gone, and the process group ends with this process (I23).

mod calls;
mod child;
mod copy;
mod drive;
mod guard;
mod link;
mod source;

use std::process::ExitCode;
use std::sync::Arc;

use crate::{BgWorker, BuiltIn, Module, SharedTrigger, Source, Trigger};

/// What a program started by hand answers with.
const BY_HAND: u8 = 64;

/// Serves a trigger; to be returned from `main`.
pub fn trigger<T: Trigger>() -> ExitCode {
    module(&BuiltIn::trigger::<T>().module())
}

/// Serves a trigger whose object is shared; a child has one instance, so it is that instance's.
pub fn shared_trigger<T: SharedTrigger>() -> ExitCode {
    module(&BuiltIn::shared_trigger::<T>().module())
}

/// Serves a background worker; to be returned from `main`.
pub fn bgworker<T: BgWorker>() -> ExitCode {
    module(&BuiltIn::bgworker::<T>().module())
}

/// Serves a source; to be returned from `main`.
pub fn source<T: Source>() -> ExitCode {
    module(&BuiltIn::source::<T>().module())
}

/// Serves a module. Started by hand, prints the manifest and answers 64.
pub fn module(module: &Arc<dyn Module>) -> ExitCode {
    let manifest = serde_json::to_string(module.description())
        .expect("a description has only texts, numbers and lists");
    let Some(place) = link::Place::from_env() else {
        println!("{manifest}");
        return ExitCode::from(BY_HAND);
    };
    guard::watch_parent();
    let served = link::Link::connect(&place, manifest)
        .and_then(|link| child::Child::new(module, place.epoch, link).run());
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
