//! Keys of a configuration by their path, how two of them differ, and which may change while the
//! server runs.

use std::collections::BTreeMap;

use serde_json::Value;

/// Lists of entries, which the host follows.
const LISTS: [&str; 3] = ["triggers", "bgworkers", "sources"];

/// Keys that a running server takes over, with all below them.
const LIVE: &[&str] = &[
    "allowed_origins",
    "auth",
    "limits.body_idle_time",
    "limits.call_time",
    "limits.header_time",
    "limits.query_time",
    "limits.request_body",
    "limits.requests_per_call",
    "limits.result_bytes",
    "limits.result_rows",
    "limits.streams_per_subscriber",
    "limits.ws_message_bytes",
    "log_level",
    // Entries have taken them over.
    "plugins.defaults",
    "retention",
    "stop_grace_period",
    "tls",
    // Without an effect, at any time.
    "background_sync",
    "disable_variable_compression",
    "functions",
    "init_catalog",
    "init_wal_cache",
    "replication",
    "wal_bypass",
    "wal_rotate_interval",
];

/// Whether a change needs no restart.
pub(super) fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| {
        let rest = key.strip_prefix(live);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether TLS comes or goes, which is an affair of the listeners.
pub(super) fn switches_tls(key: &str, old: &Option<Value>, new: &Option<Value>) -> bool {
    key.starts_with("tls") && (old.is_none() || new.is_none())
}

/// All values that are no maps, by their path; entries of plugins are left out.
pub(super) fn flat(value: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        if !LISTS.contains(&key.as_str()) {
            walk(key, value, &mut out);
        }
    }
    out
}

fn walk(path: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                walk(&format!("{path}.{key}"), value, out);
            }
        }
        // A key without a value counts as absent.
        Value::Null => {}
        other => {
            out.insert(path.to_owned(), other.clone());
        }
    }
}

/// A path with what was there and what is there.
type Difference = (String, Option<Value>, Option<Value>);

pub(super) fn differences(
    old: &BTreeMap<String, Value>,
    new: &BTreeMap<String, Value>,
) -> Vec<Difference> {
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let both = paths
        .into_iter()
        .map(|path| (path, old.get(path), new.get(path)));
    both.filter(|(_, old, new)| old != new)
        .map(|(path, old, new)| (path.clone(), old.cloned(), new.cloned()))
        .collect()
}

/// `60s -> 30s`.
pub(super) fn show(old: Option<&Value>, new: Option<&Value>) -> String {
    let text = |value: Option<&Value>| match value {
        None => "(default)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    format!("{} -> {}", text(old), text(new))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{LIMIT_KEYS, PLUGINS_KEYS, TOP_KEYS};

    #[test]
    fn differences_are_found_by_their_path() {
        let old =
            flat(&json!({"a": 1, "limits": {"hops": 8, "query_time": "60s"}, "triggers": [1]}));
        let new = flat(&json!({"a": "1", "limits": {"hops": 8}, "b": null, "triggers": []}));
        let found = differences(&old, &new);
        let shown: Vec<_> = found
            .iter()
            .map(|(key, old, new)| format!("{key}: {}", show(old.as_ref(), new.as_ref())))
            .collect();
        assert_eq!(shown, ["a: 1 -> 1", "limits.query_time: 60s -> (default)"]);
    }

    /// A key that is renamed must not drop out of the list in silence.
    #[test]
    fn what_is_live_is_a_key() {
        for live in LIVE {
            match live.split_once('.') {
                Some(("limits", key)) => assert!(LIMIT_KEYS.contains(&key), "{live}"),
                Some(("plugins", key)) => assert!(PLUGINS_KEYS.contains(&key), "{live}"),
                Some(_) => panic!("{live}"),
                None => assert!(TOP_KEYS.contains(live), "{live}"),
            }
        }
        assert!(is_live("auth.tokens_file") && is_live("retention"));
        assert!(!is_live("listen_port") && !is_live("limits.hops") && !is_live("authx"));
        let some = Some(json!("a"));
        assert!(switches_tls("tls.cert", &None, &some) && !switches_tls("tls.cert", &some, &some));
    }
}
