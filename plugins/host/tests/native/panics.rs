//! A panic ends where it happens (T5): in each function of a plugin, and in each call of the host.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use model::Zone;
use plugin_sdk::{CloseReason, FireError, Init, SourceOut, State, WorkerCtx};
use serde_json::json;

use crate::border::{alone, probe_source};
use crate::fake::Fake;
use crate::support::{bars, cc, fire, library, load, trigger, write};

/// The words of a panic that goes on in the host.
fn panicked<R>(body: impl FnOnce() -> R) -> String {
    let panic: Box<dyn Any + Send> = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => panic,
    };
    *panic.downcast::<String>().expect("text")
}

#[test]
fn a_panic_of_the_plugin_reaches_the_host_with_message_and_place() {
    let module = load(&library("counter"));
    let zone = Zone::utc();
    let checks = [
        panicked(|| module.check(&json!({ "panic_in": "new" }))),
        panicked(|| {
            let mut init = Init::new("x", 1, &zone);
            module
                .trigger(&json!({ "panic_in": "new" }), &mut init)
                .map(drop)
        }),
    ];
    for text in checks {
        assert!(text.starts_with("told to, in new ("), "{text}");
        assert!(text.contains("counter/src/lib.rs:"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    let mut fake = Fake::new();
    let text = panicked(|| module.migrate(66, &mut State::new(&mut fake)));
    assert!(text.starts_with("told to, in migrate ("), "{text}");
    let mut object = trigger(&*module, json!({ "panic_in": "fire" }));
    let rows = bars(1);
    let text = panicked(|| fire(&mut *object, &mut fake, &write(&rows)));
    assert!(text.starts_with("told to, in fire ("), "{text}");
    // The log has the line, with the backtrace beside it.
    assert!(
        fake.did[0].starts_with("log Error panic: told to, in fire ("),
        "{:?}",
        fake.did
    );
    object.close(CloseReason::Panic);
    // Nobody waits for an answer of `destroy`: the panic is logged, and that is all.
    trigger(&*module, json!({ "panic_in": "close" })).close(CloseReason::Stop);
    // Others are as they were.
    let mut object = trigger(&*module, json!({}));
    fire(&mut *object, &mut fake, &write(&rows)).unwrap();
}

#[test]
fn workers_and_sources_too() {
    let zone = Zone::utc();
    let mut fake = Fake::new();
    let module = load(&library("pulse"));
    let config = json!({ "target": "A/1Sec/X", "every_ms": 1, "panics": true });
    let mut worker = module
        .worker(&config, &mut Init::new("w", 1, &zone))
        .unwrap();
    let text = panicked(|| worker.run(&mut WorkerCtx::new(&mut fake)));
    assert!(text.starts_with("told to, in run ("), "{text}");

    let module = load(&library("lines"));
    let mut source = module
        .source(&json!({}), &mut Init::new("s", 1, &zone))
        .unwrap();
    let text = panicked(|| source.open("panic", None));
    assert!(text.starts_with("told to, in open ("), "{text}");
    source.open("1,panic", None).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let text = panicked(|| source.next_batch(&mut SourceOut::new(&mut fake), deadline));
    assert!(text.starts_with("told to, in next_batch ("), "{text}");
}

#[test]
fn a_panic_of_the_host_is_an_answer_to_the_plugin() {
    let _alone = alone();
    let Some(file) = cc(
        "hostpanic",
        &probe_source("hostpanic", 0, "sizeof(mkts_plugin)"),
    ) else {
        return;
    };
    let module = load(&file);
    let mut object = trigger(&*module, json!("every"));
    let rows = bars(1);
    let mut fake = Fake::new();
    // The first question of the host itself is answered, those of the plugin are not.
    fake.panics_after = Some(1);
    let result = fire(&mut *object, &mut fake, &write(&rows));
    let Err(FireError::Skip(codes)) = result else {
        panic!("{result:?}");
    };
    let codes: Vec<&str> = codes.split_whitespace().collect();
    assert_eq!(codes[..13], ["-100"; 13]);
    // A worker's calls are not there in a fire.
    assert_eq!(codes[13..], ["-8"; 2]);
    // A panic that C makes up is one as well.
    let mut object = trigger(&*module, json!("panic"));
    let text = panicked(|| fire(&mut *object, &mut Fake::new(), &write(&rows)));
    assert_eq!(text, "as if");
}
