//! The `config:` of an entry.

use std::collections::BTreeMap;

use model::{ColumnType, RowKind};
use plugin_sdk::{Code, PluginError};
use serde::Deserialize;

/// How a file is read and where its rows go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bucket key; `{Name}` stands for the value of a column.
    pub(crate) bucket: String,
    #[serde(default)]
    pub(crate) kind: Option<Kind>,
    #[serde(default = "epoch")]
    pub(crate) time: String,
    #[serde(default)]
    pub(crate) unit: Unit,
    #[serde(default)]
    pub(crate) columns: BTreeMap<String, Type>,
    #[serde(default)]
    pub(crate) speed: f64,
    #[serde(default)]
    pub(crate) follow: bool,
}

fn epoch() -> String {
    "Epoch".into()
}

/// Whether a bucket keeps one row per time.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Bar,
    Tick,
}

impl From<Kind> for RowKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bar => Self::Bar,
            Kind::Tick => Self::Tick,
        }
    }
}

/// What times that are numbers count, since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    #[default]
    S,
    Ms,
    Us,
    Ns,
}

impl Unit {
    /// Nanoseconds of one.
    pub(crate) fn nanos(self) -> i64 {
        match self {
            Self::S => 1_000_000_000,
            Self::Ms => 1_000_000,
            Self::Us => 1_000,
            Self::Ns => 1,
        }
    }
}

/// Type of a stored column, by the names of `mkts load`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Type {
    #[serde(rename = "f4")]
    F32,
    #[serde(rename = "f8")]
    F64,
    #[serde(rename = "i4")]
    I32,
    #[serde(rename = "i8")]
    I64,
    #[serde(rename = "U16", alias = "text")]
    Text,
}

impl From<Type> for ColumnType {
    fn from(ty: Type) -> Self {
        match ty {
            Type::F32 => Self::F32,
            Type::F64 => Self::F64,
            Type::I32 => Self::I32,
            Type::I64 => Self::I64,
            Type::Text => Self::Str16,
        }
    }
}

impl Config {
    /// What serde cannot check.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let wrong = |what: String| Err(PluginError::new(Code::Config, what));
        if !self.speed.is_finite() || self.speed < 0.0 {
            return wrong(format!(
                "speed: {} must be 0 (as fast as possible) or a factor of real time",
                self.speed
            ));
        }
        let braces = |c| self.bucket.matches(c).count();
        if braces('{') != braces('}') || braces('{') > 1 {
            return wrong(format!(
                "bucket: \"{}\" may have one column in braces, like \"{{Symbol}}/1Min/OHLCV\"",
                self.bucket
            ));
        }
        if braces('{') == 0
            && let Err(error) = model::BucketKey::parse(&self.bucket)
        {
            return wrong(format!("bucket: {error}; write it like IBM/1Min/OHLCV"));
        }
        Ok(())
    }
}
