//! `triggers`, `bgworkers`, `sources`, `functions`, `plugin_dir` and `plugins`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin_host::{Entry, EntryKind, Join, Match, OnError, WindowOptions};
use plugin_sdk::Delivery;
use serde_json::{Map, Value};

use super::expand::{Sources, expand};
use super::keys::{DEFAULTS_KEYS, ENTRY_KEYS, PLUGINS_KEYS, WINDOW_KEYS};
use super::read::{Place, Section, show};

/// Everything about plugins.
#[derive(Debug, Clone, Default)]
pub struct Plugins {
    /// Folders that are searched for modules, after the built-in table.
    pub dirs: Vec<PathBuf>,
    /// Entries of `triggers`, `bgworkers` and `sources`, in this order.
    pub entries: Vec<Entry>,
    /// Where each of the entries stands.
    pub(super) places: Vec<Place>,
}

/// Values of `plugins.defaults`.
struct Defaults {
    timeout: Duration,
    wal_hold: u64,
}

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
    let defaults = defaults(top);
    let kinds = [
        ("triggers", EntryKind::Trigger),
        ("bgworkers", EntryKind::BgWorker),
        ("sources", EntryKind::Source),
    ];
    for (list, kind) in kinds {
        for (index, value) in list_of(top, list) {
            let place = top.place.key(list).index(index);
            if let Some(mut entry) = entry(top, kind, &place, &value, &defaults, dir) {
                entry.place = format!("{}:{}", file.display(), top.report.line(&place));
                out.entries.push(entry);
                out.places.push(place);
            }
        }
    }
    for (index, value) in list_of(top, "functions") {
        let place = top.place.key("functions").index(index);
        let mut entry = Section::open(top.report, place.clone(), &value, ENTRY_KEYS, &[]);
        if module(&mut entry).is_some() {
            let what = "functions are not available in this version, the entry is ignored";
            entry.report.warn(&place, what);
        }
    }
    out
}

fn defaults(top: &mut Section<'_, '_>) -> Defaults {
    let mut out = Defaults {
        timeout: plugin_host::TIMEOUT,
        wal_hold: plugin_host::WAL_HOLD,
    };
    let Some(mut section) = top.section("plugins", PLUGINS_KEYS) else {
        return out;
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
        out.timeout = defaults.duration("timeout", None).unwrap_or(out.timeout);
        out.wal_hold = defaults.size("wal_hold").unwrap_or(out.wal_hold);
    }
    out
}

fn list_of(top: &mut Section<'_, '_>, kind: &str) -> Vec<(usize, Value)> {
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

fn entry(
    top: &mut Section<'_, '_>,
    kind: EntryKind,
    place: &Place,
    value: &Value,
    defaults: &Defaults,
    dir: &Path,
) -> Option<Entry> {
    let mut entry = Section::open(top.report, place.clone(), value, ENTRY_KEYS, &[]);
    let module = module(&mut entry)?;
    let config = entry.get("config").cloned().unwrap_or(Value::Null);
    let config = plugin_config(&mut entry, config, dir);
    keys_of_kind(&mut entry, kind);
    later(&mut entry);
    Some(Entry {
        kind,
        module,
        name: entry.text("name"),
        on: patterns(&mut entry),
        match_mode: entry
            .word(
                "match",
                &[("glob", Match::Glob), ("marketstore", Match::MarketStore)],
            )
            .unwrap_or_default(),
        config,
        delivery: entry.word(
            "delivery",
            &[
                ("volatile", Delivery::Volatile),
                ("durable", Delivery::Durable),
                ("exact", Delivery::Exact),
            ],
        ),
        max_attempts: entry
            .int("max_attempts", 0, i64::from(u32::MAX))
            .and_then(|count| u32::try_from(count).ok()),
        on_error: entry.word(
            "on_error",
            &[
                ("dead_letter", OnError::DeadLetter),
                ("skip", OnError::Skip),
                ("disable", OnError::Disable),
            ],
        ),
        timeout: entry.duration("timeout", None).unwrap_or(defaults.timeout),
        window: window(&mut entry),
        required: entry.flag("required").unwrap_or(false),
        enabled: entry.flag("enabled").unwrap_or(true),
        fire_on_own: entry.flag("fire_on_own").unwrap_or(false),
        wal_hold: entry.size("wal_hold").unwrap_or(defaults.wal_hold),
        place: String::new(),
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

fn patterns(entry: &mut Section<'_, '_>) -> Vec<String> {
    let patterns = entry.texts("on").unwrap_or_default();
    if patterns.iter().any(|pattern| pattern.trim().is_empty()) {
        entry.error("on", "is empty; leave the key out to match every bucket");
    }
    patterns
}

fn window(entry: &mut Section<'_, '_>) -> WindowOptions {
    let mut out = WindowOptions::default();
    let Some(mut section) = entry.section("window", WINDOW_KEYS) else {
        return out;
    };
    if let Some(rows) = section.int("rows", 1, 1 << 24) {
        out.rows = usize::try_from(rows).unwrap_or(out.rows);
    }
    if let Some(bytes) = section.size("bytes") {
        out.bytes = usize::try_from(bytes).unwrap_or(out.bytes);
    }
    out.wait = section.duration("wait", None).unwrap_or(out.wait);
    out.join = section.word("join", &[("key", Join::Key), ("commit", Join::Commit)]);
    out
}

fn keys_of_kind(entry: &mut Section<'_, '_>, kind: EntryKind) {
    let (foreign, owner): (&[&str], &str) = match kind {
        EntryKind::Trigger => (&["restart", "params"], "bgworkers and sources"),
        _ => (&["on", "match", "window", "delivery", "start"], "triggers"),
    };
    for key in foreign
        .iter()
        .filter(|key| entry.get(key).is_some())
        .collect::<Vec<_>>()
    {
        entry.error(key, format!("belongs to {owner}"));
    }
    entry.word(
        "restart",
        &[("always", ()), ("on-failure", ()), ("never", ())],
    );
    entry.text("params");
}

/// Keys of plugins that run outside of the server, on a clock, or over stored rows: decided, not
/// built. Where ignoring the key would change what is computed, the entry is refused.
fn later(entry: &mut Section<'_, '_>) {
    let host = [("builtin", true), ("native", false), ("process", false)];
    if entry.word("host", &host) == Some(false) {
        entry.error("host", "only builtin is available in this version");
    }
    let latest = matches!(entry.get("start"), None | Some(Value::String(_)))
        && entry.word("start", &[("latest", true), ("earliest", false)]) != Some(false);
    if !latest {
        entry.error("start", "only latest is available in this version");
    }
    for key in ["schedule", "timezone", "state_scope"] {
        if entry.has(key) {
            entry.error(key, "is not available in this version");
        }
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
    let overflow = [
        ("coalesce", ()),
        ("disable", ()),
        ("drop", ()),
        ("hold", ()),
    ];
    if entry.word("on_overflow", &overflow).is_some() {
        entry.warn("on_overflow", "is chosen by the plugin in this version");
    }
    for key in ["env", "limits"] {
        if entry.has(key) {
            entry.warn(
                key,
                "is for plugins in a process of their own; built-in ones ignore it",
            );
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
