//! I2, I3, I9, I11: the store after a crash, or a failing sync, at any disk call.

use std::sync::Arc;

use disk::sim::CallKind;
use disk::{Disk, ManualClock, SimDisk};
use model::{ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

use super::{MINUTE, all, batch, key, open, options, try_open, write};
use crate::catalog::Catalog;
use crate::manifest::Manifest;
use crate::store::{Sink, Store};
use crate::view::Views;
use crate::{
    CheckpointHook, DeleteRange, Engine, Error, Lsn, NoHook, Options, Origin, Scan, SchemaChange,
};

/// One step of the script; each is one atomic change of what a reader sees.
type Step = fn(&Engine) -> Result<(), Error>;

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

const SCRIPT: [Step; 20] = [
    |e| write(e, BARS, RowKind::Bar, batch(&[0, MINUTE, 2 * MINUTE], 10)),
    |e| write(e, TICKS, RowKind::Tick, batch(&[5, 5, 7], 20)),
    |e| e.checkpoint(),
    |e| write(e, BARS, RowKind::Bar, batch(&[MINUTE, 3 * MINUTE], 30)),
    |e| write(e, TICKS, RowKind::Tick, batch(&[5, 9], 40)),
    |e| e.origin("instance").map(|_| ()),
    |e| e.checkpoint(),
    |e| e.drop_buckets(&[key(BARS)]),
    |e| write(e, BARS, RowKind::Bar, batch(&[MINUTE], 50)),
    |e| e.checkpoint(),
    |e| write(e, TICKS, RowKind::Tick, batch(&[6], 60)),
    // Of chunks and of the tail, of two buckets at once.
    |e| delete(e, &[(TICKS, 5, 6), (BARS, MINUTE, MINUTE)]),
    |e| write(e, TICKS, RowKind::Tick, batch(&[5], 70)),
    |e| alter(e, TICKS, widen_and_rename()),
    |e| write(e, TICKS, RowKind::Tick, wide(&[6, 8], 80)),
    |e| delete(e, &[(TICKS, 7, 7)]),
    |e| e.checkpoint(),
    |e| alter(e, TICKS, drop_and_add()),
    |e| delete(e, &[(TICKS, 9, i64::MAX)]),
    |e| e.checkpoint(),
];

fn delete(engine: &Engine, ranges: &[(&str, i64, i64)]) -> Result<(), Error> {
    let ranges = ranges.iter().map(|(name, from, to)| DeleteRange {
        key: key(name),
        from: *from,
        to: *to,
    });
    engine.delete(&ranges.collect::<Vec<_>>()).map(|_| ())
}

fn alter(engine: &Engine, name: &str, changes: [SchemaChange; 2]) -> Result<(), Error> {
    engine.alter(&key(name), &changes).map(|_| ())
}

fn widen_and_rename() -> [SchemaChange; 2] {
    let (column, ty) = ("Flag".to_owned(), ColumnType::I32);
    let (from, to) = ("Close".to_owned(), "Price".to_owned());
    [
        SchemaChange::Widen { column, ty },
        SchemaChange::Rename { from, to },
    ]
}

fn drop_and_add() -> [SchemaChange; 2] {
    let column = "Price".to_owned();
    let added = ColumnDef::new("Close", ColumnType::F32);
    [SchemaChange::Drop { column }, SchemaChange::Add(added)]
}

/// As [`batch`], after [`widen_and_rename`].
fn wide(times: &[i64], value: i32) -> ColumnBatch {
    let narrow = batch(times, value);
    let columns = ["Price", "Volume", "Flag"].map(|name| match name {
        "Price" => ColumnDef::new(name, ColumnType::F64),
        _ => ColumnDef::new(name, ColumnType::I32),
    });
    let mut values = narrow.columns().to_vec();
    values[2] = values[2].cast(ColumnType::I32).unwrap();
    let schema = Schema::new(columns.to_vec()).unwrap();
    ColumnBatch::new(schema, narrow.time_column().clone(), values).unwrap()
}

type State = [Vec<(i64, i32)>; 2];

fn state(engine: &Engine) -> State {
    [all(engine, BARS), all(engine, TICKS)]
}

/// Everything that a reader sees of both buckets: columns, values, last row, span of time.
fn seen(engine: &Engine) -> Vec<String> {
    let mut seen = Vec::new();
    for name in [BARS, TICKS] {
        let Some(info) = engine.bucket(&key(name)) else {
            continue;
        };
        let snapshot = engine.snapshot(&[info.id]);
        let rows = snapshot.scan(0, &Scan::all()).unwrap();
        let last = snapshot.last(0).unwrap();
        if rows.is_empty() {
            // A bucket is made before its first rows.
            assert!(last.is_none());
            continue;
        }
        seen.push(format!(
            "{name} {:?} {:?}",
            info.schema,
            snapshot.time_range(0)
        ));
        for batch in [Some(rows), last].into_iter().flatten() {
            for row in 0..batch.rows() {
                let values = batch.columns().iter().map(|column| column.scalar(row));
                seen.push(format!(
                    "{} {:?}",
                    batch.times()[row],
                    values.collect::<Vec<_>>()
                ));
            }
        }
    }
    seen
}

/// What is seen after each step; `states[n]` after `n` steps.
fn states() -> Vec<Vec<String>> {
    let engine = open(&SimDisk::new(1));
    let mut states = vec![seen(&engine)];
    for step in SCRIPT {
        step(&engine).unwrap();
        states.push(seen(&engine));
    }
    states
}

/// Runs the script until something fails; how many steps were acknowledged.
fn run(engine: &Engine, states: &[Vec<String>]) -> usize {
    for (done, step) in SCRIPT.iter().enumerate() {
        if step(engine).is_err() {
            return done;
        }
        assert_eq!(seen(engine), states[done + 1]);
    }
    SCRIPT.len()
}

/// Acknowledged steps are there, and nothing but a prefix of the script is.
fn check(engine: &Engine, states: &[Vec<String>], acknowledged: usize, what: &str) -> Vec<String> {
    let found = seen(engine);
    let in_flight = states.len().min(acknowledged + 2);
    let allowed = &states[acknowledged..in_flight];
    assert!(
        allowed.contains(&found),
        "{what}: {found:?} after {acknowledged} steps"
    );
    found
}

#[test]
fn a_crash_at_any_disk_call_keeps_what_was_acknowledged() {
    let states = states();
    let mut at = 0;
    loop {
        let disk = SimDisk::new(at);
        disk.crash_after(at);
        let acknowledged = match try_open(&disk) {
            Ok((engine, _)) => run(&engine, &states),
            Err(_) => 0,
        };
        let finished = !disk.crashed();
        let what = format!("crash at call {at}");

        // Another crash while recovering from the first.
        let again = disk.reopen();
        again.crash_after(at % 13);
        if let Ok((engine, _)) = try_open(&again) {
            check(&engine, &states, acknowledged, &what);
        }
        let last = again.reopen();
        let (engine, first) = try_open(&last).unwrap();
        let found = check(&engine, &states, acknowledged, &what);
        drop(engine);
        let (engine, second) = try_open(&last.reopen()).unwrap();
        assert_eq!(
            seen(&engine),
            found,
            "{what}: a second recovery changes nothing"
        );
        assert_eq!(
            second.frames, 0,
            "{what}: the first one made it durable ({first:?})"
        );
        if acknowledged > 5 {
            assert_eq!(
                engine.origin_name(crate::Origin(1)).as_deref(),
                Some("instance")
            );
        }
        if finished {
            break;
        }
        at += 1;
    }
    assert!(at > 60, "the script made only {at} calls");
}

#[test]
fn a_dead_process_loses_nothing_at_any_disk_call() {
    let states = states();
    for at in 0.. {
        let disk = SimDisk::new(at);
        disk.crash_after(at);
        let acknowledged = match try_open(&disk) {
            Ok((engine, _)) => run(&engine, &states),
            Err(_) => 0,
        };
        let finished = !disk.crashed();
        let engine = open(&disk.restart());
        check(
            &engine,
            &states,
            acknowledged,
            &format!("death at call {at}"),
        );
        if finished {
            break;
        }
    }
}

/// After a failed sync (or another call that a promise depends on) nothing is acknowledged any
/// more, reads go on, and a power cut later takes nothing that was acknowledged. Some calls carry
/// no promise (the log prepares files ahead): then all goes on.
fn fail_at_every_call(fail: impl Fn(&SimDisk, u64)) {
    let states = states();
    let calls = {
        let disk = SimDisk::new(0);
        run(&open(&disk), &states);
        disk.call_count()
    };
    let mut poisoned = 0;
    for at in 0..calls {
        let disk = SimDisk::new(at);
        fail(&disk, at);
        let Ok((engine, _)) = try_open(&disk) else {
            continue;
        };
        let acknowledged = run(&engine, &states);
        if engine.status().poisoned.is_some() {
            poisoned += 1;
            let before = state(&engine);
            for _ in 0..3 {
                let result = write(&engine, TICKS, RowKind::Tick, batch(&[1], 70));
                assert!(
                    matches!(result, Err(Error::Poisoned(_))),
                    "{at}: {result:?}"
                );
                assert!(matches!(engine.checkpoint(), Err(Error::Poisoned(_))));
            }
            assert_eq!(state(&engine), before, "reads go on");
        }
        drop(engine);
        let (engine, _) = try_open(&disk.reopen()).unwrap();
        check(&engine, &states, acknowledged, &format!("failure at {at}"));
    }
    assert!(poisoned > 10, "{poisoned} of {calls}");
}

#[test]
fn a_failed_sync_at_any_point_poisons() {
    fail_at_every_call(|disk, at| disk.fail_sync_after(at));
}

#[test]
fn a_failed_call_at_any_point_loses_nothing_acknowledged() {
    fail_at_every_call(|disk, at| disk.fail_after(at, std::io::ErrorKind::Other));
}

#[test]
fn a_full_disk_during_a_checkpoint_can_be_tried_again() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let times: Vec<i64> = (0..3000).map(|i| i * MINUTE).collect();
    write(&engine, BARS, RowKind::Bar, batch(&times, 1)).unwrap();
    let before = state(&engine);
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    assert!(matches!(engine.checkpoint(), Err(Error::DiskFull(_))));
    assert_eq!(state(&engine), before);
    assert_eq!(engine.status().poisoned, None);
    write(&engine, BARS, RowKind::Bar, batch(&[MINUTE], 7)).unwrap();
    disk.set_capacity(None);
    engine.checkpoint().unwrap();
    assert_eq!(engine.status().segments, 1);
    assert_eq!(engine.status().tail_bytes, 0);
    let mut expected = before;
    expected[0][1].1 = 7;
    assert_eq!(state(&engine), expected);
    drop(engine);
    assert_eq!(state(&open(&disk.reopen())), expected);
}

/// What is in the log can be read and goes to a segment when there is space.
#[test]
fn a_store_opens_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let times: Vec<i64> = (0..3000).map(|i| i * MINUTE).collect();
    write(&engine, BARS, RowKind::Bar, batch(&times, 1)).unwrap();
    let before = state(&engine);
    drop(engine);
    let disk = disk.restart();
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    let (engine, recovery) = try_open(&disk).unwrap();
    assert_eq!(recovery.rows, 3000);
    assert_eq!(state(&engine), before);
    assert_eq!(engine.status().poisoned, None);
    assert!(matches!(engine.close(), Err(Error::DiskFull(_))));
    drop(engine);
    let disk = disk.reopen();
    disk.set_capacity(None);
    let engine = open(&disk);
    assert_eq!((state(&engine), engine.status().segments), (before, 1));
}

/// Writers fill the disk and are refused; the checkpoint fits into what the log left free, and
/// frees the log for them.
#[test]
fn the_log_leaves_room_for_the_checkpoint_that_frees_it() {
    let disk = SimDisk::new(1);
    let reserve = 1 << 20;
    let options = Options {
        disk_reserve_bytes: reserve,
        ..options()
    };
    let segment = options.wal_segment_bytes;
    let clock = Arc::new(ManualClock::new(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (engine, _) = Engine::open_on(shared.clone(), clock, options, Arc::new(NoHook)).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 4 * segment + reserve));
    let times: Vec<i64> = (0..3000).map(|i| i * MINUTE).collect();
    let (mut written, mut refused) = (0, 0);
    while refused < 3 {
        match write(&engine, TICKS, RowKind::Tick, batch(&times, written)) {
            Ok(()) => written += 1,
            Err(Error::DiskFull(_)) => {
                refused += 1;
                // The store asked for a checkpoint by itself; this one waits for its end.
                engine.checkpoint().unwrap();
                assert!(shared.free_space().unwrap().unwrap() >= reserve / 2);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(written > 30, "{written}");
    assert_eq!(state(&engine)[1].len(), 3000 * written as usize);
    engine.close().unwrap();
}

/// Each attempt writes a segment until the disk is full: not once for every commit.
#[test]
fn attempts_at_a_checkpoint_on_a_full_disk_are_half_a_second_apart() {
    let disk = SimDisk::new(1);
    let options = Options {
        tail_bytes_max: 100,
        ..options()
    };
    let clock = Arc::new(ManualClock::new(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (engine, _) = Engine::open_on(shared, clock, options, Arc::new(NoHook)).unwrap();
    write(&engine, BARS, RowKind::Bar, batch(&[MINUTE], 0)).unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let began = std::time::Instant::now();
    let is_attempt = |call: &&disk::sim::Call| {
        call.kind == CallKind::Create && call.path.starts_with("segments/")
    };
    let attempts = || disk.calls().iter().filter(is_attempt).count() as u128;
    let mut left = 500;
    while left > 0 {
        write(&engine, BARS, RowKind::Bar, batch(&[MINUTE], left)).unwrap();
        if attempts() > 0 {
            left -= 1;
        }
    }
    let found = attempts();
    let most = 1 + began.elapsed().as_millis() / 500;
    assert!(found <= most, "{found} of {most}");
}

struct Panics;

impl CheckpointHook for Panics {
    fn opened(&self, _disk: &Arc<dyn Disk>) -> Result<(), Error> {
        Ok(())
    }
    fn replayed(&self, _lsn: Lsn, _origin: Origin, _section: &[u8]) {}
    fn checkpoint(&self, _upto: Lsn) -> Result<Lsn, Error> {
        panic!("told to")
    }
}

#[test]
fn writers_do_not_wait_for_a_checkpoint_thread_that_died() {
    let disk = SimDisk::new(1);
    let options = Options {
        wal_bytes_max: 10_000,
        ..options()
    };
    let clock = Arc::new(ManualClock::new(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (engine, _) = Engine::open_on(shared, clock, options, Arc::new(Panics)).unwrap();
    let mut written = 0;
    let error = loop {
        match write(&engine, TICKS, RowKind::Tick, batch(&[MINUTE], written)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().contains("checkpoint thread panicked"),
        "{error}"
    );
    drop(engine);
    assert_eq!(all(&open(&disk.reopen()), TICKS).len() as i32, written);
}

/// I11, also for a failure that is ours.
#[test]
fn a_panic_of_the_logs_thread_shows() {
    let store = Arc::new(Store::new(
        Arc::new(SimDisk::new(1)),
        Arc::new(ManualClock::new(0)),
        Options::default(),
        Arc::new(NoHook),
        Manifest::new([1; 16]),
        Catalog::new(),
        Views::default(),
    ));
    drop(Sink(store.clone()));
    assert_eq!(store.poison.reason(), None);
    let sink = Sink(store.clone());
    let thread = std::thread::spawn(move || {
        let _sink = sink;
        panic!("told to");
    });
    assert!(thread.join().is_err());
    assert_eq!(store.poison.reason(), Some("the log's thread panicked"));
}
