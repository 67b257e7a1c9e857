//! What crosses the border: versions (T2), buffers (T4), handles, threads, answers.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Zone;
use plugin_host::native::{self, Refusal};
use plugin_sdk::export::live_bufs;
use plugin_sdk::{FireError, Init, Module, State, StateValue};
use serde_json::json;

use crate::fake::Fake;
use crate::support::{bars, cache, cc, fire, load, manifest, trigger, write};

/// The probe has one set of counters, and buffers of the host are counted for all tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source of a probe with a table of `size` bytes that wants a host of `minor`.
pub(crate) fn probe_source(name: &str, minor: u32, size: &str) -> String {
    let json = json!({
        "name": name, "version": "1.0.0", "kind": "trigger", "abi": [1, 0],
        "entry": format!("mkts_plugin_v1_{name}"), "a_field_of_later": 1,
    });
    format!(
        "#include \"mkts_plugin.h\"\n{}#define NAME {name}\n#define MINOR {minor}\n#define SIZE {size}\n{}",
        manifest(&json.to_string()),
        include_str!("probe.c")
    )
}

fn build(name: &str, minor: u32, size: &str) -> Option<PathBuf> {
    cc(name, &probe_source(name, minor, size))
}

/// One fire of a new object that does `what`.
fn act(module: &dyn Module, fake: &mut Fake, what: &str) -> Result<(), FireError> {
    let rows = bars(3);
    fire(&mut *trigger(module, json!(what)), fake, &write(&rows))
}

fn said(result: Result<(), FireError>) -> String {
    match result {
        Err(FireError::Skip(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn older_and_newer_minors_load_or_are_refused_as_said() {
    let _alone = alone();
    let whole = "sizeof(mkts_plugin)";
    // A plugin of an older minor has a shorter table, one of a newer a longer one.
    for (name, size) in [
        ("older", "offsetof(mkts_plugin, run)"),
        ("same", whole),
        ("newer", "sizeof plugin"),
        ("torn", "(offsetof(mkts_plugin, run) + 3)"),
    ] {
        let Some(file) = build(name, 0, size) else {
            return;
        };
        let module = load(&file);
        let mut fake = Fake::new();
        assert_eq!(said(act(&*module, &mut fake, "skip")), "no, thanks");
        // What lies behind the table of an older one is not offered.
        let offers_cancel = trigger(&*module, json!("skip")).cancel().is_some();
        assert_eq!(offers_cancel, !["older", "torn"].contains(&name), "{name}");
    }
    // The table wants more than the section said.
    let file = build("wants", 3, whole).unwrap();
    let error = native::load(&file, &cache()).err().unwrap();
    assert_eq!(error.why, Refusal::Abi { wanted: [1, 3] });
    assert!(
        error
            .to_string()
            .ends_with("wants.so: needs ABI 1.3, this server has 1.1; update the server"),
        "{error}"
    );
    let file = build("empty", 0, "8").unwrap();
    let error = native::load(&file, &cache()).err().unwrap();
    assert!(matches!(error.why, Refusal::Lies(_)), "{error}");
}

#[test]
fn every_buffer_is_released_once() {
    let _alone = alone();
    let Some(file) = build("counted", 0, "sizeof(mkts_plugin)") else {
        return;
    };
    let module = load(&file);
    let before = live_bufs();
    let mut fake = Fake::new();
    let text = StateValue::Bytes(bytes::Bytes::from_static(b"value"));
    fake.state.insert(b"k".to_vec(), text);
    // The plugin's: messages of every call with a status.
    for what in [
        "retry",
        "skip",
        "fatal",
        "limit",
        "every",
        "bad_calls",
        "what",
    ] {
        assert!(act(&*module, &mut fake, what).is_err(), "{what}");
    }
    module.check(&json!("bad")).unwrap_err();
    let zone = Zone::utc();
    for config in ["refuse", "none", "init"] {
        let made = module.trigger(&json!(config), &mut Init::new("x", 1, &zone));
        made.err().unwrap();
    }
    let counts = said(act(&*module, &mut fake, "report"));
    assert_eq!(counts, "given 10 released 10");
    // Ours: values and messages given to the plugin.
    assert_eq!(live_bufs(), before);
}

#[test]
fn answers_of_a_fire_mean_what_the_header_says() {
    let _alone = alone();
    let Some(file) = build("answers", 0, "sizeof(mkts_plugin)") else {
        return;
    };
    let module = load(&file);
    let mut fake = Fake::new();
    let mut act = |what| act(&*module, &mut fake, what).unwrap_err();
    assert_eq!(
        act("retry"),
        FireError::RetryAfter {
            text: "in a while".into(),
            after: Duration::from_millis(1500),
        }
    );
    assert_eq!(act("skip"), FireError::Skip("no, thanks".into()));
    assert_eq!(act("fatal"), FireError::Fatal("that was it".into()));
    assert_eq!(act("limit"), FireError::Retry("too much of it".into()));
    let mute = "the plugin answers -1 without a message";
    assert_eq!(act("mute"), FireError::Retry(mute.into()));

    let error = module.check(&json!("bad")).unwrap_err();
    assert_eq!((&*error.path, &*error.message), (".a[2].b", "it is bad"));
    let error = module.check(&json!("odd")).unwrap_err();
    assert_eq!((&*error.path, &*error.message), ("", "configure me"));
    let zone = Zone::utc();
    let made = module.trigger(&json!("refuse"), &mut Init::new("x", 1, &zone));
    assert_eq!(made.err().unwrap().text, "not today");
}

#[test]
fn a_handle_is_good_for_its_call_alone() {
    let _alone = alone();
    let Some(file) = build("handles", 0, "sizeof(mkts_plugin)") else {
        return;
    };
    let module = load(&file);
    let mut fake = Fake::new();
    // While it lasts, all is answered; commit and sleep belong to workers.
    let codes = said(act(&*module, &mut fake, "every"));
    assert_eq!(codes.trim(), "0 0 -11 0 0 0 0 0 0 0 -11 0 0 -8 -8");
    act(&*module, &mut fake, "keep").unwrap();
    let did = fake.did.len();
    let codes = said(act(&*module, &mut fake, "stale"));
    assert!(codes.split_whitespace().all(|code| code == "-4"), "{codes}");
    // Nothing of it was done, but for the log and the metric, which have no handle.
    assert_eq!(fake.did[did..], ["log Info k: k", "count k 1"]);

    // That of `create` is for reading state, then.
    let zone = Zone::utc();
    let mut state = Fake::new();
    let text = StateValue::Bytes(bytes::Bytes::from_static(b"value"));
    state.state.insert(b"k".to_vec(), text);
    let mut init = Init::new("x", 1, &zone);
    init.state = State::new(&mut state);
    let made = module.trigger(&json!("init"), &mut init);
    assert_eq!(made.err().unwrap().text, "state is there");
    let codes = said(act(&*module, &mut fake, "stale"));
    assert!(codes.split_whitespace().all(|code| code == "-4"), "{codes}");
}

#[test]
fn threads_and_callbacks_of_the_plugin_may_call_while_the_fire_lasts() {
    let _alone = alone();
    let Some(file) = build("threads", 0, "sizeof(mkts_plugin)") else {
        return;
    };
    let module = load(&file);
    let mut fake = Fake::new();
    act(&*module, &mut fake, "threads").unwrap();
    assert_eq!(fake.counter("threads"), 1000);
    fake.state
        .insert(b"a".to_vec(), StateValue::Bytes(bytes::Bytes::new()));
    act(&*module, &mut fake, "scan").unwrap();
    assert_eq!(fake.counter("scanned"), 2);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let _alone = alone();
    let Some(file) = build("careless", 0, "sizeof(mkts_plugin)") else {
        return;
    };
    let module = load(&file);
    let answer = said(act(&*module, &mut Fake::new(), "bad_calls"));
    assert_eq!(answer, "15 of 15");
}

#[test]
fn a_fire_ends_when_it_is_cancelled_and_a_closed_object_cannot_be() {
    let _alone = alone();
    let Some(file) = build("cancels", 0, "sizeof(mkts_plugin)") else {
        return;
    };
    let module = load(&file);
    let mut object = trigger(&*module, json!("wait"));
    let cancel = object.cancel().unwrap();
    let other = std::sync::Arc::clone(&cancel);
    let mut fake = Fake::new();
    let rows = bars(1);
    let result = std::thread::scope(|scope| {
        scope.spawn(move || other());
        fire(&mut *object, &mut fake, &write(&rows))
    });
    assert_eq!(said(result), "asked to end");
    drop(object);
    cancel();
}
