//! Keys of a config that a manifest calls secret: hidden where a config is shown, and their values
//! wherever text goes out. The only place that knows how.

use serde_json::Value;

/// Stands for a hidden value.
const HIDDEN: &str = "***";

/// A shorter value hides nothing, and masking it would garble every text.
const VALUE_BYTES_MIN: usize = 4;

/// Secret keys of one config, and the values found there.
#[derive(Clone, Default)]
pub struct Secrets {
    keys: Vec<String>,
    /// Longest first, so that a secret inside another leaves nothing of it.
    values: Vec<String>,
}

impl Secrets {
    /// `keys` are paths like `token` or `auth.password`; lists on the way are passed through.
    pub fn of(config: &Value, keys: &[String]) -> Self {
        let mut secrets = Self {
            keys: keys.to_vec(),
            values: Vec::new(),
        };
        for key in keys {
            let path: Vec<&str> = key.split('.').collect();
            let mut add = |value: &Value| leaves(value, &mut secrets.values);
            at_path(config, &path, &mut add);
        }
        secrets.arrange();
        secrets
    }

    /// Hides what both hide.
    pub fn merge(&mut self, other: &Self) {
        self.values.extend(other.values.iter().cloned());
        self.arrange();
    }

    fn arrange(&mut self) {
        self.values
            .sort_by_key(|value| std::cmp::Reverse(value.len()));
        self.values.dedup();
    }

    /// A config as it may be shown.
    pub fn show(&self, config: &Value) -> Value {
        let mut shown = config.clone();
        for key in &self.keys {
            let path: Vec<&str> = key.split('.').collect();
            mask(&mut shown, &path);
        }
        shown
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A text without the values.
    pub fn scrub(&self, text: impl Into<String>) -> String {
        let mut text = text.into();
        for value in &self.values {
            if text.contains(value) {
                text = text.replace(value, HIDDEN);
            }
        }
        text
    }
}

/// Without the values: it may stand in a log line itself.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A config of which nobody knows what is secret: its keys, and none of its values.
pub(crate) fn hidden(config: &Value) -> Value {
    match config {
        Value::Null => Value::Null,
        Value::Object(map) => {
            let keys = map.iter();
            keys.map(|(key, value)| (key.clone(), hidden(value)))
                .collect()
        }
        _ => HIDDEN.into(),
    }
}

fn at_path(value: &Value, path: &[&str], found: &mut dyn FnMut(&Value)) {
    match (value, path) {
        (value, []) => found(value),
        (Value::Array(list), path) => list.iter().for_each(|item| at_path(item, path, found)),
        (Value::Object(map), [key, rest @ ..]) => {
            if let Some(value) = map.get(*key) {
                at_path(value, rest, found);
            }
        }
        _ => {}
    }
}

fn mask(value: &mut Value, path: &[&str]) {
    match (value, path) {
        (value, []) => *value = HIDDEN.into(),
        (Value::Array(list), path) => list.iter_mut().for_each(|item| mask(item, path)),
        (Value::Object(map), [key, rest @ ..]) => {
            if let Some(value) = map.get_mut(*key) {
                mask(value, rest);
            }
        }
        _ => {}
    }
}

/// Every text and number below a value, as it is and as JSON and logs quote it.
fn leaves(value: &Value, out: &mut Vec<String>) {
    let text = match value {
        Value::Array(list) => return list.iter().for_each(|item| leaves(item, out)),
        Value::Object(map) => return map.values().for_each(|item| leaves(item, out)),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) => return,
    };
    if text.len() < VALUE_BYTES_MIN {
        return;
    }
    let quoted = Value::from(text.as_str()).to_string();
    for other in [
        &quoted[1..quoted.len() - 1],
        text.escape_debug().to_string().as_str(),
    ] {
        if other != text {
            out.push(other.to_owned());
        }
    }
    out.push(text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_shown_config_has_no_secret_and_everything_else() {
        let config = json!({
            "token": "s3cret", "url": "x", "feeds": [{"auth": {"pin": 123_456}}, {"auth": 1}],
            "all": {"a": 1},
        });
        let secrets = Secrets::of(
            &config,
            &keys(&["token", "feeds.auth.pin", "all", "absent"]),
        );
        let expected = json!({
            "token": "***", "url": "x", "feeds": [{"auth": {"pin": "***"}}, {"auth": 1}],
            "all": "***",
        });
        assert_eq!(secrets.show(&config), expected);
        assert_eq!(secrets.scrub("pin 123456 of s3cret!"), "pin *** of ***!");
        let shown = format!("{secrets:?}");
        assert!(
            shown.contains("token") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn a_config_without_a_manifest_shows_its_keys_only() {
        let config = json!({"token": "s3cret", "list": ["s3cret"], "in": {"n": 5, "none": null}});
        let shown = json!({"token": "***", "list": "***", "in": {"n": "***", "none": null}});
        assert_eq!(hidden(&config), shown);
    }

    #[test]
    fn values_are_hidden_as_logs_quote_them() {
        let config = json!({"key": "pass\"word\n\\", "long": "password-long", "part": "password"});
        let mut secrets = Secrets::of(&config, &keys(&["key", "part"]));
        secrets.merge(&Secrets::of(&config, &keys(&["long"])));
        for text in [
            format!("{}", config["key"]),
            format!("{:?}", config["key"].as_str()),
            "pass\"word\n\\".to_owned(),
            "got password-long".to_owned(),
        ] {
            let scrubbed = secrets.scrub(text.as_str());
            assert!(scrubbed.contains("***"), "{text}");
            assert!(
                !scrubbed.contains("word") && !scrubbed.contains("long"),
                "{scrubbed}"
            );
        }
    }

    #[test]
    fn a_short_value_garbles_no_text() {
        let config = json!({"key": "on", "flag": true, "none": null});
        let secrets = Secrets::of(&config, &keys(&["key", "flag", "none"]));
        assert!(secrets.is_empty());
        assert_eq!(secrets.scrub("turned on"), "turned on");
        assert_eq!(secrets.show(&config)["key"], "***");
    }
}
