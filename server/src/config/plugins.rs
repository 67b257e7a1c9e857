//! `triggers`, `bgworkers`, `sources`, `functions`, `plugin_dir` and `plugins`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::expand::{Sources, expand};
use super::keys::{DEFAULTS_KEYS, ENTRY_KEYS, PLUGINS_KEYS, WINDOW_KEYS};
use super::read::{Place, Section, show};

/// Everything about plugins.
#[derive(Debug, Clone, Default)]
pub struct Plugins {
    /// Folders that are searched for modules, after the built-in table.
    pub dirs: Vec<PathBuf>,
    /// Time for one event unless the entry says otherwise.
    pub timeout: Option<Duration>,
    /// Log kept for a trigger that is behind, unless the entry says otherwise.
    pub wal_hold: Option<u64>,
    /// Entries of `triggers`.
    pub triggers: Vec<TriggerEntry>,
}

/// One entry of `triggers`.
#[derive(Debug, Clone)]
pub struct TriggerEntry {
    /// Line of the entry in the file.
    pub line: usize,
    /// Position in the list.
    pub index: usize,
    /// Module name as written.
    pub module: String,
    /// Identity, if given.
    pub name: Option<String>,
    /// Patterns; none means every bucket.
    pub on: Vec<String>,
    /// The old reading of `on`: a regular expression searched anywhere.
    pub match_marketstore: bool,
    /// Delivery, if not the plugin's own.
    pub delivery: Option<plugin_sdk::Delivery>,
    /// Fire the rows that are stored already when the instance is new.
    pub from_earliest: bool,
    /// Rows of one window.
    pub window_rows: Option<usize>,
    /// Bytes of one window.
    pub window_bytes: Option<usize>,
    /// How long a window waits for more.
    pub window_wait: Option<Duration>,
    /// One event per commit and bucket, not per bucket.
    pub join_commits: Option<bool>,
    /// Time for one event.
    pub timeout: Option<Duration>,
    /// Attempts before `on_error`; 0 for ever.
    pub max_attempts: Option<u32>,
    /// What happens to an event that keeps failing.
    pub on_error: Option<&'static str>,
    /// What happens when the trigger is too far behind.
    pub on_overflow: Option<&'static str>,
    /// Log kept for this trigger.
    pub wal_hold: Option<u64>,
    /// Refuse to start the server without it.
    pub required: bool,
    /// Whether it runs.
    pub enabled: bool,
    /// Whether it sees its own rows.
    pub fire_on_own: bool,
    /// The plugin's own config.
    pub config: Value,
}

/// Modules that come with MarketStore. Old files name them; they are not an unknown file.
const MARKETSTORE_MODULES: &[&str] = &[
    "gdaxfeeder",
    "polygon",
    "polyiex",
    "binancefeeder",
    "bitmexfeeder",
    "iex",
    "xignitefeeder",
    "slait",
    "alpaca",
    "alpacabkfeeder",
    "ice",
];

pub(super) fn read(top: &mut Section<'_, '_>, file: &Path) -> Plugins {
    let dir = file.parent().unwrap_or(Path::new(""));
    let mut out = Plugins {
        dirs: top
            .texts("plugin_dir")
            .unwrap_or_default()
            .into_iter()
            .map(|name| dir.join(name))
            .collect(),
        ..Plugins::default()
    };
    defaults(top, &mut out);
    out.triggers = entries(top, "triggers")
        .into_iter()
        .filter_map(|(index, value)| trigger(top, index, &value, dir))
        .collect();
    for kind in ["bgworkers", "sources", "functions"] {
        for (index, value) in entries(top, kind) {
            not_run_yet(top, kind, index, &value);
        }
    }
    out
}

fn defaults(top: &mut Section<'_, '_>, out: &mut Plugins) {
    let Some(mut section) = top.section("plugins", PLUGINS_KEYS) else {
        return;
    };
    if section
        .texts("trust_native")
        .is_some_and(|list| !list.is_empty())
    {
        section.warn(
            "trust_native",
            "plugins in files are not available in this version; the built-in ones need no trust",
        );
    }
    if let Some(mut defaults) = section.section("defaults", DEFAULTS_KEYS) {
        out.timeout = defaults.duration("timeout", None);
        out.wal_hold = defaults.size("wal_hold");
    }
}

fn entries(top: &mut Section<'_, '_>, kind: &str) -> Vec<(usize, Value)> {
    match top.get(kind) {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().cloned().enumerate().collect(),
        Some(other) => {
            let what = format!("must be a list (`- module: ...`), found {}", show(other));
            top.error(kind, what);
            Vec::new()
        }
    }
}

/// Name of a module without folder, extension and version.
pub(super) fn stem(module: &str) -> &str {
    let name = module.rsplit('/').next().unwrap_or(module);
    let name = name.split('@').next().unwrap_or(name);
    let name = name.strip_suffix(".so").unwrap_or(name);
    name.strip_prefix("lib").unwrap_or(name)
}

fn trigger(
    top: &mut Section<'_, '_>,
    index: usize,
    value: &Value,
    dir: &Path,
) -> Option<TriggerEntry> {
    let place = top.place.key("triggers").index(index);
    let line = top.report.line(&place);
    let mut entry = Section::open(top.report, place.clone(), value, ENTRY_KEYS, &[]);
    let module = module(&mut entry)?;
    for key in ["restart", "params"] {
        if entry.has(key) {
            entry.error(key, "belongs to bgworkers and sources, not to a trigger");
        }
    }
    let config = entry.get("config").cloned().unwrap_or(Value::Null);
    let config = plugin_config(&mut entry, config, dir);
    let window = window(&mut entry);
    host_and_limits(&mut entry);
    Some(TriggerEntry {
        line,
        index,
        name: name(&mut entry),
        on: patterns(&mut entry),
        match_marketstore: entry
            .word("match", &[("glob", false), ("marketstore", true)])
            .unwrap_or(false),
        delivery: entry.word(
            "delivery",
            &[
                ("volatile", plugin_sdk::Delivery::Volatile),
                ("durable", plugin_sdk::Delivery::Durable),
                ("exact", plugin_sdk::Delivery::Exact),
            ],
        ),
        from_earliest: start(&mut entry),
        window_rows: window.rows,
        window_bytes: window.bytes,
        window_wait: window.wait,
        join_commits: window.join_commits,
        timeout: entry.duration("timeout", None),
        max_attempts: entry
            .int("max_attempts", 0, i64::from(u32::MAX))
            .and_then(|count| u32::try_from(count).ok()),
        on_error: entry.word(
            "on_error",
            &[
                ("dead_letter", "dead_letter"),
                ("skip", "skip"),
                ("disable", "disable"),
            ],
        ),
        on_overflow: entry.word(
            "on_overflow",
            &[
                ("coalesce", "coalesce"),
                ("disable", "disable"),
                ("drop", "drop"),
                ("hold", "hold"),
            ],
        ),
        wal_hold: entry.size("wal_hold"),
        required: entry.flag("required").unwrap_or(false),
        enabled: entry.flag("enabled").unwrap_or(true),
        fire_on_own: entry.flag("fire_on_own").unwrap_or(false),
        module,
        config,
    })
}

fn module(entry: &mut Section<'_, '_>) -> Option<String> {
    match entry.text("module") {
        Some(module) if !module.is_empty() => Some(module),
        _ => {
            let place = entry.place.clone();
            entry.report.error(
                &place,
                "has no module; name one, like `module: ondiskagg.so`",
            );
            None
        }
    }
}

fn name(entry: &mut Section<'_, '_>) -> Option<String> {
    let name = entry.text("name")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        entry.error("name", "must be 1 to 64 letters, digits, '-', '_' or '.'");
        return None;
    }
    Some(name)
}

fn patterns(entry: &mut Section<'_, '_>) -> Vec<String> {
    let patterns = entry.texts("on").unwrap_or_default();
    if patterns.iter().any(|pattern| pattern.trim().is_empty()) {
        entry.error("on", "is empty; leave the key out to match every bucket");
    }
    patterns
}

fn start(entry: &mut Section<'_, '_>) -> bool {
    if matches!(entry.get("start"), Some(Value::Object(_))) {
        entry.error(
            "start",
            "a time is not available in this version; write latest or earliest",
        );
        return false;
    }
    entry
        .word("start", &[("latest", false), ("earliest", true)])
        .unwrap_or(false)
}

#[derive(Default)]
struct Window {
    rows: Option<usize>,
    bytes: Option<usize>,
    wait: Option<Duration>,
    join_commits: Option<bool>,
}

fn window(entry: &mut Section<'_, '_>) -> Window {
    let Some(mut section) = entry.section("window", WINDOW_KEYS) else {
        return Window::default();
    };
    Window {
        rows: section
            .int("rows", 1, 1 << 24)
            .and_then(|rows| usize::try_from(rows).ok()),
        bytes: section
            .size("bytes")
            .and_then(|bytes| usize::try_from(bytes).ok()),
        wait: section.duration("wait", None),
        join_commits: section.word("join", &[("key", false), ("commit", true)]),
    }
}

/// Keys of plugins that run outside of the server or on a clock: decided, not built.
fn host_and_limits(entry: &mut Section<'_, '_>) {
    let host = [("builtin", true), ("native", false), ("process", false)];
    if entry.word("host", &host) == Some(false) {
        entry.error("host", "only builtin is available in this version");
    }
    if entry
        .int("parallelism", 1, 1024)
        .is_some_and(|threads| threads > 1)
    {
        entry.warn(
            "parallelism",
            "one thread is used in this version; the order per bucket holds",
        );
    }
    for key in ["env", "limits"] {
        if entry.has(key) {
            entry.warn(
                key,
                "is for plugins in a process of their own; built-in ones ignore it",
            );
        }
    }
    for key in ["schedule", "timezone", "state_scope"] {
        if entry.has(key) {
            entry.error(key, "is not available in this version");
        }
    }
}

fn plugin_config(entry: &mut Section<'_, '_>, mut config: Value, dir: &Path) -> Value {
    if !matches!(config, Value::Null | Value::Object(_)) {
        entry.error(
            "config",
            format!("must be keys and values, found {}", show(&config)),
        );
        return Value::Object(Map::new());
    }
    let sources = Sources {
        env: &|name| std::env::var(name).ok(),
        dir,
    };
    let place = entry.place.key("config");
    expand_at(&mut config, &place, entry, &sources);
    config
}

/// Expands value by value, so that the line of the one that fails is known.
fn expand_at(value: &mut Value, place: &Place, entry: &mut Section<'_, '_>, from: &Sources<'_>) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                expand_at(item, &place.key(key), entry, from);
            }
        }
        Value::Array(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                expand_at(item, &place.index(index), entry, from);
            }
        }
        other => {
            if let Err(error) = expand(other, from) {
                entry.report.error(place, error);
            }
        }
    }
}

fn not_run_yet(top: &mut Section<'_, '_>, kind: &str, index: usize, value: &Value) {
    let place = top.place.key(kind).index(index);
    let mut entry = Section::open(top.report, place.clone(), value, ENTRY_KEYS, &[]);
    let Some(module) = module(&mut entry) else {
        return;
    };
    let known = MARKETSTORE_MODULES.contains(&stem(&module));
    let what = if known {
        format!("{module} is a known MarketStore module, not included in this version; not started")
    } else {
        format!("{kind} are not available in this version; {module} is not started")
    };
    let required = entry.flag("required") == Some(true);
    match required {
        true => entry.report.error(&place, what),
        false => entry.report.warn(&place, what),
    }
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn the_stem_of_a_module_drops_folder_extension_and_version() {
        for name in [
            "stream.so",
            "./bin/stream.so",
            "libstream.so",
            "stream@^1.2",
            "stream",
        ] {
            assert_eq!(stem(name), "stream");
        }
    }
}
