//! The boring model: sorted maps and lists.

use std::collections::BTreeMap;

use ::model::{
    BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema, Timeframe, Zone,
};

/// One bar: open, high, low, close, volume.
pub(super) type Bar = [f64; 5];

/// Rows of one write for one bucket.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    Bars(Vec<(i64, Bar)>),
    Ticks(Vec<(i64, f64)>),
}

/// One commit.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) rows: Vec<(BucketKey, Rows)>,
    /// Or bars of a range of times that go.
    pub(super) deleted: Option<(BucketKey, i64, i64)>,
}

/// What the buckets hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub(super) bars: BTreeMap<BucketKey, BTreeMap<i64, Bar>>,
    pub(super) ticks: BTreeMap<BucketKey, Vec<(i64, f64)>>,
}

impl State {
    pub(super) fn apply(&mut self, op: &Op) {
        if let Some((key, from, to)) = &op.deleted
            && let Some(bars) = self.bars.get_mut(key)
        {
            bars.retain(|time, _| time < from || time > to);
            if bars.is_empty() {
                self.bars.remove(key);
            }
        }
        for (key, rows) in &op.rows {
            match rows {
                Rows::Bars(rows) => self
                    .bars
                    .entry(key.clone())
                    .or_default()
                    .extend(rows.clone()),
                Rows::Ticks(rows) => {
                    let ticks = self.ticks.entry(key.clone()).or_default();
                    ticks.extend(rows.clone());
                    ticks.sort_by_key(|(time, _)| *time);
                }
            }
        }
    }

    /// The aggregates of one bucket, straight from the definition.
    pub(super) fn aggregates(&self, base: &BucketKey, timeframe: &str) -> BTreeMap<i64, Bar> {
        let timeframe = Timeframe::parse(timeframe).expect("a fixed timeframe");
        let mut out: BTreeMap<i64, Bar> = BTreeMap::new();
        for (time, bar) in self.bars.get(base).into_iter().flatten() {
            let window = out.entry(timeframe.floor(*time, &Zone::utc()));
            window
                .and_modify(|w| {
                    *w = [
                        w[0],
                        w[1].max(bar[1]),
                        w[2].min(bar[2]),
                        bar[3],
                        w[4] + bar[4],
                    ];
                })
                .or_insert(*bar);
        }
        out
    }
}

impl Rows {
    pub(super) fn kind(&self) -> RowKind {
        match self {
            Self::Bars(_) => RowKind::Bar,
            Self::Ticks(_) => RowKind::Tick,
        }
    }

    pub(super) fn batch(&self) -> ColumnBatch {
        match self {
            Self::Bars(rows) => {
                let column = |i: usize| Column::from_values(rows.iter().map(|r| r.1[i]).collect());
                let columns = (0..5).map(column).collect();
                batch(bar_schema(), rows.iter().map(|r| r.0).collect(), columns)
            }
            Self::Ticks(rows) => {
                let prices = Column::from_values(rows.iter().map(|r| r.1).collect());
                batch(
                    tick_schema(),
                    rows.iter().map(|r| r.0).collect(),
                    vec![prices],
                )
            }
        }
    }
}

pub(super) fn bars_of(batch: &ColumnBatch) -> BTreeMap<i64, Bar> {
    let column = |name| {
        batch
            .column(name)
            .and_then(|c| c.values::<f64>())
            .expect("columns are f64")
    };
    let columns = ["Open", "High", "Low", "Close", "Volume"].map(column);
    let bar = |row: usize| columns.map(|c| c[row]);
    let times = batch.times();
    assert!(
        times.is_sorted_by(|a, b| a < b),
        "bars come back ascending, one per time"
    );
    times
        .iter()
        .enumerate()
        .map(|(row, time)| (*time, bar(row)))
        .collect()
}

pub(super) fn ticks_of(batch: &ColumnBatch) -> Vec<(i64, f64)> {
    let prices = batch
        .column("Price")
        .and_then(|c| c.values::<f64>())
        .expect("columns are f64");
    assert!(
        batch.times().is_sorted(),
        "ticks come back in order of time"
    );
    batch
        .times()
        .iter()
        .copied()
        .zip(prices.iter().copied())
        .collect()
}

fn batch(schema: Schema, times: Vec<i64>, columns: Vec<Column>) -> ColumnBatch {
    ColumnBatch::new(schema, Column::from_values(times), columns).expect("equal lengths")
}

fn bar_schema() -> Schema {
    schema(&["Open", "High", "Low", "Close", "Volume"])
}

fn tick_schema() -> Schema {
    schema(&["Price"])
}

fn schema(names: &[&str]) -> Schema {
    Schema::new(
        names
            .iter()
            .map(|n| ColumnDef::new(*n, ColumnType::F64))
            .collect(),
    )
    .expect("fixed names")
}
