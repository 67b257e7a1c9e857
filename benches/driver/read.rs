//! Questions: the time is that of snapshot, scan and what is made of the rows.

use std::hint::black_box;

use engine::{BucketId, Scan};
use model::{Aggregation, BatchBuilder, Column, ColumnBatch, Schema, Timeframe, Windows, roll_up};

use crate::answer::Answer;
use crate::request::{Keys, Repeat};
use crate::session::Open;
use crate::{Result, asof};

impl Open {
    pub(super) fn read(&self, key: &str, scan: &Scan, repeat: Repeat) -> Result<Answer> {
        let (id, _) = self.bucket(key)?;
        let (times, rows) = repeat.time(|| self.scan(id, scan))?;
        Answer::timed(times).found(&rows)
    }

    fn scan(&self, id: BucketId, scan: &Scan) -> Result<ColumnBatch> {
        let rows = self.engine.snapshot(&[id]).scan(0, scan)?;
        touch(&rows);
        Ok(rows)
    }

    pub(super) fn last_of_all(&self, keys: &Keys, repeat: Repeat) -> Result<Answer> {
        let (ids, schema) = self.buckets(keys)?;
        let (times, groups) = repeat.time(|| Ok(self.engine.last_rows(&ids)?))?;
        let mut all = BatchBuilder::new(schema, ids.len());
        for group in &groups {
            all.append(&group.rows)?;
        }
        Answer::timed(times).found(&all.finish())
    }

    pub(super) fn column(
        &self,
        keys: &Keys,
        column: &str,
        span: (i64, i64),
        repeat: Repeat,
    ) -> Result<Answer> {
        let (ids, schema) = self.buckets(keys)?;
        let position = schema.position(column);
        let position = position.ok_or_else(|| format!("no column {column}"))?;
        let scan = Scan {
            from: span.0,
            to: span.1,
            columns: Some(vec![position]),
            limit: None,
        };
        let (times, rows) = repeat.time(|| {
            let snapshot = self.engine.snapshot(&ids);
            let mut found = Vec::with_capacity(ids.len());
            for index in 0..ids.len() {
                let rows = snapshot.scan(index, &scan)?;
                touch(&rows);
                found.push(rows);
            }
            Ok(found)
        })?;
        let projected = Schema::new(vec![schema.columns()[position].clone()])?;
        let mut all = BatchBuilder::new(projected, rows.iter().map(ColumnBatch::rows).sum());
        for rows in &rows {
            all.append(rows)?;
        }
        Answer::timed(times).found(&all.finish())
    }

    pub(super) fn aggregate(&self, key: &str, timeframe: &str, repeat: Repeat) -> Result<Answer> {
        let (id, schema) = self.bucket(key)?;
        let timeframe = Timeframe::parse(timeframe)?;
        let (times, rows) = repeat.time(|| {
            let rows = self.engine.snapshot(&[id]).scan(0, &Scan::all())?;
            let windows = Windows::of(rows.times(), timeframe, &self.options.zone);
            let mut columns = Vec::with_capacity(schema.len());
            for (def, column) in schema.columns().iter().zip(rows.columns()) {
                let how = match def.name.as_str() {
                    "Open" => Aggregation::First,
                    "High" => Aggregation::Max,
                    "Low" => Aggregation::Min,
                    "Volume" => Aggregation::Sum,
                    _ => Aggregation::Last,
                };
                columns.push(roll_up(column, &windows, how).column);
            }
            let times = Column::from_values(windows.starts);
            Ok(ColumnBatch::new(schema.clone(), times, columns)?)
        })?;
        Answer::timed(times).found(&rows)
    }

    pub(super) fn asof(&self, trades: &str, quotes: &str, repeat: Repeat) -> Result<Answer> {
        let (trades, _) = self.bucket(trades)?;
        let (quotes, schema) = self.bucket(quotes)?;
        let wanted = ["Bid", "Ask"];
        let positions = wanted.iter().map(|name| schema.position(name));
        let positions = positions.collect::<Option<Vec<usize>>>();
        let of_quotes = Scan {
            columns: Some(positions.ok_or("quotes have no Bid and Ask")?),
            ..Scan::all()
        };
        let (times, rows) = repeat.time(|| {
            let snapshot = self.engine.snapshot(&[trades, quotes]);
            let trades = snapshot.scan(0, &Scan::all())?;
            let quotes = snapshot.scan(1, &of_quotes)?;
            asof::join(&trades, &quotes, &wanted)
        })?;
        Answer::timed(times).found(&rows)
    }

    pub(super) fn copy(&self, key: &str, repeat: Repeat) -> Result<Answer> {
        let (id, _) = self.bucket(key)?;
        let rows = self.scan(id, &Scan::all())?;
        let source = rows.columns().iter().chain([rows.time_column()]);
        let source: Vec<Vec<u8>> = source.map(|column| column.bytes().to_vec()).collect();
        let (times, _) = repeat.time(|| {
            let copy: Vec<Vec<u8>> = source.clone();
            Ok(black_box(copy))
        })?;
        Ok(Answer::timed(times).with("rows", rows.rows()))
    }
}

/// Reads a byte of each 4 KiB, so that no page of the mapping goes unread: an answer that is not
/// in memory yet is no answer.
fn touch(rows: &ColumnBatch) {
    for column in rows.columns().iter().chain([rows.time_column()]) {
        let bytes = column.bytes();
        black_box(
            bytes
                .iter()
                .step_by(4096)
                .fold(0_u8, |sum, byte| sum ^ byte),
        );
    }
}
