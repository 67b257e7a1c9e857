//! Pushes the newest row of each write to the subscribers of its bucket.
//!
//! ```yaml
//! triggers:
//!   - module: stream.so
//!     on: "*/*/*"
//!     config:
//!       filter: nasdaq            # optional: bars of a day and longer at the close of the session
//! ```
//!
//! Rows of buckets up to `1Min` are pushed at once, historical ones too. A longer bar is not final
//! when it is written: it goes to the shelf until its window ends, a newer content of the same bar
//! takes its place there, and it is pushed once, at the end. What is already over when it is written
//! is not pushed; so back-filled aggregates stay silent.
//!
//! With `filter: nasdaq` the shelf of bars of a day and longer ends with the last session of the bar,
//! at 16:00 of New York or 13:00 on days of an early close. A bar without a session is not pushed.
//!
//! The shelf is kept by timers of the host. Delivery is volatile: after a restart nothing is pushed
//! again, nobody wants the rows of yesterday.
#![forbid(unsafe_code)]

mod config;
mod message;

use calendar::Calendar;
use model::{BucketKey, ColumnBatch, RowKind, Timeframe, Zone};
use plugin_sdk::{
    Batch, BuiltIn, Delivery, Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError,
    Query, QueryLimit, Trigger,
};

pub use config::Config;

use message::message;

plugin_sdk::export_plugin!(Stream: trigger);

/// The line in the server's table of plugins.
pub const BUILT_IN: BuiltIn = BuiltIn::trigger::<Stream>();

const MINUTE_NANOS: i64 = 60_000_000_000;
const DAY_NANOS: i64 = 1440 * MINUTE_NANOS;

/// The trigger.
#[derive(Debug)]
pub struct Stream {
    calendar: Option<Calendar>,
    zone: Zone,
}

impl Plugin for Stream {
    type Config = Config;
    const MANIFEST: Manifest = Manifest {
        delivery: Delivery::Volatile,
        accepts_gap: false,
        ..Manifest::new("stream", "1.0.0")
    };

    fn new(config: Config, init: &mut Init<'_>) -> Result<Self, PluginError> {
        Ok(Self {
            calendar: config.filter.nasdaq.then(Calendar::nasdaq),
            zone: init.zone.clone(),
        })
    }
}

impl Trigger for Stream {
    fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
        match event {
            Event::Write(batch) => self.on_write(ctx, batch),
            Event::Timer { key, payload, .. } => {
                let stream = timer_stream(key)
                    .ok_or_else(|| FireError::Skip("a timer of another plugin".into()))?;
                ctx.publish(stream, payload.to_vec().into());
                Ok(())
            }
            Event::Gap { .. } | Event::Deleted(_) => Ok(()),
        }
    }
}

impl Stream {
    fn on_write(&mut self, ctx: &mut FireCtx<'_>, batch: &Batch<'_>) -> Result<(), FireError> {
        let Some(newest) = newest(batch.rows) else {
            return Ok(());
        };
        if batch.timeframe.nanos() <= MINUTE_NANOS {
            let payload = message(batch.key, batch.kind, batch.rows, newest);
            ctx.publish(batch.key.as_str(), payload);
            return Ok(());
        }
        let time = batch.rows.times()[newest];
        match self.deadline(batch.timeframe, time) {
            Some(deadline) if deadline > ctx.info().now => {
                self.shelve(ctx, batch, newest, deadline)
            }
            _ => Ok(()),
        }
    }

    fn shelve(
        &self,
        ctx: &mut FireCtx<'_>,
        batch: &Batch<'_>,
        newest: usize,
        deadline: i64,
    ) -> Result<(), FireError> {
        let window = batch
            .timeframe
            .window(batch.rows.times()[newest], &self.zone);
        // A late tick must not take the place of the last one; a bar has one row for its window.
        let stored = match batch.kind {
            RowKind::Bar => None,
            RowKind::Tick => ctx.query(&Query {
                key: batch.key,
                from: window.start,
                to: window.end - 1,
                columns: None,
                limit: Some(QueryLimit::Last(1)),
            })?,
        };
        let payload = match stored.filter(|rows| !rows.is_empty()) {
            Some(last) => message(batch.key, batch.kind, &last, last.rows() - 1),
            None => message(batch.key, batch.kind, batch.rows, newest),
        };
        ctx.set_timer(&timer_key(batch.key, window.end), deadline, &payload)?;
        Ok(())
    }

    /// When the bar that holds `time` is final; `None` if it never is.
    fn deadline(&self, timeframe: Timeframe, time: i64) -> Option<i64> {
        let window = timeframe.window(time, &self.zone);
        match &self.calendar {
            Some(calendar) if timeframe.nanos() >= DAY_NANOS => {
                // Days are those of the server, by date; their sessions those of the exchange.
                let first = self.zone.local_day(window.start);
                let last = self.zone.local_day(window.end - 1);
                let session = (first..=last).rev().find_map(|day| calendar.session(day));
                session.map(|session| session.end)
            }
            _ => Some(window.end),
        }
    }
}

/// The row of the greatest time, of equal ones the last written.
fn newest(rows: &ColumnBatch) -> Option<usize> {
    let times = rows.times().iter().enumerate();
    times.max_by_key(|(_, time)| **time).map(|(row, _)| row)
}

/// One place on the shelf for each bar: the bucket and the end of the window.
fn timer_key(key: &BucketKey, end: i64) -> Vec<u8> {
    let mut bytes = key.as_str().as_bytes().to_vec();
    bytes.extend_from_slice(&end.to_be_bytes());
    bytes
}

fn timer_stream(key: &[u8]) -> Option<&str> {
    let (stream, _) = key.split_last_chunk::<8>()?;
    std::str::from_utf8(stream).ok()
}

#[cfg(test)]
mod tests;
