//! Plugins linked into the server. Only where the table of calls comes from differs from a plugin
//! in a file.

use model::Zone;
use serde_json::Value;

use crate::ctx::FireCtx;
use crate::plugin::{CloseReason, Event, FireError, Init, Manifest, PluginError, Trigger};

/// A wrong `config:`, with the path of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config{path}: {message}")]
pub struct ConfigError {
    /// Path below `config`, empty or starting with a dot: `.destinations[2]`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// An instance of any trigger.
pub trait AnyTrigger: Send {
    /// See [`Trigger::fire`].
    ///
    /// # Errors
    /// Those of the trigger.
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError>;
    /// See [`crate::Plugin::close`].
    fn close(&mut self, why: CloseReason);
}

impl<T: Trigger> AnyTrigger for T {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        Trigger::fire(self, ctx, event)
    }
    fn close(&mut self, why: CloseReason) {
        crate::Plugin::close(self, why);
    }
}

type Create = fn(&Value, &mut Init<'_>) -> Result<Box<dyn AnyTrigger>, PluginError>;

/// One line of the table of built-in plugins.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// What it says of itself.
    pub manifest: Manifest,
    check: fn(&Value) -> Result<(), ConfigError>,
    create: Create,
}

impl BuiltIn {
    /// The line of a trigger.
    pub const fn trigger<T: Trigger>() -> Self {
        Self {
            manifest: T::MANIFEST,
            check: check::<T>,
            create: create::<T>,
        }
    }

    /// Parses the config and makes an instance that is dropped at once, so that every check the
    /// plugin has is run. Nothing is started.
    ///
    /// # Errors
    /// If the config is wrong, with the path of the key.
    pub fn check(&self, config: &Value) -> Result<(), ConfigError> {
        (self.check)(config)
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// If the config is wrong or the plugin refuses it.
    pub fn create(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyTrigger>, PluginError> {
        (self.create)(config, init)
    }
}

fn parse<T: Trigger>(config: &Value) -> Result<T::Config, ConfigError> {
    // MarketStore hands a missing config over as an empty map.
    let empty = Value::Object(serde_json::Map::new());
    let config = if config.is_null() { &empty } else { config };
    serde_path_to_error::deserialize(config).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." {
            String::new()
        } else {
            format!(".{path}")
        };
        ConfigError {
            path,
            message: error.inner().to_string(),
        }
    })
}

fn check<T: Trigger>(config: &Value) -> Result<(), ConfigError> {
    let parsed = parse::<T>(config)?;
    let mut init = Init {
        instance: "check",
        epoch: 0,
        zone: &Zone::utc(),
    };
    let mut instance = T::new(parsed, &mut init).map_err(|error| ConfigError {
        path: String::new(),
        message: error.0,
    })?;
    crate::Plugin::close(&mut instance, CloseReason::Stop);
    Ok(())
}

fn create<T: Trigger>(
    config: &Value,
    init: &mut Init<'_>,
) -> Result<Box<dyn AnyTrigger>, PluginError> {
    let parsed = parse::<T>(config).map_err(|error| PluginError(error.to_string()))?;
    Ok(Box::new(T::new(parsed, init)?))
}
