//! Reading base rows.

use std::borrow::Cow;
use std::ops::Range;

use model::{BucketKey, ColumnBatch, ColumnType, RowKind, Schema, Timeframe, Zone};
use plugin_sdk::{Batch, FireCtx, PluginError, Query, QueryLimit};

/// Every column that an aggregate can depend on; a query leaves those out that are missing.
const COLUMNS: &[&str] = &[
    "Open", "High", "Low", "Close", "Volume", "Price", "Size", "Cond1", "Cond2", "Cond3", "Cond4",
];

/// Rows of one query, 50 MiB of bars in doubles; more is read in parts.
pub(crate) const PART_ROWS_MAX: usize = 1 << 20;

/// What the rows of a base are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Open, High, Low, Close and perhaps Volume.
    Bars,
    /// Price and Size.
    Ticks,
}

impl Shape {
    /// Decides by the columns, because a gap does not tell the kind of its rows.
    pub(crate) fn of(schema: &Schema) -> Result<Self, String> {
        let number = |name: &&str| {
            let at = schema.position(name);
            at.is_some_and(|at| schema.columns()[at].ty != ColumnType::Str16)
        };
        if ["Open", "High", "Low", "Close"].iter().all(number) {
            return Ok(Self::Bars);
        }
        if ["Price", "Size"].iter().all(number) {
            return Ok(Self::Ticks);
        }
        let found: Vec<&str> = schema.columns().iter().map(|c| c.name.as_str()).collect();
        Err(format!(
            "it needs the numbers Open, High, Low, Close of bars or Price, Size of ticks, it has {}",
            found.join(", ")
        ))
    }
}

/// The times under which the rows of an event are stored, ascending.
pub(crate) fn stored_times<'a>(batch: &Batch<'a>, zone: &Zone) -> Cow<'a, [i64]> {
    let mut times = Cow::Borrowed(batch.rows.times());
    if batch.kind == RowKind::Bar {
        batch.timeframe.floor_all(times.to_mut(), zone);
    }
    if !times.is_sorted() {
        times.to_mut().sort_unstable();
    }
    times
}

/// The query for the times of the rows of a span.
pub(crate) fn times_of<'a>(key: &'a BucketKey, span: &Range<i64>) -> Query<'a> {
    Query {
        key,
        from: span.start,
        to: span.end - 1,
        columns: Some(&["Open"]),
        limit: None,
    }
}

/// No rows of a bucket: its columns.
pub(crate) fn none_of(key: &BucketKey) -> Query<'_> {
    Query {
        key,
        from: i64::MIN,
        to: i64::MAX,
        columns: None,
        limit: Some(QueryLimit::First(0)),
    }
}

/// Some rows of a span, ascending and without a hole.
pub(crate) struct Part {
    pub(crate) rows: ColumnBatch,
    /// All rows before this time have been read.
    pub(crate) end: i64,
    /// Whether nothing follows in the span.
    pub(crate) is_last: bool,
}

/// Reads a span of a bucket in parts of bounded size. A part begins early enough to hold the whole
/// of every window that the part before it cut.
pub(crate) struct Reader<'a> {
    key: &'a BucketKey,
    rest: Range<i64>,
    timeframes: &'a [Timeframe],
    zone: &'a Zone,
    rows_max: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        key: &'a BucketKey,
        span: Range<i64>,
        timeframes: &'a [Timeframe],
        zone: &'a Zone,
        rows_max: usize,
    ) -> Self {
        Self {
            key,
            rest: span,
            timeframes,
            zone,
            rows_max,
        }
    }

    /// The next part; `None` at the end.
    pub(crate) fn next(&mut self, ctx: &mut FireCtx<'_>) -> Result<Option<Part>, PluginError> {
        while self.rest.start < self.rest.end {
            let Some(rows) = ctx.query(&self.query())? else {
                return Ok(None);
            };
            let Some(last) = rows.times().last().copied() else {
                return Ok(None);
            };
            if rows.rows() < self.rows_max {
                self.rest.start = self.rest.end;
                let (end, is_last) = (self.rest.end, true);
                return Ok(Some(Part { rows, end, is_last }));
            }
            // More rows of the time of the last may follow: only what is before it is whole.
            let floors = self.timeframes.iter().map(|t| t.floor(last, self.zone));
            let next = floors.min().unwrap_or(self.rest.end);
            if next > self.rest.start {
                self.rest.start = next;
                let (end, is_last) = (last, false);
                return Ok(Some(Part { rows, end, is_last }));
            }
            // One window alone has more rows than a part.
            self.rows_max = self.rows_max.saturating_mul(2);
        }
        Ok(None)
    }

    fn query(&self) -> Query<'a> {
        Query {
            key: self.key,
            from: self.rest.start,
            to: self.rest.end - 1,
            columns: Some(COLUMNS),
            limit: Some(QueryLimit::First(self.rows_max)),
        }
    }
}
