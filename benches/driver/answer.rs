//! One line of stdout.

use model::{Column, ColumnBatch, ColumnType};
use serde_json::{Map, Value, json};

use crate::Result;

/// A JSON object under way.
#[derive(Debug, Default)]
pub(crate) struct Answer(Map<String, Value>);

impl Answer {
    pub(crate) fn failed(error: &str) -> Self {
        Self::default().with("error", error)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The median of what was measured, and the least.
    pub(crate) fn timed(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let least = times.first().copied().unwrap_or_default();
        Self::default()
            .with("ns", median)
            .with("min_ns", least)
            .with("repeats", times.len())
    }

    /// Rows and checksum of what was found.
    pub(crate) fn found(self, rows: &ColumnBatch) -> Result<Self> {
        let mut columns = vec![rows.time_column().clone()];
        columns.extend_from_slice(rows.columns());
        Ok(self
            .with("rows", rows.rows())
            .with("sum", format!("{:016x}", checksum(&columns)?)))
    }

    pub(crate) fn line(mut self) -> String {
        let ok = !self.0.contains_key("error");
        self.0.insert("ok".to_owned(), json!(ok));
        self.0
            .insert("peak_kib".to_owned(), json!(status_kib("VmHWM:")));
        Value::Object(self.0).to_string()
    }
}

/// A sum over the bits of all values, times as i64 and all others as f64, that sees their order:
/// column `c` and row `r` weigh `(c + 1) * (2 r + 1)`, all modulo 2^64.
pub(crate) fn checksum(columns: &[Column]) -> Result<u64> {
    let mut sum = 0_u64;
    for (index, column) in columns.iter().enumerate() {
        let bits = match column.ty() {
            ColumnType::I64 => column.clone(),
            _ => column.cast(ColumnType::F64)?,
        };
        let mut of_column = 0_u64;
        for (row, value) in bits.bytes().chunks_exact(8).enumerate() {
            let value = u64::from_le_bytes(value.try_into()?);
            of_column = of_column.wrapping_add(value.wrapping_mul(2 * row as u64 + 1));
        }
        sum = sum.wrapping_add(of_column.wrapping_mul(index as u64 + 1));
    }
    Ok(sum)
}

/// A line of /proc/self/status in KiB; 0 where there is no such file.
pub(crate) fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
