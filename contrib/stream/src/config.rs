//! The `config:` of an entry.

use serde::Deserialize;

/// What is pushed when.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub(crate) filter: Filter,
}

/// Which hours count.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "Option<String>")]
pub(crate) struct Filter {
    pub(crate) nasdaq: bool,
}

impl TryFrom<Option<String>> for Filter {
    type Error = String;

    fn try_from(text: Option<String>) -> Result<Self, String> {
        match text.as_deref() {
            None | Some("") => Ok(Self { nasdaq: false }),
            Some("nasdaq") => Ok(Self { nasdaq: true }),
            Some(other) => Err(format!(
                "filter: \"{other}\" is not known, the only filter is nasdaq"
            )),
        }
    }
}
