//! Events sent ahead: whatever happens to one of them, effects and state are those of a host that
//! fires one by one.

use plugin_sdk::{CloseReason, FireError, Module};
use serde_json::{Value, json};

use crate::support::{FakeHost, Owned, built_in, info, make, probe};

/// Fires five events as a dispatcher would: one that fails is tried again, in its place.
fn run(module: &dyn Module, config: &Value, is_ahead: bool, refused: Option<u64>) -> FakeHost {
    let mut host = FakeHost::new();
    let mut trigger = make(module, config, &mut host).unwrap();
    for window in 0..2 {
        let lsns = || (1..=5).map(move |n| window * 10 + n);
        let events: Vec<Owned> = lsns().map(|n| Owned::write(&[n as i64])).collect();
        if is_ahead {
            let infos = lsns().map(|lsn| info(lsn, 1));
            trigger.ahead(&mut infos.zip(events.iter().map(Owned::event)));
        }
        for (lsn, event) in lsns().zip(&events) {
            host.refused = (refused == Some(lsn)).then_some("OUT/1Min/T");
            let first = host.fire(&mut *trigger, info(lsn, 1), event);
            host.refused = None;
            match first {
                Ok(()) | Err(FireError::Skip(_)) => {}
                Err(FireError::Fatal(why)) => panic!("{why}"),
                Err(_) => host.fire(&mut *trigger, info(lsn, 2), event).unwrap(),
            }
        }
    }
    trigger.close(CloseReason::Stop);
    host
}

#[test]
fn a_fire_that_fails_ahead_leaves_no_trace() {
    for act in ["fail", "later", "skip", "panic", "kill"] {
        let config = json!({"act": act, "at": 3, "once": true});
        // Killing is not for this process; its effects are those of a failure.
        let same =
            json!({"act": if act == "skip" { "skip" } else { "fail" }, "at": 3, "once": true});
        let expected = run(&*built_in(), &same, false, None);
        let total = expected.state.counter_of("total");
        assert_eq!(total, if act == "skip" { 9 } else { 10 });
        for is_ahead in [false, true] {
            let found = run(&*probe(), &config, is_ahead, None);
            assert_eq!(found.done, expected.done, "{act}");
            assert_eq!(found.messages, expected.messages, "{act}");
            assert_eq!(found.state, expected.state, "{act}");
        }
    }
}

#[test]
fn effects_that_the_host_refuses_are_not_in_the_childs_state() {
    let expected = run(&*built_in(), &json!({}), false, Some(2));
    for is_ahead in [false, true] {
        let found = run(&*probe(), &json!({}), is_ahead, Some(2));
        assert_eq!(found.done, expected.done);
        assert_eq!(found.messages, expected.messages);
        assert_eq!(found.state, expected.state);
    }
}

/// The window before was dropped: state goes back, and the child must not go on from its copy.
#[test]
fn a_child_forgets_what_a_dropped_window_did() {
    let mut host = FakeHost::new();
    let mut trigger = make(&*probe(), &json!({}), &mut host).unwrap();
    let event = Owned::write(&[1]);
    host.fire(&mut *trigger, info(1, 1), &event).unwrap();
    let before = host.state.clone();
    host.fire(&mut *trigger, info(2, 1), &event).unwrap();
    host.state = before;
    trigger.forget();
    host.fire(&mut *trigger, info(2, 1), &event).unwrap();
    assert_eq!(host.state.counter_of("total"), 2);
    assert_eq!(host.said("fires").pop().unwrap(), "2 rows 1 found 3");
    trigger.close(CloseReason::Stop);
}

/// An event sent ahead is passed over (a timer cancelled meanwhile): its effects do not happen.
#[test]
fn an_event_passed_over_has_no_effect() {
    let mut host = FakeHost::new();
    let mut trigger = make(&*probe(), &json!({}), &mut host).unwrap();
    let events = [Owned::write(&[1]), Owned::Timer, Owned::write(&[3])];
    let infos = (1..).map(|lsn| info(lsn, 1));
    trigger.ahead(&mut infos.zip(events.iter().map(Owned::event)));
    host.fire(&mut *trigger, info(1, 1), &events[0]).unwrap();
    host.fire(&mut *trigger, info(3, 1), &events[2]).unwrap();
    assert_eq!(host.state.counter_of("total"), 2);
    assert_eq!(host.said("fires"), ["1 rows 1 found 3", "2 rows 1 found 3"]);
    trigger.close(CloseReason::Stop);
}
