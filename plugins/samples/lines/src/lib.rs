//! A source whose feed is its parameter: numbers with commas between, a row each. Its token is the
//! number of values read, so it goes on behind those that are stored.
#![forbid(unsafe_code)]

use std::sync::LazyLock;
use std::time::Instant;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_sdk::{Init, Manifest, More, Plugin, PluginError, Progress, Source, SourceOut};
use serde::Deserialize;

plugin_sdk::export_plugin!(Lines: source);

/// What stands under `config:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bucket of the rows.
    #[serde(default = "target")]
    target: String,
}

fn target() -> String {
    "LINES/1Sec/VALUE".into()
}

/// The source.
#[derive(Debug)]
pub struct Lines {
    target: BucketKey,
    values: Vec<String>,
    at: usize,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let column = ColumnDef::new("Value", ColumnType::F64);
    Schema::new(vec![column]).expect("one column with a legal name")
});

impl Plugin for Lines {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        about: "reads numbers",
        ..Manifest::new("lines", "1.0.0")
    };

    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let target = BucketKey::parse(&config.target)
            .map_err(|error| PluginError::from(format!("target: {error}")))?;
        let (values, at) = (Vec::new(), 0);
        Ok(Self { target, values, at })
    }
}

impl Source for Lines {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        assert!(params != "panic", "told to, in open");
        let token = resume.map_or(Ok([0; 8]), <[u8; 8]>::try_from);
        let token = token.map_err(|_| PluginError::from("a token has 8 bytes"))?;
        self.at = usize::try_from(u64::from_le_bytes(token)).unwrap_or(usize::MAX);
        self.values = params.split(',').map(str::to_owned).collect();
        Ok(())
    }

    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        while let Some(value) = self.values.get(self.at) {
            if out.is_full() {
                return Ok(More::Full);
            }
            if out.is_cancelled() || Instant::now() >= deadline {
                return Ok(More::Timeout);
            }
            assert!(value != "panic", "told to, in next_batch");
            let number: f64 = value.trim().parse().map_err(|_| {
                PluginError::from(format!("value {}: \"{value}\" is no number", self.at))
            })?;
            let time = self.at as i64 * 1_000_000_000;
            let (times, values) = (
                Column::from_values(vec![time]),
                Column::from_values(vec![number]),
            );
            let rows = ColumnBatch::new(SCHEMA.clone(), times, vec![values])
                .map_err(|error| PluginError::from(error.to_string()))?;
            out.append(&self.target, RowKind::Bar, rows)?;
            self.at += 1;
            out.set_resume(&(self.at as u64).to_le_bytes())?;
        }
        Ok(More::End)
    }

    fn progress(&mut self) -> Option<Progress> {
        (!self.values.is_empty()).then(|| Progress {
            share: self.at as f64 / self.values.len() as f64,
            text: format!("{} of {} values", self.at, self.values.len()),
        })
    }
}
