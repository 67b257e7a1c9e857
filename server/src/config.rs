//! mkts.yml: text to a checked [`Config`].
//!
//! The file format is MarketStore's, so every key MarketStore ever had is known here: it is read,
//! or accepted with a warning that says what it means now, or refused. Nothing is skipped in
//! silence. All problems of a file are reported at once, each with its line.
//!
//! YAML is named in this file only; everything behind it, plugins included, sees JSON values.

mod control;
mod expand;
mod keys;
mod plugins;
mod read;
mod retention;
mod settings;
mod sql;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_yaml as yaml;

pub use control::{Control, load_control};
pub use keys::{
    ENTRY_KEYS, FLIGHT_KEYS, LIMIT_KEYS, PLUGINS_KEYS, POSTGRES_KEYS, REPLICATION_KEYS, SQL_KEYS,
    TOP_KEYS,
};
pub use plugins::Plugins;
pub use settings::{AuthFile, Config, Grpc, Limits, LogLevel, TlsFiles};
pub use sql::{Flight, Postgres, Sql};

use read::{Report, Step};

/// What an import wants to know from the configuration of the MarketStore that wrote a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    /// `timezone`; empty is UTC.
    pub timezone: String,
    /// `disable_variable_compression`.
    pub is_plain: bool,
}

/// Reads the two keys of MarketStore's configuration that say how its directory is to be read. All
/// others are left alone: the file is not one of ours.
///
/// # Errors
/// If the file cannot be read, is no YAML, or one of the keys has no meaning.
pub fn load_old(file: &Path) -> Result<Old, String> {
    let fail = |why: String| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    let parsed: yaml::Value = yaml::from_str(&text).map_err(|error| fail(error.to_string()))?;
    let timezone = match parsed.get("timezone") {
        None | Some(yaml::Value::Null) => String::new(),
        Some(yaml::Value::String(name)) => name.clone(),
        Some(_) => return Err(fail("timezone is not a name".into())),
    };
    // The spellings that MarketStore takes for a truth value.
    let is_plain = match parsed.get("disable_variable_compression") {
        None | Some(yaml::Value::Null) => false,
        Some(yaml::Value::Bool(flag)) => *flag,
        Some(yaml::Value::Number(number)) if number.as_u64() == Some(1) => true,
        Some(yaml::Value::Number(number)) if number.as_u64() == Some(0) => false,
        Some(yaml::Value::String(text)) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
            "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
            _ => {
                return Err(fail(
                    "disable_variable_compression is not true or false".into(),
                ));
            }
        },
        Some(_) => {
            return Err(fail(
                "disable_variable_compression is not true or false".into(),
            ));
        }
    };
    Ok(Old { timezone, is_plain })
}

/// A file of YAML as a JSON value.
fn yaml_file(file: &Path) -> Result<Value, String> {
    let fail = |why: String| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    yaml::from_str(&text).map_err(|error| fail(error.to_string()))
}

/// Largest accepted file. A configuration is a page or two; more is a mistake or an attack.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Whether a problem stops the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The server does not start.
    Error,
    /// The server starts; the text says what the key means now.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Line in the file, from 1; 0 if it concerns the whole file.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Problems of one file, ordered by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Findings.
    pub list: Vec<Problem>,
}

impl Problems {
    fn fatal(file: &Path, line: usize, message: impl Into<String>) -> Self {
        let problem = Problem {
            severity: Severity::Error,
            line,
            message: message.into(),
        };
        Self {
            file: file.into(),
            list: vec![problem],
        }
    }

    /// Whether one of them stops the server.
    pub fn any_error(&self) -> bool {
        self.list.iter().any(|p| p.severity == Severity::Error)
    }

    /// One line of text per problem: `mkts.yml:12: error: ...`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|problem| {
            let kind = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let file = self.file.display();
            match problem.line {
                0 => format!("{file}: {kind}: {}", problem.message),
                line => format!("{file}:{line}: {kind}: {}", problem.message),
            }
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads and checks a file. Warnings come back beside the configuration.
///
/// # Errors
/// All problems of the file, if one of them is an error.
pub fn load(file: &Path) -> Result<(Config, Problems), Problems> {
    load_with_value(file).map(|(config, problems, _)| (config, problems))
}

/// The same with the values as they are written, before anything is replaced in them.
pub(crate) fn load_with_value(file: &Path) -> Result<(Config, Problems, Value), Problems> {
    let text = read_text(file)?;
    let value = parse_yaml(&text, file)?;
    let (config, problems) = check(&value, &text, file)?;
    Ok((config, problems, value))
}

fn read_text(file: &Path) -> Result<String, Problems> {
    use std::io::Read;
    let fault = |what: String| Problems::fatal(file, 0, what);
    let open = std::fs::File::open(file).map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; `mkts init` writes an example, --config names another file"
        } else {
            ""
        };
        fault(format!("failed to read configuration file: {error}{hint}"))
    })?;
    let mut bytes = Vec::new();
    open.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(format!("failed to read configuration file: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fault("is larger than 1 MiB".into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|b| **b == b'\n').count();
        Problems::fatal(file, line, "is not UTF-8 text")
    })
}

/// Checks the entries as the plugins themselves do: modules, patterns, configs. The line is that of
/// the key inside `config` where the plugin names one.
pub fn check_entries(
    config: &Config,
    builtins: &[plugin_sdk::BuiltIn],
    file: &Path,
) -> Result<Problems, Problems> {
    let text = read_text(file)?;
    let report = Report::new(&text);
    let modules = config.plugins.modules(builtins, &config.root_directory);
    let found = plugin_host::check(&config.plugins.entries, &modules, &config.timezone);
    let list = found.into_iter().map(|problem| Problem {
        severity: match problem.fatal {
            true => Severity::Error,
            false => Severity::Warning,
        },
        line: entry_line(config, &report, &problem),
        message: problem.message,
    });
    let problems = Problems {
        file: file.into(),
        list: list.collect(),
    };
    match problems.any_error() {
        true => Err(problems),
        false => Ok(problems),
    }
}

fn entry_line(config: &Config, report: &Report<'_>, problem: &plugin_host::Problem) -> usize {
    let plugins = &config.plugins;
    let at = plugins
        .entries
        .iter()
        .position(|e| e.place == problem.place);
    let Some(place) = at.map(|index| &plugins.places[index]) else {
        return 0;
    };
    let words = problem.message.split([':', ' ']).next().unwrap_or("");
    match words.starts_with("config") {
        true => report.line(&place.below(words)),
        false if ENTRY_KEYS.contains(&words) => report.line(&place.key(words)),
        false => report.line(place),
    }
}

/// Checks a text; `file` is for messages and for paths relative to it.
///
/// # Errors
/// All problems of the text, if one of them is an error.
pub fn parse(text: &str, file: &Path) -> Result<(Config, Problems), Problems> {
    let value = parse_yaml(text, file)?;
    check(&value, text, file)
}

fn check(value: &Value, text: &str, file: &Path) -> Result<(Config, Problems), Problems> {
    let mut report = Report::new(text);
    let config = settings::read(value, file, &mut report);
    let mut list = report.problems;
    list.sort_by_key(|problem| problem.line);
    let problems = Problems {
        file: file.into(),
        list,
    };
    match config {
        Some(config) if !problems.any_error() => Ok((config, problems)),
        _ => Err(problems),
    }
}

fn parse_yaml(text: &str, file: &Path) -> Result<Value, Problems> {
    // The library's own value refuses a key that is there twice; a JSON map would keep the last.
    let value: yaml::Value =
        yaml::from_str(text).map_err(|error| syntax_problem(file, text, &error))?;
    match to_json(value) {
        Ok(Value::Null) => Err(Problems::fatal(
            file,
            0,
            "is empty; `mkts init` writes an example",
        )),
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Problems::fatal(
            file,
            1,
            "must hold keys and values (`listen_port: 5993`)",
        )),
        Err(what) => Err(Problems::fatal(file, 0, what)),
    }
}

fn syntax_problem(file: &Path, text: &str, error: &yaml::Error) -> Problems {
    let mut line = error.location().map_or(0, |at| at.line());
    let text_line = text
        .lines()
        .nth(line.saturating_sub(1))
        .unwrap_or("")
        .trim();
    let message = error.to_string();
    if let Some(key) = quoted_after(&message, "duplicate entry with key ") {
        line = second_line(text, line, key).unwrap_or(line);
        return Problems::fatal(file, line, format!("{key} stands here for the second time"));
    }
    let aliased = message.contains("alias")
        || message.contains("unknown anchor")
        || message.contains("while parsing a node");
    let hint = match text_line.split_once(": *") {
        Some((key, rest)) if aliased => {
            format!(
                "; a value that begins with * must be quoted, else YAML takes it for an alias: \
                 {key}: \"*{rest}\""
            )
        }
        _ if text_line.contains('\t') => {
            "; YAML does not allow tabs for indentation, use spaces".into()
        }
        _ => String::new(),
    };
    Problems::fatal(
        file,
        line,
        format!("failed to parse configuration file: {message}{hint}"),
    )
}

fn quoted_after<'t>(message: &'t str, before: &str) -> Option<&'t str> {
    let (_, rest) = message.split_once(before)?;
    rest.strip_prefix('"')?.split('"').next()
}

/// The parser names the map in which a key is doubled; the second of two equal lines is the key.
fn second_line(text: &str, map: usize, key: &str) -> Option<usize> {
    let is_key = |line: &str| {
        let rest = line
            .trim_start_matches([' ', '-', '"', '\''])
            .strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with(':'))
    };
    let lines = text.lines().enumerate().skip(map.saturating_sub(1));
    let mut found = lines
        .filter(|(_, line)| is_key(line))
        .map(|(index, _)| index + 1);
    found.nth(1)
}

fn to_json(value: yaml::Value) -> Result<Value, String> {
    Ok(match value {
        yaml::Value::Null => Value::Null,
        yaml::Value::Bool(flag) => flag.into(),
        yaml::Value::Number(number) => number_to_json(&number),
        yaml::Value::String(text) => text.into(),
        yaml::Value::Sequence(list) => {
            Value::Array(list.into_iter().map(to_json).collect::<Result<_, _>>()?)
        }
        yaml::Value::Mapping(map) => {
            let mut object = serde_json::Map::new();
            for (key, value) in map {
                object.insert(key_text(key)?, to_json(value)?);
            }
            Value::Object(object)
        }
        yaml::Value::Tagged(tagged) => {
            return Err(format!("the YAML tag {} is not known", tagged.tag));
        }
    })
}

fn number_to_json(number: &yaml::Number) -> Value {
    if let Some(value) = number.as_u64() {
        value.into()
    } else if let Some(value) = number.as_i64() {
        value.into()
    } else {
        // JSON has no NaN or infinity; as text they reach the check of the key with their name.
        match number.as_f64().and_then(serde_json::Number::from_f64) {
            Some(value) => Value::Number(value),
            None => Value::String(number.to_string()),
        }
    }
}

fn key_text(key: yaml::Value) -> Result<String, String> {
    match key {
        yaml::Value::String(text) => Ok(text),
        yaml::Value::Bool(flag) => Ok(flag.to_string()),
        yaml::Value::Number(number) => Ok(number.to_string()),
        _ => Err("a key must be plain text".into()),
    }
}

/// The line of a place in the text: of the key for a map, of the value for a list. The text is
/// parsed once more, this time only to fail at that place: the parser's own error then knows the
/// line, whatever style the YAML is written in. Only called when there is something to report.
fn line_of(text: &str, path: &[Step]) -> usize {
    let error = match Walk(path).deserialize(yaml::Deserializer::from_str(text)) {
        Ok(()) => return 0,
        Err(error) => error,
    };
    error.location().map_or(0, |at| at.line())
}

struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place of a problem")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(de::Error::custom("here"));
        };
        let stop = rest.is_empty();
        while let Some(found) = map.next_key_seed(FindKey { wanted, stop })? {
            if found {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            return Err(de::Error::custom("here"));
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk(rest)).map(|_| ())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom("here"))
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Err(E::custom("here"))
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Err(E::custom("here"))
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom("here"))
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom("here"))
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(E::custom("here"))
    }
}

struct FindKey<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for FindKey<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FindKey<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.wanted, self.stop) {
            (true, true) => Err(E::custom("here")),
            (same, _) => Ok(same),
        }
    }
}

#[cfg(test)]
mod tests;
