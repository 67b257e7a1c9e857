//! A Rust plugin behind the border does what it does when it is linked in.

use std::time::{Duration, Instant};

use counter::Counter;
use lines::Lines;
use model::Zone;
use plugin_host::native;
use plugin_sdk::{
    BuiltIn, CloseReason, Event, Init, Kind, Module, More, SourceOut, State, StateValue, WorkerCtx,
};
use pulse::Pulse;
use serde_json::json;

use crate::fake::Fake;
use crate::support::{bars, cache, fire, key, library, load, trigger, write};

/// The same plugin from its library and linked in.
fn both(name: &str, built_in: BuiltIn) -> [std::sync::Arc<dyn Module>; 2] {
    [load(&library(name)), built_in.module()]
}

#[test]
fn a_library_says_of_itself_what_its_source_says() {
    for (name, line) in [
        ("counter", BuiltIn::trigger::<Counter>()),
        ("pulse", BuiltIn::bgworker::<Pulse>()),
        ("lines", BuiltIn::source::<Lines>()),
    ] {
        let said = native::describe(&library(name)).unwrap();
        let mut expected = line.manifest.describe(line.kind());
        expected.abi = [1, 0];
        expected.entry = format!("mkts_plugin_v1_{name}");
        assert_eq!(said, expected);
        assert_eq!(*load(&library(name)).description(), expected);
    }
    // Once for all who ask, whatever the name of the file.
    let again = load(&library("counter"));
    assert!(std::sync::Arc::ptr_eq(&again, &load(&library("counter"))));
}

#[test]
fn every_event_has_the_same_effects_as_linked_in() {
    let mut seen = Vec::new();
    for module in both("counter", BuiltIn::trigger::<Counter>()) {
        let mut object = trigger(&*module, json!({ "remind_after": 5 }));
        let mut fake = Fake::new();
        fake.rows = Some(bars(4));
        let (one, many) = (bars(1), bars(100));
        let results = [
            write(&one),
            write(&many),
            // A layout seen before, after another one, and columns that begin anywhere.
            write(&one),
            write(&many.slice(3..10)),
            Event::Gap {
                key: key(),
                from: 5,
                to: 9,
            },
            Event::Deleted(key()),
            Event::Timer {
                key: b"remind",
                due: 77,
                payload: b"\x00\xff",
            },
            // Nothing in it: the plugin skips it.
            write(&bars(0)),
        ]
        .map(|event| fire(&mut *object, &mut fake, &event));
        fake.rows = None;
        let gap = Event::Gap {
            key: key(),
            from: 0,
            to: 1,
        };
        fire(&mut *object, &mut fake, &gap).unwrap();
        object.close(CloseReason::Stop);
        seen.push((format!("{results:?}"), fake.did, fake.state, fake.written));
    }
    assert!(seen[0].1.len() > 20, "{:?}", seen[0].1);
    assert!(seen[0].0.contains("Skip"), "{:?}", seen[0].0);
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn failures_of_the_host_reach_the_plugin_in_its_words() {
    let mut seen = Vec::new();
    for module in both("counter", BuiltIn::trigger::<Counter>()) {
        let mut object = trigger(&*module, json!({ "target": "REFUSED/1Sec/ROWS" }));
        let mut fake = Fake::new();
        let rows = bars(1);
        let refused = fire(&mut *object, &mut fake, &write(&rows)).unwrap_err();
        let bytes = StateValue::Bytes(bytes::Bytes::from_static(b"x"));
        fake.state.insert(b"rows".to_vec(), bytes);
        let wrong = fire(&mut *object, &mut fake, &write(&rows)).unwrap_err();
        seen.push([refused, wrong]);
    }
    assert!(seen[0][0].to_string().contains("says the host"));
    assert!(seen[0][1].to_string().starts_with("TYPE"));
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn a_config_is_checked_by_its_type_with_the_path_of_the_key() {
    let configs = [
        json!(null),
        json!({}),
        json!({ "target": "A/1Min/X", "remind_after": 3 }),
        json!({ "target": 7 }),
        json!({ "targte": "A/1Min/X" }),
        json!({ "target": "nonsense" }),
    ];
    let mut seen = Vec::new();
    for module in both("counter", BuiltIn::trigger::<Counter>()) {
        let checks = configs.iter().map(|config| module.check(config));
        seen.push(checks.collect::<Vec<_>>());
    }
    assert_eq!(seen[0][..3], [Ok(()), Ok(()), Ok(())]);
    assert_eq!(seen[0][3].as_ref().unwrap_err().path, ".target");
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn what_an_object_is_told_when_made_arrives() {
    for module in both("counter", BuiltIn::trigger::<Counter>()) {
        let zone = Zone::parse("America/New_York").unwrap();
        let made = module.trigger(&json!({}), &mut Init::new("nobody", 7, &zone));
        let error = made.err().unwrap();
        assert_eq!(error.text, "epoch 7 in America/New_York");
        let wrong = module.worker(&json!({}), &mut Init::new("x", 7, &zone));
        let error = wrong.err().unwrap();
        assert_eq!(error.text, "\"counter\" is a trigger, not a bgworker");
    }
}

#[test]
fn state_of_an_older_version_is_brought_forward() {
    let mut seen = Vec::new();
    for module in both("counter", BuiltIn::trigger::<Counter>()) {
        let mut fake = Fake::new();
        let old = StateValue::Bytes(bytes::Bytes::copy_from_slice(&41_i64.to_le_bytes()));
        fake.state.insert(b"rows".to_vec(), old);
        module.migrate(1, &mut State::new(&mut fake)).unwrap();
        assert_eq!(fake.counter("rows"), 41);
        let bad = StateValue::Bytes(bytes::Bytes::from_static(b"short"));
        fake.state.insert(b"rows".to_vec(), bad);
        let error = module.migrate(1, &mut State::new(&mut fake)).unwrap_err();
        seen.push((fake.did, error));
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn a_worker_writes_commits_and_ends_when_asked() {
    let mut seen = Vec::new();
    for module in both("pulse", BuiltIn::bgworker::<Pulse>()) {
        assert_eq!(module.description().kind, Kind::BgWorker);
        let zone = Zone::utc();
        let config = json!({ "target": "BEAT/1Sec/N", "every_ms": 5 });
        let mut worker = module
            .worker(&config, &mut Init::new("w", 1, &zone))
            .unwrap();
        let mut fake = Fake::new();
        fake.naps = 3;
        worker.run(&mut WorkerCtx::new(&mut fake)).unwrap();
        fake.cancelled = true;
        worker.run(&mut WorkerCtx::new(&mut fake)).unwrap();
        worker.close(CloseReason::Stop);
        assert_eq!(fake.counter("beat"), 3);
        seen.push((fake.did, fake.written));
    }
    assert_eq!(seen[0].0.iter().filter(|did| *did == "commit").count(), 3);
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn a_source_fills_batches_and_resumes_behind_its_token() {
    let mut seen = Vec::new();
    for module in both("lines", BuiltIn::source::<Lines>()) {
        let zone = Zone::utc();
        let mut source = module
            .source(&json!({}), &mut Init::new("s", 1, &zone))
            .unwrap();
        let mut fake = Fake::new();
        assert_eq!(source.progress(), None);
        let deadline = Instant::now() + Duration::from_secs(60);
        source.open("1,2,3,4,5", None).unwrap();
        let mut mores = Vec::new();
        for _ in 0..3 {
            fake.room = (2, 1 << 20);
            mores.push(source.next_batch(&mut SourceOut::new(&mut fake), deadline));
        }
        assert_eq!(mores, [Ok(More::Full), Ok(More::Full), Ok(More::End)]);
        assert_eq!(source.progress().unwrap().text, "5 of 5 values");
        source
            .open("1,2,3,four", Some(&2_u64.to_le_bytes()))
            .unwrap();
        let late = source.next_batch(&mut SourceOut::new(&mut fake), Instant::now());
        assert_eq!(late, Ok(More::Timeout));
        fake.room = (100, 1 << 20);
        let error = source.next_batch(&mut SourceOut::new(&mut fake), deadline);
        let refused = source.open("", Some(b"")).unwrap_err();
        assert_eq!(fake.written.len(), 6);
        source.close(CloseReason::Stop);
        seen.push((format!("{error:?} {refused:?}"), fake.did, fake.written));
    }
    assert!(seen[0].0.contains("four") && seen[0].0.contains("8 bytes"));
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn the_copy_is_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libcounter.so");
    std::fs::copy(library("counter"), &file).unwrap();
    let module = native::load(&file, &cache()).unwrap();
    // Whoever installs a new version over the old one does not end the server.
    std::fs::write(&file, b"overwritten").unwrap();
    let mut object = trigger(&*module, json!({}));
    let rows = bars(2);
    fire(&mut *object, &mut Fake::new(), &write(&rows)).unwrap();
    let error = native::load(&file, &cache()).err().unwrap();
    assert!(
        error.to_string().contains("not a shared library"),
        "{error}"
    );
}
