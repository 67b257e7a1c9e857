//! The `config:` of an entry. Every check is made while parsing, so that an error has the path of
//! its key.

use model::Timeframe;
use serde::{Deserialize, Deserializer, de::Error};

/// What is to be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(deserialize_with = "destinations")]
    pub(crate) destinations: Vec<Destination>,
    #[serde(default)]
    pub(crate) filter: Filter,
}

/// One aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Destination {
    /// As written: it becomes part of the key of the aggregate.
    pub(crate) text: String,
    pub(crate) timeframe: Timeframe,
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Timeframe::parse(&text) {
            Ok(timeframe) => Ok(Self { text, timeframe }),
            Err(error) => Err(format!("destinations: {error}")),
        }
    }
}

/// Which base rows count.
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

fn destinations<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Destination>, D::Error> {
    let given = Vec::<Destination>::deserialize(source)?;
    if given.is_empty() {
        return Err(D::Error::custom(
            "destinations: at least one timeframe is needed, like [5Min, 1H, 1D]",
        ));
    }
    // Said twice it is done once.
    let mut once: Vec<Destination> = Vec::with_capacity(given.len());
    for destination in given {
        if !once.contains(&destination) {
            once.push(destination);
        }
    }
    Ok(once)
}

#[cfg(test)]
mod tests {
    use crate::BUILT_IN;
    use serde_json::{Value, json};

    fn error(config: Value) -> String {
        BUILT_IN.module().check(&config).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_key() {
        let bad = error(json!({"destinations": ["5Min", "soon"]}));
        assert!(bad.contains("config.destinations[1]"), "{bad}");
        assert!(bad.contains("\"soon\""), "{bad}");
        assert!(error(json!({"destinations": []})).contains("config.destinations:"));
        assert!(error(json!({"destinations": "5Min"})).contains("config.destinations:"));
        assert!(error(json!({})).contains("`destinations`"));
        assert!(error(Value::Null).contains("`destinations`"));
        let bad = error(json!({"destinations": ["1D"], "filter": "nyse"}));
        assert!(
            bad.contains("config.filter") && bad.contains("nasdaq"),
            "{bad}"
        );
        assert!(error(json!({"destinations": ["1D"], "filters": "x"})).contains("filters"));
    }

    #[test]
    fn right_configs_pass() {
        for config in [
            json!({"destinations": ["5Min", "15Min", "1H", "1D"], "filter": "nasdaq"}),
            json!({"destinations": ["1W", "1Y", "1W"], "filter": ""}),
            json!({"destinations": ["90Sec"], "filter": null}),
        ] {
            BUILT_IN.module().check(&config).unwrap();
        }
    }
}
