//! One aggregate in the making.

use calendar::{Calendar, is_session_day};
use model::{
    Aggregation, BatchBuilder, BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind,
    Schema, Timeframe, Windows, Zone, roll_up,
};
use plugin_sdk::{FireCtx, Level, PluginError};

use crate::rows::{Part, Shape};
use crate::spans::Spans;
use crate::ticks::tick_bars_of;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// The output columns of bars, in stored order.
const BARS: [(&str, Aggregation); 5] = [
    ("Open", Aggregation::First),
    ("High", Aggregation::Max),
    ("Low", Aggregation::Min),
    ("Close", Aggregation::Last),
    ("Volume", Aggregation::Sum),
];

/// The affected windows of one destination and what has been computed of them.
pub(crate) struct Output {
    pub(crate) key: BucketKey,
    pub(crate) timeframe: Timeframe,
    pub(crate) spans: Spans,
    /// Bars shorter than the base cannot be made of bars.
    pub(crate) is_finer_than_base: bool,
    /// Windows before this time are computed.
    done: i64,
    computed: Vec<ColumnBatch>,
    saturated: usize,
}

/// Aggregates of some windows.
pub(crate) struct Aggregates {
    pub(crate) rows: ColumnBatch,
    /// Volumes that did not fit their type.
    pub(crate) saturated: usize,
}

impl Output {
    pub(crate) fn new(key: BucketKey, timeframe: Timeframe, base: Timeframe, spans: Spans) -> Self {
        Self {
            key,
            timeframe,
            spans,
            is_finer_than_base: timeframe.nanos() < base.nanos(),
            done: i64::MIN,
            computed: Vec::new(),
            saturated: 0,
        }
    }

    /// Computes the affected windows that a part holds as a whole and that are not computed yet.
    pub(crate) fn add(
        &mut self,
        part: &Part,
        shape: Shape,
        base: Timeframe,
        calendar: Option<&Calendar>,
        zone: &Zone,
    ) -> Result<(), PluginError> {
        let end = match part.is_last {
            true => part.end,
            false => self.timeframe.floor(part.end, zone),
        };
        let affected = affected_rows(&part.rows, &self.spans, self.done, end)?;
        self.done = self.done.max(end);
        let rows = match calendar {
            Some(calendar) if self.timeframe.nanos() >= DAY_NANOS => {
                session_rows(affected, shape, base, calendar, zone)?
            }
            _ => affected,
        };
        if rows.is_empty() {
            return Ok(());
        }
        let windows = Windows::of(rows.times(), self.timeframe, zone);
        let aggregates = match shape {
            Shape::Bars => roll_up_bars(&rows, &windows)?,
            Shape::Ticks => tick_bars_of(&rows, &windows, self.timeframe)?,
        };
        self.saturated += aggregates.saturated;
        if !aggregates.rows.is_empty() {
            self.computed.push(aggregates.rows);
        }
        Ok(())
    }

    /// Whether the aggregate of this window was computed.
    pub(crate) fn has_written(&self, time: i64) -> bool {
        let holds = |rows: &ColumnBatch| rows.times().binary_search(&time).is_ok();
        self.computed.iter().any(holds)
    }
}

/// Writes what was computed.
pub(crate) fn finish(ctx: &mut FireCtx<'_>, output: &mut Output) -> Result<(), PluginError> {
    let Some(first) = output.computed.first() else {
        return Ok(());
    };
    if output.computed.len() > 1 {
        let count = output.computed.iter().map(ColumnBatch::rows).sum();
        let mut joined = BatchBuilder::new(first.schema().clone(), count);
        for rows in &output.computed {
            joined.append(rows).map_err(text)?;
        }
        output.computed = vec![joined.finish()];
    }
    ctx.write(&output.key, RowKind::Bar, output.computed[0].clone())?;
    if output.saturated > 0 {
        let text = format!(
            "{}: {} volumes are too large for their type and were limited to its range",
            output.key, output.saturated
        );
        ctx.log(Level::Warn, &text);
    }
    Ok(())
}

/// The rows of `spans` between two times.
fn affected_rows(
    rows: &ColumnBatch,
    spans: &Spans,
    from: i64,
    until: i64,
) -> Result<ColumnBatch, PluginError> {
    let times = rows.times();
    let mut ranges = spans
        .within(from..until)
        .map(|span| {
            let first = times.partition_point(|time| *time < span.start);
            first..times.partition_point(|time| *time < span.end)
        })
        .filter(|range| !range.is_empty());
    let Some(first) = ranges.next() else {
        return Ok(ColumnBatch::empty(rows.schema().clone()));
    };
    let Some(second) = ranges.next() else {
        return Ok(rows.slice(first));
    };
    join(rows, [first, second].into_iter().chain(ranges))
}

fn join(
    rows: &ColumnBatch,
    ranges: impl Iterator<Item = std::ops::Range<usize>>,
) -> Result<ColumnBatch, PluginError> {
    let mut joined = BatchBuilder::new(rows.schema().clone(), 0);
    for range in ranges {
        joined.append(&rows.slice(range)).map_err(text)?;
    }
    Ok(joined.finish())
}

/// The rows that belong to sessions. Bars of a day count by their date in the zone that made them;
/// longer ones hold closed days anyway and all count.
fn session_rows(
    rows: ColumnBatch,
    shape: Shape,
    base: Timeframe,
    calendar: &Calendar,
    zone: &Zone,
) -> Result<ColumnBatch, PluginError> {
    if shape == Shape::Ticks || base.nanos() < DAY_NANOS {
        let spans = calendar.open_rows(rows.times());
        return join(&rows, spans.into_iter());
    }
    if base.nanos() > DAY_NANOS {
        return Ok(rows);
    }
    let times = rows.times().iter().enumerate();
    let open = times.filter(|(_, time)| is_session_day(zone.local_day(**time)));
    let open: Vec<u32> = open.map(|(row, _)| row as u32).collect();
    Ok(rows.take(&open))
}

fn roll_up_bars(rows: &ColumnBatch, windows: &Windows) -> Result<Aggregates, PluginError> {
    let mut defs = Vec::with_capacity(BARS.len());
    let mut columns = Vec::with_capacity(BARS.len());
    let mut saturated = 0;
    for (name, how) in BARS {
        let Some(column) = rows.column(name) else {
            continue;
        };
        // Only Volume can be text here, and text has no sum.
        if column.ty() == ColumnType::Str16 {
            continue;
        }
        let rolled = roll_up(column, windows, how);
        saturated += rolled.saturated;
        defs.push(ColumnDef::new(name, column.ty()));
        columns.push(rolled.column);
    }
    let schema = Schema::new(defs).map_err(|error| PluginError::from(error.to_string()))?;
    let times = Column::from_values(windows.starts.clone());
    let rows = ColumnBatch::new(schema, times, columns).map_err(text)?;
    Ok(Aggregates { rows, saturated })
}

pub(crate) fn text(error: model::BatchError) -> PluginError {
    PluginError::from(error.to_string())
}
