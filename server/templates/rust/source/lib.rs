//! Reads prices from a text file, a line for each: `1700000000,12.5`. `params` is the file.
//!
//! The token is the number of lines read, so the feed goes on behind what is stored, whatever crashes.
#![forbid(unsafe_code)]

use std::time::Instant;

use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
use plugin_sdk::{Init, Manifest, More, Plugin, PluginError, Source, SourceOut};
use serde::Deserialize;

plugin_sdk::export_plugin!({{Type}}: source);

/// What stands under `config:` in mkts.yml. Errors name the key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bucket of the prices.
    into: String,
}

#[derive(Debug)]
pub struct {{Type}} {
    into: BucketKey,
    lines: Vec<String>,
    next: usize,
}

impl Plugin for {{Type}} {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        about: "reads prices from a text file",
        ..Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"))
    };

    fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
        let into = BucketKey::parse(&config.into);
        let into = into.map_err(|error| PluginError::from(format!("into: {error}")))?;
        let (lines, next) = (Vec::new(), 0);
        Ok(Self { into, lines, next })
    }
}

impl Source for {{Type}} {
    fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
        let text = std::fs::read_to_string(params);
        let text = text.map_err(|error| PluginError::from(format!("{params}: {error}")))?;
        self.lines = text.lines().map(str::to_owned).collect();
        let token = resume.map_or(Ok("0"), std::str::from_utf8);
        let next = token.ok().and_then(|token| token.parse().ok());
        self.next = next.ok_or("the token is not of this plugin")?;
        Ok(())
    }

    fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        while let Some(line) = self.lines.get(self.next) {
            if out.is_full() {
                return Ok(More::Full);
            }
            if out.is_cancelled() || Instant::now() >= deadline {
                return Ok(More::Timeout);
            }
            let (time, price) = parse(line).ok_or_else(|| {
                PluginError::from(format!("line {}: \"{line}\" is no price", self.next + 1))
            })?;
            out.append(&self.into, RowKind::Tick, row(time, price)?)?;
            self.next += 1;
            out.set_resume(self.next.to_string().as_bytes())?;
        }
        Ok(More::End)
    }
}

/// Time (ns) and price of a line.
fn parse(line: &str) -> Option<(i64, f64)> {
    let (seconds, price) = line.split_once(',')?;
    let seconds: i64 = seconds.trim().parse().ok()?;
    Some((seconds.checked_mul(1_000_000_000)?, price.trim().parse().ok()?))
}

fn row(time: i64, price: f64) -> Result<ColumnBatch, PluginError> {
    let schema = Schema::new(vec![ColumnDef::new("Price", ColumnType::F64)]);
    let schema = schema.map_err(|error| error.to_string())?;
    let prices = vec![Column::from_values(vec![price])];
    let rows = ColumnBatch::new(schema, Column::from_values(vec![time]), prices);
    rows.map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_time_and_a_price() {
        assert_eq!(parse("2, 12.5"), Some((2_000_000_000, 12.5)));
        assert_eq!(parse("2;12.5"), None);
        assert_eq!(parse("now,12.5"), None);
    }
}
