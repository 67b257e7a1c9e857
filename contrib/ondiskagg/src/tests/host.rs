//! A store in memory that plays the host.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{
    BatchBuilder, BucketKey, Column, ColumnBatch, ColumnDef, RowKind, Schema, Timeframe, Value,
    Zone,
};
use plugin_sdk::{
    Batch, Event, FireCtx, FireError, FireInfo, HostCalls, Init, Level, Plugin, PluginError, Query,
    QueryLimit, Trigger,
};

use crate::OnDiskAgg;

pub(super) struct Host {
    pub(super) zone: Zone,
    pub(super) buckets: BTreeMap<BucketKey, (RowKind, ColumnBatch)>,
    pub(super) logs: Vec<String>,
    /// Rows answered by all queries so far.
    pub(super) rows_read: usize,
}

impl Host {
    pub(super) fn new(zone: &str) -> Self {
        Self {
            zone: Zone::parse(zone).unwrap(),
            buckets: BTreeMap::new(),
            logs: Vec::new(),
            rows_read: 0,
        }
    }

    pub(super) fn trigger(&self, config: serde_json::Value) -> OnDiskAgg {
        let mut init = Init::new("test", 1, &self.zone);
        OnDiskAgg::new(serde_json::from_value(config).unwrap(), &mut init).unwrap()
    }

    /// Stores rows as the engine does, without firing.
    pub(super) fn store(&mut self, key: &BucketKey, kind: RowKind, rows: ColumnBatch) {
        let mut times = rows.times().to_vec();
        if kind == RowKind::Bar {
            let timeframe = Timeframe::parse(key.timeframe()).unwrap();
            timeframe.floor_all(&mut times, &self.zone);
        }
        let rows = rows.with_times(times).unwrap();
        let empty = || (kind, ColumnBatch::empty(rows.schema().clone()));
        let (_, stored) = self.buckets.entry(key.clone()).or_insert_with(empty);
        let mut joined = BatchBuilder::new(stored.schema().clone(), 0);
        joined.append(stored).unwrap();
        joined.append(&rows).unwrap();
        *stored = joined.finish().ordered(kind);
    }

    /// Stores rows and fires once for all of them.
    pub(super) fn write(
        &mut self,
        trigger: &mut OnDiskAgg,
        key: &str,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), FireError> {
        let key = BucketKey::parse(key).unwrap();
        self.store(&key, kind, rows.clone());
        let event = Event::Write(Batch {
            key: &key,
            kind,
            timeframe: Timeframe::parse(key.timeframe()).unwrap(),
            rows: &rows,
        });
        trigger.fire(&mut FireCtx::new(self), &event)
    }

    pub(super) fn gap(
        &mut self,
        trigger: &mut OnDiskAgg,
        key: &str,
        from: i64,
        to: i64,
    ) -> Result<(), FireError> {
        let key = &BucketKey::parse(key).unwrap();
        trigger.fire(&mut FireCtx::new(self), &Event::Gap { key, from, to })
    }

    /// Deletes rows of an inclusive range of time, without firing.
    pub(super) fn delete(&mut self, key: &str, from: i64, to: i64) {
        let (_, rows) = self
            .buckets
            .get_mut(&BucketKey::parse(key).unwrap())
            .unwrap();
        let kept =
            (0..rows.rows() as u32).filter(|i| !(from..=to).contains(&rows.times()[*i as usize]));
        *rows = rows.take(&kept.collect::<Vec<_>>());
    }

    pub(super) fn rows(&self, key: &str) -> Option<&ColumnBatch> {
        Some(&self.buckets.get(&BucketKey::parse(key).unwrap())?.1)
    }

    /// The values of a column, and that it has this type.
    pub(super) fn values<T: Value>(&self, key: &str, column: &str) -> Vec<T> {
        let column = self.rows(key).expect(key).column(column).expect(column);
        column.values().expect("the type is another").to_vec()
    }
}

/// Rows with these columns.
pub(super) fn rows(times: Vec<i64>, columns: Vec<(&str, Column)>) -> ColumnBatch {
    let defs = columns
        .iter()
        .map(|(name, c)| ColumnDef::new(*name, c.ty()));
    let schema = Schema::new(defs.collect()).unwrap();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    ColumnBatch::new(schema, Column::from_values(times), columns).unwrap()
}

impl HostCalls for Host {
    fn info(&self) -> FireInfo {
        FireInfo {
            first_lsn: 1,
            last_lsn: 1,
            attempt: 1,
            is_replay: false,
            now: 0,
            deadline: i64::MAX,
        }
    }

    fn write(
        &mut self,
        key: &BucketKey,
        kind: RowKind,
        rows: ColumnBatch,
    ) -> Result<(), PluginError> {
        // A host refuses rows that do not ascend; so does this one.
        assert!(rows.times().is_sorted_by(|a, b| a < b), "{key}");
        self.store(key, kind, rows);
        Ok(())
    }

    fn delete(&mut self, key: &BucketKey, from: i64, to: i64) -> Result<(), PluginError> {
        self.delete(key.as_str(), from, to);
        Ok(())
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Option<ColumnBatch>, PluginError> {
        let Some((_, rows)) = self.buckets.get(query.key) else {
            return Ok(None);
        };
        let times = rows.times();
        let first = times.partition_point(|t| *t < query.from);
        let after = times.partition_point(|t| *t <= query.to).max(first);
        let range = match query.limit {
            None => first..after,
            Some(QueryLimit::First(count)) => first..after.min(first.saturating_add(count)),
            Some(QueryLimit::Last(count)) => first.max(after.saturating_sub(count))..after,
        };
        self.rows_read += range.len();
        let rows = rows.slice(range);
        let wanted = |name: &&str| query.columns.is_none_or(|names| names.contains(name));
        let names = rows.schema().columns().iter().map(|c| c.name.as_str());
        let names: Vec<&str> = names.filter(wanted).collect();
        let columns = names.iter().map(|n| (*n, rows.column(n).unwrap().clone()));
        Ok(Some(self::rows(rows.times().to_vec(), columns.collect())))
    }

    fn set_timer(&mut self, _: &[u8], _: i64, _: &[u8]) -> Result<(), PluginError> {
        unreachable!("no timers are needed")
    }

    fn cancel_timer(&mut self, _: &[u8]) {}

    fn publish(&mut self, _: &str, _: Bytes) {}

    fn log(&mut self, level: Level, text: &str) {
        self.logs.push(format!("{level:?} {text}"));
    }
}
