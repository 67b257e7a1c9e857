//! Deletes and schema changes against a map of maps: any order of writes, deletes, schema changes,
//! checkpoints (also failing ones, and with something going on meanwhile), merges and restarts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use disk::{Disk, ManualClock, SimDisk};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Scalar, Schema};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::{commit, key, options, rows};
use crate::{
    CheckpointHook, DeleteRange, Engine, Error, Limit, Lsn, Origin, Scan, SchemaChange, Snapshot,
    merge,
};

const UNIT: i64 = 10_000_000_000;
const UNITS_PER_BAR: i64 = 6;

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    /// The change happens after the tails are frozen and before they are written.
    CheckpointDuring(Change),
    Checkpoint,
    /// Freezes tails and writes nothing.
    CheckpointFails,
    Compact,
    /// Some neighbours. The changes, and perhaps a checkpoint, happen after the rows are written
    /// and before the segment counts.
    MergeDuring(usize, usize, Vec<Change>, bool),
    Ingest(bool, Vec<u32>),
    Reopen,
    /// Keeps a snapshot; the one before is compared with what it saw.
    Hold(bool),
    Look(Look),
}

#[derive(Debug, Clone)]
enum Change {
    Write(bool, Vec<u32>),
    Bulk(bool, u32, u16),
    Delete(Vec<(bool, u32, u32)>),
    /// Which column or type: taken modulo what is there.
    Add(bool, usize),
    Widen(bool, usize, usize),
    Rename(bool, usize),
    Drop(bool, usize),
    DropBucket(bool),
}

#[derive(Debug, Clone)]
struct Look {
    tick: bool,
    from: Option<u32>,
    to: Option<u32>,
    first: bool,
    limit: Option<usize>,
    columns: Option<(usize, usize)>,
}

fn units() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..60, 0_u32..6000, 0_u32..60_000]
}

fn change() -> impl Strategy<Value = Change> {
    let some_units = proptest::collection::vec(units(), 1..20);
    let run = (0_u32..60_000, 1_u32..40, 1_u32..8)
        .prop_map(|(first, count, gap)| (0..count).map(|i| first + i * gap).collect());
    let range = (
        any::<bool>(),
        units(),
        prop_oneof![0_u32..40, 0_u32..60_000],
    );
    let range = range.prop_map(|(tick, from, len)| (tick, from, from.saturating_add(len)));
    let ranges = proptest::collection::vec(range, 1..4);
    prop_oneof![
        4 => (any::<bool>(), some_units).prop_map(|(tick, units)| Change::Write(tick, units)),
        4 => (any::<bool>(), run).prop_map(|(tick, units)| Change::Write(tick, units)),
        1 => (any::<bool>(), 0_u32..9000, 1900_u16..5000).prop_map(|(t, f, c)| Change::Bulk(t, f, c)),
        5 => ranges.prop_map(Change::Delete),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(t, ty)| Change::Add(t, ty)),
        2 => (any::<bool>(), any::<usize>(), any::<usize>()).prop_map(|(t, c, ty)| Change::Widen(t, c, ty)),
        1 => (any::<bool>(), any::<usize>()).prop_map(|(t, c)| Change::Rename(t, c)),
        1 => (any::<bool>(), any::<usize>()).prop_map(|(t, c)| Change::Drop(t, c)),
        1 => any::<bool>().prop_map(Change::DropBucket),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let look = (
        any::<bool>(),
        proptest::option::of(units()),
        proptest::option::of(units()),
        any::<bool>(),
        proptest::option::of(prop_oneof![0_usize..5, 0_usize..6000]),
        proptest::option::of((any::<usize>(), any::<usize>())),
    )
        .prop_map(|(tick, from, to, first, limit, columns)| Look {
            tick,
            from,
            to,
            first,
            limit,
            columns,
        });
    let some_units = proptest::collection::vec(units(), 1..20);
    let changes = proptest::collection::vec(change(), 0..3);
    let merge = (0_usize..6, 1_usize..5, changes, any::<bool>());
    prop_oneof![
        12 => change().prop_map(Step::Change),
        3 => change().prop_map(Step::CheckpointDuring),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::CheckpointFails),
        1 => Just(Step::Compact),
        3 => merge.prop_map(|(f, c, changes, checkpoint)| Step::MergeDuring(f, c, changes, checkpoint)),
        1 => (any::<bool>(), some_units).prop_map(|(tick, units)| Step::Ingest(tick, units)),
        2 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(Step::Hold),
        6 => look.prop_map(Step::Look),
    ]
}

fn name(tick: bool) -> &'static str {
    if tick { "T/1Min/TICK" } else { "B/1Min/OHLCV" }
}

fn kind(tick: bool) -> RowKind {
    if tick { RowKind::Tick } else { RowKind::Bar }
}

type Action = Box<dyn FnOnce(&Engine) + Send>;

/// Does something in the middle of a checkpoint, or abandons it.
#[derive(Default)]
struct Hook {
    during: Mutex<Option<(Engine, Action)>>,
    fails: Mutex<bool>,
}

impl CheckpointHook for Hook {
    fn opened(&self, _disk: &Arc<dyn Disk>) -> Result<(), Error> {
        Ok(())
    }
    fn replayed(&self, _lsn: Lsn, _origin: Origin, _section: &[u8]) {}
    fn checkpoint(&self, upto: Lsn) -> Result<Lsn, Error> {
        if let Some((engine, action)) = self.during.lock().take() {
            action(&engine);
        }
        match std::mem::take(&mut *self.fails.lock()) {
            true => Err(Error::Invalid("not now".to_owned())),
            false => Ok(upto),
        }
    }
}

/// A column as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    id: usize,
    name: String,
    ty: ColumnType,
    first: ColumnType,
}

impl Known {
    fn absent(&self) -> f64 {
        match self.first {
            ColumnType::F32 | ColumnType::F64 => f64::NAN,
            _ => 0.0,
        }
    }
}

type Row = HashMap<usize, u8>;

#[derive(Debug, Clone, Default)]
struct Bucket {
    columns: Vec<Known>,
    /// By time, then order of writing (0 for bars).
    rows: BTreeMap<(i64, u64), Row>,
}

/// What the store should hold. Values are small, so that every type has them.
#[derive(Debug, Clone, Default)]
struct Model {
    buckets: [Bucket; 2],
    ticks: u64,
    value: u64,
    ids: usize,
}

fn schema_of(columns: &[Known]) -> Schema {
    let defs = columns
        .iter()
        .map(|known| ColumnDef::new(&known.name, known.ty));
    Schema::new(defs.collect()).unwrap()
}

fn values(ty: ColumnType, values: &[u8]) -> Column {
    if ty == ColumnType::Str16 {
        let text = values.iter().map(|value| {
            let mut text = [0_u32; 16];
            text[0] = (*value).into();
            text
        });
        return Column::from_values(text.collect::<Vec<_>>());
    }
    Column::from_values(values.to_vec()).cast(ty).unwrap()
}

fn number(scalar: Scalar) -> f64 {
    match scalar {
        Scalar::F32(v) => v.into(),
        Scalar::F64(v) => v,
        Scalar::I8(v) => v.into(),
        Scalar::I16(v) => v.into(),
        Scalar::I32(v) => v.into(),
        Scalar::I64(v) => v as f64,
        Scalar::U8(v) => v.into(),
        Scalar::U16(v) => v.into(),
        Scalar::U32(v) => v.into(),
        Scalar::U64(v) => v as f64,
        Scalar::Str16(v) => v[0].into(),
    }
}

impl Model {
    fn bucket(&mut self, tick: bool) -> &mut Bucket {
        &mut self.buckets[usize::from(tick)]
    }

    fn new_column(&mut self, ty: ColumnType) -> Known {
        self.ids += 1;
        Known {
            id: self.ids,
            name: format!("C{}", self.ids),
            ty,
            first: ty,
        }
    }

    /// Rows for the store; the model has them from now on.
    fn rows(&mut self, tick: bool, times: &[i64]) -> ColumnBatch {
        if self.bucket(tick).columns.is_empty() {
            for ty in [ColumnType::F32, ColumnType::I16, ColumnType::Str16] {
                let column = self.new_column(ty);
                self.bucket(tick).columns.push(column);
            }
        }
        self.value += 1;
        let columns = self.bucket(tick).columns.clone();
        let value = self.value;
        let at = |row: usize, id: usize| ((value * 31 + row as u64 * 3 + id as u64) % 100) as u8;
        for (row, time) in times.iter().enumerate() {
            self.ticks += 1;
            let key = match tick {
                true => (*time, self.ticks),
                false => (time - time.rem_euclid(UNITS_PER_BAR * UNIT), 0),
            };
            let cells = columns.iter().map(|known| (known.id, at(row, known.id)));
            self.bucket(tick).rows.insert(key, cells.collect());
        }
        let batch = columns.iter().map(|known| {
            let cells = (0..times.len()).map(|row| at(row, known.id));
            values(known.ty, &cells.collect::<Vec<_>>())
        });
        let batch = batch.collect();
        let times = Column::from_values(times.to_vec());
        ColumnBatch::new(schema_of(&columns), times, batch).unwrap()
    }

    fn write(&mut self, tick: bool, times: &[i64]) -> Action {
        let batch = self.rows(tick, times);
        Box::new(move |engine| {
            let commit = commit(vec![rows(name(tick), kind(tick), batch)]);
            engine.write(commit).unwrap().wait().unwrap();
        })
    }

    /// Changes the model; what does the same to the store.
    fn plan(&mut self, change: Change) -> Option<Action> {
        let action: Action = match change {
            Change::Write(tick, units) => {
                let times: Vec<i64> = units.iter().map(|unit| i64::from(*unit) * UNIT).collect();
                self.write(tick, &times)
            }
            Change::Bulk(tick, first, count) => {
                let bars = i64::from(first)..i64::from(first) + i64::from(count);
                let times: Vec<i64> = bars.map(|bar| bar * UNITS_PER_BAR * UNIT).collect();
                self.write(tick, &times)
            }
            Change::Delete(ranges) => return self.delete(&ranges),
            Change::Add(tick, ty) => {
                let column = self.new_column(ColumnType::ALL[ty % ColumnType::ALL.len()]);
                let def = ColumnDef::new(&column.name, column.ty);
                let bucket = self.bucket(tick);
                if bucket.columns.is_empty() {
                    return None;
                }
                bucket.columns.push(column);
                alter(tick, SchemaChange::Add(def))
            }
            Change::Widen(tick, column, ty) => {
                let known = pick(&mut self.bucket(tick).columns, column)?;
                let ty = ColumnType::ALL[ty % ColumnType::ALL.len()];
                if !known.ty.widens_to(ty) {
                    return None;
                }
                known.ty = ty;
                let column = known.name.clone();
                alter(tick, SchemaChange::Widen { column, ty })
            }
            Change::Rename(tick, column) => {
                self.ids += 1;
                let to = format!("C{}", self.ids);
                let known = pick(&mut self.bucket(tick).columns, column)?;
                let from = std::mem::replace(&mut known.name, to.clone());
                alter(tick, SchemaChange::Rename { from, to })
            }
            Change::Drop(tick, column) => {
                let columns = &mut self.bucket(tick).columns;
                if columns.len() < 2 {
                    return None;
                }
                let column = columns.remove(column % columns.len()).name;
                alter(tick, SchemaChange::Drop { column })
            }
            Change::DropBucket(tick) => {
                if self.bucket(tick).columns.is_empty() {
                    return None;
                }
                *self.bucket(tick) = Bucket::default();
                Box::new(move |engine| engine.drop_buckets(&[key(name(tick))]).unwrap())
            }
        };
        Some(action)
    }

    fn delete(&mut self, ranges: &[(bool, u32, u32)]) -> Option<Action> {
        let mut given = Vec::new();
        let mut counts = Vec::new();
        for (tick, from, to) in ranges {
            if self.bucket(*tick).columns.is_empty() {
                continue;
            }
            let (from, to) = (i64::from(*from) * UNIT, i64::from(*to) * UNIT);
            counts.push((*tick, from, to));
            let key = key(name(*tick));
            given.push(DeleteRange { key, from, to });
        }
        // All are counted before any is deleted.
        let within = |bucket: &Bucket, from, to| {
            let times = bucket.rows.keys().map(|key| key.0);
            times.filter(|time| (from..=to).contains(time)).count() as u64
        };
        let counted = counts.iter();
        let counted = counted.map(|(tick, from, to)| within(self.bucket(*tick), *from, *to));
        let expected: Vec<u64> = counted.collect();
        for (tick, from, to) in counts {
            let outside = |key: &(i64, u64), _: &mut Row| !(from..=to).contains(&key.0);
            self.bucket(tick).rows.retain(outside);
        }
        Some(Box::new(move |engine| {
            let counted = given.iter().map(|range| engine.count_rows(range).unwrap());
            assert_eq!(counted.collect::<Vec<_>>(), expected);
            let deleted = engine.delete(&given).unwrap();
            assert_eq!(deleted.rows, expected);
        }))
    }

    fn look(&self, engine: &Engine, look: &Look) {
        let Some(info) = engine.bucket(&key(name(look.tick))) else {
            assert!(self.buckets[usize::from(look.tick)].columns.is_empty());
            return;
        };
        self.compare(&engine.snapshot(&[info.id]), look);
    }

    fn compare(&self, snapshot: &Snapshot, look: &Look) {
        let bucket = &self.buckets[usize::from(look.tick)];
        assert_eq!(snapshot.buckets()[0].schema, schema_of(&bucket.columns));
        let from = look.from.map_or(i64::MIN, |unit| i64::from(unit) * UNIT);
        let to = look.to.map_or(i64::MAX, |unit| i64::from(unit) * UNIT);
        let inside = bucket
            .rows
            .iter()
            .filter(|(key, _)| (from..=to).contains(&key.0));
        let mut rows: Vec<_> = inside.map(|(key, row)| (key.0, row)).collect();
        assert_eq!(snapshot.count(0, from, to).unwrap(), rows.len() as u64);
        let limit = look.limit.unwrap_or(usize::MAX).min(rows.len());
        if look.first {
            rows.truncate(limit);
        } else {
            rows.drain(..rows.len() - limit);
        }
        let columns = look.columns.map(|(start, count)| {
            let len = bucket.columns.len();
            let chosen = (0..1 + count % len).map(|i| (start % len + i) % len);
            chosen.collect::<Vec<_>>()
        });
        let scan = Scan {
            from,
            to,
            columns: columns.clone(),
            limit: look.limit.map(|count| match look.first {
                true => Limit::First(count),
                false => Limit::Last(count),
            }),
        };
        let found = snapshot.scan(0, &scan).unwrap();
        let all = (0..bucket.columns.len()).collect();
        same(&found, bucket, &columns.unwrap_or(all), &rows);
    }

    fn compare_all(&self, snapshot: &Snapshot, tick: bool) {
        let look = Look {
            tick,
            from: None,
            to: None,
            first: true,
            limit: None,
            columns: None,
        };
        self.compare(snapshot, &look);
        let bucket = &self.buckets[usize::from(tick)];
        let rows: Vec<_> = bucket.rows.iter().map(|(key, row)| (key.0, row)).collect();
        let span = rows.first().zip(rows.last()).map(|(a, b)| (a.0, b.0));
        if let Some((first, last)) = span {
            // An upper bound: a tail may have grown since the snapshot.
            let found = snapshot.time_range(0);
            let covers = found.is_some_and(|(min, max)| min <= first && last <= max);
            assert!(covers, "{found:?} of {first}..={last}");
        }
        match snapshot.last(0).unwrap() {
            None => assert!(rows.is_empty()),
            Some(last) => {
                let all: Vec<usize> = (0..bucket.columns.len()).collect();
                same(&last, bucket, &all, &rows[rows.len().saturating_sub(1)..]);
            }
        }
    }

    fn check(&self, engine: &Engine) {
        for tick in [false, true] {
            match engine.bucket(&key(name(tick))) {
                Some(info) => self.compare_all(&engine.snapshot(&[info.id]), tick),
                None => assert!(self.buckets[usize::from(tick)].columns.is_empty()),
            }
        }
    }
}

fn pick(columns: &mut [Known], index: usize) -> Option<&mut Known> {
    let len = columns.len();
    columns.get_mut(index.checked_rem(len)?)
}

fn alter(tick: bool, change: SchemaChange) -> Action {
    Box::new(move |engine| {
        let before = engine.bucket(&key(name(tick))).unwrap();
        let after = engine.alter(&before.key, &[change]).unwrap();
        assert_eq!(after.schema_version, before.schema_version + 1);
    })
}

fn same(found: &ColumnBatch, bucket: &Bucket, columns: &[usize], rows: &[(i64, &Row)]) {
    let times: Vec<i64> = rows.iter().map(|row| row.0).collect();
    assert_eq!(found.times(), times);
    assert_eq!(found.columns().len(), columns.len());
    for (column, index) in found.columns().iter().zip(columns) {
        let known = &bucket.columns[*index];
        assert_eq!(column.ty(), known.ty);
        for (row, (_, cells)) in rows.iter().enumerate() {
            let expected = cells
                .get(&known.id)
                .map_or(known.absent(), |v| f64::from(*v));
            let found = number(column.scalar(row));
            let equal = found == expected || found.is_nan() && expected.is_nan();
            assert!(
                equal,
                "row {row} of {}: {found}, not {expected}",
                known.name
            );
        }
    }
}

fn start(disk: &SimDisk, hook: &Arc<Hook>) -> Engine {
    let clock = Arc::new(ManualClock::new(0));
    let options = crate::Options {
        merge: false,
        // Text takes 64 bytes a row.
        wal_segment_bytes: 4 << 20,
        frame_bytes_max: 3 << 20,
        ..options()
    };
    let opened = Engine::open_on(Arc::new(disk.clone()), clock, options, hook.clone());
    opened.unwrap().0
}

/// More with `MKTS_CASES`.
fn cases() -> u32 {
    let given = std::env::var("MKTS_CASES").ok();
    given.and_then(|given| given.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// I6, I7: whatever was deleted and changed, in whatever sources, readers get the map.
    #[test]
    fn deletes_and_schema_changes_agree_with_a_map(steps in proptest::collection::vec(step(), 1..32)) {
        let hook = Arc::new(Hook::default());
        let mut disk = SimDisk::new(1);
        let mut engine = start(&disk, &hook);
        let mut model = Model::default();
        let mut held: Option<(Snapshot, Model, bool)> = None;
        for step in steps {
            match step {
                Step::Change(change) => {
                    if let Some(action) = model.plan(change) {
                        action(&engine);
                    }
                }
                Step::CheckpointDuring(change) => {
                    let action = model.plan(change);
                    *hook.during.lock() = action.map(|action| (engine.clone(), action));
                    engine.checkpoint().unwrap();
                }
                Step::Checkpoint => engine.checkpoint().unwrap(),
                Step::CheckpointFails => {
                    *hook.fails.lock() = true;
                    engine.checkpoint().unwrap_err();
                }
                Step::Compact => {
                    engine.compact().unwrap();
                }
                Step::MergeDuring(first, count, changes, checkpoint) => {
                    let actions: Vec<Action> = changes.into_iter().filter_map(|c| model.plan(c)).collect();
                    let meanwhile = || {
                        actions.into_iter().for_each(|action| action(&engine));
                        if checkpoint {
                            engine.checkpoint().unwrap();
                        }
                    };
                    let segments = engine.status().segments;
                    let first = first.min(segments.saturating_sub(1));
                    let range = first..segments.min(first + count);
                    let merged = merge::run_some(engine.store(), range, meanwhile);
                    if let Err(error) = merged {
                        // The segments stay as they were.
                        assert!(error.to_string().contains("changed during a merge"), "{error}");
                    }
                }
                Step::Ingest(tick, units) => {
                    let times: Vec<i64> = units.iter().map(|unit| i64::from(*unit) * UNIT).collect();
                    let batch = model.rows(tick, &times);
                    engine.ingest(vec![rows(name(tick), kind(tick), batch)]).unwrap();
                }
                Step::Reopen => {
                    held = None;
                    drop(engine);
                    disk = disk.reopen();
                    engine = start(&disk, &hook);
                }
                Step::Hold(tick) => {
                    if let Some((snapshot, then, tick)) = held.take() {
                        then.compare_all(&snapshot, tick);
                    }
                    if let Some(info) = engine.bucket(&key(name(tick))) {
                        held = Some((engine.snapshot(&[info.id]), model.clone(), tick));
                    }
                }
                Step::Look(look) => model.look(&engine, &look),
            }
        }
        model.check(&engine);
        if let Some((snapshot, then, tick)) = held.take() {
            then.compare_all(&snapshot, tick);
        }
        engine.close().unwrap();
        model.check(&engine);
        drop(engine);
        model.check(&start(&disk.reopen(), &hook));
    }
}
