//! Scans against a sorted map: any writes, checkpoints and restarts, any range, columns, limit.

use std::collections::BTreeMap;

use disk::SimDisk;
use model::RowKind;
use proptest::prelude::*;

use super::{all, batch, key, open, pairs, rows, write};
use crate::{Engine, Limit, Scan};

#[derive(Debug, Clone)]
enum Step {
    /// Bucket, times in units of 10 s (six to a bar).
    Write(bool, Vec<u32>),
    /// Bucket, first bar, bars: enough for blocks and pages of their own.
    Bulk(bool, u32, u16),
    /// The same past the log.
    Ingest(bool, u32, u16),
    Checkpoint,
    Merge(Merge),
    Reopen,
    Drop(bool),
    Scan(Range),
}

#[derive(Debug, Clone)]
enum Merge {
    Due,
    Full,
    /// Some neighbours, whatever their sizes: first and count.
    Some(usize, usize),
}

#[derive(Debug, Clone)]
struct Range {
    tick: bool,
    from: Option<u32>,
    to: Option<u32>,
    first: bool,
    limit: Option<usize>,
    columns: Option<Vec<usize>>,
}

const UNIT: i64 = 10_000_000_000;
const UNITS_PER_BAR: i64 = 6;

fn step() -> impl Strategy<Value = Step> {
    let units = prop_oneof![0_u32..60, 0_u32..60_000];
    let some_units = proptest::collection::vec(units.clone(), 1..20);
    // In order, as live data comes.
    let run = (0_u32..60_000, 1_u32..40, 1_u32..8)
        .prop_map(|(first, count, gap)| (0..count).map(|i| first + i * gap).collect());
    let columns = proptest::sample::subsequence(vec![0_usize, 1, 2], 1..=3).prop_shuffle();
    let range = (
        any::<bool>(),
        proptest::option::of(units.clone()),
        proptest::option::of(units),
        any::<bool>(),
        proptest::option::of(prop_oneof![0_usize..5, 0_usize..6000]),
        proptest::option::of(columns),
    )
        .prop_map(|(tick, from, to, first, limit, columns)| Range {
            tick,
            from,
            to,
            first,
            limit,
            columns,
        });
    prop_oneof![
        3 => (any::<bool>(), some_units).prop_map(|(tick, units)| Step::Write(tick, units)),
        3 => (any::<bool>(), run).prop_map(|(tick, units)| Step::Write(tick, units)),
        2 => (any::<bool>(), 0_u32..9000, 1900_u16..6000).prop_map(|(t, f, c)| Step::Bulk(t, f, c)),
        1 => (any::<bool>(), 0_u32..9000, 1_u16..6000).prop_map(|(t, f, c)| Step::Ingest(t, f, c)),
        3 => Just(Step::Checkpoint),
        3 => merge().prop_map(Step::Merge),
        1 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(Step::Drop),
        6 => range.prop_map(Step::Scan),
    ]
}

fn merge() -> impl Strategy<Value = Merge> {
    prop_oneof![
        Just(Merge::Due),
        Just(Merge::Full),
        (0_usize..8, 1_usize..5).prop_map(|(first, count)| Merge::Some(first, count)),
    ]
}

fn name(tick: bool) -> &'static str {
    if tick { "T/1Min/TICK" } else { "B/1Min/OHLCV" }
}

fn kind(tick: bool) -> RowKind {
    if tick { RowKind::Tick } else { RowKind::Bar }
}

/// What the store should hold: bars have 0 for the second key, ticks a count.
#[derive(Default)]
struct Model {
    buckets: [BTreeMap<(i64, u64), i32>; 2],
    ticks: u64,
    value: i32,
}

impl Model {
    fn write(&mut self, engine: &Engine, tick: bool, times: &[i64]) {
        self.value += 100_000;
        write(engine, name(tick), kind(tick), batch(times, self.value)).unwrap();
        self.note(tick, times);
    }

    fn ingest(&mut self, engine: &Engine, tick: bool, times: &[i64]) {
        self.value += 100_000;
        let loaded = rows(name(tick), kind(tick), batch(times, self.value));
        engine.ingest(vec![loaded]).unwrap();
        self.note(tick, times);
    }

    fn note(&mut self, tick: bool, times: &[i64]) {
        for (index, time) in times.iter().enumerate() {
            let key = if tick {
                self.ticks += 1;
                (*time, self.ticks)
            } else {
                (time - time.rem_euclid(UNITS_PER_BAR * UNIT), 0)
            };
            self.buckets[usize::from(tick)].insert(key, self.value + index as i32);
        }
    }

    fn scan(&self, range: &Range) -> Vec<(i64, i32)> {
        let from = range.from.map_or(i64::MIN, |unit| i64::from(unit) * UNIT);
        let to = range.to.map_or(i64::MAX, |unit| i64::from(unit) * UNIT);
        let all = self.buckets[usize::from(range.tick)].iter();
        let inside = all.filter(|((time, _), _)| (from..=to).contains(time));
        let mut rows: Vec<_> = inside.map(|((time, _), value)| (*time, *value)).collect();
        let limit = range.limit.unwrap_or(usize::MAX).min(rows.len());
        if range.first {
            rows.truncate(limit);
        } else {
            rows.drain(..rows.len() - limit);
        }
        rows
    }

    fn check(&self, engine: &Engine, range: &Range) {
        let expected = self.scan(range);
        let Some(info) = engine.bucket(&key(name(range.tick))) else {
            assert_eq!(expected, []);
            return;
        };
        let scan = Scan {
            from: range.from.map_or(i64::MIN, |unit| i64::from(unit) * UNIT),
            to: range.to.map_or(i64::MAX, |unit| i64::from(unit) * UNIT),
            columns: range.columns.clone(),
            limit: range.limit.map(|count| match range.first {
                true => Limit::First(count),
                false => Limit::Last(count),
            }),
        };
        let found = engine.snapshot(&[info.id]).scan(0, &scan).unwrap();
        let times: Vec<i64> = expected.iter().map(|row| row.0).collect();
        assert_eq!(found.times(), times);
        let full = batch(&times, 0);
        for column in found.schema().columns() {
            let values = found.column(&column.name).unwrap();
            assert_eq!(values.ty(), full.column(&column.name).unwrap().ty());
            for (row, (_, value)) in expected.iter().enumerate() {
                let one = batch(&[0], *value);
                let expected = one.column(&column.name).unwrap().scalar(0);
                assert_eq!(values.scalar(row), expected, "row {row} of {}", column.name);
            }
        }
    }

    fn check_all(&self, engine: &Engine) {
        for tick in [false, true] {
            let expected: Vec<_> = self.buckets[usize::from(tick)]
                .iter()
                .map(|((time, _), value)| (*time, *value))
                .collect();
            assert_eq!(all(engine, name(tick)), expected);
            let Some(info) = engine.bucket(&key(name(tick))) else {
                continue;
            };
            let snapshot = engine.snapshot(&[info.id]);
            let last = snapshot.last(0).unwrap();
            let last: Vec<_> = last.iter().flat_map(pairs).collect();
            assert_eq!(
                last.as_slice(),
                &expected[expected.len().saturating_sub(1)..]
            );
            let span = expected.first().zip(expected.last());
            assert_eq!(snapshot.time_range(0), span.map(|(a, b)| (a.0, b.0)));
        }
    }
}

fn run_merge(engine: &Engine, merge: &Merge) {
    let before = engine.status().segments;
    match *merge {
        Merge::Due => drop(engine.merge().unwrap()),
        Merge::Full => drop(engine.compact().unwrap()),
        Merge::Some(first, count) => {
            let first = first.min(before.saturating_sub(1));
            let range = first..before.min(first + count);
            let written = crate::merge::run_some(engine.store(), range.clone(), || {}).unwrap();
            let merged = range.len() - written;
            assert_eq!(engine.status().segments, before - merged);
        }
    }
    let files = engine.store().disk.list("segments").unwrap();
    assert_eq!(files.len(), engine.status().segments, "{files:?}");
}

/// More with `MKTS_CASES`.
fn cases() -> u32 {
    let cases = std::env::var("MKTS_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// I6 and I7: whatever lies in tails and segments, and however these were merged, a scan is the sorted map's answer.
    #[test]
    fn scans_agree_with_a_sorted_map(steps in proptest::collection::vec(step(), 1..24)) {
        let mut disk = SimDisk::new(1);
        let mut engine = open(&disk);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Write(tick, units) => {
                    let times: Vec<i64> = units.iter().map(|unit| i64::from(*unit) * UNIT).collect();
                    model.write(&engine, tick, &times);
                }
                Step::Bulk(tick, first, count) => {
                    let bars = i64::from(first)..i64::from(first) + i64::from(count);
                    let times: Vec<i64> = bars.map(|bar| bar * UNITS_PER_BAR * UNIT).collect();
                    model.write(&engine, tick, &times);
                }
                Step::Ingest(tick, first, count) => {
                    let bars = i64::from(first)..i64::from(first) + i64::from(count);
                    let times: Vec<i64> = bars.map(|bar| bar * UNITS_PER_BAR * UNIT).collect();
                    model.ingest(&engine, tick, &times);
                }
                Step::Checkpoint => engine.checkpoint().unwrap(),
                Step::Merge(merge) => {
                    run_merge(&engine, &merge);
                    model.check_all(&engine);
                }
                Step::Reopen => {
                    drop(engine);
                    disk = disk.reopen();
                    engine = open(&disk);
                }
                Step::Drop(tick) => {
                    if engine.bucket(&key(name(tick))).is_some() {
                        engine.drop_buckets(&[key(name(tick))]).unwrap();
                    }
                    model.buckets[usize::from(tick)].clear();
                }
                Step::Scan(range) => model.check(&engine, &range),
            }
        }
        model.check_all(&engine);
        engine.close().unwrap();
        model.check_all(&engine);
        drop(engine);
        model.check_all(&open(&disk.reopen()));
    }
}

/// Corrections of one bar: the tail is rebuilt, an older snapshot keeps what it saw.
#[test]
fn a_running_bar_does_not_grow_memory() {
    let engine = open(&SimDisk::new(1));
    let update = |value| {
        write(
            &engine,
            "B/1Min/OHLCV",
            RowKind::Bar,
            batch(&[0, UNIT * 6], value),
        )
    };
    update(0).unwrap();
    let id = engine.bucket(&key("B/1Min/OHLCV")).unwrap().id;
    let old = engine.snapshot(&[id]);
    for value in 1..4000 {
        update(value).unwrap();
    }
    assert_eq!(all(&engine, "B/1Min/OHLCV"), [(0, 3999), (UNIT * 6, 4000)]);
    assert_eq!(
        pairs(&old.scan(0, &Scan::all()).unwrap()),
        [(0, 0), (UNIT * 6, 1)]
    );
    assert_eq!(pairs(&old.last(0).unwrap().unwrap()), [(UNIT * 6, 1)]);
    // 8000 rows of 21 bytes and a mark per commit would be four times as much.
    assert!(
        engine.status().tail_bytes < 60_000,
        "{}",
        engine.status().tail_bytes
    );
}

/// So many segments overlap that they are merged as one stretch: later still wins.
#[test]
fn the_latest_of_many_overlapping_segments_wins() {
    const BAR: i64 = UNITS_PER_BAR * UNIT;
    let engine = open(&SimDisk::new(1));
    for round in 0..150 {
        // Each begins before and ends after all older ones.
        let times = [
            -i64::from(round) * BAR - BAR,
            0,
            i64::from(round) * BAR + BAR,
        ];
        write(
            &engine,
            "B/1Min/OHLCV",
            RowKind::Bar,
            batch(&times, round * 10),
        )
        .unwrap();
        engine.checkpoint().unwrap();
    }
    let rows = all(&engine, "B/1Min/OHLCV");
    assert_eq!(rows.len(), 301);
    assert_eq!(rows[150], (0, 149 * 10 + 1));
    let id = engine.bucket(&key("B/1Min/OHLCV")).unwrap().id;
    for (limit, expected) in [
        (Limit::First(3), &rows[..3]),
        (Limit::Last(152), &rows[301 - 152..]),
    ] {
        let limit = Some(limit);
        let found = engine.snapshot(&[id]).scan(
            0,
            &Scan {
                limit,
                ..Scan::all()
            },
        );
        assert_eq!(pairs(&found.unwrap()), expected);
    }
}
