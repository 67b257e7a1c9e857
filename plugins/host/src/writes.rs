//! What a plugin may write: the `writes` patterns of its manifest. None means every key.

use model::{BucketKey, KeyPattern};
use plugin_sdk::{Description, PluginError};

/// Checked patterns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes(Vec<KeyPattern>);

impl Writes {
    pub(crate) fn of(description: &Description) -> Result<Self, String> {
        let patterns = description.writes.iter().map(|text| {
            KeyPattern::parse(text).map_err(|error| {
                format!("the manifest of \"{}\": writes: {error}", description.name)
            })
        });
        patterns.collect::<Result<_, _>>().map(Self)
    }

    /// Empty if the manifest says nothing.
    pub(crate) fn patterns(&self) -> &[KeyPattern] {
        &self.0
    }

    /// Refuses a key that no pattern matches.
    pub(crate) fn check(&self, key: &BucketKey) -> Result<(), PluginError> {
        if self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(key)) {
            return Ok(());
        }
        let patterns: Vec<&str> = self.0.iter().map(KeyPattern::as_str).collect();
        Err(PluginError::from(format!(
            "{key}: the plugin's manifest lets it write {} only (\"writes\")",
            patterns.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use plugin_sdk::{Kind, Manifest};

    use super::*;

    fn writes(patterns: &'static [&'static str]) -> Result<Writes, String> {
        let manifest = Manifest {
            writes: patterns,
            ..Manifest::new("m", "1.0.0")
        };
        Writes::of(&manifest.describe(Kind::Trigger))
    }

    #[test]
    fn a_key_outside_is_named_with_the_patterns() {
        let key = BucketKey::parse("A/1Min/T").unwrap();
        assert_eq!(writes(&[]).unwrap().check(&key), Ok(()));
        assert_eq!(writes(&["B/**", "*/1Min/*"]).unwrap().check(&key), Ok(()));
        let error = writes(&["B/**", "*/5Min/*"]).unwrap().check(&key);
        assert_eq!(
            error.unwrap_err().text,
            "A/1Min/T: the plugin's manifest lets it write B/**, */5Min/* only (\"writes\")"
        );
        let error = writes(&["B"]).unwrap_err();
        assert!(
            error.starts_with("the manifest of \"m\": writes: pattern \"B\""),
            "{error}"
        );
    }
}
