//! What an operator does with an instance that is a process.

use std::time::{Duration, Instant};

use disk::sim::SimDisk;
use plugin_host::{Entry, InstanceStatus, State};
use plugin_sdk::Delivery;
use serde_json::{Value, json};

use crate::store::{Store, open_entry};
use crate::support::{probe, program};

fn entry(config: Value) -> Entry {
    Entry {
        name: Some("one".into()),
        on: vec!["IN/1Min/*".into()],
        delivery: Some(Delivery::Exact),
        max_attempts: Some(0),
        config,
        ..Entry::trigger("probe")
    }
}

fn until(store: &Store, is: impl Fn(&InstanceStatus) -> bool) -> InstanceStatus {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let status = store.host.instance_status("one").unwrap();
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{status:#?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each verb ends one process in good order and begins another; rows are copied once.
#[test]
fn verbs_end_one_process_and_begin_another() {
    let store = open_entry(&SimDisk::new(1), entry(json!({})), probe());
    let host = &store.host;
    let pid = || host.instance_status("one").unwrap().pid;
    let mut pids = vec![pid()];
    let verbs: [&dyn Fn(); 2] = [&|| host.restart("one").unwrap(), &|| {
        host.pause("one").unwrap();
        assert_eq!(pid(), None);
        host.resume("one").unwrap();
    }];
    for (verb, number) in verbs.iter().zip(0..) {
        store.write(&[number]);
        verb();
        pids.push(pid());
    }
    store.write(&[2]);
    store.drain();
    assert!(pids.iter().all(Option::is_some), "{pids:?}");
    assert!(pids.windows(2).all(|pair| pair[0] != pair[1]), "{pids:?}");
    assert_eq!(store.times("OUT/1Min/T"), [0, 1, 2]);
    let status = host.instance_status("one").unwrap();
    assert_eq!((status.state, status.failures), (State::Running, 0));
    host.stop();
}

/// T29: a process that ends too often is not started again, until somebody says so.
#[test]
fn enable_closes_the_breaker_of_a_process() {
    let mut program = program("probe");
    program.timing.exits_max = 3;
    let module = plugin_host::process::module(program).unwrap();
    let store = open_entry(&SimDisk::new(2), entry(json!({"act": "kill"})), module);
    store.write(&[1]);
    let first = until(&store, |status| status.state == State::Failed);
    assert!(
        first.reason.contains("the process ended 3 times"),
        "{}",
        first.reason
    );
    store.host.enable("one").unwrap();
    // The plugin is as it was: three ends more.
    let second = until(&store, |status| {
        status.state == State::Failed && status.restarts > first.restarts
    });
    assert!(
        second.reason.contains("the process ended 3 times"),
        "{}",
        second.reason
    );
    assert_eq!(second.dead_letters, 0);
    store.host.stop();
}
