//! `triggers`, `bgworkers`, `sources`, `functions`, `plugin_dir` and `plugins`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Zone;
use plugin_host::{
    Entry, EntryKind, HostMode, Join, Match, Modules, OnError, OnOverflow, ProcessLimits, Restart,
    Schedule, Search, Start, WindowOptions,
};
use plugin_sdk::{BuiltIn, Delivery};
use serde_json::{Map, Value};

use super::expand::{Sources, expand};
use super::keys::{
    DEFAULTS_KEYS, ENTRY_KEYS, PLUGINS_KEYS, PROCESS_LIMIT_KEYS, WAL_HOLD_KEYS, WINDOW_KEYS,
};
use super::read::{Place, Section, parse_duration, parse_size, show};

/// Everything about plugins.
#[derive(Debug, Clone, Default)]
pub struct Plugins {
    /// Folders that are searched for modules, after the built-in table.
    pub dirs: Vec<PathBuf>,
    /// Stems of the modules in files that may run inside the server.
    pub trust_native: Vec<String>,
    /// Folder of mkts.yml: paths of modules begin here.
    pub folder: PathBuf,
    /// Entries of `triggers`, `bgworkers` and `sources`, in this order.
    pub entries: Vec<Entry>,
    /// Where each of the entries stands.
    pub(super) places: Vec<Place>,
}

impl Plugins {
    /// What an entry may name: built-in modules, and those in files. `root` is the store's.
    pub fn modules(&self, builtins: &[BuiltIn], root: &Path) -> Modules {
        let search = Search {
            folder: self.folder.clone(),
            plugin_dir: self.dirs.clone(),
            trust_native: self.trust_native.clone(),
            root: root.into(),
            ..Search::default()
        };
        Modules::new(builtins, search.with_environment())
    }
}

/// Values of `plugins.defaults`.
struct Defaults {
    timeout: Duration,
    wal_hold: (u64, Duration),
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
        folder: dir.into(),
        ..Plugins::default()
    };
    let defaults = defaults(top, &mut out.trust_native);
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

fn defaults(top: &mut Section<'_, '_>, trust_native: &mut Vec<String>) -> Defaults {
    let mut out = Defaults {
        timeout: plugin_host::TIMEOUT,
        wal_hold: (plugin_host::WAL_HOLD, plugin_host::WAL_HOLD_TIME),
    };
    let Some(mut section) = top.section("plugins", PLUGINS_KEYS) else {
        return out;
    };
    *trust_native = section.texts("trust_native").unwrap_or_default();
    if let Some(mut defaults) = section.section("defaults", DEFAULTS_KEYS) {
        out.timeout = timeout(&mut defaults).unwrap_or(out.timeout);
        out.wal_hold = wal_hold(&mut defaults, out.wal_hold);
    }
    out
}

/// No time at all would fail every event.
fn timeout(section: &mut Section<'_, '_>) -> Option<Duration> {
    let timeout = section.duration("timeout", None)?;
    if timeout.is_zero() {
        section.error("timeout", "must be longer than 0");
    }
    Some(timeout)
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
    let (wal_hold, wal_hold_time) = wal_hold(&mut entry, defaults.wal_hold);
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
        host: entry.word(
            "host",
            &[
                ("builtin", HostMode::Builtin),
                ("native", HostMode::Native),
                ("process", HostMode::Process),
            ],
        ),
        start: start(&mut entry).unwrap_or_default(),
        parallelism: entry
            .int("parallelism", 1, 1024)
            .and_then(|threads| usize::try_from(threads).ok())
            .unwrap_or(1),
        on_overflow: entry.word(
            "on_overflow",
            &[
                ("coalesce", OnOverflow::Coalesce),
                ("disable", OnOverflow::Disable),
                ("drop", OnOverflow::Drop),
                ("hold", OnOverflow::Hold),
            ],
        ),
        schedule: schedule(&mut entry),
        zone: zone(&mut entry),
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
        metrics_port: entry
            .int("metrics_port", 0, 65_535)
            .and_then(|port| u16::try_from(port).ok()),
        timeout: timeout(&mut entry).unwrap_or(defaults.timeout),
        window: window(&mut entry, kind),
        required: entry.flag("required").unwrap_or(false),
        enabled: entry.flag("enabled"),
        fire_on_own: entry.flag("fire_on_own").unwrap_or(false),
        wal_hold,
        wal_hold_time,
        env: env(&mut entry, dir),
        limits: limits(&mut entry),
        restart: entry
            .word(
                "restart",
                &[
                    ("always", Restart::Always),
                    ("on-failure", Restart::OnFailure),
                    ("never", Restart::Never),
                ],
            )
            .unwrap_or_default(),
        params: entry.text("params").unwrap_or_default(),
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

/// Of a trigger's windows, or of a source's batches.
fn window(entry: &mut Section<'_, '_>, kind: EntryKind) -> WindowOptions {
    let mut out = match kind {
        EntryKind::Trigger => WindowOptions::default(),
        // A source may stand in MarketStore's one list for all that feeds.
        EntryKind::BgWorker | EntryKind::Source => WindowOptions::source(),
    };
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
    if kind != EntryKind::Trigger && section.has("join") {
        section.error("join", "belongs to triggers");
    }
    out.join = section.word("join", &[("key", Join::Key), ("commit", Join::Commit)]);
    out
}

/// Keys that only an entry of one kind understands.
fn keys_of_kind(entry: &mut Section<'_, '_>, kind: EntryKind) {
    const OF_TRIGGERS: &[&str] = &[
        "on",
        "match",
        "delivery",
        "start",
        "parallelism",
        "max_attempts",
        "on_error",
        "on_overflow",
        "fire_on_own",
        "schedule",
        "timezone",
        "wal_hold",
    ];
    let (foreign, owner): (&[&str], &str) = match kind {
        EntryKind::Trigger => (&["restart", "params"], "bgworkers and sources"),
        _ => (OF_TRIGGERS, "triggers"),
    };
    for key in foreign {
        if entry.has(key) {
            entry.error(key, format!("belongs to {owner}"));
        }
    }
}

fn start(entry: &mut Section<'_, '_>) -> Option<Start> {
    const HELP: &str = "write latest, earliest or {time: \"2024-01-31T09:30:00Z\"}";
    let text = match entry.get("start")? {
        Value::String(word) if word == "latest" => return Some(Start::Latest),
        Value::String(word) if word == "earliest" => return Some(Start::Earliest),
        Value::Object(map) if map.len() == 1 => map.get("time").and_then(Value::as_str),
        _ => None,
    };
    let ns = text.and_then(time_ns);
    if ns.is_none() {
        let found = entry.get("start").map(show).unwrap_or_default();
        let found = text_of(entry.get("start")).map_or(found, |time| format!("\"{time}\""));
        entry.error("start", format!("{found} is not known; {HELP}"));
    }
    ns.map(Start::Time)
}

fn text_of(start: Option<&Value>) -> Option<String> {
    start?.get("time")?.as_str().map(str::to_owned)
}

/// A time with its zone, or a day in UTC.
fn time_ns(text: &str) -> Option<i64> {
    let time = text.trim();
    let moment = match time.parse::<jiff::Timestamp>() {
        Ok(moment) => moment,
        Err(_) => {
            let day: jiff::civil::DateTime = time.parse().ok()?;
            day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
    };
    i64::try_from(moment.as_nanosecond()).ok()
}

fn schedule(entry: &mut Section<'_, '_>) -> Option<Schedule> {
    let text = entry.text("schedule")?;
    Schedule::parse(&text)
        .map_err(|why| entry.error("schedule", why))
        .ok()
}

fn zone(entry: &mut Section<'_, '_>) -> Zone {
    let Some(name) = entry.text("timezone") else {
        return Zone::utc();
    };
    if !entry.has("schedule") {
        entry.error("timezone", "is that of schedule, which is not there");
    }
    Zone::parse(&name).unwrap_or_else(|error| {
        entry.error("timezone", error);
        Zone::utc()
    })
}

/// Bytes and time; each keeps its default unless it is given.
fn wal_hold(section: &mut Section<'_, '_>, default: (u64, Duration)) -> (u64, Duration) {
    let (mut bytes, mut time) = default;
    match section.get("wal_hold") {
        Some(Value::Object(_)) => {
            if let Some(mut both) = section.section("wal_hold", WAL_HOLD_KEYS) {
                bytes = both.size("bytes").unwrap_or(bytes);
                time = both.duration("time", None).unwrap_or(time);
            }
        }
        Some(Value::String(text)) if parse_duration(text, None).is_some() => {
            time = section.duration("wal_hold", None).unwrap_or(time);
        }
        Some(Value::String(text)) if parse_size(text).is_none() => {
            let what = format!(
                "must be a size like 4GiB, a time like 24h, or {{bytes: 4GiB, time: 24h}}, found \"{text}\""
            );
            section.error("wal_hold", what);
        }
        _ => bytes = section.size("wal_hold").unwrap_or(bytes),
    }
    if time.is_zero() {
        section.error("wal_hold", "must be longer than 0");
    }
    (bytes, time)
}

fn limits(entry: &mut Section<'_, '_>) -> ProcessLimits {
    let mut out = ProcessLimits::default();
    if let Some(mut section) = entry.section("limits", PROCESS_LIMIT_KEYS) {
        out.memory = section.size("memory");
        // Below this a process cannot even open its own libraries.
        out.nofile = section.int("nofile", 16, 1 << 30).map(i64::unsigned_abs);
    }
    out
}

/// Names and values for a process; numbers and bools are taken by their text.
fn env(entry: &mut Section<'_, '_>, dir: &Path) -> Vec<(String, String)> {
    let map = match entry.get("env").cloned() {
        None => return Vec::new(),
        Some(Value::Object(map)) => map,
        Some(other) => {
            let what = format!(
                "must be names and values (`TOKEN: \"...\"`), found {}",
                show(&other)
            );
            entry.error("env", what);
            return Vec::new();
        }
    };
    let place = entry.place.key("env");
    let mut out = Vec::new();
    for (name, mut value) in map {
        let at = place.key(&name);
        if name.is_empty() || name.contains(['=', '\0']) {
            entry.report.error(&at, "is no name for a variable");
            continue;
        }
        if name.starts_with("MKTS_PLUGIN_") {
            entry
                .report
                .error(&at, "is set by the server; use another name");
            continue;
        }
        expand_at(&mut value, &at, entry, &sources(dir));
        match value {
            Value::String(text) => out.push((name, text)),
            Value::Null => out.push((name, String::new())),
            Value::Number(_) | Value::Bool(_) => out.push((name, value.to_string())),
            other => {
                let what = format!("must be text, found {}", show(&other));
                entry.report.error(&at, what);
            }
        }
    }
    out
}

fn sources(dir: &Path) -> Sources<'_> {
    Sources {
        env: &|name| std::env::var(name).ok(),
        dir,
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
    let place = entry.place.key("config");
    expand_at(&mut config, &place, entry, &sources(dir));
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
