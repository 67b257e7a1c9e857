//! A library as a module.

use plugin_abi::{
    CONFIG, INIT_FIRST, Init as RawInit, KIND_BGWORKER, KIND_SOURCE, KIND_TRIGGER, MINOR, OK,
    PANIC, Plugin, STATUS_FATAL, Status, Str,
};
use plugin_sdk::export;
use plugin_sdk::{
    AnySource, AnyTrigger, AnyWorker, Code, ConfigError, Description, FireError, Init, Kind,
    Module, PluginError, State,
};
use serde_json::Value;

use super::error::Refusal;
use super::handle::{self, Target};
use super::object::{Instance, NativeSource, NativeTrigger, NativeWorker};

/// A plugin's table, copied: its functions live for ever and are for every thread.
#[derive(Clone, Copy)]
pub(super) struct Table(Plugin);

// SAFETY: as above.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl std::ops::Deref for Table {
    type Target = Plugin;
    fn deref(&self) -> &Plugin {
        &self.0
    }
}

pub(super) struct Native {
    description: Description,
    table: Table,
}

impl Native {
    /// Checks that code and section say the same.
    pub(super) fn new(
        description: Description,
        table: Plugin,
        json: &[u8],
    ) -> Result<Self, Refusal> {
        if table.abi_minor_min > MINOR {
            let wanted = [plugin_abi::MAJOR, table.abi_minor_min];
            return Err(Refusal::Abi { wanted });
        }
        // SAFETY: text that lives as long as the table, for ever.
        if unsafe { export::bytes(&table.manifest) } != json {
            return Err(Refusal::Lies("their manifests differ".into()));
        }
        let works = match description.kind {
            Kind::Trigger => table.fire.is_some(),
            Kind::BgWorker => table.run.is_some(),
            Kind::Source => table.open.is_some() && table.next_batch.is_some(),
        };
        if !works || table.create.is_none() || table.destroy.is_none() {
            let text = format!(
                "it is a {}, but does not offer its functions",
                description.kind.name()
            );
            return Err(Refusal::Lies(text));
        }
        Ok(Self {
            description,
            table: Table(table),
        })
    }

    fn create(
        &self,
        kind: Kind,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Instance, PluginError> {
        if kind != self.description.kind {
            return Err(PluginError::from(format!(
                "\"{}\" is a {}, not a {}",
                self.description.name,
                self.description.kind.name(),
                kind.name()
            )));
        }
        let (instance, epoch) = (init.instance, init.epoch);
        let mut raw = RawInit {
            size: size_of::<RawInit>() as u32,
            kind: match kind {
                Kind::Trigger => KIND_TRIGGER,
                Kind::BgWorker => KIND_BGWORKER,
                Kind::Source => KIND_SOURCE,
            },
            instance: Str::of(instance.as_bytes()),
            epoch,
            state_version: self.description.state_version,
            flags: if epoch == 1 { INIT_FIRST } else { 0 },
            state: std::ptr::null_mut(),
            timezone: Str::of(init.zone.name().as_bytes()),
        };
        match init.state.store() {
            None => self.create_with(config, &raw, epoch),
            Some(state) => handle::lend(Target::State(state), |handle| {
                raw.state = handle;
                self.create_with(config, &raw, epoch)
            }),
        }
    }

    fn create_with(
        &self,
        config: &Value,
        raw: &RawInit,
        epoch: u64,
    ) -> Result<Instance, PluginError> {
        let Some(create) = self.table.create else {
            return Err(PluginError::unsupported("create"));
        };
        let config = text_of(config);
        let mut status = Status::new();
        // SAFETY: as the border says: texts and `init` are lent for the call.
        let made = unsafe { create(raw.kind, Str::of(config.as_bytes()), raw, &mut status) };
        let told = Told::of(status);
        if made.is_null() {
            let code = if told.code == OK {
                Code::Error as i32
            } else {
                told.code
            };
            return Err(told.error(code));
        }
        Ok(Instance::new(self.table, made, epoch))
    }
}

/// A config as the plugin gets it; a missing one is no text at all.
fn text_of(config: &Value) -> String {
    if config.is_null() {
        String::new()
    } else {
        config.to_string()
    }
}

impl Module for Native {
    fn description(&self) -> &Description {
        &self.description
    }

    fn check(&self, config: &Value) -> Result<(), ConfigError> {
        let Some(check) = self.table.check else {
            return Ok(());
        };
        let config = text_of(config);
        let mut status = Status::new();
        // SAFETY: as the border says.
        let code = unsafe { check(Str::of(config.as_bytes()), &mut status) };
        let told = Told::of(status);
        if code == OK {
            return Ok(());
        }
        Err(config_error(&told.error(code).text))
    }

    fn migrate(&self, from: u32, state: &mut State<'_>) -> Result<(), PluginError> {
        let (Some(migrate), Some(state)) = (self.table.migrate, state.store()) else {
            return Ok(());
        };
        handle::lend(Target::State(state), |handle| {
            let mut status = Status::new();
            // SAFETY: as the border says.
            let code = unsafe { migrate(from, handle, &mut status) };
            let told = Told::of(status);
            if code == OK {
                Ok(())
            } else {
                Err(told.error(code))
            }
        })
    }

    fn trigger(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyTrigger>, PluginError> {
        let instance = self.create(Kind::Trigger, config, init)?;
        Ok(Box::new(NativeTrigger::new(instance)))
    }

    fn worker(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnyWorker>, PluginError> {
        let instance = self.create(Kind::BgWorker, config, init)?;
        Ok(Box::new(NativeWorker(instance)))
    }

    fn source(
        &self,
        config: &Value,
        init: &mut Init<'_>,
    ) -> Result<Box<dyn AnySource>, PluginError> {
        let instance = self.create(Kind::Source, config, init)?;
        Ok(Box::new(NativeSource(instance)))
    }
}

/// What a plugin put into a status; its message is released.
pub(super) struct Told {
    code: i32,
    text: String,
    retry_after_ms: u32,
    flags: u32,
}

impl Told {
    pub(super) fn of(status: Status) -> Self {
        // SAFETY: as the plugin left it; this copy is the one that is used.
        let text = unsafe { export::take(status.msg) };
        Self {
            code: status.code,
            text: String::from_utf8_lossy(&text).replace('\n', " "),
            retry_after_ms: status.retry_after_ms,
            flags: status.flags,
        }
    }

    /// The failure of a call that answered `code`.
    ///
    /// # Panics
    /// If the plugin did: its panic goes on here.
    pub(super) fn error(self, code: i32) -> PluginError {
        let text = if self.text.is_empty() {
            format!("the plugin answers {code} without a message")
        } else {
            self.text
        };
        if code == PANIC {
            std::panic::resume_unwind(Box::new(text));
        }
        PluginError::new(Code::of(code), text)
    }

    /// The failure of a fire that answered `code`.
    pub(super) fn fire_error(self, code: i32) -> FireError {
        let (flags, after) = (self.flags, self.retry_after_ms);
        let text = self.error(code).text;
        match code {
            _ if flags & STATUS_FATAL != 0 => FireError::Fatal(text),
            plugin_abi::SKIP => FireError::Skip(text),
            _ if after > 0 => FireError::RetryAfter {
                text,
                after: std::time::Duration::from_millis(after.into()),
            },
            _ => FireError::Retry(text),
        }
    }
}

/// `config.a[2]: message` as path and message; other text is about the whole.
fn config_error(text: &str) -> ConfigError {
    let split = text
        .strip_prefix("config")
        .and_then(|rest| rest.split_once(": "))
        .filter(|(path, _)| path.is_empty() || path.starts_with(['.', '[']));
    match split {
        Some((path, message)) => ConfigError {
            path: path.into(),
            message: message.into(),
        },
        None => ConfigError::whole(text),
    }
}

const _: () = assert!(CONFIG == Code::Config as i32);
