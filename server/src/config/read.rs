//! Typed access to the parts of a configuration, with the place of every problem.

use std::fmt;
use std::time::Duration;

use plugin_host::nearest;
use serde_json::{Map, Value};

use super::{Problem, Severity, line_of};

/// One step from the top of the file to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A place in the file, printed as `triggers[0].window.rows`.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(pub(super) Vec<Step>);

impl Place {
    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.into()));
        Self(steps)
    }

    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// Adds the path of a plugin's own config error: `.destinations[2]`. Steps that the file does
    /// not have end the walk early, at the last one that is there.
    pub(super) fn below(&self, path: &str) -> Self {
        let mut steps = self.0.clone();
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let mut pieces = part.split('[');
            if let Some(key) = pieces.next().filter(|key| !key.is_empty()) {
                steps.push(Step::Key(key.into()));
            }
            let indexes = pieces.filter_map(|piece| piece.trim_end_matches(']').parse().ok());
            steps.extend(indexes.map(Step::Index));
        }
        Self(steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Collects problems of one text.
pub(super) struct Report<'t> {
    text: &'t str,
    pub(super) problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// Line of a place, or of the nearest one above it that exists.
    pub(super) fn line(&self, place: &Place) -> usize {
        (1..=place.0.len())
            .rev()
            .map(|depth| line_of(self.text, &place.0[..depth]))
            .find(|line| *line > 0)
            .unwrap_or(0)
    }

    pub(super) fn error(&mut self, place: &Place, what: impl fmt::Display) {
        self.add(Severity::Error, place, what);
    }

    pub(super) fn warn(&mut self, place: &Place, what: impl fmt::Display) {
        self.add(Severity::Warning, place, what);
    }

    fn add(&mut self, severity: Severity, place: &Place, what: impl fmt::Display) {
        let message = if place.0.is_empty() {
            what.to_string()
        } else {
            format!("{place}: {what}")
        };
        self.problems.push(Problem {
            severity,
            line: self.line(place),
            message,
        });
    }
}

/// A map of the file.
pub(super) struct Section<'r, 't> {
    pub(super) report: &'r mut Report<'t>,
    pub(super) place: Place,
    map: Map<String, Value>,
}

impl<'r, 't> Section<'r, 't> {
    /// Takes a map and refuses unknown keys. `dropped` names those that are accepted and ignored.
    pub(super) fn open(
        report: &'r mut Report<'t>,
        place: Place,
        value: &Value,
        known: &[&str],
        dropped: &[(&str, &str)],
    ) -> Self {
        let map = match value {
            Value::Object(map) => map.clone(),
            Value::Null => Map::new(),
            other => {
                report.error(
                    &place,
                    format!("must be keys and values, found {}", show(other)),
                );
                Map::new()
            }
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let at = place.key(key);
            if let Some((_, why)) = dropped.iter().find(|(name, _)| name == key) {
                report.warn(&at, format!("has no effect any more: {why}"));
                continue;
            }
            let hint = match nearest(key, known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => format!("unknown key; known here: {}", known.join(", ")),
            };
            report.error(&at, hint);
        }
        Self { report, place, map }
    }

    /// The value of a key; a key without a value counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether a key stands there at all, with or without a value.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn error(&mut self, key: &str, what: impl fmt::Display) {
        let place = self.place.key(key);
        self.report.error(&place, what);
    }

    pub(super) fn warn(&mut self, key: &str, what: impl fmt::Display) {
        let place = self.place.key(key);
        self.report.warn(&place, what);
    }

    /// A map below this one.
    pub(super) fn section(&mut self, key: &str, known: &[&str]) -> Option<Section<'_, 't>> {
        let value = self.get(key)?.clone();
        let place = self.place.key(key);
        Some(Section::open(self.report, place, &value, known, &[]))
    }

    /// Text; a number is taken by its digits (`listen_port: 5993` and `"5993"` are the same).
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            other => {
                let what = format!("must be text, found {}", show(other));
                self.error(key, what);
                None
            }
        }
    }

    /// A text or a list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        match self.get(key)?.clone() {
            Value::Array(list) => {
                let place = self.place.key(key);
                let mut out = Vec::new();
                for (index, item) in list.into_iter().enumerate() {
                    match item {
                        Value::String(text) => out.push(text),
                        other => {
                            let what = format!("must be text, found {}", show(&other));
                            self.report.error(&place.index(index), what);
                        }
                    }
                }
                Some(out)
            }
            _ => self.text(key).map(|text| vec![text]),
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.error(
            key,
            format!("\"{text}\" is not one of {}", names.join(", ")),
        );
        None
    }

    /// A bool as Go reads it, quoted or not.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let text = match self.get(key)? {
            Value::Bool(flag) => return Some(*flag),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
            _ => {
                self.error(
                    key,
                    format!("\"{text}\" is not a bool; write true or false"),
                );
                None
            }
        }
    }

    /// A whole number within bounds, as number or text.
    pub(super) fn int(&mut self, key: &str, low: i64, high: i64) -> Option<i64> {
        let value = self.get(key)?;
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let found = show(value);
        match number {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                self.error(
                    key,
                    format!("must be a whole number from {low} to {high}, found {found}"),
                );
                None
            }
        }
    }

    /// A TCP port. Empty text is absent, as in MarketStore.
    pub(super) fn port(&mut self, key: &str) -> Option<u16> {
        if matches!(self.get(key), Some(Value::String(text)) if text.is_empty()) {
            return None;
        }
        self.int(key, 0, 65_535)
            .map(|port| u16::try_from(port).expect("int keeps to its bounds"))
    }

    /// A size in bytes: a number, or a number with a unit (`64MiB`, `4GiB`, `10MB`).
    pub(super) fn size(&mut self, key: &str) -> Option<u64> {
        let value = self.get(key)?.clone();
        let size = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => parse_size(text),
            _ => None,
        };
        if size.is_none_or(|size| size == 0) {
            self.error(
                key,
                format!(
                    "must be a size like 65536, 64KiB or 4GiB, found {}",
                    show(&value)
                ),
            );
            return None;
        }
        size
    }

    /// A duration with a unit (`500ms`, `10s`, `5m`, `24h`); `bare` is the unit of a number alone.
    pub(super) fn duration(&mut self, key: &str, bare: Option<Duration>) -> Option<Duration> {
        let value = self.get(key)?.clone();
        let duration = match (&value, bare) {
            (Value::Number(number), Some(unit)) => number
                .as_u64()
                .and_then(|count| u32::try_from(count).ok())
                .and_then(|count| unit.checked_mul(count)),
            (Value::String(text), unit) => parse_duration(text, unit),
            _ => None,
        };
        if duration.is_none() {
            self.error(
                key,
                format!(
                    "must be a time like 500ms, 10s or 5m, found {}",
                    show(&value)
                ),
            );
        }
        duration
    }
}

/// A value for a message, short and without the content of maps and lists.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::String(text) if text.chars().count() > 40 => {
            format!("\"{}...\"", text.chars().take(40).collect::<String>())
        }
        Value::String(text) => format!("\"{text}\""),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "keys and values".into(),
        other => other.to_string(),
    }
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    Some((number, unit.trim()))
}

pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    let bytes = number * factor as f64;
    // Above 2^53 a float no longer counts single bytes; no limit of ours is near.
    (bytes < 9_007_199_254_740_992.0 && bytes.fract() == 0.0).then_some(bytes as u64)
}

pub(super) fn parse_duration(text: &str, bare: Option<Duration>) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let seconds = match unit {
        "" => bare?.as_secs_f64(),
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("1.5KiB"), Some(1536));
        assert_eq!(parse_size("10 MB"), Some(10_000_000));
        assert_eq!(parse_size("10 miles"), None);
        assert_eq!(parse_size("-1"), None);
        assert_eq!(
            parse_duration("500ms", None),
            Some(Duration::from_millis(500))
        );
        assert_eq!(parse_duration("5", None), None);
        let second = Some(Duration::from_secs(1));
        assert_eq!(parse_duration("5", second), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("soon", second), None);
    }
}
