//! I2, I3, I9, I11: the store after a crash, or a failing sync, at any disk call.

use disk::SimDisk;
use model::RowKind;

use super::{MINUTE, all, batch, key, open, try_open, write};
use crate::{Engine, Error};

/// One step of the script; each is one atomic change of what a reader sees.
type Step = fn(&Engine) -> Result<(), Error>;

const BARS: &str = "B/1Min/OHLCV";
const TICKS: &str = "T/1Min/TICK";

const SCRIPT: [Step; 11] = [
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
];

type State = [Vec<(i64, i32)>; 2];

fn state(engine: &Engine) -> State {
    [all(engine, BARS), all(engine, TICKS)]
}

/// What is seen after each step; `states[n]` after `n` steps.
fn states() -> Vec<State> {
    let engine = open(&SimDisk::new(1));
    let mut states = vec![state(&engine)];
    for step in SCRIPT {
        step(&engine).unwrap();
        states.push(state(&engine));
    }
    states
}

/// Runs the script until something fails; how many steps were acknowledged.
fn run(engine: &Engine, states: &[State]) -> usize {
    for (done, step) in SCRIPT.iter().enumerate() {
        if step(engine).is_err() {
            return done;
        }
        assert_eq!(state(engine), states[done + 1]);
    }
    SCRIPT.len()
}

/// Acknowledged steps are there, and nothing but a prefix of the script is.
fn check(engine: &Engine, states: &[State], acknowledged: usize, what: &str) -> State {
    let found = state(engine);
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
            state(&engine),
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
