//! A fire in a child does what it does in this process.

use model::BucketKey;
use plugin_sdk::{CloseReason, Module};
use serde_json::json;

use crate::support::{FakeHost, Owned, built_in, info, make, probe};

fn key(text: &str) -> BucketKey {
    BucketKey::parse(text).unwrap()
}

/// Every kind of event and effect, fired once by once and ahead.
fn run(module: &dyn Module, is_ahead: bool) -> FakeHost {
    let mut host = FakeHost::new();
    let mut trigger = make(module, &json!({}), &mut host).unwrap();
    let events = [
        Owned::write(&[1, 2, 3]),
        Owned::Gap(key("IN/1Min/T")),
        Owned::Deleted(key("IN/1D/OHLCV")),
        Owned::Timer,
        Owned::write(&[4]),
    ];
    if is_ahead {
        let mut ahead = (1..)
            .map(|lsn| info(lsn, 1))
            .zip(events.iter().map(Owned::event));
        trigger.ahead(&mut ahead);
    }
    for (lsn, event) in (1..).zip(&events) {
        host.fire(&mut *trigger, info(lsn, 1), event).unwrap();
    }
    trigger.close(CloseReason::Stop);
    host
}

#[test]
fn a_child_does_what_the_plugin_does_here() {
    let expected = run(&*built_in(), false);
    assert_eq!(expected.state.counter_of("total"), 5);
    let fires = expected.said("fires");
    assert_eq!(fires[0], "1 rows 3 found 3");
    assert_eq!((fires.len(), expected.done.len()), (5, 4));
    for is_ahead in [false, true] {
        let found = run(&*probe(), is_ahead);
        assert_eq!(found.done, expected.done);
        assert_eq!(found.messages, expected.messages);
        assert_eq!(found.state, expected.state);
    }
}
