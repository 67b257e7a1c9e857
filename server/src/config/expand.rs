//! `${env:X}` and `${file:X}` inside `config` and `env` of an entry.

use std::path::Path;

use serde_json::Value;

/// Where values come from; tests bring their own.
pub(super) struct Sources<'a> {
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Directory of mkts.yml: file names are relative to it.
    pub(super) dir: &'a Path,
}

/// Largest file that may be expanded: a secret or a short list.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Replaces every `${...}` in the texts of a value. The errors name the variable, never a value.
pub(super) fn expand(value: &mut Value, from: &Sources<'_>) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains("${") => {
            *text = expand_text(text, from)?;
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(|item| expand(item, from)),
        Value::Object(map) => map.values_mut().try_for_each(|item| expand(item, from)),
        _ => Ok(()),
    }
}

fn expand_text(text: &str, from: &Sources<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after
            .find('}')
            .ok_or_else(|| "${ without }; write ${env:NAME} or ${file:NAME}".to_string())?;
        out.push_str(&lookup(&after[..end], from)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn lookup(reference: &str, from: &Sources<'_>) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => {
            (from.env)(name).ok_or_else(|| format!("environment variable {name} is not set"))
        }
        Some(("file", name)) => read_file(&from.dir.join(name))
            .map_err(|error| format!("file {name} cannot be read: {error}")),
        _ => Err(format!(
            "${{{reference}}} is not known; write ${{env:NAME}} or ${{file:NAME}}"
        )),
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind, Read};
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, "larger than 64 KiB"));
    }
    // Editors end a file with a newline that is not part of a token.
    Ok(text.trim_end_matches(['\r', '\n']).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let sources = Sources {
            env: &|name| (name == "TOKEN").then(|| "abc".to_string()),
            dir: Path::new("."),
        };
        let mut value = serde_json::json!({"a": [text]});
        expand(&mut value, &sources)?;
        Ok(value["a"][0].as_str().unwrap().to_string())
    }

    #[test]
    fn references_are_replaced_or_named() {
        assert_eq!(run("x${env:TOKEN}y${env:TOKEN}").unwrap(), "xabcyabc");
        assert_eq!(run("plain $ text").unwrap(), "plain $ text");
        assert_eq!(
            run("${env:NONE}").unwrap_err(),
            "environment variable NONE is not set"
        );
        assert!(
            run("${file:/does/not/exist}")
                .unwrap_err()
                .contains("/does/not/exist")
        );
        assert!(run("${env:TOKEN").unwrap_err().contains("without }"));
        assert!(
            run("${secret}")
                .unwrap_err()
                .contains("${secret} is not known")
        );
    }
}
