//! An instance of a running server, as `mkts plugin describe ID` shows it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::words;

/// What REST says of it, a line for each thing.
pub(super) fn text(instance: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<13}{value}");
        }
    };
    let text = |name: &str| instance[name].as_str().unwrap_or("");
    line("instance", text("id"));
    let since = words::time(instance["since_ns"].as_i64().unwrap_or(0));
    line("state", &format!("{} since {since}", text("state")));
    line("reason", text("reason"));
    line("health", &health(instance));
    line(
        "entry",
        &format!("{}, {}, {}", text("place"), text("kind"), text("delivery")),
    );
    line(
        "module",
        &format!("{} {}, {}", text("module"), text("version"), text("host")),
    );
    line("path", text("path"));
    if let Some(pid) = instance["pid"].as_i64() {
        let port = instance["metrics_port"].as_u64();
        let port = port.map_or_else(String::new, |port| format!(", metrics port {port}"));
        line("process", &format!("{pid}{port}"));
    }
    line("on", &list(&instance["on"]));
    line("place", &place(instance));
    line("counted", &counted(instance));
    if let Some(share) = instance["progress"]["share"].as_f64() {
        let text = instance["progress"]["text"].as_str().unwrap_or("");
        let line_end = if text.is_empty() {
            String::new()
        } else {
            format!(" ({text})")
        };
        line("progress", &format!("{:.1} %{line_end}", 100.0 * share));
    }
    for warning in instance["warnings"].as_array().into_iter().flatten() {
        line("warning", warning.as_str().unwrap_or(""));
    }
    if !instance["config"].is_null() {
        line("config", &instance["config"].to_string());
    }
    for (name, value) in instance["limits"].as_object().into_iter().flatten() {
        if !value.is_null() {
            line("limit", &format!("{name}: {value}"));
        }
    }
    out
}

fn health(instance: &Value) -> String {
    let text = |name: &str| instance[name].as_str().unwrap_or("");
    match (text("health"), text("health_text")) {
        ("", _) => String::new(),
        (health, "") => health.to_owned(),
        (health, why) => format!("{health}: {why}"),
    }
}

fn list(texts: &Value) -> String {
    let texts = texts.as_array().into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
    match texts.is_empty() {
        true => "every bucket".into(),
        false => texts.join(" "),
    }
}

fn place(instance: &Value) -> String {
    if instance["kind"] != "trigger" {
        return String::new();
    }
    format!(
        "{}, {} behind ({:.1} s)",
        instance["cursor"].as_str().unwrap_or("-"),
        words::bytes(instance["lag_bytes"].as_u64().unwrap_or(0)),
        instance["lag_seconds"].as_f64().unwrap_or(0.0)
    )
}

/// What is not zero.
fn counted(instance: &Value) -> String {
    let names = [
        ("fires", "fires"),
        ("rows", "rows written"),
        ("failures", "failed"),
        ("panics", "panics"),
        ("retries", "retries"),
        ("dead_letters", "given up"),
        ("dropped", "rows dropped"),
        ("gaps", "gaps"),
        ("timers", "timers pending"),
        ("restarts", "restarts"),
    ];
    let counts = names.iter().filter_map(|(name, word)| {
        let count = instance[*name].as_u64().filter(|count| *count > 0)?;
        Some(format!("{count} {word}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_instance_is_shown_without_what_is_zero() {
        let instance = json!({
            "id": "agg", "state": "failed", "reason": "why", "since_ns": 0, "place": "mkts.yml:3",
            "kind": "trigger", "delivery": "exact", "module": "agg.so", "version": "1.0.0",
            "host": "builtin", "on": ["*/1Min/OHLCV"], "cursor": "1a", "lag_bytes": 0,
            "lag_seconds": 0.0, "fires": 3, "failures": 0, "rows": 7, "health": "degraded",
            "health_text": "half", "progress": {"share": 0.5, "text": "1 of 2"}, "config": {"token": "***"}, "limits": {"parallelism": 1,
            "memory": null}, "warnings": ["odd"],
        });
        assert_eq!(
            text(&instance),
            "instance     agg\nstate        failed since 1970-01-01T00:00:00Z\nreason       why\n\
             health       degraded: half\nentry        mkts.yml:3, trigger, exact\n\
             module       agg.so 1.0.0, builtin\non           */1Min/OHLCV\n\
             place        1a, 0 B behind (0.0 s)\ncounted      3 fires, 7 rows written\n\
             progress     50.0 % (1 of 2)\nwarning      odd\nconfig       {\"token\":\"***\"}\nlimit        parallelism: 1\n"
        );
    }
}
