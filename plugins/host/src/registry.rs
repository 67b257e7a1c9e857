//! From entries to instances: id, module, patterns, config, all checked before anything starts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use model::Zone;
use plugin_sdk::{ConfigError, Delivery, Description, Kind, Module, StateScope};

use crate::circle::circles;
use crate::entry::{Entry, EntryKind, Join, Match, OnError, OnOverflow, ProcessLimits, Start};
use crate::find::{self, Found, How, Modules, NotFound, stem};
use crate::ledger::Slot;
use crate::on::Patterns;
use crate::secrets::Secrets;
use crate::status::{OFF_BY_ENTRY, State};
use crate::writes::Writes;

/// Longest `name` in bytes: with the hash of a second entry it still fits the store's 255.
const ID_BYTES_MAX: usize = 200;

/// Most threads of one instance.
pub(crate) const PARALLELISM_MAX: usize = 64;

/// Something wrong or odd about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the entry stands: `mkts.yml:12`.
    pub place: String,
    /// What, in one line.
    pub message: String,
    /// Whether it keeps the instance from running. A MarketStore module that is known but not
    /// included is fatal only if the entry is `required`.
    pub fatal: bool,
}

/// Checks entries without starting anything. No built-in plugin's check depends on the zone of the
/// server, so `_zone` waits for one whose does.
pub fn check(entries: &[Entry], modules: &Modules, _zone: &Zone) -> Vec<Problem> {
    let plans = plan_each(entries, modules, Natives::Now);
    let mut problems = circles(&plans)
        .iter()
        .map(|circle| Problem {
            place: plans[circle.of[0]].entry.place.clone(),
            message: circle.describe(&plans),
            fatal: circle.is_proved,
        })
        .collect::<Vec<_>>();
    for plan in plans {
        let place = plan.entry.place.clone();
        let mut add = |message: String, fatal: bool| {
            problems.push(Problem {
                place: place.clone(),
                message,
                fatal,
            });
        };
        plan.warnings.iter().for_each(|w| add(w.clone(), false));
        match &plan.outcome {
            Outcome::Ready(_) | Outcome::Later(_) | Outcome::Off => {}
            Outcome::Missing { text, known } => {
                add(text.clone(), !known || plan.entry.required);
            }
            Outcome::Failed(text) => add(text.clone(), true),
        }
    }
    problems
}

/// An entry that has been looked at.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) entry: Entry,
    pub(crate) version: String,
    /// `builtin`, `native` or `process`; empty if there is no module.
    pub(crate) host: &'static str,
    /// File or package of the module.
    pub(crate) path: Option<PathBuf>,
    /// What the module says of itself, once that is known.
    pub(crate) manifest: Option<Description>,
    /// What of its config must not be shown.
    pub(crate) secrets: Secrets,
    pub(crate) warnings: Vec<String>,
    /// Whether it runs in a child because it crashed the server.
    pub(crate) is_quarantined: bool,
    /// Of a library that runs inside the server.
    pub(crate) slot: Option<Arc<Slot>>,
    pub(crate) outcome: Outcome,
}

#[derive(Clone)]
pub(crate) enum Outcome {
    Ready(Box<Ready>),
    /// A library for the server's own process, found and not loaded: the ledger comes first.
    Later(Box<Found>),
    /// `enabled: false`.
    Off,
    Missing {
        text: String,
        known: bool,
    },
    Failed(String),
}

/// All that is needed to run.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) module: Arc<dyn Module>,
    pub(crate) patterns: Patterns,
    pub(crate) policy: Policy,
    /// What it may write.
    pub(crate) writes: Writes,
}

/// Entry and manifest with every default filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) delivery: Delivery,
    pub(crate) max_attempts: u32,
    pub(crate) on_error: OnError,
    pub(crate) join: Join,
    pub(crate) accepts_gap: bool,
    pub(crate) on_overflow: OnOverflow,
    pub(crate) state_scope: StateScope,
    /// Threads that fire.
    pub(crate) parallelism: usize,
}

impl Ready {
    /// What it runs as: the plugin's own kind, whatever list its entry stands in.
    pub(crate) fn kind(&self) -> Kind {
        self.module.description().kind
    }
}

impl Plan {
    /// What it runs as; of what cannot run, as the entry says.
    pub(crate) fn kind(&self) -> Kind {
        match (self.description(), self.entry.kind) {
            (Some(description), _) => description.kind,
            (None, EntryKind::Trigger) => Kind::Trigger,
            (None, EntryKind::BgWorker) => Kind::BgWorker,
            (None, EntryKind::Source) => Kind::Source,
        }
    }

    fn description(&self) -> Option<&Description> {
        match &self.outcome {
            Outcome::Ready(ready) => Some(ready.module.description()),
            Outcome::Later(found) => found.description.as_ref(),
            _ => None,
        }
    }

    /// Takes what the module says of itself: from then on it is known what to hide.
    fn describe(&mut self, manifest: &Description) {
        self.secrets = Secrets::of(&self.entry.config, &manifest.secrets);
        self.version.clone_from(&manifest.version);
        self.manifest = Some(manifest.clone());
    }

    pub(crate) fn is_trigger(&self) -> bool {
        self.kind() == Kind::Trigger
    }

    /// State and reason before the start.
    pub(crate) fn state(&self) -> (State, String) {
        match &self.outcome {
            Outcome::Ready(_) | Outcome::Later(_) => (State::Resolved, String::new()),
            Outcome::Off => (State::Disabled, OFF_BY_ENTRY.into()),
            Outcome::Missing { text, .. } => (State::Missing, text.clone()),
            Outcome::Failed(text) => (State::Failed, text.clone()),
        }
    }

    /// How the place is kept; of what cannot run, as the entry says.
    pub(crate) fn delivery(&self) -> Delivery {
        let own = self.description().map(|description| description.delivery);
        let delivery = self.entry.delivery.or(own);
        delivery.unwrap_or(Delivery::Durable)
    }
}

/// What is done about libraries for the server's own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Natives {
    /// They are loaded.
    Now,
    /// They wait until it is known whether they crashed the server.
    Later,
    /// They run in a child: they crashed the server.
    Quarantined,
}

/// Looks at every entry, in order, and at what they are together.
pub(crate) fn plan(entries: &[Entry], modules: &Modules, natives: Natives) -> Vec<Plan> {
    let mut plans = plan_each(entries, modules, natives);
    for circle in circles(&plans) {
        let text = circle.describe(&plans);
        plans[circle.of[0]].warnings.push(text);
    }
    plans
}

fn plan_each(entries: &[Entry], modules: &Modules, natives: Natives) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for entry in entries {
        let mut plan = plan_one(entry, modules, natives);
        tell_apart(&mut plan, &plans);
        plans.push(plan);
    }
    plans
}

/// Looks at an entry. Nothing of a file runs for one that is switched off.
pub(crate) fn plan_one(entry: &Entry, modules: &Modules, natives: Natives) -> Plan {
    let (mut plan, found) = look(entry, modules);
    let Some(mut found) = found else {
        return plan;
    };
    let is_off = entry.enabled == Some(false);
    if is_off && found.path.is_some() {
        return plan;
    }
    if let How::Native(file) = &found.how {
        match natives {
            Natives::Now => {}
            Natives::Quarantined => {
                found.how = How::Library(file.clone());
                plan.host = found.how.name();
                plan.is_quarantined = true;
            }
            Natives::Later => {
                if let Some(description) = &found.description {
                    plan.describe(description);
                }
                plan.outcome = Outcome::Later(Box::new(found));
                return plan;
            }
        }
    }
    let made = find::make(&found, entry, modules).and_then(|module| {
        plan.describe(module.description());
        ready(entry, &found, module, &mut plan.warnings)
    });
    match made {
        Err(text) => plan.outcome = Outcome::Failed(plan.secrets.scrub(text)),
        Ok(_) if is_off => {}
        Ok(ready) => plan.outcome = Outcome::Ready(Box::new(ready)),
    }
    plan
}

/// Finds the module of an entry; nothing of it runs.
pub(crate) fn look(entry: &Entry, modules: &Modules) -> (Plan, Option<Found>) {
    let mut plan = Plan {
        id: instance_id(entry),
        entry: entry.clone(),
        version: String::new(),
        host: "",
        path: None,
        manifest: None,
        secrets: Secrets::default(),
        warnings: Vec::new(),
        is_quarantined: false,
        slot: None,
        outcome: Outcome::Off,
    };
    match modules.find(&entry.module, entry.host) {
        Ok(found) => {
            plan.version.clone_from(&found.version);
            if let Some(description) = &found.description {
                plan.describe(description);
            }
            plan.host = found.how.name();
            plan.path.clone_from(&found.path);
            plan.warnings.clone_from(&found.warnings);
            (plan, Some(found))
        }
        Err(not_found) => {
            plan.outcome = match not_found {
                NotFound::Known(text) => Outcome::Missing { text, known: true },
                NotFound::Missing(text) => Outcome::Missing { text, known: false },
                NotFound::Refused(text) => Outcome::Failed(text),
            };
            (plan, None)
        }
    }
}

/// An entry as a listing shows it, when nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Instance id.
    pub id: String,
    /// `module:` as written.
    pub module: String,
    /// Where the entry stands: `mkts.yml:12`.
    pub place: String,
    /// Version of the module, empty if there is none.
    pub version: String,
    /// `builtin`, `native` or `process`; empty if there is no module.
    pub host: &'static str,
    /// File or package of the module; `None` if it is linked in.
    pub path: Option<PathBuf>,
    /// `resolved`, `disabled`, `missing` or `failed`.
    pub state: State,
    /// Why, empty if all is well.
    pub reason: String,
}

/// Every entry with the module it would run. No module runs for it, not even to check a config.
pub fn list(entries: &[Entry], modules: &Modules) -> Vec<Listed> {
    let mut plans: Vec<Plan> = Vec::new();
    let mut listed = Vec::new();
    for entry in entries {
        let (mut plan, _) = look(entry, modules);
        tell_apart(&mut plan, &plans);
        let (state, reason) = match plan.outcome {
            Outcome::Off if entry.enabled != Some(false) => (State::Resolved, String::new()),
            _ => plan.state(),
        };
        listed.push(Listed {
            id: plan.id.clone(),
            module: entry.module.clone(),
            place: entry.place.clone(),
            version: plan.version.clone(),
            host: plan.host,
            path: plan.path.clone(),
            state,
            reason,
        });
        plans.push(plan);
    }
    listed
}

fn ready(
    entry: &Entry,
    found: &Found,
    module: Arc<dyn Module>,
    warnings: &mut Vec<String>,
) -> Result<Ready, String> {
    check_kind(entry, module.description().kind)?;
    check_name(entry)?;
    check_process(entry, found, warnings);
    let patterns = Patterns::parse(&entry.on, entry.match_mode)?;
    warnings.extend(patterns.warnings());
    if entry.match_mode == Match::MarketStore && entry.on.is_empty() {
        warnings.push("match: marketstore without \"on\" fires on every bucket".into());
    }
    check_config(entry, &*module)?;
    check_behind(entry, &*module, warnings)?;
    if entry.parallelism > 1 && !module.grace().is_zero() {
        warnings.push("parallelism: a plugin in a process of its own has one thread".into());
    } else if entry.parallelism > 1 && module.description().state_scope == StateScope::Instance {
        warnings.push(format!(
            "parallelism: \"{}\" has one state for all buckets (state_scope: instance), one thread \
             is used",
            entry.module
        ));
    }
    if entry.schedule.is_some() && module.description().kind != Kind::Trigger {
        return Err("schedule: is for triggers; workers and sources keep their own time".into());
    }
    Ok(Ready {
        policy: policy(entry, &*module),
        writes: Writes::of(module.description())?,
        module,
        patterns,
    })
}

/// The list an entry stands in is what it is run as.
fn check_kind(entry: &Entry, kind: Kind) -> Result<(), String> {
    let list = match kind {
        Kind::Trigger => "triggers",
        Kind::BgWorker => "bgworkers",
        Kind::Source => "sources",
    };
    let fits = match entry.kind {
        EntryKind::Trigger => kind == Kind::Trigger,
        // MarketStore has one list for all that feeds.
        EntryKind::BgWorker => kind != Kind::Trigger,
        EntryKind::Source => kind == Kind::Source,
    };
    fits.then_some(()).ok_or_else(|| {
        format!(
            "\"{}\" is a {}, move the entry to \"{list}:\"",
            entry.module,
            kind.name()
        )
    })
}

/// Keys for a process, of what runs in none.
fn check_process(entry: &Entry, found: &Found, warnings: &mut Vec<String>) {
    let is_child = matches!(found.how, How::Library(_) | How::Program { .. });
    let for_child = !entry.env.is_empty()
        || entry.limits != ProcessLimits::default()
        || entry.metrics_port.is_some();
    if for_child && !is_child {
        warnings.push(
            "env, limits and metrics_port are for plugins in a process of their own; built-in ones \
             ignore them"
                .into(),
        );
    }
}

/// What an entry says of a backlog, against what the plugin can do with one.
fn check_behind(
    entry: &Entry,
    module: &dyn Module,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let description = module.description();
    let delivery = entry.delivery.unwrap_or(description.delivery);
    if delivery == Delivery::Volatile {
        if entry.on_overflow.is_some() {
            warnings.push(
                "on_overflow: a volatile instance holds no log, it skips ahead when that is gone"
                    .into(),
            );
        }
        if entry.start != Start::Latest {
            warnings.push(
                "start: a volatile instance keeps no place, it begins at the newest commit".into(),
            );
        }
    }
    if entry.on_overflow == Some(OnOverflow::Coalesce) && !description.accepts_gap {
        return Err(format!(
            "on_overflow: coalesce needs a plugin that accepts gaps, and \"{}\" does not; use \
             disable, drop or hold",
            entry.module
        ));
    }
    Ok(())
}

fn check_name(entry: &Entry) -> Result<(), String> {
    let Some(name) = &entry.name else {
        return Ok(());
    };
    let legal = !name.is_empty()
        && name.len() <= ID_BYTES_MAX
        && name.chars().all(|c| !c.is_control() && c != '/');
    legal.then_some(()).ok_or_else(|| {
        format!("name {name:?}: use 1 to {ID_BYTES_MAX} bytes without \"/\" and control characters")
    })
}

fn check_config(entry: &Entry, module: &dyn Module) -> Result<(), String> {
    // A constructor is a plugin's code like any other: its panic is a bad config, not our end.
    catch_unwind(AssertUnwindSafe(|| module.check(&entry.config)))
        .unwrap_or_else(|panic| {
            let text = crate::fire::panic_text(&*panic);
            Err(ConfigError::whole(format!("the plugin panicked: {text}")))
        })
        .map_err(|error| error.to_string())
}

fn policy(entry: &Entry, module: &dyn Module) -> Policy {
    let description = module.description();
    let delivery = entry.delivery.unwrap_or(description.delivery);
    let volatile = delivery == Delivery::Volatile;
    let join = match delivery {
        Delivery::Durable => Join::Commit,
        _ => Join::Key,
    };
    let on_error = if volatile {
        OnError::Skip
    } else {
        OnError::DeadLetter
    };
    Policy {
        delivery,
        max_attempts: entry.max_attempts.unwrap_or(if volatile { 1 } else { 5 }),
        on_error: entry.on_error.unwrap_or(on_error),
        join: entry.window.join.unwrap_or(join),
        accepts_gap: description.accepts_gap,
        on_overflow: entry.on_overflow.unwrap_or(match description.accepts_gap {
            true => OnOverflow::Coalesce,
            false => OnOverflow::Disable,
        }),
        state_scope: description.state_scope,
        parallelism: match description.state_scope {
            // A process has one thread for its fires.
            _ if !module.grace().is_zero() => 1,
            StateScope::Key => entry.parallelism.clamp(1, PARALLELISM_MAX),
            StateScope::Instance => 1,
        },
    }
}

/// `name`, else stem and a hash of what makes the entry itself: never its place in the list.
fn instance_id(entry: &Entry) -> String {
    if let Some(name) = &entry.name {
        return name.clone();
    }
    let stem = stem(&entry.module);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(stem.as_bytes());
    for pattern in &entry.on {
        hasher.update(&[0]);
        hasher.update(pattern.as_bytes());
    }
    format!("{stem}-{:08x}", hasher.finalize())
}

/// A second entry with an id gets the hash of its config appended; a third with both is refused.
pub(crate) fn tell_apart(plan: &mut Plan, before: &[Plan]) {
    let taken = |id: &str| before.iter().find(|p| p.id == id);
    let Some(first) = taken(&plan.id) else {
        return;
    };
    if matches!(plan.outcome, Outcome::Missing { .. } | Outcome::Failed(_)) {
        // Its own fault is the one to mend first.
        plan.id = unused_id(&plan.id, before);
        return;
    }
    let first_place = first.entry.place.clone();
    let config = crc32fast::hash(plan.entry.config.to_string().as_bytes());
    let longer = format!("{}-{config:08x}", plan.id);
    let same_config = first.entry.config == plan.entry.config;
    if let Some(twin) = taken(&longer).or(same_config.then_some(first)) {
        plan.outcome = Outcome::Failed(format!(
            "instance \"{}\" is there already ({}), with the same config; give one of them a \"name\"",
            twin.id, twin.entry.place
        ));
        plan.id = unused_id(&longer, before);
        return;
    }
    plan.warnings.push(format!(
        "instance \"{}\" is there already ({first_place}), this one is \"{longer}\"; give it a \"name\"",
        plan.id
    ));
    plan.id = longer;
}

/// A refused entry is shown, so it needs an id of its own; it never owns a cursor.
fn unused_id(id: &str, before: &[Plan]) -> String {
    let mut id = format!("{id}-refused");
    while before.iter().any(|p| p.id == id) {
        id.push('+');
    }
    id
}
