//! T26, T28, T29: children that die, hang, start badly or end too often.

use std::time::Duration;

use plugin_host::process::Program;
use plugin_sdk::{AnyTrigger, CloseReason, FireError, FireInfo, StandingState};
use serde_json::{Value, json};

use crate::support::{FakeHost, Owned, info, make, probe, program, rounds, wait_for};

fn made(program: Program, config: &Value) -> (FakeHost, Result<Box<dyn AnyTrigger>, String>) {
    let module = plugin_host::process::module(program).unwrap();
    let mut host = FakeHost::new();
    let trigger = make(&*module, config, &mut host).map_err(|error| error.text);
    (host, trigger)
}

/// Why a child could not be made, without the name of the program.
fn refused(program: Program, config: &Value) -> String {
    let Err(error) = made(program, config).1 else {
        panic!("it was made");
    };
    let (file, why) = error.split_once(": ").unwrap_or(("", &error));
    assert!(file.is_empty() || file.starts_with('/'), "{error}");
    why.into()
}

fn short(info: FireInfo) -> FireInfo {
    FireInfo {
        deadline: info.now + 200_000_000,
        ..info
    }
}

/// T26: whatever kills the child in a fire, the event is fired again and state goes on.
#[test]
fn a_child_killed_in_every_fire_loses_nothing() {
    let module = probe();
    let mut host = FakeHost::new();
    let config = json!({"act": "kill", "once": true});
    let mut trigger = make(&*module, &config, &mut host).unwrap();
    let rounds = rounds(20);
    for lsn in 1..=rounds {
        let event = Owned::write(&[1]);
        let killed = host.fire(&mut *trigger, info(lsn, 1), &event);
        let error = killed.unwrap_err().to_string();
        assert_eq!(error, "the plugin's process is gone: killed by signal 9");
        host.fire(&mut *trigger, info(lsn, 2), &event).unwrap();
    }
    assert_eq!(host.state.counter_of("total") as u64, rounds);
    let standing = module.standing("probe-1").unwrap();
    assert_eq!(
        (standing.state, standing.restarts),
        (StandingState::Running, rounds)
    );
    trigger.close(CloseReason::Stop);
    let stopped = module.standing("probe-1").unwrap();
    assert_eq!((stopped.state, stopped.pid), (StandingState::Stopped, 0));
}

/// A child that heeds its cancelling lives on; one that does not is killed at twice the time.
#[test]
fn a_fire_that_takes_too_long_is_cancelled_and_then_killed() {
    for (act, why) in [("wait", "cancelled"), ("hang", "no answer within")] {
        let module = probe();
        let mut host = FakeHost::new();
        let config = json!({"act": act, "once": true});
        let mut trigger = make(&*module, &config, &mut host).unwrap();
        let pid = module.standing("probe-1").unwrap().pid;
        let event = Owned::write(&[1]);
        let error = host.fire(&mut *trigger, short(info(1, 1)), &event);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        host.fire(&mut *trigger, info(1, 2), &event).unwrap();
        let lives = module.standing("probe-1").unwrap().pid == pid;
        assert_eq!(lives, act == "wait", "{act}");
        assert_eq!(host.state.counter_of("total"), 1);
        trigger.close(CloseReason::Stop);
    }
}

/// Its threads stand still, so nothing but the silence tells.
#[test]
fn a_silent_child_is_hung_and_killed() {
    let mut program = program("probe");
    program.timing.silence = Duration::from_millis(1500);
    let (mut host, trigger) = made(program, &json!({"act": "stop", "once": true}));
    let mut trigger = trigger.unwrap();
    let event = Owned::write(&[1]);
    let error = host.fire(&mut *trigger, info(1, 1), &event).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the plugin's process is gone: hung: silent for 1.5s, killed by signal 9"
    );
    host.fire(&mut *trigger, info(1, 2), &event).unwrap();
    trigger.close(CloseReason::Stop);
}

#[test]
fn a_child_that_starts_badly_is_refused_with_the_reason() {
    for (child, expected) in [
        (
            "cookie",
            "refused: wrong cookie: not the process that was started",
        ),
        ("chatter", "refused: its first message was no hello"),
        (
            "protocol",
            "refused: it speaks protocols [99], this server 1; build it with another SDK",
        ),
        (
            "manifest",
            "refused: its manifest says trigger other 1.0.0, the module trigger probe 1.0.0",
        ),
    ] {
        assert_eq!(refused(program(child), &json!({})), expected);
    }
    let gone = Program::new("/no/such/program");
    let mut gone = Program {
        description: program("probe").description,
        ..gone
    };
    gone.timing.start = Duration::from_millis(300);
    let why = refused(gone, &json!({}));
    assert!(why.starts_with("cannot be started: No such file"), "{why}");
}

#[test]
fn what_a_plugin_says_when_it_is_made_is_handed_on() {
    let refuse = made(program("probe"), &json!({"made": "refuse"}))
        .1
        .err()
        .unwrap();
    assert_eq!(refuse, "it does not want to");
    let panic = made(program("probe"), &json!({"made": "panic"}))
        .1
        .err()
        .unwrap();
    assert_eq!(panic, "panic: made to panic");
    let module = probe();
    assert_eq!(module.check(&json!({"act": "skip"})), Ok(()));
    let error = module.check(&json!({"act": 5})).unwrap_err();
    assert_eq!(error.path, ".act");
}

/// Its output is closed: nothing but logs goes there.
#[test]
fn a_child_without_stdout_works() {
    let mut program = program("probe");
    let file = std::mem::replace(&mut program.file, "/bin/sh".into());
    let own = std::mem::take(&mut program.args);
    program.args = vec![
        "-c".into(),
        "exec \"$0\" \"$@\" >&- 2>&-".into(),
        file.into(),
    ];
    program.args.extend(own);
    let (mut host, trigger) = made(program, &json!({}));
    let mut trigger = trigger.unwrap();
    host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]))
        .unwrap();
    trigger.close(CloseReason::Stop);
}

#[test]
fn a_flood_of_log_lines_stops_no_fire() {
    let (mut host, trigger) = made(program("probe"), &json!({"act": "flood"}));
    let mut trigger = trigger.unwrap();
    for lsn in 1..4 {
        host.fire(&mut *trigger, info(lsn, 1), &Owned::write(&[1]))
            .unwrap();
    }
    trigger.close(CloseReason::Stop);
}

/// A child that crashes when it is started, or does not come, is started again, up to the breaker.
#[test]
fn a_first_start_that_crashes_is_not_the_last() {
    for (child, made, time, expected) in [
        ("probe", "sleep", 700, "not ready within 700ms"),
        ("silent", "", 300, "no hello within 300.0ms"),
        ("mute", "", 700, "not ready within 700ms"),
        ("exit", "", 10_000, "ended before its hello: exit code 3"),
    ] {
        let mut program = program(child);
        program.timing.start = Duration::from_millis(time);
        program.timing.exits_max = 2;
        let module = plugin_host::process::module(program).unwrap();
        let mut host = FakeHost::new();
        let mut trigger = make(&*module, &json!({"made": made}), &mut host).unwrap();
        let standing = module.standing("probe-1").unwrap();
        assert_eq!(standing.state, StandingState::Backoff);
        assert!(standing.reason.ends_with(expected), "{}", standing.reason);
        let error = host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]));
        let FireError::Fatal(why) = error.unwrap_err() else {
            panic!("the breaker is open");
        };
        assert!(why.starts_with("the process ended 2 times"), "{why}");
        assert!(why.ends_with(expected), "{why}");
        trigger.close(CloseReason::Stop);
    }
}

/// A crash once, and it works: nothing of the first start stays.
#[test]
fn a_child_that_crashes_once_at_its_start_works_after_it() {
    let marker = tempfile::tempdir().unwrap();
    let marker = marker.path().join("started");
    let mut program = program("probe");
    let config = json!({"made": "once", "marker": marker});
    program.timing.exits_max = 2;
    let (mut host, trigger) = made(program, &config);
    let mut trigger = trigger.unwrap();
    host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]))
        .unwrap();
    assert_eq!(host.state.counter_of("total"), 1);
    trigger.close(CloseReason::Stop);
}

/// While there is nothing to fire, a child that has ended is started again, and given up like any.
#[test]
fn a_child_that_dies_idle_is_started_again() {
    let mut program = program("probe");
    program.timing.exits_max = 3;
    let module = plugin_host::process::module(program).unwrap();
    let mut host = FakeHost::new();
    let mut trigger = make(&*module, &json!({}), &mut host).unwrap();
    let mut pids = Vec::new();
    for _ in 0..2 {
        assert_eq!(trigger.tend(&mut host.state), Ok(None));
        let pid = module.standing("probe-1").unwrap().pid;
        pids.push(pid);
        kill(pid);
        wait_for("another child", || {
            trigger.tend(&mut host.state).unwrap();
            let standing = module.standing("probe-1").unwrap();
            standing.state == StandingState::Running && standing.pid != pid
        });
    }
    assert_ne!(pids[0], pids[1]);
    host.fire(&mut *trigger, info(1, 1), &Owned::write(&[1]))
        .unwrap();
    kill(module.standing("probe-1").unwrap().pid);
    let mut end = None;
    wait_for("the breaker", || {
        end = trigger.tend(&mut host.state).err();
        end.is_some()
    });
    let why = end.unwrap();
    assert_eq!(
        why,
        "the process ended 3 times within 600s, last: killed by signal 9"
    );
    trigger.close(CloseReason::Stop);
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A fire that does not heed the end of the server is killed long before its own time.
#[test]
fn a_stop_does_not_wait_for_the_time_of_a_fire() {
    let mut program = program("probe");
    program.timing.stop = Duration::from_millis(200);
    let (mut host, trigger) = made(program, &json!({"act": "hang"}));
    let mut trigger = trigger.unwrap();
    host.is_cancelled = true;
    let long = FireInfo {
        deadline: i64::MAX,
        ..info(1, 1)
    };
    let error = host
        .fire(&mut *trigger, long, &Owned::write(&[1]))
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.ends_with("did not end within 200ms, killed"),
        "{error}"
    );
    trigger.close(CloseReason::Stop);
}

/// T29: the breaker opens, and an orderly stop closes it.
#[test]
fn a_child_that_ends_too_often_is_given_up() {
    let mut program = program("probe");
    program.timing.exits_max = 3;
    let module = plugin_host::process::module(program).unwrap();
    let mut host = FakeHost::new();
    let config = json!({"act": "kill"});
    let mut trigger = make(&*module, &config, &mut host).unwrap();
    let event = Owned::write(&[1]);
    for attempt in 1..=3 {
        let error = host
            .fire(&mut *trigger, info(1, attempt), &event)
            .unwrap_err();
        assert!(matches!(error, FireError::Retry(_)), "{error}");
    }
    let error = host.fire(&mut *trigger, info(1, 4), &event).unwrap_err();
    let why = "the process ended 3 times within 600s, last: killed by signal 9";
    assert_eq!(error, FireError::Fatal(why.into()));
    let standing = module.standing("probe-1").unwrap();
    assert_eq!(
        (standing.state, &*standing.reason),
        (StandingState::Failed, why)
    );
    trigger.close(CloseReason::Stop);
    let mut again = make(&*module, &json!({}), &mut host).unwrap();
    host.fire(&mut *again, info(1, 5), &event).unwrap();
    again.close(CloseReason::Stop);
}
