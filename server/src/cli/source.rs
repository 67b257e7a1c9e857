//! Rows of buckets, slice by slice: from a snapshot of the store, or from a server.

use client::{Client, Query};
use engine::{Limit, Scan};
use model::{BucketKey, Column, ColumnBatch, ColumnType, KeyPattern, RowKind, Schema};

use crate::cli::Failure;
use crate::cli::place::Opened;
use crate::cli::start::engine_failure;

/// Rows in a slice, and so in a row group: large enough for the codecs of the formats, small
/// enough that a reader may skip.
const SLICE_ROWS: usize = 128 << 10;

/// Bytes in a slice of wide rows.
const SLICE_BYTES: usize = 16 << 20;

/// A bucket to read.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) key: BucketKey,
    pub(super) kind: RowKind,
    /// The columns to read.
    pub(super) columns: Schema,
    /// Their positions in the bucket.
    positions: Vec<usize>,
}

impl Bucket {
    fn new(
        key: BucketKey,
        kind: RowKind,
        schema: &Schema,
        wanted: &[String],
    ) -> Result<Self, Failure> {
        let mut positions = Vec::new();
        for name in wanted {
            let at = schema.position(name).ok_or_else(|| {
                let names = schema.columns().iter().map(|c| c.name.as_str());
                let names: Vec<&str> = names.collect();
                let names = names.join(", ");
                Failure::new(format!("{key} has no column \"{name}\"; it has {names}"))
            })?;
            positions.push(at);
        }
        if wanted.is_empty() {
            positions = (0..schema.len()).collect();
        }
        let columns = positions.iter().map(|at| schema.columns()[*at].clone());
        let columns = Schema::new(columns.collect())
            .map_err(|error| Failure::new(format!("--columns: {error}")))?;
        Ok(Self {
            key,
            kind,
            columns,
            positions,
        })
    }

    /// Reads as little as possible beside the times.
    pub(super) fn only_times(&mut self) {
        let columns = self.columns.columns().iter().enumerate();
        let Some((at, least)) = columns.min_by_key(|(_, column)| column.ty.size()) else {
            return;
        };
        let (position, least) = (self.positions[at], least.clone());
        if let Ok(columns) = Schema::new(vec![least]) {
            self.columns = columns;
            self.positions = vec![position];
        }
    }

    fn slice_rows(&self) -> usize {
        (SLICE_BYTES / (self.columns.row_bytes() + 8)).clamp(1, SLICE_ROWS)
    }
}

impl Opened {
    /// The buckets that a pattern matches, in order of their keys.
    pub(super) fn buckets(
        &mut self,
        on: &KeyPattern,
        wanted: &[String],
    ) -> Result<Vec<Bucket>, Failure> {
        match self {
            Self::Store(engine) => {
                let all = engine.buckets();
                let matching = all.iter().filter(|info| on.matches(&info.key));
                matching
                    .map(|info| Bucket::new(info.key.clone(), info.kind, &info.schema, wanted))
                    .collect()
            }
            Self::Server(client) => {
                let mut keys = Vec::new();
                for text in client.buckets().map_err(client_failure)? {
                    let key = BucketKey::parse(&text).map_err(|e| Failure::new(e.to_string()))?;
                    if on.matches(&key) {
                        keys.push(key);
                    }
                }
                keys.sort_by(|a, b| a.as_str().cmp(b.as_str()));
                let mut buckets = Vec::with_capacity(keys.len());
                for key in keys {
                    let info = client.get_info(&key).map_err(client_failure)?;
                    let columns = info.columns.into_iter();
                    // Nanoseconds are part of the time of a tick, not a column of its own.
                    let columns =
                        columns.filter(|c| info.kind == RowKind::Bar || c.name != "Nanoseconds");
                    let schema = Schema::new(columns.collect())
                        .map_err(|error| Failure::new(format!("{key}: {error}")))?;
                    buckets.push(Bucket::new(key, info.kind, &schema, wanted)?);
                }
                Ok(buckets)
            }
        }
    }

    /// The rows with `from <= time <= to`, at most so many from one end of the range.
    pub(super) fn limited(
        &mut self,
        bucket: &Bucket,
        (from, to): (i64, i64),
        limit: Limit,
    ) -> Result<ColumnBatch, Failure> {
        match self {
            Self::Store(engine) => {
                let info = engine
                    .bucket(&bucket.key)
                    .ok_or_else(|| Failure::new(format!("{} is gone", bucket.key)))?;
                let scan = Scan {
                    from,
                    to,
                    columns: Some(bucket.positions.clone()),
                    limit: Some(limit),
                };
                let snapshot = engine.snapshot(&[info.id]);
                snapshot.scan(0, &scan).map_err(|e| engine_failure(&e))
            }
            Self::Server(client) => query(client, bucket, from, to, Some(limit)),
        }
    }

    /// Closes a store; a server needs no goodbye.
    pub(super) fn close(self) -> Result<(), Failure> {
        match self {
            Self::Store(engine) => engine.close().map_err(|e| engine_failure(&e)),
            Self::Server(_) => Ok(()),
        }
    }

    /// Hands the rows with `from <= time <= to` to `each`, ascending, in slices. Rows written to a
    /// server meanwhile may or may not be among them.
    pub(super) fn rows(
        &mut self,
        bucket: &Bucket,
        from: i64,
        to: i64,
        each: &mut dyn FnMut(ColumnBatch) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let rows = bucket.slice_rows();
        match self {
            Self::Store(engine) => {
                let info = engine
                    .bucket(&bucket.key)
                    .ok_or_else(|| Failure::new(format!("{} is gone", bucket.key)))?;
                let snapshot = engine.snapshot(&[info.id]);
                let read = |from, to, limit: Option<usize>| {
                    let scan = Scan {
                        from,
                        to,
                        columns: Some(bucket.positions.clone()),
                        limit: limit.map(Limit::First),
                    };
                    snapshot.scan(0, &scan).map_err(|e| engine_failure(&e))
                };
                slices(read, from, to, rows, each)
            }
            Self::Server(client) => {
                let read = |from, to, limit: Option<usize>| {
                    query(client, bucket, from, to, limit.map(Limit::First))
                };
                slices(read, from, to, rows, each)
            }
        }
    }
}

/// Walks a range with limited reads. `read` gives the first rows of a range, all without a limit.
fn slices(
    mut read: impl FnMut(i64, i64, Option<usize>) -> Result<ColumnBatch, Failure>,
    mut from: i64,
    to: i64,
    limit: usize,
    each: &mut dyn FnMut(ColumnBatch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let batch = read(from, to, Some(limit))?;
        let rows = batch.rows();
        let Some(last) = batch.times().last().copied() else {
            return Ok(());
        };
        if rows < limit {
            return each(batch);
        }
        // The limit may cut through rows of one time: these are read again from that time on.
        let whole = batch.times().partition_point(|time| *time < last);
        if whole > 0 {
            each(batch.slice(0..whole))?;
            from = last;
            continue;
        }
        each(read(last, last, None)?)?;
        if last >= to {
            return Ok(());
        }
        from = last + 1;
    }
}

fn query(
    client: &mut Client,
    bucket: &Bucket,
    from: i64,
    to: i64,
    limit: Option<Limit>,
) -> Result<ColumnBatch, Failure> {
    let names: Vec<&str> = bucket
        .columns
        .columns()
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    let mut query = Query::of(bucket.key.as_str()).columns(&names);
    if from > i64::MIN {
        query = query.from(from);
    }
    if to < i64::MAX {
        query = query.to(to);
    }
    match limit {
        Some(Limit::First(rows)) => query = query.first(rows),
        Some(Limit::Last(rows)) => query = query.last(rows),
        None => {}
    }
    let mut tables = client.query(&query).map_err(client_failure)?;
    let wrong = |what: &str| Failure::new(format!("{}: the server answered {what}", bucket.key));
    let Some(table) = tables.pop() else {
        return Ok(ColumnBatch::empty(bucket.columns.clone()));
    };
    if !tables.is_empty() || table.key != bucket.key {
        return Err(wrong("with another bucket"));
    }
    if table.batch.is_empty() {
        return Ok(ColumnBatch::empty(bucket.columns.clone()));
    }
    let batch = retyped(&table.batch, &bucket.columns)
        .ok_or_else(|| wrong("with other columns; were they altered just now?"))?;
    // A server begins a range of bars with the bar that its start lies in.
    let first = batch.times().partition_point(|time| *time < from);
    Ok(batch.slice(first..batch.rows()))
}

/// The rows of a reply as the bucket has them: replies show signed bytes as unsigned ones.
fn retyped(batch: &ColumnBatch, wanted: &Schema) -> Option<ColumnBatch> {
    let given = batch.schema().columns();
    if given.len() != wanted.len() {
        return None;
    }
    let mut columns = Vec::with_capacity(given.len());
    for ((given, wanted), column) in given.iter().zip(wanted.columns()).zip(batch.columns()) {
        let same =
            given.ty == wanted.ty || (given.ty == ColumnType::U8 && wanted.ty == ColumnType::I8);
        if !same || given.name != wanted.name {
            return None;
        }
        columns.push(Column::new(wanted.ty, column.bytes().clone()).ok()?);
    }
    ColumnBatch::new(wanted.clone(), batch.time_column().clone(), columns).ok()
}

pub(super) fn client_failure(error: client::Error) -> Failure {
    Failure::new(match error {
        client::Error::Io(error) => format!("the server does not answer: {error}"),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use model::ColumnDef;

    use super::*;

    fn batch(times: &[i64]) -> ColumnBatch {
        let schema = Schema::new(vec![ColumnDef::new("N", ColumnType::I64)]).unwrap();
        let numbers: Vec<i64> = (0..times.len() as i64).collect();
        let columns = vec![Column::from_values(numbers)];
        ColumnBatch::new(schema, Column::from_values(times.to_vec()), columns).unwrap()
    }

    /// Every row once and in order, whatever the limit cuts through.
    #[test]
    fn slices_cut_nothing_out_of_equal_times() {
        let all = batch(&[1, 2, 2, 2, 2, 3, 5, 5, 9, i64::MAX]);
        for limit in 1..12 {
            for (from, to) in [(i64::MIN, i64::MAX), (2, 5), (4, 4), (2, 2)] {
                let inside = |time: &i64| (from..=to).contains(time);
                let wanted: Vec<i64> = all.times().iter().copied().filter(inside).collect();
                let mut found: Vec<i64> = Vec::new();
                let mut read = |from: i64, to: i64, limit: Option<usize>| {
                    let start = all.times().partition_point(|time| *time < from);
                    let end = all.times().partition_point(|time| *time <= to);
                    let end = end.min(start.saturating_add(limit.unwrap_or(usize::MAX)));
                    Ok(all.slice(start..end.max(start)))
                };
                let mut each = |batch: ColumnBatch| {
                    found.extend(batch.column("N").unwrap().values::<i64>().unwrap());
                    Ok(())
                };
                slices(&mut read, from, to, limit, &mut each).unwrap();
                let times: Vec<i64> = found.iter().map(|n| all.times()[*n as usize]).collect();
                assert_eq!(times, wanted, "limit {limit}, {from}..={to}");
                assert!(found.is_sorted_by(|a, b| a < b));
            }
        }
    }
}
