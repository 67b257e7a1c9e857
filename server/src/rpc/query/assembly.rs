//! The result of a query as it grows.

use client::wire::{ColumnData, DatasetReply, nanos_of_second};
use engine::BucketInfo;
use model::{Column, ColumnBatch, NANOS_PER_SECOND};

use super::output::{Output, Source};
use crate::http::App;
use crate::room::Held;

/// What the buckets of one query must have in common.
pub(super) const DIFFERENT: &str =
    "symbols in a query must have the same data type or be filtered by common columns";

/// What a reply calls a bucket.
pub(super) fn slice_key(bucket: &BucketInfo) -> String {
    [bucket.key.as_str(), ":Symbol/Timeframe/AttributeGroup"].concat()
}

/// The result as it grows, bucket by bucket.
#[derive(Default)]
pub(super) struct Assembly {
    pub(super) columns: Vec<(String, &'static str, Source)>,
    pub(super) data: Vec<ColumnData>,
    pub(super) epochs: Vec<i64>,
    pub(super) slices: Vec<(String, usize, usize)>,
    pub(super) rows: usize,
    /// Bytes of the room of results that are taken.
    pub(super) taken: u64,
}

/// Room is taken in such pieces, so that many small buckets do not ask for it one by one.
const ROOM_BYTES: u64 = 64 << 10;

/// Seconds of so many rows become a piece of their column: those of small buckets share one.
const EPOCHS_JOINED: usize = 8192;

impl Assembly {
    /// Adds rows of a bucket, behind those that are there.
    pub(super) fn add(
        &mut self,
        bucket: &BucketInfo,
        output: &Output,
        batch: &ColumnBatch,
    ) -> Result<(), String> {
        if self.slices.is_empty() {
            self.columns.clone_from(&output.columns);
            self.data
                .resize_with(output.columns.len(), ColumnData::default);
        } else if let Some(what) = output.difference(&self.columns) {
            return Err(format!("{DIFFERENT}: {} {what}", bucket.key));
        }
        let rows = batch.rows();
        for (data, (_, _, source)) in self.data.iter_mut().zip(&output.columns) {
            match source {
                // Written when there are many of them.
                Source::Epoch => {}
                Source::Column(at) => data.push(batch.columns()[*at].bytes()),
                Source::Nanoseconds => data.push(nanos_of_second(batch.times()).bytes()),
            }
        }
        self.epochs
            .extend(batch.times().iter().map(|t| t.div_euclid(NANOS_PER_SECOND)));
        if self.epochs.len() >= EPOCHS_JOINED {
            self.write_epochs();
        }
        let key = slice_key(bucket);
        match self.slices.last_mut() {
            // A symbol asked for twice: one slice with its rows twice.
            Some(last) if last.0 == key => last.2 += rows,
            _ => self.slices.push((key, self.rows, rows)),
        }
        self.rows += rows;
        Ok(())
    }

    fn write_epochs(&mut self) {
        let epochs = Column::from_values(std::mem::take(&mut self.epochs));
        for (data, column) in self.data.iter_mut().zip(&self.columns) {
            if column.2 == Source::Epoch {
                data.push(epochs.bytes());
            }
        }
    }

    /// The rows are in memory until the reply is sent.
    pub(super) fn take_room(
        &mut self,
        output: &Output,
        app: &App,
        held: &mut Held,
    ) -> Result<(), String> {
        let bytes = self.rows as u64 * output.row_bytes();
        if bytes <= self.taken {
            return Ok(());
        }
        let more = (bytes - self.taken).next_multiple_of(ROOM_BYTES);
        let Some(part) = app.results.take(more) else {
            metrics::counter!("mkts_rejected_total", "reason" => "results").increment(1);
            return Err(format!(
                "the results under way together have more than {} bytes (limits.results_bytes); \
                 try again later or ask for fewer rows",
                app.limits().results_bytes
            ));
        };
        held.merge(part);
        self.taken += more;
        Ok(())
    }

    pub(super) fn finish(mut self) -> DatasetReply {
        self.write_epochs();
        DatasetReply {
            types: self.columns.iter().map(|c| c.1.into()).collect(),
            names: self.columns.into_iter().map(|c| c.0).collect(),
            data: self.data,
            length: self.rows,
            slices: self.slices,
        }
    }
}
