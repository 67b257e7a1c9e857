//! Deletes, schema changes and retention by example; model_change.rs has any order of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use disk::{Disk, ManualClock, SimDisk};
use model::{Column, ColumnBatch, ColumnDef, ColumnType, KeyPattern, RowKind, Schema};

use super::{MINUTE, all, batch, commit, key, open, options, rows, try_open, write};
use crate::store::{Token, rows_payload};
use crate::ticket::Outcome;
use crate::{
    CheckpointHook, DeleteRange, Engine, Error, Lsn, NoHook, Options, Origin, RetentionRule,
    SchemaChange, frame,
};

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

fn range(name: &str, from: i64, to: i64) -> DeleteRange {
    let key = key(name);
    DeleteRange { key, from, to }
}

fn add(name: &str, ty: ColumnType) -> SchemaChange {
    SchemaChange::Add(ColumnDef::new(name, ty))
}

fn rename(from: &str, to: &str) -> SchemaChange {
    let (from, to) = (from.to_owned(), to.to_owned());
    SchemaChange::Rename { from, to }
}

fn widen(column: &str, ty: ColumnType) -> SchemaChange {
    let column = column.to_owned();
    SchemaChange::Widen { column, ty }
}

fn drop_column(column: &str) -> SchemaChange {
    let column = column.to_owned();
    SchemaChange::Drop { column }
}

fn bars(engine: &Engine, times: std::ops::Range<i64>, value: i32) {
    let times: Vec<i64> = times.map(|i| i * MINUTE).collect();
    write(engine, BARS, RowKind::Bar, batch(&times, value)).unwrap();
}

#[test]
fn a_delete_is_refused_as_a_whole() {
    let engine = open(&SimDisk::new(1));
    bars(&engine, 0..5, 1);
    let before = engine.marks().appended;
    let good = range(BARS, 0, MINUTE);
    for (bad, says) in [
        (range("X/1Min/OHLCV", 0, 1), "no bucket X/1Min/OHLCV"),
        (
            range(BARS, 8, 7),
            "the range ends at 7 before it begins at 8",
        ),
    ] {
        let error = engine.delete(&[good.clone(), bad.clone()]).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        let error = engine.count_rows(&bad).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let many = vec![good; 20_000];
    let error = engine.delete(&many).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    assert_eq!(engine.delete(&[]).unwrap().rows, []);
    assert_eq!(engine.marks().appended, before, "nothing was written");
    assert_eq!(all(&engine, BARS).len(), 5);
}

#[test]
fn a_schema_change_is_refused_as_a_whole() {
    let engine = open(&SimDisk::new(1));
    bars(&engine, 0..5, 1);
    let before = engine.marks().appended;
    let too_many: Vec<_> = (0..1100)
        .map(|i| add(&format!("C{i}"), ColumnType::U8))
        .collect();
    let none: &[SchemaChange] = &[];
    for (changes, says) in [
        (none, "no change of a column is given"),
        (
            &[add("Volume", ColumnType::F32)],
            "there is a column \"Volume\" already",
        ),
        (
            &[add("Epoch", ColumnType::F32)],
            "Epoch is the time of the row",
        ),
        (&[add("", ColumnType::F32)], "it is empty"),
        (&too_many, "1103 columns, the limit is 1024"),
        (&[rename("Nope", "X")], "there is no column \"Nope\""),
        (
            &[rename("Close", "Flag")],
            "there is a column \"Flag\" already",
        ),
        (&[drop_column("Nope")], "there is no column \"Nope\""),
        (
            &[
                drop_column("Close"),
                drop_column("Volume"),
                drop_column("Flag"),
            ],
            "\"Flag\" is the last one",
        ),
        (
            &[widen("Close", ColumnType::F32)],
            "cannot go from FLOAT64 to FLOAT32",
        ),
        (
            &[widen("Close", ColumnType::F64)],
            "cannot go from FLOAT64 to FLOAT64",
        ),
        (
            &[widen("Nope", ColumnType::F64)],
            "there is no column \"Nope\"",
        ),
        // The first of the two would be fine.
        (
            &[rename("Close", "A"), rename("Close", "B")],
            "there is no column \"Close\"",
        ),
    ] {
        let error = engine.alter(&key(BARS), changes).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(BARS), "{error}");
    }
    let error = engine.alter(&key(TICKS), &[rename("A", "B")]).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert_eq!(engine.marks().appended, before, "nothing was written");
    assert_eq!(engine.bucket(&key(BARS)).unwrap().schema, super::schema());
}

/// Several changes are one version; a number is never given again; writes must fit at once.
#[test]
fn numbers_of_columns_stay_and_are_not_used_again() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    bars(&engine, 0..2, 1);
    let swapped = [
        rename("Close", "X"),
        rename("Volume", "Close"),
        rename("X", "Volume"),
        drop_column("Flag"),
        add("Flag", ColumnType::U8),
    ];
    let after = engine.alter(&key(BARS), &swapped).unwrap();
    assert_eq!(after.schema_version, 2);
    assert_eq!(
        (&after.column_ids[..], after.next_column),
        (&[0, 1, 3][..], 4)
    );
    let expected = "[{Volume FLOAT64} {Close INT32} {Flag UINT8}]";
    assert_eq!(format!("{:?}", after.schema), expected);
    let old = engine.write(commit(vec![rows(BARS, RowKind::Bar, batch(&[0], 1))]));
    // The names are those of the bucket still, but a cast of prices is none of values.
    assert!(old.is_ok(), "columns are matched by name");
    let after = engine.alter(&key(BARS), &[drop_column("Flag")]).unwrap();
    let old = engine.write(commit(vec![rows(BARS, RowKind::Bar, batch(&[0], 1))]));
    assert!(matches!(old, Err(Error::SchemaMismatch { .. })), "{old:?}");
    let snapshot = |engine: &Engine| {
        let snapshot = engine.snapshot(&[after.id]);
        let info = &snapshot.buckets()[0];
        let text = format!("{:?} {:?}", info.schema, info.column_ids);
        (text, snapshot.scan(0, &crate::Scan::all()).unwrap())
    };
    let found = snapshot(&engine);
    let volume = found.1.column("Volume").unwrap().values::<f64>().unwrap();
    assert_eq!(volume, [1.0, 0.5]);
    drop(engine);
    let engine = open(&disk.reopen());
    assert_eq!(snapshot(&engine), found);
    let after = engine
        .alter(&key(BARS), &[add("Flag", ColumnType::U8)])
        .unwrap();
    assert_eq!(&after.column_ids[..], [0, 1, 4]);
}

/// Bars written while columns come and go: whatever was acknowledged is there.
#[test]
fn no_acknowledged_row_is_lost_while_columns_change() {
    const ROUNDS: usize = 40;
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let two = |count: usize, time: i64| {
        let mut defs = vec![ColumnDef::new("V", ColumnType::I64)];
        let mut columns = vec![Column::from_values(vec![time])];
        if count == 2 {
            defs.push(ColumnDef::new("W", ColumnType::I64));
            columns.push(Column::from_values(vec![-time]));
        }
        let times = Column::from_values(vec![time]);
        ColumnBatch::new(Schema::new(defs).unwrap(), times, columns).unwrap()
    };
    write(&engine, TICKS, RowKind::Tick, two(1, 0)).unwrap();
    let stop = AtomicBool::new(false);
    let (sender, receiver) = std::sync::mpsc::channel();
    let written: Vec<i64> = std::thread::scope(|scope| {
        for writer in 0..3 {
            let (engine, stop, sender) = (&engine, &stop, sender.clone());
            scope.spawn(move || {
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let time = n * 10 + writer;
                    // The one or the other fits, unless it changes in between.
                    let fits = |count| write(engine, TICKS, RowKind::Tick, two(count, time));
                    match fits(1).or_else(|_| fits(2)) {
                        Ok(()) => sender.send(time).unwrap(),
                        Err(Error::SchemaMismatch { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        drop(sender);
        let mut written = Vec::new();
        for round in 0..ROUNDS {
            written.push(receiver.recv().unwrap());
            engine
                .alter(&key(TICKS), &[add("W", ColumnType::I64)])
                .unwrap();
            if round % 8 == 0 {
                engine.checkpoint().unwrap();
            }
            written.push(receiver.recv().unwrap());
            engine.alter(&key(TICKS), &[drop_column("W")]).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        written.extend(receiver);
        written
    });
    let mut expected: Vec<i64> = written.into_iter().chain([0]).collect();
    expected.sort_unstable();
    let check = |engine: &Engine| {
        let info = engine.bucket(&key(TICKS)).unwrap();
        assert_eq!(info.schema_version as usize, 1 + 2 * ROUNDS);
        let found = engine
            .snapshot(&[info.id])
            .scan(0, &crate::Scan::all())
            .unwrap();
        assert_eq!(found.times(), expected);
        assert_eq!(found.columns()[0].values::<i64>().unwrap(), expected);
    };
    check(&engine);
    drop(engine);
    check(&open(&disk.reopen()));
}

/// Rows are deleted as soon as they are acknowledged, while others are written and checkpoints
/// run: exactly those are gone.
#[test]
fn deletes_race_with_writes_and_checkpoints() {
    const ROUNDS: usize = 60;
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = std::sync::mpsc::channel();
    let (kept, deleted) = std::thread::scope(|scope| {
        for writer in 0..3 {
            let (engine, stop, sender) = (&engine, &stop, sender.clone());
            scope.spawn(move || {
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // Not in order of time, so that tails need sorting, too.
                    let time = (n * 10 + writer) * if n % 3 == 0 { -1 } else { 1 };
                    write(engine, TICKS, RowKind::Tick, batch(&[time], 0)).unwrap();
                    sender.send(time).unwrap();
                }
            });
        }
        drop(sender);
        let checkpoints = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                engine.checkpoint().unwrap();
            }
        });
        let (mut kept, mut deleted) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            kept.push(receiver.recv().unwrap());
            let time = receiver.recv().unwrap();
            let done = engine.delete(&[range(TICKS, time, time)]).unwrap();
            assert_eq!(done.rows, [1]);
            deleted.push(time);
            assert_eq!(engine.count_rows(&range(TICKS, time, time)).unwrap(), 0);
        }
        stop.store(true, Ordering::Relaxed);
        kept.extend(receiver);
        checkpoints.join().unwrap();
        (kept, deleted)
    });
    let mut kept = kept;
    kept.sort_unstable();
    assert_eq!(deleted.len(), ROUNDS);
    let check = |engine: &Engine| {
        let times: Vec<i64> = all(engine, TICKS).iter().map(|row| row.0).collect();
        assert_eq!(times, kept);
    };
    check(&engine);
    drop(engine);
    check(&open(&disk.reopen()));
}

fn append(engine: &Engine, kind: u8, payload: Vec<u8>) -> Result<(), Error> {
    let outcome = Arc::new(Outcome::default());
    let token = Token {
        outcome: Some(outcome.clone()),
        defines: None,
    };
    let store = engine.store();
    store.with_wal(|wal| wal.append(rows_payload(kind, 0, 0, payload), token))?;
    store.with_wal(|wal| wal.flush())?;
    outcome.wait().map(|_| ())
}

/// No writer of ours does that, but the log may be another's.
#[test]
fn rows_of_an_older_version_behind_a_schema_change_are_mapped() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    bars(&engine, 0..2, 1);
    let id = engine.bucket(&key(BARS)).unwrap().id;
    let changes = [drop_column("Close"), widen("Flag", ColumnType::I64)];
    engine.alter(&key(BARS), &changes).unwrap();
    let mut reader = engine.follow(engine.marks().visible).unwrap();
    let late = frame::encode_rows(None, &[], &[(id, 1, &batch(&[5 * MINUTE], 77))]);
    append(&engine, frame::KIND_ROWS, late).unwrap();
    let expected = [(0, 1), (MINUTE, 2), (5 * MINUTE, 77)];
    assert_eq!(all(&engine, BARS), expected);
    let changes = reader.next_commit().unwrap().unwrap().changes;
    let [crate::Change::Rows(info, batch)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(
        (info.schema_version, super::pairs(batch)),
        (2, vec![(5 * MINUTE, 77)])
    );
    drop(engine);
    assert_eq!(all(&open(&disk.reopen()), BARS), expected);
}

/// Bytes whose checksums hold and that make no sense are damage: not passed over.
#[test]
fn replay_refuses_a_frame_that_is_not_of_its_kind() {
    let other_version = |engine: &Engine| {
        let id = engine.bucket(&key(BARS)).unwrap().id;
        frame::encode_rows(None, &[], &[(id, 9, &batch(&[0], 1))])
    };
    let skips_a_version = |engine: &Engine| {
        let info = engine.bucket(&key(BARS)).unwrap();
        let mut after = (*info).clone();
        after.schema_version = 4;
        let mut before = after.clone();
        before.schema_version = 3;
        let mut payload = Vec::new();
        after.encode(&mut payload);
        before.encode(&mut payload);
        payload
    };
    type Payload<'a> = &'a dyn Fn(&Engine) -> Vec<u8>;
    let cases: [(u8, Payload<'_>, &str); 8] = [
        (1, &|_| vec![1; 7], "is not of its kind 1"),
        (2, &|_| vec![1; 7], "is not of its kind 2"),
        (3, &|_| vec![1; 7], "is not of its kind 3"),
        (5, &|_| vec![0; 25], "is not of its kind 5"),
        (6, &|_| vec![1; 3], "is not of its kind 6"),
        (7, &|_| vec![255; 8], "is not of its kind 7"),
        (
            1,
            &other_version,
            "rows that are not of B/1Min/OHLCV version 9",
        ),
        (
            3,
            &skips_a_version,
            "makes version 4 of B/1Min/OHLCV, which has 1",
        ),
    ];
    for (kind, payload, says) in cases {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        bars(&engine, 0..2, 1);
        let lsn = engine.marks().appended;
        let _ = append(&engine, kind, payload(&engine));
        let poisoned = engine.status().poisoned.unwrap();
        assert!(poisoned.contains(says), "{poisoned}");
        assert_eq!(all(&engine, BARS).len(), 2, "reads go on");
        drop(engine);
        let Err(error) = try_open(&disk.reopen()) else {
            panic!("kind {kind} was passed over");
        };
        let Error::Corrupt { file, offset, what } = &error else {
            panic!("{error}");
        };
        assert_eq!((file.as_str(), *offset), ("wal", lsn.0), "{error}");
        assert!(
            what.contains(says) && what.contains(&format!("frame {lsn}")),
            "{what}"
        );
    }
}

/// Acts between the freeze of the tails and the segment; keeps the log.
struct During<F>(std::sync::OnceLock<Engine>, F);

impl<F: Fn(&Engine) + Send + Sync> CheckpointHook for During<F> {
    fn opened(&self, _disk: &Arc<dyn Disk>) -> Result<(), Error> {
        Ok(())
    }
    fn replayed(&self, _lsn: Lsn, _origin: Origin, _section: &[u8]) {}
    fn checkpoint(&self, upto: Lsn) -> Result<Lsn, Error> {
        if let Some(engine) = self.0.get() {
            (self.1)(engine);
        }
        Ok(upto.min(Lsn(0)))
    }
}

/// The segment has the rows, the delete is in the log behind it; a crash right after that, too.
#[test]
fn rows_deleted_while_a_checkpoint_writes_them_stay_deleted() {
    let disk = SimDisk::new(1);
    let hook = Arc::new(During(std::sync::OnceLock::new(), |engine: &Engine| {
        let deleted = engine.delete(&[range(BARS, MINUTE, 3 * MINUTE)]).unwrap();
        assert_eq!(deleted.rows, [3]);
        bars(engine, 2..3, 50);
    }));
    let clock = Arc::new(ManualClock::new(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (engine, _) = Engine::open_on(shared, clock, options(), hook.clone()).unwrap();
    bars(&engine, 0..5, 1);
    assert!(hook.0.set(engine.clone()).is_ok());
    engine.checkpoint().unwrap();
    let expected = [(0, 1), (2 * MINUTE, 50), (4 * MINUTE, 5)];
    assert_eq!(all(&engine, BARS), expected);
    let after_crash = disk.copy().reopen();
    assert_eq!(all(&open(&after_crash), BARS), expected);
}

/// The hook keeps the log, so a follower may come from far back, over versions that no chunk has.
#[test]
fn a_follower_reads_rows_of_every_version() {
    let disk = SimDisk::new(1);
    let nothing = |_: &Engine| {};
    let hook = || Arc::new(During(std::sync::OnceLock::new(), nothing));
    let options = Options {
        follow_bytes: 1,
        ..options()
    };
    let start = |disk: &SimDisk| {
        let clock = Arc::new(ManualClock::new(0));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        Engine::open_on(shared, clock, options.clone(), hook())
            .unwrap()
            .0
    };
    let engine = start(&disk);
    bars(&engine, 0..2, 1);
    engine
        .delete(&[range(BARS, 0, 0), range(BARS, 7, 9)])
        .unwrap();
    engine.alter(&key(BARS), &[drop_column("Close")]).unwrap();
    engine.delete(&[range(BARS, 0, i64::MAX)]).unwrap();
    for _ in 0..3 {
        engine
            .alter(&key(BARS), &[rename("Flag", "F"), rename("F", "Flag")])
            .unwrap();
        engine.checkpoint().unwrap();
    }
    let expected = [
        "+B/1Min/OHLCV".to_owned(),
        format!("B/1Min/OHLCV [(0, 1), ({MINUTE}, 2)]"),
        "B/1Min/OHLCV -0..=0".to_owned(),
        "B/1Min/OHLCV -7..=9".to_owned(),
        "B/1Min/OHLCV [{Close FLOAT64} {Volume INT32} {Flag UINT8}] -> [{Volume INT32} {Flag UINT8}]"
            .to_owned(),
        format!("B/1Min/OHLCV -0..={}", i64::MAX),
    ];
    let check = |engine: &Engine| {
        let mut seen = super::follow::drain(&mut engine.follow(Lsn(0)).unwrap());
        seen.retain(|line| !line.starts_with("hops"));
        assert_eq!(seen[..6], expected);
        assert_eq!(seen.len(), 9);
    };
    check(&engine);
    drop(engine);
    check(&start(&disk.reopen()));
}

/// What no file and no reader of the log needs is let go, in memory and in the catalog file.
#[test]
fn a_checkpoint_forgets_what_nobody_needs() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let past = |engine: &Engine| {
        let views = engine.store().views.read();
        let id = engine.bucket(&key(BARS)).unwrap().id;
        (views[&id].masks.len(), views[&id].older.len())
    };
    bars(&engine, 0..5, 1);
    engine.checkpoint().unwrap();
    bars(&engine, 5..9, 1);
    engine.delete(&[range(BARS, 0, MINUTE)]).unwrap();
    engine
        .delete(&[range(BARS, 6 * MINUTE, 7 * MINUTE)])
        .unwrap();
    engine
        .alter(&key(BARS), &[widen("Flag", ColumnType::U16)])
        .unwrap();
    engine
        .alter(&key(BARS), &[widen("Flag", ColumnType::U32)])
        .unwrap();
    assert_eq!(past(&engine), (2, 2));
    // The second delete hides nothing of a chunk.
    engine.checkpoint().unwrap();
    assert_eq!(past(&engine), (1, 2));
    drop(engine);
    let disk = disk.reopen();
    let engine = open(&disk);
    assert_eq!(past(&engine), (1, 2), "the log has rows of both versions");
    let fill = |engine: &Engine| {
        // So much that the segments of the log before are released.
        let times: Vec<i64> = (0..9000).map(|i| i * MINUTE).collect();
        for value in 0..10 {
            write(engine, "C/1Min/OHLCV", RowKind::Bar, batch(&times, value)).unwrap();
        }
        engine.checkpoint().unwrap();
        write(engine, "C/1Min/OHLCV", RowKind::Bar, batch(&[0], 1)).unwrap();
        engine.checkpoint().unwrap();
    };
    fill(&engine);
    assert_eq!(
        past(&engine),
        (1, 1),
        "the first chunk has the first version"
    );
    assert_eq!(all(&engine, BARS).len(), 5);
    drop(engine);
    let engine = open(&disk.reopen());
    assert_eq!(past(&engine), (1, 1));
    assert_eq!(all(&engine, BARS).len(), 5);
}

fn rule(on: &str, minutes: u64) -> RetentionRule {
    RetentionRule {
        on: KeyPattern::parse(on).unwrap(),
        keep: Duration::from_secs(60 * minutes),
    }
}

#[test]
fn retention_keeps_by_the_first_rule_that_matches() {
    let engine = open(&SimDisk::new(1));
    bars(&engine, 0..10, 1);
    write(
        &engine,
        TICKS,
        RowKind::Tick,
        batch(&[0, MINUTE, 9 * MINUTE], 1),
    )
    .unwrap();
    write(
        &engine,
        "C/1H/OHLCV",
        RowKind::Bar,
        batch(&[0, 60 * MINUTE], 1),
    )
    .unwrap();
    let rules = [rule("B/*/*", 3), rule("*/1Min/*", 8), rule("B/**", 1)];
    let follower = engine.marks().visible;
    let retained = engine.retain(&rules, 9 * MINUTE).unwrap();
    let found = retained
        .iter()
        .map(|r| (r.key.as_str(), r.cutoff / MINUTE, r.rows));
    assert_eq!(found.collect::<Vec<_>>(), [(BARS, 6, 6), (TICKS, 1, 1)]);
    // A row exactly as old as allowed stays.
    let times = |name| {
        all(&engine, name)
            .iter()
            .map(|row| row.0 / MINUTE)
            .collect::<Vec<_>>()
    };
    assert_eq!(times(BARS), [6, 7, 8, 9]);
    assert_eq!(times(TICKS), [1, 9]);
    assert_eq!(times("C/1H/OHLCV"), [0, 60]);
    assert_eq!(
        engine.retain(&rules, 9 * MINUTE).unwrap(),
        [],
        "nothing is left to do"
    );
    let seen = super::follow::drain(&mut engine.follow(follower).unwrap());
    assert_eq!(seen, ["hops 0"], "what was made of the rows outlives them");
}

#[test]
fn neither_a_clock_nor_a_row_ahead_deletes_what_is_young() {
    let engine = open(&SimDisk::new(1));
    bars(&engine, 0..10, 1);
    let rules = [rule("**", 5)];
    // The clock says it is years later: the newest row counts.
    let years = 10 * 365 * 24 * 60 * MINUTE;
    assert_eq!(engine.retain(&rules, years).unwrap()[0].rows, 4);
    assert_eq!(all(&engine, BARS).len(), 6);
    // A row from years ahead: the clock counts.
    bars(&engine, years / MINUTE..years / MINUTE + 1, 1);
    assert_eq!(engine.retain(&rules, 9 * MINUTE).unwrap(), []);
    assert_eq!(all(&engine, BARS).len(), 7);
    // A clock at the start of time, and a rule that keeps for ever.
    assert_eq!(engine.retain(&rules, i64::MIN).unwrap(), []);
    let forever = RetentionRule {
        keep: Duration::MAX,
        ..rule("**", 0)
    };
    assert_eq!(engine.retain(&[forever], i64::MAX).unwrap(), []);
    assert_eq!(all(&engine, BARS).len(), 7);
}

/// Everything gone, then rows again: nothing of the old ones comes back.
#[test]
fn a_bucket_can_be_emptied_and_filled_again() {
    for checkpoints in [false, true] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        let checkpoint = |engine: &Engine| {
            if checkpoints {
                engine.checkpoint().unwrap();
            }
        };
        bars(&engine, 0..5000, 1);
        checkpoint(&engine);
        let deleted = engine.delete(&[range(BARS, i64::MIN, i64::MAX)]).unwrap();
        assert_eq!(deleted.rows, [5000]);
        let id = engine.bucket(&key(BARS)).unwrap().id;
        let snapshot = engine.snapshot(&[id]);
        assert_eq!(snapshot.time_range(0), None);
        assert!(snapshot.last(0).unwrap().is_none());
        assert_eq!(snapshot.count(0, i64::MIN, i64::MAX).unwrap(), 0);
        checkpoint(&engine);
        bars(&engine, 7..9, 50);
        checkpoint(&engine);
        let expected = [(7 * MINUTE, 50), (8 * MINUTE, 51)];
        assert_eq!(all(&engine, BARS), expected);
        drop(engine);
        let engine = open(&disk.reopen());
        assert_eq!(all(&engine, BARS), expected);
        let last = engine.snapshot(&[id]).last(0).unwrap().unwrap();
        assert_eq!(super::pairs(&last), expected[1..]);
    }
}

/// A sync that never comes is hurried: neither call waits for the interval.
#[test]
fn deletes_and_schema_changes_are_durable_at_once() {
    let disk = SimDisk::new(1);
    let options = Options {
        sync: crate::SyncMode::Interval(Duration::from_secs(3600)),
        ..options()
    };
    let clock = Arc::new(ManualClock::new(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (engine, _) = Engine::open_on(shared, clock, options, Arc::new(NoHook)).unwrap();
    let commit = commit(vec![rows(BARS, RowKind::Bar, batch(&[0, MINUTE], 1))]);
    engine.write(commit).unwrap().wait_visible().ok();
    engine.delete(&[range(BARS, 0, 0)]).unwrap();
    engine.alter(&key(BARS), &[drop_column("Flag")]).unwrap();
    let after_crash = disk.copy().reopen();
    let engine = open(&after_crash);
    assert_eq!(all(&engine, BARS), [(MINUTE, 2)]);
    assert_eq!(engine.bucket(&key(BARS)).unwrap().schema.len(), 2);
}

/// A plugin commit that deletes and writes: readers see both or none, its own rows stay, and
/// replay and checkpoint agree.
#[test]
fn a_plugin_commit_deletes_in_front_of_its_rows() {
    let disk = SimDisk::new(21);
    let engine = open(&disk);
    let ticks: Vec<i64> = (0..10).collect();
    write(&engine, TICKS, RowKind::Tick, batch(&ticks, 1)).unwrap();
    bars(&engine, 0..10, 1);
    engine.checkpoint().unwrap();
    write(&engine, TICKS, RowKind::Tick, batch(&[10, 11], 1)).unwrap();
    let replaced = |section: Option<&'static [u8]>, value: i32| {
        let mut commit = commit(vec![
            rows(TICKS, RowKind::Tick, batch(&[5, 11], value)),
            rows("N/1Min/TICK", RowKind::Tick, batch(&[5], value)),
        ]);
        commit.section = section.map(Into::into);
        (
            commit,
            vec![
                range(TICKS, 3, 11),
                range(BARS, 0, 4 * MINUTE),
                range("N/1Min/TICK", 0, 9),
                range("GONE/1Min/TICK", 0, 9),
            ],
        )
    };
    let (commit, ranges) = replaced(Some(b"state"), 2);
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (engine, done) = (engine.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                let rows = all(&engine, TICKS).len();
                assert!(rows == 12 || rows == 5, "{rows} rows: half a commit");
            }
        })
    };
    let lsn = engine
        .write_deleting(commit, &ranges)
        .unwrap()
        .wait_visible()
        .unwrap();
    done.store(true, Ordering::Release);
    reader.join().unwrap();
    let check = |engine: &Engine| {
        assert_eq!(times(engine, TICKS), [0, 1, 2, 5, 11]);
        assert_eq!(times(engine, BARS), [5, 6, 7, 8, 9].map(|m| m * MINUTE));
        assert_eq!(times(engine, "N/1Min/TICK"), [5]);
    };
    check(&engine);
    let mut reader = engine.follow(lsn).unwrap();
    let names: Vec<String> = reader
        .next_commit()
        .unwrap()
        .unwrap()
        .changes
        .iter()
        .map(|change| match change {
            crate::Change::Deleted { bucket, from, to } => format!("{} {from}..{to}", bucket.key),
            crate::Change::Rows(bucket, rows) => format!("{} {}", bucket.key, rows.rows()),
            other => format!("{other:?}"),
        })
        .collect();
    // A bucket that the commit makes had nothing to delete.
    let bars = format!("{BARS} 0..{}", 4 * MINUTE);
    assert_eq!(
        names,
        [
            &format!("{TICKS} 3..11"),
            &bars,
            &format!("{TICKS} 2"),
            "N/1Min/TICK 1"
        ]
    );
    drop((engine, reader));
    let disk = disk.reopen();
    let engine = open(&disk);
    check(&engine);
    engine.checkpoint().unwrap();
    check(&engine);
    engine.compact().unwrap();
    check(&engine);
    // Without a section: two frames.
    let (commit, ranges) = replaced(None, 3);
    engine
        .write_deleting(commit, &ranges)
        .unwrap()
        .wait_visible()
        .unwrap();
    assert_eq!(times(&engine, TICKS), [0, 1, 2, 5, 11]);
    let only = crate::Commit {
        origin: Origin::CLIENT,
        hops: 0,
        rows: Vec::new(),
        section: None,
    };
    engine
        .write_deleting(only, &[range(TICKS, 0, 5)])
        .unwrap()
        .wait_visible()
        .unwrap();
    assert_eq!(times(&engine, TICKS), [11]);
    let bad = super::commit(Vec::new());
    assert!(matches!(
        engine.write_deleting(bad, &[range(TICKS, 5, 4)]),
        Err(Error::Invalid(_))
    ));
}

fn times(engine: &Engine, name: &str) -> Vec<i64> {
    all(engine, name).iter().map(|(time, _)| *time).collect()
}
