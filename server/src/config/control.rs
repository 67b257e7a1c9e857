//! The control file of MarketStore's CSV loader.

use std::path::Path;

use serde_json::Value;

/// What a control file says. Keys that are not known are left alone, as MarketStore does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// `firstRowHasColumnNames`
    pub has_header: bool,
    /// `timeFormat`: a Go layout, or `timestamp`.
    pub time_format: String,
    /// `timeZone`, an IANA name.
    pub time_zone: String,
    /// `columnNameMap`, by position.
    pub names: Vec<String>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            has_header: false,
            time_format: "1/2/2006 3:04:05 PM".into(),
            time_zone: "UTC".into(),
            names: Vec::new(),
        }
    }
}

/// Reads a control file.
///
/// # Errors
/// If it cannot be read, is no YAML, or a key has a value of another kind.
pub fn load_control(file: &Path) -> Result<Control, String> {
    let value = super::yaml_file(file)?;
    of_value(&value).map_err(|why| format!("{}: {why}", file.display()))
}

fn of_value(value: &Value) -> Result<Control, String> {
    let mut control = Control::default();
    let map = match value {
        // A file of comments.
        Value::Null => return Ok(control),
        Value::Object(map) => map,
        _ => return Err("a control file has keys and values".into()),
    };
    let text = |key: &str| match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        // MarketStore crashes on an empty zone; it can only mean UTC.
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{key} is no text")),
    };
    if let Some(format) = text("timeFormat")? {
        control.time_format = format;
    }
    if let Some(zone) = text("timeZone")? {
        control.time_zone = zone;
    }
    control.has_header = match map.get("firstRowHasColumnNames") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => return Err("firstRowHasColumnNames is not true or false".into()),
    };
    control.names = match map.get("columnNameMap") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(names)) => {
            let name = |name: &Value| match name {
                Value::Null => Ok(String::new()),
                Value::String(name) => Ok(name.clone()),
                _ => Err("columnNameMap is no list of names".to_owned()),
            };
            names.iter().map(name).collect::<Result<_, _>>()?
        }
        Some(_) => return Err("columnNameMap is no list of names".into()),
    };
    Ok(control)
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Control, String> {
        of_value(&yaml::from_str(text).unwrap())
    }

    #[test]
    fn control_files_of_the_reference_are_read() {
        let control = read(
            "firstRowHasColumnNames: true\ntimeFormat: \"20060102 15:04:05\"\n\
             timeZone: \"US/Eastern\" # a comment\ncolumnNameMap: [Epoch, Bid, Ask, ~]\nother: 1\n",
        );
        let wanted = Control {
            has_header: true,
            time_format: "20060102 15:04:05".into(),
            time_zone: "US/Eastern".into(),
            names: ["Epoch", "Bid", "Ask", ""].map(str::to_owned).to_vec(),
        };
        assert_eq!(control, Ok(wanted));
        assert_eq!(read("# nothing\n"), Ok(Control::default()));
        assert_eq!(read("timeZone: \"\"\n"), Ok(Control::default()));
        for bad in [
            "firstRowHasColumnNames: maybe\n",
            "columnNameMap: Epoch\n",
            "timeFormat: 5\n",
            "- a\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
