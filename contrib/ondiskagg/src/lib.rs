//! Keeps coarser bars of a bucket up to date: `AAPL/1Min/OHLCV` -> `AAPL/5Min/OHLCV`, `AAPL/1D/OHLCV`.
//!
//! ```yaml
//! triggers:
//!   - module: ondiskagg.so
//!     on: "*/1Min/OHLCV"
//!     config:
//!       destinations: [5Min, 15Min, 1H, 1D]
//!       filter: nasdaq            # optional: daily bars and longer of the session only
//! ```
//!
//! For each write the windows of every destination that hold a written row are found, the stored
//! base rows of these windows are read, and each window is computed anew. Nothing is ever added to
//! an old aggregate, and nothing is kept between fires, so the result does not depend on the order
//! in which rows came: **when no event is waiting, every aggregate equals recomputation from the
//! base rows**.
//!
//! Bars need the columns Open, High, Low and Close; Volume is summed if there is one. Ticks need
//! Price and Size; see [`tick_bars`]. A destination is written to `SYM/<as configured>/GROUP`, where
//! the group `TRADE` becomes `OHLCV`.
//!
//! Deleted base rows: windows that still hold rows are computed anew, and an aggregate whose rows are
//! all gone is deleted with them. What retention removes is no event, and neither does a bucket that
//! is dropped take its aggregates along: they outlive the rows they were made of.
#![forbid(unsafe_code)]

mod config;
mod output;
mod rows;
mod spans;
#[cfg(test)]
mod tests;
mod ticks;

use std::collections::HashSet;

use calendar::Calendar;
use model::{BucketKey, Timeframe, Zone};
use plugin_sdk::{
    Batch, BuiltIn, Delivery, Event, FireCtx, FireError, Init, Level, Manifest, Plugin,
    PluginError, Trigger,
};

pub use config::Config;
pub use ticks::tick_bars;

use config::{Destination, Filter};
use output::{Output, finish};
use rows::{PART_ROWS_MAX, Reader, Shape};
use spans::Spans;

plugin_sdk::export_plugin!(OnDiskAgg: trigger);

/// The line in the server's table of plugins.
pub const BUILT_IN: BuiltIn = BuiltIn::trigger::<OnDiskAgg>();

/// The trigger.
#[derive(Debug)]
pub struct OnDiskAgg {
    destinations: Vec<Destination>,
    calendar: Option<Calendar>,
    zone: Zone,
    part_rows_max: usize,
    reports: Reports,
}

impl Plugin for OnDiskAgg {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Exact,
        accepts_gap: true,
        ..Manifest::new("ondiskagg", "1.0.0")
    };

    fn new(config: Config, init: &mut Init<'_>) -> Result<Self, PluginError> {
        let Filter { nasdaq } = config.filter;
        Ok(Self {
            destinations: config.destinations,
            calendar: nasdaq.then(Calendar::nasdaq),
            zone: init.zone.clone(),
            part_rows_max: PART_ROWS_MAX,
            reports: Reports::default(),
        })
    }
}

impl Trigger for OnDiskAgg {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        match event {
            Event::Write(batch) => self.on_write(ctx, batch),
            Event::Gap { key, from, to } => self.on_gap(ctx, key, *from, *to),
            Event::Deleted(key) => {
                self.reports.0.remove(*key);
                Ok(())
            }
            Event::Timer { .. } => Ok(()),
        }
    }
}

impl OnDiskAgg {
    fn on_write(&mut self, ctx: &mut FireCtx<'_>, batch: &Batch<'_>) -> Result<(), FireError> {
        if let Err(why) = Shape::of(batch.rows.schema()) {
            return self.reports.unfit(batch.key, &why);
        }
        let times = rows::stored_times(batch, &self.zone);
        let spans = |timeframe| Spans::of_times(&times, timeframe, &self.zone);
        let outputs = self.outputs(batch.key, batch.timeframe, spans)?;
        let mut outputs = self.compute(ctx, batch.key, batch.timeframe, outputs)?;
        for output in &mut outputs {
            finish(ctx, output)?;
        }
        Ok(())
    }

    fn on_gap(
        &mut self,
        ctx: &mut FireCtx<'_>,
        key: &BucketKey,
        from: i64,
        to: i64,
    ) -> Result<(), FireError> {
        let base = Timeframe::parse(key.timeframe()).map_err(|e| FireError::Skip(e.to_string()))?;
        // What is made of the bucket decides what may be deleted with its rows.
        let Some(none) = ctx.query(&rows::none_of(key))? else {
            return Ok(());
        };
        let shape = match Shape::of(none.schema()) {
            Ok(shape) => shape,
            Err(why) => return self.reports.unfit(key, &why),
        };
        let range = spans::clamped(from, to, base, &self.zone);
        let spans = |timeframe| Spans::of_range(range.clone(), timeframe, &self.zone);
        let mut outputs = self.outputs(key, base, spans)?;
        if shape == Shape::Bars {
            self.reports.drop_finer(ctx, key, &mut outputs);
        }
        let mut outputs = self.compute(ctx, key, base, outputs)?;
        for output in &mut outputs {
            // In front of the writes, which may lie between two orphans.
            delete_orphans(ctx, output)?;
            finish(ctx, output)?;
        }
        Ok(())
    }

    /// One output for each destination that can be made of the base, with its affected windows.
    fn outputs(
        &self,
        key: &BucketKey,
        base: Timeframe,
        spans: impl Fn(Timeframe) -> Spans,
    ) -> Result<Vec<Output>, FireError> {
        let group = match key.attribute_group() {
            "TRADE" => "OHLCV",
            other => other,
        };
        let mut outputs = Vec::with_capacity(self.destinations.len());
        for destination in &self.destinations {
            let target = BucketKey::new(key.symbol(), &destination.text, group)
                .map_err(|error| FireError::Skip(error.to_string()))?;
            if target != *key {
                let timeframe = destination.timeframe;
                outputs.push(Output::new(target, timeframe, base, spans(timeframe)));
            }
        }
        Ok(outputs)
    }

    /// Reads the base rows of all affected windows and rolls them up.
    fn compute(
        &mut self,
        ctx: &mut FireCtx<'_>,
        key: &BucketKey,
        base: Timeframe,
        mut outputs: Vec<Output>,
    ) -> Result<Vec<Output>, FireError> {
        let timeframes: Vec<Timeframe> = outputs.iter().map(|o| o.timeframe).collect();
        for span in Spans::union(outputs.iter().map(|o| &o.spans)).iter() {
            let mut reader = Reader::new(
                key,
                span.clone(),
                &timeframes,
                &self.zone,
                self.part_rows_max,
            );
            while let Some(part) = reader.next(ctx)? {
                let shape = match Shape::of(part.rows.schema()) {
                    Ok(shape) => shape,
                    Err(why) => {
                        self.reports.unfit(key, &why)?;
                        return Ok(Vec::new());
                    }
                };
                if shape == Shape::Bars {
                    self.reports.drop_finer(ctx, key, &mut outputs);
                }
                for output in &mut outputs {
                    output.add(&part, shape, base, self.calendar.as_ref(), &self.zone)?;
                }
            }
        }
        Ok(outputs)
    }
}

/// Buckets that were reported as not fit for aggregation: one report each is enough.
#[derive(Debug, Default)]
struct Reports(HashSet<BucketKey>);

impl Reports {
    fn unfit(&mut self, key: &BucketKey, why: &str) -> Result<(), FireError> {
        if self.0.insert(key.clone()) {
            return Err(FireError::Skip(format!("{key} is not aggregated: {why}")));
        }
        Ok(())
    }

    /// Drops the outputs that are shorter than the bars they would be made of.
    fn drop_finer(&mut self, ctx: &mut FireCtx<'_>, key: &BucketKey, outputs: &mut Vec<Output>) {
        outputs.retain(|output| {
            if output.is_finer_than_base && self.0.insert(output.key.clone()) {
                let text = format!("{} is finer than {key} and is not made of it", output.key);
                ctx.log(Level::Warn, &text);
            }
            !output.is_finer_than_base
        });
    }
}

/// Deletes the aggregates that have lost all their base rows.
fn delete_orphans(ctx: &mut FireCtx<'_>, output: &Output) -> Result<(), FireError> {
    for span in output.spans.iter() {
        let Some(stored) = ctx.query(&rows::times_of(&output.key, span))? else {
            continue;
        };
        let kept = |time: &i64| output.has_written(*time);
        for orphans in stored.times().split(kept) {
            if let (Some(first), Some(last)) = (orphans.first(), orphans.last()) {
                ctx.delete(&output.key, *first, *last)?;
            }
        }
    }
    Ok(())
}
