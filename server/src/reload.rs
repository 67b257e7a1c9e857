//! A new mkts.yml for a server that runs: what can change changes, what needs a restart is said.
//!
//! Invariants:
//! * All or nothing up to the first change: configuration, tokens, certificate, and the modules and
//!   configs of new entries of plugins are read and checked before anything is touched. A file that does
//!   not hold keeps the old state, and says why.
//! * Plugins change last. An instance that does not begin keeps the old set of them, not the old rest.
//! * Nothing is stored: a crash in the middle starts with the file, like any start.
//! * What needs a restart stays in the list of every further reload until that restart.
//! * Entries of plugins may hold secrets: they are called by their instance and their keys are named,
//!   never their values.

mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::RetentionRule;
use parking_lot::Mutex;
use plugin_host::{Following, Host, Step, What};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::auth::Tokens;
use crate::config::{self, Config, LogLevel};
use crate::http::App;
use crate::tls::Tls;

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Applied,
    Restart,
    Failed(String),
}

/// One difference between the file and what runs.
#[derive(Debug, Clone)]
struct Change {
    key: String,
    /// From what to what; empty where values are not shown.
    what: String,
    outcome: Outcome,
}

/// Reads the configuration anew. One for each server.
pub(crate) struct Reload {
    file: PathBuf,
    levels: fn(LogLevel) -> bool,
    rules: watch::Sender<Vec<RetentionRule>>,
    /// Held over a whole reload.
    running: Mutex<Running>,
}

/// What the server runs with.
struct Running {
    /// All keys but those of plugins, by their path.
    keys: BTreeMap<String, Value>,
    grace: Duration,
}

impl Reload {
    /// Of a server that was started with this configuration. `levels` sets what is logged and says
    /// whether that can be set.
    pub(crate) fn new(
        file: &Path,
        value: &Value,
        config: &Config,
        rules: watch::Sender<Vec<RetentionRule>>,
        levels: fn(LogLevel) -> bool,
    ) -> Self {
        Self {
            file: file.into(),
            levels,
            rules,
            running: Mutex::new(Running {
                keys: keys::flat(value),
                grace: config.stop_grace_period,
            }),
        }
    }

    /// How long a stop waits.
    pub(crate) fn grace(&self) -> Duration {
        self.running.lock().grace
    }

    /// Reads the file and applies what can be applied; with `dry_run` only says what it would do.
    ///
    /// # Errors
    /// All that is wrong with the file; nothing has changed then.
    pub(crate) fn run(&self, app: &App, dry_run: bool) -> Result<Value, String> {
        let mut running = self.running.lock();
        let mut new = Checked::read(&self.file)?;
        let following = look_at_entries(&app.host, &mut new)?;
        let mut changes = Vec::new();
        let wanted = keys::flat(&new.value);
        for (key, old, new) in keys::differences(&running.keys, &wanted) {
            let is_live = keys::is_live(&key) && !keys::switches_tls(&key, &old, &new);
            changes.push(Change {
                what: keys::show(old.as_ref(), new.as_ref()),
                outcome: match is_live {
                    true => Outcome::Applied,
                    false => Outcome::Restart,
                },
                key,
            });
        }
        if !dry_run {
            self.apply(app, &mut running, &new, &mut changes);
            for change in changes.iter().filter(|c| c.outcome == Outcome::Applied) {
                match wanted.get(&change.key) {
                    Some(value) => running.keys.insert(change.key.clone(), value.clone()),
                    None => running.keys.remove(&change.key),
                };
            }
        }
        changes.extend(follow(&app.host, following, dry_run));
        Ok(self.report(&changes, &new, dry_run))
    }

    fn apply(&self, app: &App, running: &mut Running, new: &Checked, changes: &mut Vec<Change>) {
        let config = &new.config;
        let before = app.live();
        app.set_live(config.live_after(&before.limits));
        running.grace = config.stop_grace_period;
        // Whoever waits for rules is gone only when the server stops.
        let _ = self.rules.send(config.retention.clone());
        let level = changes.iter_mut().find(|change| change.key == "log_level");
        if let Some(change) = level
            && !(self.levels)(config.log_level)
        {
            change.outcome = Outcome::Failed("MKTS_LOG sets what is logged".into());
        }
        let was_on = app.auth.is_on();
        let count = new.tokens.as_ref().map(Tokens::len);
        app.auth.replace(new.tokens.clone());
        if let Some(count) = count {
            tracing::info!("{count} tokens are known");
        } else if was_on {
            tracing::warn!(
                "`auth` is gone from the configuration: everybody may do everything now"
            );
        }
        if let (Some(tls), Some(files)) = (&app.tls, &config.tls) {
            match tls.reload(files) {
                Ok(false) => {}
                Ok(true) => changes.push(Change {
                    key: "tls".into(),
                    what: "another certificate".into(),
                    outcome: Outcome::Applied,
                }),
                Err(error) => changes.push(Change {
                    key: "tls".into(),
                    what: String::new(),
                    outcome: Outcome::Failed(error),
                }),
            }
        }
    }

    fn report(&self, changes: &[Change], new: &Checked, dry_run: bool) -> Value {
        if !dry_run {
            changes.iter().for_each(Change::log);
            tracing::info!(changes = changes.len(), "the configuration was read again");
        }
        json!({
            "file": self.file.display().to_string(),
            "dry_run": dry_run,
            "changes": changes.iter().map(Change::json).collect::<Vec<_>>(),
            "tokens": new.tokens.as_ref().map(Tokens::len),
            "warnings": new.warnings,
        })
    }
}

/// What differs in the entries of plugins; nothing has changed if one of the new ones cannot run.
fn look_at_entries(host: &Host, new: &mut Checked) -> Result<Following, String> {
    let following = host.compare(&new.config.plugins.entries);
    let following = following.map_err(|problems| {
        let lines = problems
            .iter()
            .map(|p| format!("{}: {}", p.place, p.message));
        lines.collect::<Vec<_>>().join("\n")
    })?;
    let odd = following.warnings().iter();
    new.warnings
        .extend(odd.map(|(place, text)| format!("warning: {place}: {text}")));
    Ok(following)
}

/// Makes the instances follow their entries.
fn follow(host: &Host, following: Following, dry_run: bool) -> Vec<Change> {
    let steps = following.steps().to_vec();
    // Also if there is no step: entries that have moved in the file are shown where they are now.
    let done = match dry_run {
        true => Ok(()),
        false => {
            crate::logs::hide(following.secrets());
            host.follow(following)
        }
    };
    let outcome = match done {
        Ok(()) => Outcome::Applied,
        Err(error) => Outcome::Failed(format!("{error}; the old entries go on")),
    };
    let change = |step: Step| Change {
        key: format!("{}[{}]", step.list, step.id),
        what: match step.what {
            What::Added => "is new".into(),
            What::Changed(keys) => format!("has changed: {}", keys.join(", ")),
            What::Removed => "is gone: what is stored of it stays until `mkts plugin gc`".into(),
        },
        outcome: outcome.clone(),
    };
    steps.into_iter().map(change).collect()
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").field("file", &self.file).finish()
    }
}

impl Change {
    fn outcome(&self) -> (&str, &str) {
        match &self.outcome {
            Outcome::Applied => ("applied", ""),
            Outcome::Restart => ("restart", "takes effect at the next start"),
            Outcome::Failed(why) => ("failed", why),
        }
    }

    fn json(&self) -> Value {
        let (outcome, why) = self.outcome();
        json!({ "key": self.key, "what": self.what, "outcome": outcome, "why": why })
    }

    fn log(&self) {
        let (outcome, why) = self.outcome();
        match &self.outcome {
            Outcome::Failed(_) => tracing::warn!(key = self.key, outcome, why, "{}", self.what),
            _ => tracing::info!(key = self.key, outcome, why, "{}", self.what),
        }
    }
}

/// A configuration with all it names, read and found good.
struct Checked {
    config: Config,
    value: Value,
    tokens: Option<Tokens>,
    warnings: Vec<String>,
}

impl Checked {
    fn read(file: &Path) -> Result<Self, String> {
        let (config, problems, value) = config::load_with_value(file).map_err(|p| p.to_string())?;
        let tokens = match &config.auth {
            Some(auth) => Some(
                Tokens::load(&auth.tokens_file).map_err(|e| format!("auth.tokens_file: {e}"))?,
            ),
            None => None,
        };
        if let Some(files) = &config.tls {
            Tls::load(files)?;
        }
        Ok(Self {
            config,
            value,
            tokens,
            warnings: problems.lines().collect(),
        })
    }
}
