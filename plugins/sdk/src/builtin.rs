//! Plugins linked into the server.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use model::Zone;
use serde_json::Value;

use crate::bgworker::{BgWorker, WorkerCtx};
use crate::ctx::FireCtx;
use crate::error::{ConfigError, FireError, PluginError};
use crate::manifest::{Description, Kind, Manifest};
use crate::module::{AnySource, AnyTrigger, AnyWorker, Module};
use crate::plugin::{CloseReason, Init, Plugin};
use crate::source::{More, Progress, Source, SourceOut};
use crate::state::State;
use crate::trigger::{Event, SharedTrigger, Trigger};

type Create<T> = fn(&Value, &mut Init<'_>) -> Result<Box<T>, PluginError>;

#[derive(Debug, Clone, Copy)]
enum Make {
    Trigger(Create<dyn AnyTrigger>),
    /// An object that instances share, kept by [`Linked`].
    Shared(Create<dyn Share>),
    Worker(Create<dyn AnyWorker>),
    Source(Create<dyn AnySource>),
}

/// One line of the table of built-in plugins.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// What it says of itself.
    pub manifest: Manifest,
    check: fn(&Value) -> Result<(), ConfigError>,
    migrate: fn(u32, &mut State<'_>) -> Result<(), PluginError>,
    make: Make,
}

impl BuiltIn {
    /// The line of a trigger.
    pub const fn trigger<T: Trigger>() -> Self {
        Self::line::<T>(Make::Trigger(|config, init| {
            Ok(Box::new(Own(create::<T>(config, init)?)))
        }))
    }

    /// The line of a trigger whose object is shared.
    pub const fn shared_trigger<T: SharedTrigger>() -> Self {
        Self::line::<T>(Make::Shared(|config, init| {
            Ok(Box::new(Arc::new(create::<T>(config, init)?)))
        }))
    }

    /// The line of a background worker.
    pub const fn bgworker<T: BgWorker>() -> Self {
        Self::line::<T>(Make::Worker(|config, init| {
            Ok(Box::new(Own(create::<T>(config, init)?)))
        }))
    }

    /// The line of a source.
    pub const fn source<T: Source>() -> Self {
        Self::line::<T>(Make::Source(|config, init| {
            Ok(Box::new(Own(create::<T>(config, init)?)))
        }))
    }

    const fn line<T: Plugin>(make: Make) -> Self {
        Self {
            manifest: T::MANIFEST,
            check: check::<T>,
            migrate: T::migrate,
            make,
        }
    }

    /// What it can be run as.
    pub const fn kind(&self) -> Kind {
        match self.make {
            Make::Trigger(_) | Make::Shared(_) => Kind::Trigger,
            Make::Worker(_) => Kind::BgWorker,
            Make::Source(_) => Kind::Source,
        }
    }

    /// The plugin as a host knows it. Objects are shared among the instances of one module.
    pub fn module(&self) -> Arc<dyn Module> {
        Arc::new(Linked {
            description: self.manifest.describe(self.kind()),
            line: *self,
            shared: Mutex::new(Vec::new()),
        })
    }
}

struct Linked {
    description: Description,
    line: BuiltIn,
    /// Objects in use, by config.
    shared: Mutex<Vec<(Value, Weak<dyn Share>)>>,
}

impl Linked {
    fn refuse<T>(&self, wanted: Kind) -> Result<T, PluginError> {
        Err(PluginError::from(format!(
            "\"{}\" is a {}, not a {}",
            self.description.name,
            self.description.kind.name(),
            wanted.name()
        )))
    }

    fn share(
        &self,
        make: Create<dyn Share>,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Arc<dyn Share>, PluginError> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|(_, object)| object.strong_count() > 0);
        let found = shared.iter().find(|(of, _)| of == config);
        if let Some(object) = found.and_then(|(_, object)| object.upgrade()) {
            return Ok(object);
        }
        let object: Arc<dyn Share> = Arc::from(make(config, init)?);
        shared.push((config.clone(), Arc::downgrade(&object)));
        Ok(object)
    }
}

impl Module for Linked {
    fn description(&self) -> &Description {
        &self.description
    }

    fn check(&self, config: &Value) -> Result<(), ConfigError> {
        (self.line.check)(config)
    }

    fn migrate(&self, from: u32, state: &mut State<'_>) -> Result<(), PluginError> {
        (self.line.migrate)(from, state)
    }

    fn trigger(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyTrigger>, PluginError> {
        match self.line.make {
            Make::Trigger(make) => make(config, init),
            Make::Shared(make) => Ok(Box::new(Shared(self.share(make, config, init)?))),
            _ => self.refuse(Kind::Trigger),
        }
    }

    fn worker(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyWorker>, PluginError> {
        match self.line.make {
            Make::Worker(make) => make(config, init),
            _ => self.refuse(Kind::BgWorker),
        }
    }

    fn source(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnySource>, PluginError> {
        match self.line.make {
            Make::Source(make) => make(config, init),
            _ => self.refuse(Kind::Source),
        }
    }
}

/// An object of one instance. A type of its own, so that a plugin's methods and those of the host's
/// traits do not meet.
struct Own<T>(T);

impl<T: Trigger> AnyTrigger for Own<T> {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        self.0.fire(ctx, event)
    }
    fn close(&mut self, why: CloseReason) {
        self.0.close(why);
    }
}

impl<T: BgWorker> AnyWorker for Own<T> {
    fn run(&mut self, ctx: &mut WorkerCtx<'_>) -> Result<(), PluginError> {
        self.0.run(ctx)
    }
    fn close(&mut self, why: CloseReason) {
        self.0.close(why);
    }
}

impl<T: Source> AnySource for Own<T> {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        self.0.open(params, resume)
    }
    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        self.0.next_batch(out, deadline)
    }
    fn progress(&mut self) -> Option<Progress> {
        self.0.progress()
    }
    fn close(&mut self, why: CloseReason) {
        self.0.close(why);
    }
}

/// An object that instances share. Nobody calls its `close`: the last instance drops it.
trait Share: Send + Sync {
    fn fire(&self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError>;
}

impl<T: SharedTrigger> Share for Arc<T> {
    fn fire(&self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        SharedTrigger::fire(&**self, ctx, event)
    }
}

struct Shared(Arc<dyn Share>);

impl AnyTrigger for Shared {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        self.0.fire(ctx, event)
    }
    fn close(&mut self, _why: CloseReason) {}
}

/// Parses a plugin's config; MarketStore hands a missing one over as an empty map.
///
/// # Errors
/// With the path of the key.
pub fn parse<T: Plugin>(config: &Value) -> Result<T::Config, ConfigError> {
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

/// Makes an object that is dropped at once, so that every check the plugin has is run.
fn check<T: Plugin>(config: &Value) -> Result<(), ConfigError> {
    let parsed = parse::<T>(config)?;
    let zone = Zone::utc();
    let mut init = Init::new("check", 0, &zone);
    let mut object = T::new(parsed, &mut init).map_err(|error| ConfigError::whole(error.text))?;
    object.close(CloseReason::Stop);
    Ok(())
}

fn create<T: Plugin>(config: &Value, init: &mut Init<'_>) -> Result<T, PluginError> {
    let parsed = parse::<T>(config)
        .map_err(|error| PluginError::new(crate::Code::Config, error.to_string()))?;
    T::new(parsed, init)
}
