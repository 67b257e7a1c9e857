//! Zone maps against the scan without them: any sources that overlap, overwrite and delete, any
//! conditions, any range.

use disk::SimDisk;
use model::{Column, ColumnBatch, ColumnType, RowKind};
use proptest::prelude::*;

use super::{batch, key, open, rows, schema, write};
use crate::{Condition, DeleteRange, Engine, Scan, SchemaChange, Values, Zones};

const BAR: i64 = 60_000_000_000;

fn name(tick: bool) -> &'static str {
    if tick { "T/1Min/TICK" } else { "B/1Min/OHLCV" }
}

fn kind(tick: bool) -> RowKind {
    if tick { RowKind::Tick } else { RowKind::Bar }
}

/// Values that ascend from `value`; of ticks `per_time` have each time. Every `nan`th Close is NaN.
fn bulk(first: i64, count: i64, per_time: i64, value: i32, nan: Option<usize>) -> ColumnBatch {
    let times: Vec<i64> = (0..count).map(|i| (first + i / per_time) * BAR).collect();
    let plain = batch(&times, value);
    let Some(nan) = nan else { return plain };
    let mut close = plain.columns()[0].values::<f64>().unwrap().to_vec();
    for value in close.iter_mut().step_by(nan) {
        *value = if value.rem_euclid(1.0) == 0.5 {
            -f64::NAN
        } else {
            f64::NAN
        };
    }
    let mut columns = plain.columns().to_vec();
    columns[0] = Column::from_values(close);
    ColumnBatch::new(schema(), plain.time_column().clone(), columns).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    /// Ticks, first bar, rows, first value, a NaN so often; past the log or not.
    Bulk(bool, i64, i64, i32, Option<usize>, bool),
    Checkpoint,
    Compact,
    Delete(bool, i64, i64),
    Widen(bool),
    Add(bool),
    Look(Look),
}

/// Some values of Close and of Volume.
#[derive(Debug, Clone)]
struct Look {
    tick: bool,
    close: Option<(Option<i32>, Option<i32>)>,
    volumes: Option<Vec<(i32, i32)>>,
    from: Option<i64>,
    to: Option<i64>,
}

fn step() -> impl Strategy<Value = Step> {
    let nan = proptest::option::of(1_usize..3000);
    let bulk = (
        any::<bool>(),
        0_i64..9000,
        1_i64..9000,
        0_i32..20_000,
        nan,
        any::<bool>(),
    );
    let range = || (any::<bool>(), 0_i64..20_000, 0_i64..9000);
    prop_oneof![
        5 => bulk.prop_map(|(t, f, c, v, n, i)| Step::Bulk(t, f, c, v, n, i)),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        2 => range().prop_map(|(tick, from, len)| Step::Delete(tick, from, from + len)),
        1 => any::<bool>().prop_map(Step::Widen),
        1 => any::<bool>().prop_map(Step::Add),
        6 => look().prop_map(Step::Look),
    ]
}

fn look() -> impl Strategy<Value = Look> {
    let end = || proptest::option::of(-10_i32..30_000);
    let some = proptest::collection::vec((0_i32..30_000, 0_i32..3000), 0..4);
    let some = some.prop_map(|v| {
        v.into_iter()
            .map(|(from, len)| (from, from + len))
            .collect()
    });
    let time = || proptest::option::of(0_i64..20_000);
    (
        any::<bool>(),
        proptest::option::of((end(), end())),
        proptest::option::of(some),
        time(),
        time(),
    )
        .prop_map(|(tick, close, volumes, from, to)| Look {
            tick,
            close,
            volumes,
            from,
            to,
        })
}

impl Look {
    fn conditions(&self, is_wide: bool) -> Vec<Condition> {
        let mut conditions = Vec::new();
        if let Some((from, to)) = self.close {
            let end = |end: Option<i32>| end.map(|value| f64::from(value) / 4.0);
            let values = Values::floats(&[(end(from), end(to))]);
            conditions.push(Condition { column: 0, values });
        }
        if let Some(volumes) = &self.volumes {
            let values = match is_wide {
                true => {
                    let wide = |value: i32| Some(f64::from(value));
                    let wide: Vec<_> = volumes.iter().map(|v| (wide(v.0), wide(v.1))).collect();
                    Values::floats(&wide)
                }
                false => {
                    let wide = volumes.iter().map(|v| (v.0.into(), v.1.into()));
                    Values::integers(wide.collect())
                }
            };
            conditions.push(Condition { column: 1, values });
        }
        conditions
    }

    /// As SQL compares: NaN above, or below, all else.
    fn holds(&self, close: f64, volume: i64) -> bool {
        let end = |end: i32| f64::from(end) / 4.0;
        let close_holds = self.close.is_none_or(|(from, to)| {
            from.is_none_or(|from| close.total_cmp(&end(from)).is_ge())
                && to.is_none_or(|to| close.total_cmp(&end(to)).is_le())
        });
        let within =
            |(from, to): &(i32, i32)| i64::from(*from) <= volume && volume <= i64::from(*to);
        close_holds && self.volumes.as_ref().is_none_or(|v| v.iter().any(within))
    }

    /// (time, bits of Close, Volume) of the rows that match.
    fn matching(&self, batch: &ColumnBatch) -> Vec<(i64, u64, i64)> {
        let volumes = batch.columns()[1].cast(ColumnType::F64);
        let volumes = volumes.unwrap_or_else(|_| panic!("Volume is a number"));
        let volumes = volumes.values::<f64>().unwrap();
        let close = batch.columns()[0].values::<f64>().unwrap();
        let rows = batch.times().iter().zip(close).zip(volumes);
        let rows = rows.map(|((time, close), volume)| (*time, *close, *volume as i64));
        let rows = rows.filter(|(_, close, volume)| self.holds(*close, *volume));
        rows.map(|(time, close, volume)| (time, close.to_bits(), volume))
            .collect()
    }

    fn check(&self, engine: &Engine) {
        let Some(info) = engine.bucket(&key(name(self.tick))) else {
            return;
        };
        let is_wide = info.schema.columns()[1].ty == ColumnType::F64;
        let from = self.from.map_or(i64::MIN, |bar| bar * BAR);
        let to = self.to.map_or(i64::MAX, |bar| bar * BAR);
        let snapshot = engine.snapshot(&[info.id]);
        let whole = Scan {
            from,
            to,
            ..Scan::all()
        };
        let expected = self.matching(&snapshot.scan(0, &whole).unwrap());
        let zones = snapshot
            .zones(0, from, to, &self.conditions(is_wide))
            .unwrap();
        let mut found = Vec::new();
        let mut before = None;
        for (first, last) in &zones.spans {
            assert!(from <= *first && first <= last && *last <= to, "{zones:?}");
            assert!(before.is_none_or(|before| before < *first), "{zones:?}");
            before = Some(*last);
            let span = Scan {
                from: *first,
                to: *last,
                ..Scan::all()
            };
            found.extend(self.matching(&snapshot.scan(0, &span).unwrap()));
        }
        assert_eq!(found, expected, "{self:?}\n{zones:?}");
        assert!(zones.skipped <= zones.pages);
    }
}

fn run(engine: &Engine, step: &Step) {
    match step {
        Step::Bulk(tick, first, count, value, nan, past_the_log) => {
            let per_time = if *tick { 7 } else { 1 };
            let mut batch = bulk(*first, *count, per_time, *value, *nan);
            // Whoever writes has the columns that there are.
            if let Some(info) = engine.bucket(&key(name(*tick))) {
                let columns = info.schema.columns().iter().enumerate().map(|(at, def)| {
                    let column = batch.columns().get(at).unwrap_or(&batch.columns()[1]);
                    column.cast(def.ty).unwrap()
                });
                let columns = columns.collect();
                let times = batch.time_column().clone();
                batch = ColumnBatch::new(info.schema.clone(), times, columns).unwrap();
            }
            match past_the_log {
                true => drop(
                    engine
                        .ingest(vec![rows(name(*tick), kind(*tick), batch)])
                        .unwrap(),
                ),
                false => write(engine, name(*tick), kind(*tick), batch).unwrap(),
            }
        }
        Step::Checkpoint => engine.checkpoint().unwrap(),
        Step::Compact => drop(engine.compact().unwrap()),
        Step::Delete(tick, from, to) => {
            let key = key(name(*tick));
            if engine.bucket(&key).is_some() {
                let range = DeleteRange {
                    key,
                    from: from * BAR,
                    to: to * BAR,
                };
                engine.delete(&[range]).unwrap();
            }
        }
        Step::Widen(tick) => {
            let column = "Volume".to_owned();
            // Refused if it is so already, or if there is no bucket.
            let widen = SchemaChange::Widen {
                column,
                ty: ColumnType::F64,
            };
            let _ = engine.alter(&key(name(*tick)), &[widen]);
        }
        Step::Add(tick) => {
            let more = model::ColumnDef::new("More", ColumnType::F32);
            let _ = engine.alter(&key(name(*tick)), &[SchemaChange::Add(more)]);
        }
        Step::Look(look) => look.check(engine),
    }
}

fn cases() -> u32 {
    let cases = std::env::var("MKTS_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// I7 for zone maps: no row that matches is outside the spans, whatever overwrote or deleted it.
    #[test]
    fn nothing_that_matches_is_left_out(
        steps in proptest::collection::vec(step(), 1..14),
        looks in proptest::collection::vec(look(), 8),
    ) {
        let engine = open(&SimDisk::new(1));
        for step in &steps {
            run(&engine, step);
        }
        for look in &looks {
            look.check(&engine);
        }
        engine.close().unwrap();
    }
}

fn volume(from: i128, to: i128) -> Vec<Condition> {
    let values = Values::integers(vec![(from, to)]);
    vec![Condition { column: 1, values }]
}

fn zones_of(engine: &Engine, conditions: &[Condition]) -> Zones {
    let id = engine.bucket(&key(name(false))).unwrap().id;
    let snapshot = engine.snapshot(&[id]);
    snapshot.zones(0, i64::MIN, i64::MAX, conditions).unwrap()
}

#[test]
fn pages_that_cannot_match_are_passed_by() {
    let engine = open(&SimDisk::new(1));
    let loaded = rows(name(false), kind(false), bulk(0, 40_960, 1, 0, None));
    engine.ingest(vec![loaded]).unwrap();
    let zones = zones_of(&engine, &volume(5000, 5001));
    assert_eq!(zones.spans, [(4096 * BAR, 8191 * BAR)]);
    assert_eq!((zones.pages, zones.skipped), (10, 9));
    assert!(zones_of(&engine, &volume(50_000, 60_000)).spans.is_empty());
    let all = zones_of(&engine, &volume(0, 60_000));
    assert_eq!((all.spans.len(), all.skipped), (1, 0));
    // Both at once.
    let close = Condition {
        column: 0,
        values: Values::floats(&[(Some(0.0), Some(10.0))]),
    };
    let mut both = volume(5000, 5001);
    both.push(close);
    assert!(zones_of(&engine, &both).spans.is_empty());
}

/// The case that the spans are of time for: an older row must not come back.
#[test]
fn an_overwritten_row_stays_overwritten() {
    let engine = open(&SimDisk::new(1));
    write(&engine, name(false), kind(false), bulk(0, 8192, 1, 0, None)).unwrap();
    engine.checkpoint().unwrap();
    write(
        &engine,
        name(false),
        kind(false),
        bulk(4096, 4096, 1, 100_000, None),
    )
    .unwrap();
    engine.checkpoint().unwrap();
    let conditions = volume(5000, 5000);
    let zones = zones_of(&engine, &conditions);
    // The newer page has no such row, but the time is read, and the newer row is what is found.
    assert_eq!(zones.spans, [(4096 * BAR, 8191 * BAR)]);
    let found = super::scan(
        &engine,
        name(false),
        &Scan {
            from: 5000 * BAR,
            to: 5000 * BAR,
            ..Scan::all()
        },
    );
    assert_eq!(super::pairs(&found.unwrap()), [(5000 * BAR, 100_904)]);
}

#[test]
fn a_page_with_nan_is_read_for_whatever_goes_on_to_nan() {
    let engine = open(&SimDisk::new(1));
    write(
        &engine,
        name(false),
        kind(false),
        bulk(0, 8192, 1, 0, Some(5000)),
    )
    .unwrap();
    engine.checkpoint().unwrap();
    let close = |from, to| {
        let values = Values::floats(&[(from, to)]);
        zones_of(&engine, &[Condition { column: 0, values }])
    };
    // Rows 0 and 5000 are NaN, which is more than a million, and may be less.
    assert_eq!(close(Some(1e6), None).skipped, 0);
    assert_eq!(close(None, Some(-1.0)).skipped, 0);
    assert_eq!(close(Some(1e6), Some(2e6)).skipped, 2);
}

#[test]
fn a_column_that_is_not_there_is_an_error() {
    let engine = open(&SimDisk::new(1));
    write(&engine, name(false), kind(false), bulk(0, 10, 1, 0, None)).unwrap();
    let id = engine.bucket(&key(name(false))).unwrap().id;
    let values = Values::integers(vec![(0, 1)]);
    let error = engine
        .snapshot(&[id])
        .zones(0, 0, 1, &[Condition { column: 3, values }]);
    assert!(error.unwrap_err().to_string().contains("column 3"));
}
